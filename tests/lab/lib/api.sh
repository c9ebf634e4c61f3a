# shellcheck shell=bash
# etcd, kube-apiserver, identities and Nodes.

PKI=$STATE/pki
KUBE=$STATE/kube
API_URL=https://$API_IP:6443
api_pid() { echo "$STATE/run/$1.pid"; }
kubectl_path() { echo "$(<"$STATE/assets")/kubectl"; }
# api_call METHOD PATH [BODY [TYPE]]: as admin, prints the answer. kubectl takes ten times the processor, and tests call often.
api_call() {
	local -a body=()
	[ -z "${3:-}" ] || body=(-H "Content-Type: ${4:-application/json}" --data-binary "$3")
	within api curl -sS --fail-with-body --max-time 20 --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" \
		-X "$1" "${body[@]}" "$API_URL$2"
}

kubectl_admin() { within api env KUBECONFIG="$KUBE/admin.conf" "$(kubectl_path)" --cache-dir "$KUBE/cache" "$@"; }

pki_up() {
	mkdir -m 700 "$PKI" "$KUBE"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=lab-ca \
		-addext keyUsage=critical,keyCertSign -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>"$STATE/log/pki.log"
	certificate apiserver /CN=kube-apiserver serverAuth \
		"IP:$API_IP,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc,DNS:localhost"
	certificate admin /O=system:masters/CN=admin clientAuth
	# The key that ServiceAccount tokens are signed with.
	openssl genrsa -out "$PKI/sa.key" 2048 2>>"$STATE/log/pki.log"
	openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>>"$STATE/log/pki.log"
	kubeconfig_write admin "client-certificate-data: $(base64 -w0 "$PKI/admin.crt"), client-key-data: $(base64 -w0 "$PKI/admin.key")"
}

certificate() { # NAME SUBJECT USAGE [SUBJECT-ALT-NAMES]
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$PKI/$1.key" 2>>"$STATE/log/pki.log" |
		openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 30 -out "$PKI/$1.crt" \
			-extfile <(echo "extendedKeyUsage=$3"; [ -z "${4:-}" ] || echo "subjectAltName=$4") 2>>"$STATE/log/pki.log"
}

kubeconfig_write() { # NAME USER-FIELDS; certificates are embedded, so that the file may be copied anywhere
	(
		umask 077
		cat >"$KUBE/$1.conf.$$" <<-CONF
			apiVersion: v1
			kind: Config
			clusters: [{name: lab, cluster: {server: "$API_URL", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
			users: [{name: $1, user: {$2}}]
			contexts: [{name: lab, context: {cluster: lab, user: $1}}]
			current-context: lab
		CONF
	)
	mv "$KUBE/$1.conf.$$" "$KUBE/$1.conf"
}

api_start() { # [etcd|apiserver]
	local bin
	bin=$(<"$STATE/assets")
	if [ "${1:-etcd}" = etcd ] && dead "$(api_pid etcd)"; then
		spawn etcd api "$bin/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync \
			--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
			--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
			--initial-cluster default=http://127.0.0.1:2380
	fi
	if [ "${1:-apiserver}" = apiserver ] && dead "$(api_pid apiserver)"; then
		# No default route in this namespace: without --advertise-address it would find no address of its own.
		spawn apiserver api "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
			--bind-address=0.0.0.0 --advertise-address="$API_IP" --secure-port=6443 \
			--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112 \
			--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
			--kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
			--kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
			--client-ca-file="$PKI/ca.crt" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
			--service-account-issuer=https://kubernetes.default.svc \
			--service-account-key-file="$PKI/sa.pub" --service-account-signing-key-file="$PKI/sa.key"
	fi
}

api_wait() {
	within api "$PYTHON" "$LIB/kubeapi.py" "$KUBE/admin.conf" ready 120 ||
		die "the API server is not ready; see $STATE/log/apiserver.log and etcd.log"
}

# api start|stop|kill|freeze|thaw [etcd|apiserver]
api_cmd() {
	local action=${1:-} p
	[ -e "$STATE/assets" ] || die "was started with --no-api"
	[ -z "${2:-}" ] || need_name "$2" "etcd apiserver"
	if [ "$action" = start ]; then
		api_start ${2:+"$2"}
		[ "${2:-}" = etcd ] || api_wait
		return
	fi
	for p in ${2:-apiserver etcd}; do act "$action" "$(api_pid "$p")" "$p"; done
}

# kubeconfig --admin | --sa NAMESPACE/NAME [--pod POD | --node NODE] | NAME
kubeconfig_cmd() {
	local sa token file
	case ${1:-} in
	--admin)
		echo "$KUBE/admin.conf"
		return
		;;
	--sa)
		sa=${2:-}
		case $sa in ?*/?*) ;; *) usage_error "kubeconfig --sa NAMESPACE/NAME" ;; esac
		file=sa-${sa%%/*}-${sa#*/}
		shift 2
		;;
	"" | -* | */*) usage_error "kubeconfig --admin | --sa NAMESPACE/NAME [--pod POD | --node NODE] | NAME" ;;
	*) # the agent of that name: the project's ServiceAccount once it is installed, the admin before
		sa=switchlet/agent file=$1
		shift
		if ! api_call GET /api/v1/namespaces/switchlet/serviceaccounts/agent >/dev/null 2>&1; then
			cp "$KUBE/admin.conf" "$KUBE/$file.conf"
			echo "$KUBE/$file.conf"
			return
		fi
		;;
	esac
	local core=/api/v1/namespaces/${sa%%/*} bound='' answer
	if [ "${1:-}" = --node ]; then # as --pod, with a Pod of that name on that node; nothing runs in it
		if ! api_call GET "$core/pods/${2:?}" >/dev/null 2>&1; then
			answer=$(api_call POST "$core/pods" '{"metadata": {"name": "'"$2"'"}, "spec": {"nodeName": "'"$2"'",
				"serviceAccountName": "'"${sa#*/}"'", "containers": [{"name": "agent", "image": "none"}]}}') ||
				die "kubeconfig: no pod on $2: $answer"
		fi
		set -- --pod "$2"
	fi
	if [ "${1:-}" = --pod ]; then # the token then names the Pod and its Node
		bound='"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "'"${2:?}"'"}, '
		file=$file-$2
	fi
	answer=$(api_call POST "$core/serviceaccounts/${sa#*/}/token" '{"spec": {'"$bound"'"expirationSeconds": 86400}}') ||
		die "kubeconfig: no token: $answer"
	token=$(jq -r .status.token <<<"$answer")
	kubeconfig_write "$file" "token: $token"
	echo "$KUBE/$file.conf"
}

