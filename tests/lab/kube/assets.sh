#!/bin/bash
# assets.sh [--cluster]: print a directory with etcd, kube-apiserver and kubectl; with --cluster also with
# kube-controller-manager, kube-scheduler, kubelet and kube-proxy.
#
#   1. $KUBEBUILDER_ASSETS, if it holds all of them ("setup-envtest use -p path" fills such a directory)
#   2. the cache, if this module was built there before; the key is a hash of everything that goes into the build
#   3. otherwise it is built, once: 5–6 minutes on two cores, 2.5 GB of memory, 4 GB of Go caches
#
# Exit 77 ("skipped") with one line on what is missing when none of that works. Any number may run at once.
set -eu
cd "$(dirname "$0")"

applets="etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy"
want="etcd kube-apiserver kubectl"
[ "${1:-}" != --cluster ] || want=$applets

say() { echo "assets: $*" >&2; }
skip() { say "$*"; exit 77; }
complete() { local t; for t in $want; do [ -x "$1/$t" ] || return 1; done; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete "$KUBEBUILDER_ASSETS"; then
	echo "$KUBEBUILDER_ASSETS"
	exit
fi

cache=${SWITCHLET_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME or SWITCHLET_LAB_CACHE must be set}/.cache}/switchlet}/kube
key=$(cat go.mod go.sum main.go build.sh | sha256sum | cut -c1-12)
dir=$cache/$key
if complete "$dir"; then
	echo "$dir"
	exit
fi

command -v go >/dev/null || skip "missing: \$KUBEBUILDER_ASSETS with $want, or a Go toolchain to build them"
mkdir -p "$dir"
exec 9>"$dir/lock"
if ! flock -n 9; then
	say "another process is building these; waiting for it"
	flock 9
fi
if ! complete "$dir"; then
	say "building Kubernetes $(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod) into $dir: once, 5-6 minutes on two cores"
	# The compiler inherits the lock: if this script is killed, the next one waits for the orphan instead of
	# starting a second build, and then finds Go's own cache warm.
	nice ./build.sh "$dir/kubelab.new" >"$dir/build.log" 2>&1 &
	build=$!
	SECONDS=0
	while kill -0 "$build" 2>/dev/null; do
		sleep 1
		[ $((SECONDS % 15)) != 0 ] || say "building for $SECONDS s ($(grep -c downloading "$dir/build.log" || true) modules downloaded)"
	done
	wait "$build" || skip "missing: Kubernetes binaries; the build failed: $(tail -n 1 "$dir/build.log")"
	mv "$dir/kubelab.new" "$dir/kubelab"
	for t in $applets; do ln -sf kubelab "$dir/$t"; done
fi
echo "$dir"
