#!/bin/sh
# build.sh FOLDER: kustomize-controller as Flux publishes it, our gitsource, and the CRDs of both sides.
set -eu
out=$(realpath -m "${1:?usage: build.sh FOLDER}")
cd "$(dirname "$0")"
mkdir -p "$out/crds"
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/" github.com/fluxcd/kustomize-controller ./gitsource
crds() { # MODULE@VERSION FILE…
	folder=$(go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')/config/crd/bases
	shift
	for file; do install -m 644 "$folder/$file" "$out/crds/$file"; done
}
version() { awk -v m="$1" '$1 == m { print $2; exit }' go.mod; }
# It watches all four kinds of source, whether there are any or not.
crds "github.com/fluxcd/source-controller@$(version github.com/fluxcd/source-controller/api)" \
	source.toolkit.fluxcd.io_gitrepositories.yaml source.toolkit.fluxcd.io_ocirepositories.yaml \
	source.toolkit.fluxcd.io_buckets.yaml source.toolkit.fluxcd.io_externalartifacts.yaml
crds "github.com/fluxcd/kustomize-controller@$(version github.com/fluxcd/kustomize-controller)" \
	kustomize.toolkit.fluxcd.io_kustomizations.yaml
