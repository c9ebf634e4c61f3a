#!/bin/bash
# assets.sh [--cluster]: print a directory with etcd, kube-apiserver and kubectl; with --cluster also with
# kube-controller-manager, kube-scheduler, kubelet and kube-proxy.
#
#   1. $KUBEBUILDER_ASSETS, if it holds all of them ("setup-envtest use -p path" fills such a directory)
#   2. the cache, if this module was built there before; the key is a hash of everything that goes into the build
#   3. otherwise it is built, once: 5–6 minutes on two cores, 2.5 GB of memory, 4 GB of Go caches
#
# Exit 77 ("skipped") with one line on what is missing when none of that works. Any number may run at once.
#
# assets.sh --fill FOLDER: build all of them there.
set -eu
cd "$(dirname "$0")"
# shellcheck source=../lib/once.sh
. ../lib/once.sh

applets="etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy"
want="etcd kube-apiserver kubectl"
complete() { local t; for t in $want; do [ -x "$1/$t" ] || return 1; done; }

case ${1:-} in
--cluster) want=$applets ;;
--fill)
	# The binary is whole as soon as it has its name: whoever died before the rest need not build it again.
	if [ ! -x "$2/kubelab" ]; then
		./build.sh "$2/kubelab.new"
		mv "$2/kubelab.new" "$2/kubelab"
	fi
	for t in $applets; do ln -sf kubelab "$2/$t"; done
	exit
	;;
esac
if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete "$KUBEBUILDER_ASSETS"; then
	echo "$KUBEBUILDER_ASSETS"
	exit
fi
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod)
once kube "Kubernetes $version for want of \$KUBEBUILDER_ASSETS" go.mod go.sum main.go build.sh -- ./assets.sh --fill
