# shellcheck shell=bash
# The leaves as Nodes of a real cluster: controller-manager and scheduler beside the API server, and on each leaf a container
# runtime and a kubelet, in the leaf's own network namespace and in mounts and processes of its own.
#
# What a kubelet finds there is the leaf's and not the machine's: /run is empty memory, /etc and /var are the machine's with a
# layer on top that stays in $STATE, and FRR's folders are those of the leaf's FRR, in the place where a switch has them.

CGROUP=switchlet-lab/$LAB
CLUSTER_CONTROLLERS='*,-node-lifecycle-controller,-taint-eviction-controller,-cloud-node-lifecycle-controller'
node_ip() { echo "172.31.0.1${1#leaf}"; }
node_dir() { echo "$STATE/node-$1"; }
node_pid() { cat "$(node_dir "$1")/pid"; }

cluster_check() {
	local t missing=
	for t in containerd runc ctr buildah gcc; do command -v $t >/dev/null || missing="$missing $t"; done
	[ -x /usr/lib/cni/loopback ] || missing="$missing /usr/lib/cni/loopback"
	if [ "$missing" ]; then
		say "missing:$missing (Debian: apt install containerd runc containernetworking-plugins buildah gcc)"
		exit 77
	fi
}

# cluster up [--image NAME=BINARY]…
cluster_cmd() {
	local action=${1:-} n
	shift || :
	[ -e "$STATE/assets" ] || die "was started with --no-api"
	case $action in
	up)
		cluster_check
		local image
		cluster_pause
		while [ $# -gt 0 ]; do
			[ "$1" = --image ] || usage_error "cluster up [--image NAME=BINARY]…"
			image=${2:?--image NAME=BINARY}
			cluster_image "${image%%=*}" "${image#*=}"
			shift 2
		done
		step "images"
		cluster_control
		for n in $LEAVES; do node_certificate "$n"; done
		for n in $LEAVES; do node_holder "$n"; done
		for n in $LEAVES; do node_containerd "$n"; done
		for n in $LEAVES; do node_import "$n"; done
		step "container runtimes on $LEAVES"
		for n in $LEAVES; do node_kubelet "$n"; done
		for n in $LEAVES; do
			until_true 60 node_is_ready "$n" || die "$n does not become Ready; see $STATE/log/$n-kubelet.log"
		done
		step "kubelets on $LEAVES, Ready"
		;;
	image) # NAME=BINARY: another image for nodes that run
		cluster_image "${1%%=*}" "${1#*=}"
		for n in $LEAVES; do node_import "$n"; done
		;;
	*) usage_error "cluster up|image" ;;
	esac
}

