# Everything here works on Debian 12 with cargo and Go; `make deps` brings the rest. Run as a normal user or as root:
# what needs root (network namespaces) asks sudo for it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# sudo and CI runners often start without these.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin:/usr/sbin:/sbin

ROOT := $(shell [ "$$(id -u)" = 0 ] || echo 'sudo -E env PATH="$(PATH)" HOME="$(HOME)"')
TRIPLE := $(shell PATH="$(PATH)" rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# cargo stays the user's; only the test programs themselves run as root.
RUNNER := CARGO_TARGET_$(shell echo '$(TRIPLE)' | tr 'a-z-' 'A-Z_')_RUNNER
AS_ROOT := $(if $(ROOT),$(RUNNER)='sudo -E env PATH=$(PATH) HOME=$(HOME)')
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
STATIC := x86_64-unknown-linux-gnu
IMAGE ?= switchlet:dev
# release is what is shipped; lab is built without the minutes of fat LTO, trial is built sooner and hardly optimised.
PROFILE ?= release
export LAB ?= swl
# The tests wait more than they work: more at a time than there are cores.
export RUST_TEST_THREADS ?= 6

##@ Use

.PHONY: help
help: ## this text
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install what is missing (Debian), check cargo and Go
	@.ci/deps

.PHONY: demo
demo: deps kube ## the whole story in network namespaces of this machine, about two minutes; ARGS='--transcript FILE'
	@echo '==> building the agent'
	cargo build --locked --profile lab --bin switchlet
	@$(ROOT) tests/lab/demo --binary $(TARGET_DIR)/lab/switchlet $(ARGS)

##@ Work

.PHONY: test
test: deps kube frr flux metallb ## all tests; ARGS='--lib' or ARGS='--test real STORY::' for some
	@echo '==> the static binary, for the image'
	@$(MAKE) --no-print-directory static PROFILE=trial
	@echo '==> tests'
	$(AS_ROOT) SWITCHLET_STATIC=$(abspath $(TARGET_DIR))/$(STATIC)/trial/switchlet cargo test --locked --no-fail-fast $(ARGS)
	@$(if $(ARGS),,$(MAKE) --no-print-directory image-test)

.PHONY: bench
bench: deps kube flux static ## all benchmarks, with the static release; ARGS='--bench NAME' for one
	$(AS_ROOT) SWITCHLET_STATIC=$(abspath $(TARGET_DIR))/$(STATIC)/$(PROFILE)/switchlet \
		SWITCHLET_BINARY=$(abspath $(TARGET_DIR))/$(STATIC)/$(PROFILE)/switchlet cargo bench --locked $(ARGS)

.PHONY: lint
lint: ## formatting, clippy, shellcheck, licences
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then echo '==> shellcheck'; \
		shellcheck -x -P tests/lab:tests/lab/flux:tests/lab/metallb tests/lab/lab tests/lab/*.sh tests/lab/lib/*.sh tests/lab/kube/*.sh tests/lab/frr/*.sh tests/lab/flux/*.sh tests/lab/metallb/*.sh .ci/*; \
	else echo '==> no shellcheck here: scripts are not checked'; fi
	@if command -v cargo-deny >/dev/null; then cargo deny check licenses bans sources; \
	else echo '==> no cargo-deny here: licences and sources are not checked'; fi

.PHONY: image
image: ## container image with the static binary, built offline; IMAGE=NAME
	@command -v buildah >/dev/null || docker info >/dev/null 2>&1 || { \
		echo 'image: needs buildah (Debian: apt install buildah), or docker with a daemon that answers' >&2; exit 1; }
	@$(MAKE) --no-print-directory image-context
	@if command -v buildah >/dev/null; then buildah build --pull=never --isolation=chroot -t $(IMAGE) $(TARGET_DIR)/image; \
	else docker build --network none -t $(IMAGE) $(TARGET_DIR)/image; fi

.PHONY: image-test
image-test: ## the image built offline, looked into, and run once
	@echo '==> image'
	@$(MAKE) --no-print-directory image-context PROFILE=trial
	@$(ROOT) tests/lab/image.sh $(TARGET_DIR)/image localhost/switchlet:test

.PHONY: image-context
image-context: static
	@rm -rf $(TARGET_DIR)/image && mkdir -p $(TARGET_DIR)/image
	@cp Dockerfile .dockerignore $(TARGET_DIR)/$(STATIC)/$(PROFILE)/switchlet $(TARGET_DIR)/image/

# Packed relocations: unpacked ones are a megabyte that each process reads once, and the guard would keep.
.PHONY: static
static: ## the static release binary, as it is shipped
	RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' cargo build --locked --profile $(PROFILE) --target $(STATIC) --bin switchlet
	@ldd $(TARGET_DIR)/$(STATIC)/$(PROFILE)/switchlet 2>&1 | grep -qE 'statically linked|not a dynamic' || { \
		echo 'static: the binary is not static' >&2; exit 1; }

##@ Lab

.PHONY: lab-up
lab-up: deps kube ## bring the lab up and leave it up; LAB=NAME for another one
	@$(ROOT) tests/lab/lab up

.PHONY: lab-down
lab-down: ## take it away
	@$(ROOT) tests/lab/lab down

.PHONY: lab-shell
lab-shell: ## a shell with the lab's names in the environment, and `lab` on the PATH
	@$(ROOT) bash -c 'vars=$$(tests/lab/lab env) && set -a && eval "$$vars" && set +a && \
		PATH="$$PWD/tests/lab:$$PATH" KUBECONFIG=$${KUBECONFIG_ADMIN:-} exec bash --rcfile <(echo "PS1=\"lab $$LAB \\w# \"")'

.PHONY: frr
frr:
	@root=$$($(ROOT) tests/lab/frr/root.sh) && echo "==> FRR 10.3 for the tests: $$root"

.PHONY: flux
flux:
	@assets=$$(tests/lab/flux/assets.sh) && echo "==> Flux for the lab: $$assets"

.PHONY: metallb
metallb:
	@assets=$$(tests/lab/metallb/assets.sh) && echo "==> MetalLB for the lab: $$assets"

.PHONY: kube
kube:
	@assets=$$(tests/lab/kube/assets.sh) && echo "==> Kubernetes for the lab: $$assets"
