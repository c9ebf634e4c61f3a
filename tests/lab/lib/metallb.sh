# shellcheck shell=bash
# MetalLB itself in the place of BIRD: its controller beside the API server, and one speaker a server, with the rights that
# it is published with. What lies around it is the lab's: no kubelet, so Pods and Nodes are made by hand, and a management
# port on each server, where the API is.
#
# Type "frr" adds an FRR to each server, in mounts of its own, with MetalLB's script that reloads it.

METALLB_NS="metallb-system"
speaker_node() { echo "worker-${1#s}"; }
# All that would be one pod: in the environment of the speaker, and of the FRR beside it.
speaker_mark() { echo "SWITCHLET_LAB_POD=$STATE/metallb/$1"; }

# metallb up [--type native|frr] | down | peers | crds on|off | start|stop|kill|freeze|thaw SERVER
metallb_cmd() {
	local action=${1:-}
	shift || :
	[ -e "$STATE/assets" ] || die "was started with --no-api"
	case $action in
	up) metallb_up "$@" ;;
	down) metallb_down ;;
	crds) metallb_crds "${1:-}" ;;
	peers | start | stop | kill | freeze | thaw)
		[ -e "$STATE/metallb/type" ] || die "has no MetalLB; run 'lab metallb up'"
		if [ "$action" = peers ]; then
			metallb_peers
			return
		fi
		need_name "${1:-}" "$SERVERS"
		if [ "$action" = start ]; then metallb_speaker "$1"; else metallb_act "$action" "$1"; fi
		;;
	*) usage_error "metallb up|down|peers|crds|start|stop|kill|freeze|thaw" ;;
	esac
}

metallb_up() {
	local type=native metallb s known_nodes
	if [ "${1:-}" = --type ]; then
		type=${2:-}
		shift 2
	fi
	if ! known "$type" "native frr" || [ $# != 0 ]; then usage_error "metallb up [--type native|frr]"; fi
	[ ! -e "$STATE/metallb/type" ] || die "has a MetalLB already; run 'lab metallb down'"
	[ "$type" = native ] || [ -e /usr/lib/frr/frr-reload.py ] ||
		{ say "missing: /usr/lib/frr/frr-reload.py (Debian: apt install frr-pythontools)" && exit 77; }
	metallb=$("$HERE/metallb/assets.sh") || exit $?
	mkdir -p "$STATE/metallb"
	echo "$metallb" >"$STATE/metallb/assets"
	known_nodes=$(kubectl_admin get nodes -o 'jsonpath={.items[*].metadata.name}')
	for s in $SERVERS; do
		act stop "$(bird_pid "$s")" "the speaker on $s"
		metallb_link "$s"
		known "$(speaker_node "$s")" "$known_nodes" ||
			node_cmd "$(speaker_node "$s")" --ip "192.168.1.$((9 + 2 * ${s#s}))" "fd00:1:${s#s}::2"
	done
	kubectl_admin get namespace $METALLB_NS >/dev/null 2>&1 || kubectl_admin create namespace $METALLB_NS >/dev/null
	kubectl_admin apply -k "$metallb/rbac" >/dev/null
	metallb_crds on
	{
		metallb_pod controller-0 controller worker-1
		for s in $SERVERS; do metallb_pod "speaker-$(speaker_node "$s")" speaker "$(speaker_node "$s")"; done
	} | kubectl_admin apply -f - >/dev/null
	kubeconfig_cmd --sa $METALLB_NS/controller >"$STATE/metallb/controller.conf"
	kubeconfig_cmd --sa $METALLB_NS/speaker >"$STATE/metallb/speaker.conf"
	step "MetalLB's objects"
	echo "$type" >"$STATE/metallb/type"
	spawn metallb-controller api env METALLB_BGP_TYPE="$type" METALLB_POD_NAME=controller-0 "$metallb/controller" \
		--kubeconfig="$(<"$STATE/metallb/controller.conf")" --namespace=$METALLB_NS --webhook-mode=disabled --port=0
	for s in $SERVERS; do metallb_spawn "$s"; done
	until_true 30 metallb_well api || die "MetalLB's controller does not start; see $STATE/log/metallb-controller.log"
	for s in $SERVERS; do metallb_ready "$s"; done
	step "MetalLB's controller, and speakers of type $type on $SERVERS"
}
metallb_well() { within "$1" curl -sf -o /dev/null --max-time 1 http://127.0.0.1:17472/readyz; }

# A speaker reads the Pod that it believes to be in, as the owner of what it writes.
metallb_pod() { # NAME SERVICE-ACCOUNT NODE
	cat <<-EOF
		{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "$1", "namespace": "$METALLB_NS", "labels": {"app": "metallb",
		"component": "$2"}}, "spec": {"nodeName": "$3", "serviceAccountName": "$2", "containers": [{"name": "$2", "image": "none"}]}}
	EOF
}

metallb_link() {
	local s=$1
	! ip -n "$LAB-$s" link show dev mgmt >/dev/null 2>&1 || return 0
	ip link add name "m-$s" netns "$LAB-api" type veth peer name mgmt netns "$LAB-$s"
	ip -n "$LAB-api" link set dev "m-$s" master mgmt0 up
	ip -n "$LAB-$s" addr add "172.31.0.2${s#s}/24" dev mgmt
	ip -n "$LAB-$s" link set dev mgmt up
}

metallb_speaker() {
	metallb_spawn "$1"
	metallb_ready "$1"
}
metallb_spawn() {
	local s=$1 metallb type dir=$STATE/metallb/$1
	local -a frr=()
	metallb=$(<"$STATE/metallb/assets") type=$(<"$STATE/metallb/type")
	dead "$STATE/run/$s-metallb.pid" || return 0
	if [ "$type" = frr ]; then
		metallb_frr "$s"
		frr=(FRR_CONFIG_FILE="$dir/frr.conf" FRR_RELOADER_PID_FILE="$dir/reloader.pid")
	fi
	spawn "$s-metallb" "$s" env "$(speaker_mark "$s")" "${frr[@]}" METALLB_BGP_TYPE="$type" \
		METALLB_NODE_NAME="$(speaker_node "$s")" METALLB_POD_NAME="speaker-$(speaker_node "$s")" METALLB_HOST=127.0.0.1 \
		"$metallb/speaker" --kubeconfig="$(<"$STATE/metallb/speaker.conf")" --namespace=$METALLB_NS --port=0
}
metallb_ready() { until_true 30 metallb_well "$1" || die "MetalLB's speaker on $1 does not start; see $STATE/log/$1-metallb.log"; }

# FRR as MetalLB's image has it: nothing configured, and a script that waits for SIGHUP. It finds FRR at the usual places,
# which only its own mounts have.
metallb_frr() {
	local s=$1 dir=$STATE/metallb/$1
	rm -rf "$dir"
	mkdir -p "$dir"
	# shellcheck disable=SC2016 # expanded over there
	spawn "$s-metallb-frr" "$s" env "$(speaker_mark "$s")" SHARED_VOLUME="$dir" unshare --mount --propagation private bash -euc '
		bin=$1 reloader=$2 name=$3
		mount -t tmpfs tmpfs /etc/frr
		mount -t tmpfs tmpfs /run/frr
		printf "frr defaults traditional\nhostname %s\nlog stdout informational\n" "$name" >/etc/frr/frr.conf
		echo "service integrated-vtysh-config" >/etc/frr/vtysh.conf
		touch /etc/frr/zebra.conf /etc/frr/bfdd.conf /etc/frr/bgpd.conf
		chown -R frr:frr /etc/frr /run/frr
		for daemon in zebra bfdd "bgpd -p 0"; do $bin/$daemon -d -A 127.0.0.1; done
		exec "$reloader"
	' frr "$FRR_BIN" "$(<"$STATE/metallb/assets")/frr-reloader.sh" "$(speaker_node "$s")"
	until_true 10 test -s "$dir/reloader.pid" || die "FRR beside the speaker on $s; see $STATE/log/$s-metallb-frr.log"
}

# What happens to a pod happens to all of it.
metallb_act() { # ACTION SERVER
	local signal pids
	case $1 in stop) signal=TERM ;; kill) signal=KILL ;; freeze) signal=STOP ;; thaw) signal=CONT ;; esac
	pids=$(marked "$(speaker_mark "$2")")
	if [ -z "$pids" ]; then
		case $1 in stop | kill) return 0 ;; *) die "MetalLB's speaker on $2 is not running" ;; esac
	fi
	# shellcheck disable=SC2086 # a list of pids
	kill -$signal $pids 2>/dev/null || :
	case $1 in
	stop | kill)
		# shellcheck disable=SC2086
		until_true 5 gone $pids || die "MetalLB's speaker on $2 did not end within 5 s of $1"
		;;
	esac
}