# The project's own Dockerfile, built without any network.
cluster_image() { # NAME BINARY
	local context=$STATE/images/context name=$1
	mkdir -p "$context"
	cp "$HERE/../../Dockerfile" "$context/"
	install -m 755 "$2" "$context/switchlet"
	cluster_build "$name" "$context"
}
cluster_pause() {
	local context=$STATE/images/pause
	mkdir -p "$context"
	gcc -static -Os -o "$context/pause" "$HERE/kube/image/pause.c"
	printf '%s\n' 'FROM scratch' 'COPY pause /pause' 'ENTRYPOINT ["/pause"]' >"$context/Dockerfile"
	cluster_build localhost/lab/pause:1 "$context"
}
cluster_build() { # NAME CONTEXT
	local store=$STATE/images/store archive full=$1
	case ${1%%/*} in *.* | localhost) ;; *) full=docker.io/library/$1 ;; esac
	archive=$STATE/images/$(tr '/:' '__' <<<"$1").tar
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		set -- --root "$store" --runroot "$store-run" --storage-driver vfs "$full" "$2" "$archive"
		buildah "${@:1:6}" build --quiet --pull=never --isolation=chroot -t "$7" "$8"
		rm -f "$9"
		buildah "${@:1:6}" push --quiet "$7" "oci-archive:$9:$7"
	) >>"$STATE/log/images.log" 2>&1 </dev/null || die "image $1 cannot be built; see $STATE/log/images.log"
}

cluster_control() {
	local bin
	bin=$(<"$STATE/assets")
	[ -e "$KUBE/kcm.conf" ] || {
		certificate kcm /CN=system:kube-controller-manager clientAuth
		certificate scheduler /CN=system:kube-scheduler clientAuth
		for n in kcm scheduler; do
			kubeconfig_write $n "client-certificate-data: $(base64 -w0 "$PKI/$n.crt"), client-key-data: $(base64 -w0 "$PKI/$n.key")"
		done
	}
	# With its ordinary 20 requests a second it needs seconds to make a token for each of its controllers. Nodes that no
	# kubelet stands behind must not become Unknown.
	! dead "$STATE/run/kcm.pid" || spawn kcm api "$bin/kube-controller-manager" --kubeconfig="$KUBE/kcm.conf" \
		--service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" --use-service-account-credentials=true \
		--leader-elect=false --bind-address=127.0.0.1 --kube-api-qps=1000 --kube-api-burst=1000 \
		--controllers="$CLUSTER_CONTROLLERS"
	! dead "$STATE/run/scheduler.pid" || spawn scheduler api "$bin/kube-scheduler" --kubeconfig="$KUBE/scheduler.conf" \
		--leader-elect=false --bind-address=127.0.0.1
}

node_certificate() {
	[ ! -e "$PKI/node-$1.crt" ] || return 0
	certificate "node-$1" "/O=system:nodes/CN=system:node:$1" serverAuth,clientAuth "IP:$(node_ip "$1"),DNS:$1"
	kubeconfig_write "node-$1" "client-certificate-data: $(base64 -w0 "$PKI/node-$1.crt"), client-key-data: $(base64 -w0 "$PKI/node-$1.key")"
}

# Mounts, processes and a host name of its own; when its first process ends, all the others end with it.
node_holder() {
	local leaf=$1 dir group
	dir=$(node_dir "$leaf")
	mkdir -p "$dir/containerd" "$dir/kubelet" "$dir/var" "$dir/var-work" "$dir/etc" "$dir/etc-work" "$dir/cgroup"
	rm -f "$dir/ready"
	for group in /sys/fs/cgroup/*/; do
		case $group in */unified/) ;; *) mkdir -p "$group$CGROUP/$leaf" ;; esac
	done
	# On cgroup v1 a new group has no processors and no memory until it is given some.
	for group in "" "/$leaf"; do
		for n in cpus mems; do
			cat "/sys/fs/cgroup/cpuset/cpuset.$n" >"/sys/fs/cgroup/cpuset/switchlet-lab/cpuset.$n"
			cat "/sys/fs/cgroup/cpuset/cpuset.$n" >"/sys/fs/cgroup/cpuset/$CGROUP$group/cpuset.$n"
		done
	done
	# shellcheck disable=SC2016 # expanded over there
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		cd /
		exec setsid env "$MARK" nsenter --net="/run/netns/$LAB-$leaf" \
			unshare --mount --uts --ipc --pid --fork --kill-child --propagation private bash -euc '
			dir=$1 leaf=$2 etc=$3 run=$4
			mount -t proc proc /proc
			# The groups would be hidden by a /sys that shows this namespace. They are shared only at the end: sooner, taking the
			# helping hand away would take them away too.
			mount --rbind /sys/fs/cgroup "$dir/cgroup"
			mount -t sysfs sysfs /sys
			mount --rbind "$dir/cgroup" /sys/fs/cgroup
			umount -R -l "$dir/cgroup"
			mkdir -p "$dir/frr-etc" "$dir/frr-run"
			mount --bind "$etc" "$dir/frr-etc"
			mount --bind "$run" "$dir/frr-run"
			for tree in etc var; do
				mount -t overlay overlay -o "lowerdir=/$tree,upperdir=$dir/$tree,workdir=$dir/$tree-work" /$tree
			done
			mount -t tmpfs tmpfs /run
			mkdir -p /run/frr /run/netns /run/containerd /etc/frr /etc/cni/net.d
			mount --bind "$dir/frr-etc" /etc/frr
			mount --bind "$dir/frr-run" /run/frr
			mount --make-rshared /
			hostname "$leaf"
			touch "$dir/ready"
			trap "exit 0" TERM
			while :; do sleep 1000 & wait $!; done
		' holder "$dir" "$leaf" "$FRR_ETC/$LAB-$leaf" "$FRR_RUN/$LAB-$leaf" </dev/null >>"$STATE/log/$leaf-node.log" 2>&1
	) &
	local holder=$!
	until_true 10 test -e "$dir/ready" || die "$leaf cannot be made a node; see $STATE/log/$leaf-node.log"
	only_child "$holder" >"$dir/pid"
}

only_child() { # PID: the file has no end of line
	local child=
	read -r child _ 2>/dev/null <"/proc/$1/task/$1/children" || [ "$child" ] || return 1
	echo "$child"
}

# in_node LEAF COMMAND…
in_node() {
	local leaf=$1
	shift
	env "$MARK" nsenter -t "$(node_pid "$leaf")" -m -n -u -i -p -- "$@"
}
node_spawn() { # ID LEAF COMMAND…
	local id=$1 leaf=$2
	shift 2
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		[ -z "${LOCK_FD:-}" ] || exec {LOCK_FD}>&-
		cd /
		exec setsid env "$MARK" nsenter -t "$(node_pid "$leaf")" -m -n -u -i -p -- "$@" </dev/null >>"$STATE/log/$leaf-$id.log" 2>&1
	) &
	echo $! >"$STATE/run/$leaf-$id.pid"
}

