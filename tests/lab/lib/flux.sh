# shellcheck shell=bash
# Git over HTTP, and Flux: its kustomize-controller as it is published, and a stand-in for its source-controller (flux/gitsource).

FLEET=$STATE/fleet # a clone, for whoever commits
FLEET_URL=http://$API_IP:8090/fleet.git
FLUX_GATES=CancelHealthCheckOnNewRevision=true

# flux up | push MESSAGE | notify | stop
flux_cmd() {
	local action=${1:-}
	shift || :
	[ -e "$STATE/assets" ] || die "was started with --no-api"
	case $action in
	up) flux_up ;;
	push) fleet_push "${1:?flux push MESSAGE}" ;;
	notify) flux_notify ;;
	*) usage_error "flux up | push MESSAGE | notify" ;;
	esac
}

flux_up() {
	local flux
	command -v git >/dev/null || { say "missing: git (Debian: apt install git)" && exit 77; }
	flux=$("$HERE/flux/assets.sh") || exit $?
	mkdir -p "$STATE/git" "$STATE/sources"
	git init --quiet --bare --initial-branch=main "$STATE/git/fleet.git"
	git -C "$STATE/git/fleet.git" config http.receivepack true
	spawn git api "$PYTHON" "$LIB/githttp.py" "$STATE/git" "$API_IP" 8090
	kubectl_admin apply --server-side -f "$flux/crds" >/dev/null
	kubectl_admin wait --for=condition=Established --timeout=30s crd/kustomizations.kustomize.toolkit.fluxcd.io \
		crd/gitrepositories.source.toolkit.fluxcd.io >/dev/null
	kubectl_admin create namespace flux-system >/dev/null
	spawn gitsource api env KUBECONFIG="$KUBE/admin.conf" "$flux/gitsource" -folder "$STATE/sources" -address "$API_IP:9790"
	spawn kustomize-controller api env KUBECONFIG="$KUBE/admin.conf" RUNTIME_NAMESPACE=flux-system \
		SOURCE_CONTROLLER_LOCALHOST="$API_IP:9790" "$flux/kustomize-controller" --metrics-addr=127.0.0.1:8085 \
		--health-addr=127.0.0.1:9440 --requeue-dependency=2s --feature-gates="$FLUX_GATES"
	until_true 20 within api curl -sf -o /dev/null --max-time 2 "$FLEET_URL/info/refs?service=git-upload-pack" || die "no Git over HTTP"
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		git init --quiet --initial-branch=main "$FLEET"
		git -C "$FLEET" config user.name lab
		git -C "$FLEET" config user.email lab@localhost
		git -C "$FLEET" remote add origin "$FLEET_URL"
	)
	step "Git, kustomize-controller and a stand-in for source-controller"
}

# All that lies in the clone becomes the next commit; prints its revision as Flux has it.
fleet_push() {
	git -C "$FLEET" add -A
	git -C "$FLEET" commit --quiet --allow-empty -m "$1"
	within api git -C "$FLEET" push --quiet origin main
	echo "main@sha1:$(git -C "$FLEET" rev-parse HEAD)"
}

# What a webhook's receiver does.
flux_notify() {
	kubectl_admin annotate --overwrite gitrepository -n flux-system --all "reconcile.fluxcd.io/requestedAt=$(date +%s.%N)" >/dev/null
}
