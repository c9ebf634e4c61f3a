#!/bin/bash
# assets.sh: print a folder with MetalLB's controller and speaker, its rule as a program, and what a cluster must have for
# them, built once from published modules: some minutes on two cores with cold caches. Exit 77 ("skipped") with one line on
# what is missing when that does not work.
set -eu
cd "$(dirname "$0")"
export ASSETS=metallb
# shellcheck source=../lib/once.sh
. ../lib/once.sh
once metallb "MetalLB" go.mod go.sum build.sh frrk8s/go.mod frrk8s/api/v1beta1/types.go source/speaker/*.go \
	source/internal/*/*/*.go -- ./build.sh