node_containerd() {
	local leaf=$1 dir
	dir=$(node_dir "$leaf")
	cat >"$dir/containerd.toml" <<-TOML
		version = 2
		root = "$dir/containerd"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
		[grpc]
		  address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "localhost/lab/pause:1"
		  # A machine without CAP_SYS_RESOURCE may not lower it.
		  restrict_oom_score_adj = true
		  disable_apparmor = true
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$dir/opt"
	TOML
	# Pods of switches use the host's network; the runtime only wants to see that there would be another one.
	in_node "$leaf" sh -c 'cat >/etc/cni/net.d/10-lab.conflist' <<-CNI
		{"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "loopback"}]}
	CNI
	node_spawn containerd "$leaf" containerd --config "$dir/containerd.toml"
	until_true 20 in_node "$leaf" test -S /run/containerd/containerd.sock || die "containerd of $leaf; see $STATE/log/$leaf-containerd.log"
}
node_import() {
	local archive
	for archive in "$STATE"/images/*.tar; do
		in_node "$1" ctr -n k8s.io images import "$archive" >>"$STATE/log/$1-containerd.log" 2>&1 || die "$archive cannot be imported on $1"
	done
}

node_kubelet() {
	local leaf=$1 dir
	dir=$(node_dir "$leaf")
	cat >"$dir/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
		authorization: {mode: Webhook}
		address: $(node_ip "$leaf")
		readOnlyPort: 0
		tlsCertFile: $PKI/node-$leaf.crt
		tlsPrivateKeyFile: $PKI/node-$leaf.key
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		failCgroupV1: false
		cgroupDriver: cgroupfs
		cgroupRoot: /$CGROUP/$leaf
		enforceNodeAllocatable: [pods]
		failSwapOn: false
		resolvConf: ""
		maxOpenFiles: 20000
		evictionHard: {}
		imageGCHighThresholdPercent: 100
		imageGCLowThresholdPercent: 99
		makeIPTablesUtilChains: false
		nodeStatusUpdateFrequency: 10s
		syncFrequency: ${SYNC_FREQUENCY:-1m}
		localStorageCapacityIsolation: false
		oomScoreAdj: 0
	YAML
	node_spawn kubelet "$leaf" "$(<"$STATE/assets")/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$KUBE/node-$leaf.conf" \
		--root-dir="$dir/kubelet" --cert-dir="$dir/kubelet/pki" --hostname-override="$leaf" --node-ip="$(node_ip "$leaf")" \
		--node-labels=switchlet.io/switch=true
}
node_is_ready() {
	[ "$(kubectl_admin get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]
}

# kubelet start|stop|kill|freeze|thaw LEAF
kubelet_cmd() {
	need_name "${2:-}" "$LEAVES"
	if [ "${1:-}" = start ]; then
		node_kubelet "$2"
		return
	fi
	# Its number is that of nsenter, which waits for the kubelet itself.
	only_child "$(<"$STATE/run/$2-kubelet.pid")" >"$STATE/run/$2-kubelet-itself.pid" || return 0
	act "$1" "$STATE/run/$2-kubelet-itself.pid" "kubelet of $2"
}

# power off|on LEAF: as somebody who pulls the cord. What is in memory is gone, FRR and the kernel's routes included.
power_cmd() {
	local leaf=${2:-} pid d
	need_name "$leaf" "$LEAVES"
	case ${1:-} in
	off)
		pid=$(node_pid "$leaf")
		kill -KILL "$pid" 2>/dev/null || :
		until_true 10 gone "$pid" || die "$leaf does not end"
		for d in $FRR_DAEMONS; do act kill "$(frr_pid "$leaf" "$d")" "$d of $leaf"; done
		rm -f "$FRR_RUN/$LAB-$leaf"/*
		ip -n "$LAB-$leaf" route flush proto bgp 2>/dev/null || :
		ip -n "$LAB-$leaf" -6 route flush proto bgp 2>/dev/null || :
		ip -n "$LAB-$leaf" link set dev mgmt down
		;;
	on)
		ip -n "$LAB-$leaf" link set dev mgmt up
		frr_start "$leaf"
		node_holder "$leaf"
		node_containerd "$leaf"
		node_kubelet "$leaf"
		;;
	*) usage_error "power off|on LEAF" ;;
	esac
}

cluster_down() {
	local group
	for _ in 1 2 3; do
		for group in /sys/fs/cgroup/*/; do
			# What containerd makes itself lies beside ours; other labs may still use it.
			[ ! -d "$group$CGROUP" ] || find "$group$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || :
			rmdir "${group}switchlet-lab" 2>/dev/null || :
		done
		[ "$(cluster_leftovers)" ] || return 0
		pause 0.2
	done
}
cluster_leftovers() {
	local group
	for group in /sys/fs/cgroup/*/; do [ ! -d "$group$CGROUP" ] || echo "control group $group$CGROUP"; done
}
