#!/bin/sh
# gen-gomod.sh VERSION > go.mod; then "go mod tidy".  Example: gen-gomod.sh v1.36.3
#
# Kubernetes cannot be required like other modules: it names its staging modules (k8s.io/api, …) as v0.0.0 and
# replaces them by directories of its own tree. Here each of them is replaced by the published module of the same
# release, so nothing in the binary can be of another version. The list is read from the release's own go.mod, hence
# a new minor release needs no edit here.
set -eu
[ $# = 1 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }
version=$1
staging=v0.${version#v1.}

cd / # away from any module, which would decide versions for us
upstream=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
go=$(awk '$1 == "go" { print $2 }' "$upstream")
etcd=$(awk '$1 == "go.etcd.io/etcd/client/v3" { print $2 }' "$upstream") # server and client are released together
cobra=$(awk '$1 == "github.com/spf13/cobra" { print $2 }' "$upstream")

cat <<MOD
module switchlet.io/lab/kube

go $go

godebug default=go${go%.*}

require (
	github.com/spf13/cobra $cobra
	go.etcd.io/etcd/server/v3 $etcd
	k8s.io/client-go $staging
	k8s.io/component-base $staging
	k8s.io/kubectl $staging
	k8s.io/kubernetes $version
)

replace (
$(awk -v v="$staging" '$2 == "=>" && $3 ~ /^\.\/staging\// { print "\t" $1 " => " $1 " " v }' "$upstream")
)
MOD
