#!/bin/sh
# build.sh FOLDER: MetalLB's controller and speaker as published, the speaker's own rule as a program (see
# source/speaker/rule.go), and what a cluster must have for them: CRDs, rights, and the script that reloads FRR in frr mode.
set -eu
out=$(realpath -m "${1:?usage: build.sh FOLDER}")
cd "$(dirname "$0")"
version=$(sed -n 's/^require go.universe.tf.metallb //p' go.mod)
# Checked against go.sum.
module=$(go mod download -json "go.universe.tf/metallb@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
mkdir -p "$out"
export CGO_ENABLED=0
build() { go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$@"; }
build "$out/" go.universe.tf/metallb/controller go.universe.tf/metallb/speaker

# A speaker is package main, and has internal packages: what asks it must lie among its own files.
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/metallb"
(cd "$module" && find go.mod api internal speaker -type f ! -name '*_test.go' -exec cp --parents --no-preserve=mode {} "$work/metallb" \;)
cp -R source/. "$work/metallb/"
cp -R go.mod go.sum frrk8s "$work/"
(
	cd "$work"
	go mod edit -replace go.universe.tf/metallb=./metallb
	build "$out/rule" go.universe.tf/metallb/speaker
	go test -trimpath -vet=off -count=1 go.universe.tf/metallb/speaker
)

mkdir -p "$out/crds" "$out/rbac"
install -m 644 "$module"/config/crd/bases/*.yaml "$out/crds/"
install -m 644 "$module"/config/rbac/role.yaml "$module"/config/rbac/service-accounts.yaml "$out/rbac/"
# Its subjects have no namespace; this gives them one.
printf '%s\n' 'namespace: metallb-system' 'resources: [role.yaml, service-accounts.yaml]' >"$out/rbac/kustomization.yaml"
install -m 755 "$module/frr-tools/reloader/frr-reloader.sh" "$out/"
