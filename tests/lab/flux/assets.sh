#!/bin/bash
# assets.sh: print a folder with Flux's kustomize-controller, our gitsource, and the CRDs, built once from published modules:
# four minutes on two cores with cold caches. Exit 77 ("skipped") with one line on what is missing when that does not work.
set -eu
cd "$(dirname "$0")"
export ASSETS=flux
# shellcheck source=../lib/once.sh
. ../lib/once.sh
once flux "Flux's kustomize-controller" go.mod go.sum build.sh gitsource/main.go -- ./build.sh