# The sessions that BIRD has here, one BGPPeer each since each server has an AS of its own; only those of IPv4, which is all
# that a native speaker can.
metallb_peers() {
	local s n i quick=
	# As BIRD here, and as fast as native speakers: FRR's own two minutes would hide what comes after a fault.
	[ "$(<"$STATE/metallb/type")" = native ] || quick='"connectTime": "2s",'
	for s in $SERVERS; do
		n=${s#s}
		for i in 1 2; do
			cat <<-EOF
				{"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "$s-leaf$i", "namespace": "$METALLB_NS"}, "spec":
				{"myASN": 6510$n, "peerASN": 6500$i, "peerAddress": "192.168.$i.$((8 + 2 * n))", $quick
				"nodeSelectors": [{"matchLabels": {"kubernetes.io/hostname": "$(speaker_node "$s")"}}]}}
			EOF
		done
	done | kubectl_admin apply -f - >/dev/null
}

# metallb crds on|off: MetalLB's kinds, with or without its processes. Off takes all objects along.
metallb_crds() {
	local metallb
	metallb=$("$HERE/metallb/assets.sh") || exit $?
	case $1 in
	on)
		kubectl_admin apply --server-side -f "$metallb/crds" >/dev/null
		kubectl_admin wait --for=condition=Established --timeout=30s -f "$metallb/crds" >/dev/null
		;;
	off) kubectl_admin delete --ignore-not-found --timeout=30s -f "$metallb/crds" >/dev/null ;;
	*) usage_error "metallb crds on|off" ;;
	esac
}

# MetalLB goes with its objects, and BIRD comes back with what it announced. Addresses that Services have stay.
metallb_down() {
	local s
	[ -e "$STATE/metallb/type" ] || return 0
	act kill "$STATE/run/metallb-controller.pid" "MetalLB's controller"
	for s in $SERVERS; do
		metallb_act kill "$s"
		! ip -n "$LAB-$s" link show dev mgmt >/dev/null 2>&1 || ip -n "$LAB-$s" link del dev mgmt
	done
	metallb_crds off
	kubectl_admin delete pod -n $METALLB_NS --all --force --grace-period=0 >/dev/null 2>&1
	kubectl_admin delete --ignore-not-found -k "$(<"$STATE/metallb/assets")/rbac" >/dev/null
	rm -rf "$STATE/metallb"
	for s in $SERVERS; do bird_start "$s"; done
	step "BIRD in MetalLB's place"
}