# node NAME [--ip ADDRESS…] [--label K=V…] [--ready True|False|Unknown]: what a kubelet would have registered.
node_cmd() {
	local name=${1:-} ready=True mode=
	local -a ips=() labels=()
	case $name in "" | -*) usage_error "node NAME [--ip ADDRESS…] [--label K=V…] [--ready STATUS]" ;; esac
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--ip | --label | --ready) mode=$1 ;;
		*)
			case $mode in
			--ip) ips+=("$1") ;;
			--label) labels+=("$1") ;;
			--ready) ready=$1 ;;
			*) usage_error "node: unexpected '$1'" ;;
			esac
			;;
		esac
		shift
	done
	local status answer path=/api/v1/nodes
	if ! api_call GET "$path/$name" >/dev/null 2>&1; then
		answer=$(api_call POST "$path" "{\"metadata\": {\"name\": \"$name\", \"labels\": {\"kubernetes.io/hostname\": \"$name\"}}}") ||
			die "node $name: $answer"
	fi
	if [ ${#labels[@]} != 0 ]; then
		answer=$(api_call PATCH "$path/$name" "$(jq -nc '{metadata: {labels: ($ARGS.positional | map(split("=") | {(.[0]): .[1]}) | add)}}' \
			--args "${labels[@]}")" application/merge-patch+json) || die "node $name: $answer"
	fi
	# A status that came with the object would belong to nobody, and go with the conditions that an agent takes back.
	# Addresses are replaced as a whole when given: the list's merge would keep old ones.
	status=$(jq -nc --arg name "$name" --arg ready "$ready" '
		{conditions: [{type: "Ready", status: $ready, reason: "Lab", message: "set by the lab",
			lastHeartbeatTime: (now | todate), lastTransitionTime: (now | todate)}]}
		+ if $ARGS.positional == [] then {} else {addresses:
			([{"$patch": "replace"}, {type: "Hostname", address: $name}] + ($ARGS.positional | map({type: "InternalIP", address: .})))} end
		| {status: .}' --args "${ips[@]}")
	answer=$(api_call PATCH "$path/$name/status" "$status" application/strategic-merge-patch+json) || die "node $name: $answer"
}
