#!/bin/sh
# build.sh OUT: compile the multi-call binary. Same inputs give the same bytes.
set -eu
out=$(realpath -m "${1:?usage: build.sh OUT}")
cd "$(dirname "$0")"

# The release is stamped in as upstream's build does: servers and kubelets report it, and clients go by it.
version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod)
numbers=${version#v}
minor=${numbers#*.}
flags="-s -w" # no symbols: 145 MB instead of 207
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=${numbers%%.*} -X $package.gitMinor=${minor%%.*}"
	flags="$flags -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
done

mkdir -p "$(dirname "$out")"
CGO_ENABLED=0 exec go build -trimpath -buildvcs=false -ldflags "$flags" -o "$out" .
