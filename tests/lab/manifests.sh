#!/bin/bash
# manifests.sh: proves on a real API server that the manifests and the lab's overlays do what they are for. One line per
# check; exit 1 if any fails, 77 if the machine lacks something. A lab of its own, $LAB or swlm. With BINARY=PATH that agent
# also reads the overlays, and works with no more of the host, and no more powers, than the DaemonSet gives it.
# shellcheck disable=SC2317,SC2016 # functions are called through "check", and so are texts for eval
set -u
cd "$(dirname "$0")/../.." || exit 1
export LAB=${LAB:-swlm}
work=$(mktemp -d)
failed=0

lab() { tests/lab/lab "$@"; }
k() { lab k "$@"; }
cleanup() {
	lab down
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

check() { # TEXT COMMAND…
	local text=$1 began=${EPOCHREALTIME/[.,]/} word=ok
	shift
	"$@" >"$work/out" 2>&1 || word=FAIL failed=1
	printf '%-4s  %5d ms  %s\n' $word $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) "$text"
	[ $word = ok ] || sed 's/^/                /' "$work/out" | tail -n 8
}
equals() { # EXPECTED COMMAND…
	local want=$1 got
	shift
	got=$("$@")
	echo "got '$got', want '$want'"
	[ "$got" = "$want" ]
}
refused() { # EXPECTED-PART-OF-THE-MESSAGE COMMAND…: it must fail, and say this
	local want=$1
	shift
	if "$@" >"$work/refusal" 2>&1; then
		echo "was accepted"
		return 1
	fi
	cat "$work/refusal"
	grep -qF -- "$want" "$work/refusal"
}
quiet() { # COMMAND…: it must succeed without a word on standard error
	local code=0
	"$@" 2>"$work/err" || code=1
	cat "$work/err"
	[ "$code" = 0 ] && [ ! -s "$work/err" ]
}

sw() { k -n switchlet get switch "$1" -o "jsonpath={$2}"; }
patch() { k -n switchlet patch switch leaf1 --type=merge -p "$1"; }
# A Switch from the given spec, judged by the server and not stored.
try_spec() { echo "{apiVersion: switchlet.io/v1alpha1, kind: Switch, metadata: {name: x, namespace: switchlet}, spec: $1}" | k create --dry-run=server -f -; }
say_status() { # STATUS: what the agent of leaf1 does
	echo "{apiVersion: switchlet.io/v1alpha1, kind: Switch, metadata: {name: leaf1, namespace: switchlet}, status: $1}" >"$work/status.yaml"
	as_agent "$bound" apply --server-side --subresource=status --field-manager=switchlet -f "$work/status.yaml"
}
AGENT=--as=system:serviceaccount:switchlet:agent
can() { k auth can-i "$@" "$AGENT"; }
cannot() { equals no k auth can-i "$@" "$AGENT"; }
undescribed() { # paths of schema nodes without a description; metadata is the API server's own
	k get crd switches.switchlet.io -o json | jq -r '
		def walk_schema(path): (if .description or path == ".metadata" then empty else path end),
			(.properties // {} | to_entries[] | .key as $k | .value | walk_schema(path + "." + $k)),
			(.items // empty | walk_schema(path + "[]")),
			(.additionalProperties | objects | walk_schema(path + "{}"));
		.spec.versions[].schema.openAPIV3Schema | walk_schema("")' || echo "cannot be read"
}

lab up --owner $$ || exit $?

check "the CRD is accepted, without a warning" quiet k create -f manifests/crd.yaml
check "and established" k wait --for=condition=Established --timeout=10s crd/switches.switchlet.io
check "every field of it is described" equals "" undescribed
check "all manifests are accepted" k apply --server-side -k manifests
check "once more, and nothing is written" k diff --server-side -k manifests

check "the overlays are accepted" quiet k apply -k overlays/lab
first=$(sw leaf1 '.spec.configMaps[0].name')
check "leaf1 names its ConfigMap with the hash" grep -qE '^leaf1-[a-z0-9]{10}$' <(echo "$first")
check "which exists" k -n switchlet get configmap "$first"
check "defaults are filled in" equals 'frr {"confirmTimeout":"60s","drift":"Revert","policy":"Enforce","retry":0}' sw leaf1 '.spec.nos} {.spec.apply'
check "of the rollout too" equals '{"group":"default","maxUnavailable":1,"release":0}' sw leaf1 .spec.rollout
check "nobody has spoken: observedGeneration -1" equals -1 sw leaf1 .status.observedGeneration

cp -r overlays "$work/overlays"
other=$(sw leaf2 .metadata.resourceVersion)
sed -i 's/^asn: 65001$/asn: 65011/' "$work/overlays/lab/leaf1/switch.yaml"
check "an edited switch.yaml is accepted" k apply -k "$work/overlays/lab"
second=$(sw leaf1 '.spec.configMaps[0].name')
check "its ConfigMap has another name" test "$second" != "$first"
check "and the Switch another generation" equals 2 sw leaf1 .metadata.generation
check "leaf2 is not touched" equals "$other" sw leaf2 .metadata.resourceVersion
check "the edit is reverted" k apply -k overlays/lab
check "the name is the old one" equals "$first" sw leaf1 '.spec.configMaps[0].name'
check "and the generation the next" equals 3 sw leaf1 .metadata.generation
check "a ConfigMap that a Switch names cannot be edited" refused "immutable" \
	k -n switchlet patch configmap "$first" --type=merge -p '{"data": {"switch.yaml": "x"}}'

check "refused: an unknown field" refused 'unknown field "spec.rolloutGrupe"' try_spec '{configMaps: [{name: a}], rolloutGrupe: a}'
check "refused: another nos" refused "nos cannot change" patch '{"spec": {"nos": "sonic"}}'
check "refused: a nos that there is not" refused "Unsupported value" try_spec '{nos: ios, configMaps: [{name: a}]}'
check "refused: no ConfigMaps" refused "Required value" try_spec '{nos: frr}'
check "refused: an empty list of them" refused "should have at least 1 items" try_spec '{configMaps: []}'
check "refused: nine" refused "must have at most 8 items" try_spec '{configMaps: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}, {name: f}, {name: g}, {name: h}, {name: i}]}'
check "refused: one twice" refused "named twice" try_spec '{configMaps: [{name: a}, {name: a}]}'
check "refused: an unknown policy" refused "Unsupported value" patch '{"spec": {"apply": {"policy": "Never"}}}'
check "refused: a negative retry" refused "should be greater than or equal to 0" patch '{"spec": {"apply": {"retry": -1}}}'
check "refused: a negative budget" refused "should be greater than or equal to 0" patch '{"spec": {"budget": {"sessionResets": -1}}}'
check "refused: a budget until some day" refused "must be of type date-time" patch '{"spec": {"budget": {"until": "tomorrow"}}}'
check "refused: a budget of something else" refused 'unknown field "spec.budget.sessions"' try_spec '{configMaps: [{name: a}], budget: {sessions: 1}}'
check "accepted: a budget for a night" try_spec '{configMaps: [{name: a}], budget: {sessionResets: 3, instanceDeletes: 1, until: "2026-11-22T05:00:00+01:00"}}'
check "refused: nobody at a time" refused "should be greater than or equal to 1" try_spec '{configMaps: [{name: a}], rollout: {maxUnavailable: 0}}'
check "refused: a group that is no name" refused "should match" try_spec '{configMaps: [{name: a}], rollout: {group: Racks_1}}'
check "refused: a group too long for a Lease" refused "may not be more than 50" \
	try_spec "{configMaps: [{name: a}], rollout: {group: $(printf 'a%.0s' {1..51})}}"
check "refused: a negative release" refused "should be greater than or equal to 0" try_spec '{configMaps: [{name: a}], rollout: {release: -1}}'
check "accepted: a rollout" try_spec '{configMaps: [{name: a}], rollout: {group: racks-1, maxUnavailable: 2, release: 7}}'
check "accepted: PlanOnly" try_spec '{configMaps: [{name: a}, {name: b}], apply: {policy: PlanOnly, drift: Report, retry: 3}}'

check "the agent may read what it needs" eval 'for what in nodes services endpointslices.discovery.k8s.io; do
	for verb in get list watch; do can $verb $what -A || exit; done; done'
check "and the switches and texts of its namespace" eval 'for what in configmaps switches.switchlet.io; do
	for verb in get list watch; do can $verb $what -n switchlet || exit; done; done'
check "and write its words" eval 'can patch nodes --subresource=status && can patch switches.switchlet.io --subresource=status -n switchlet'
check "and take rollout slots" eval 'for verb in get list watch create update; do can $verb leases.coordination.k8s.io -n switchlet || exit; done'
check "and nothing else" eval 'cannot patch nodes && cannot update nodes --subresource=status && cannot delete nodes &&
	cannot get secrets -A && cannot list configmaps -A && cannot list configmaps -n kube-system && cannot patch services &&
	cannot patch switches.switchlet.io -n switchlet && cannot delete switches.switchlet.io -n switchlet &&
	cannot delete leases.coordination.k8s.io -n switchlet && cannot patch leases.coordination.k8s.io -n switchlet &&
	cannot create leases.coordination.k8s.io -n kube-node-lease && cannot update leases.coordination.k8s.io -n default &&
	cannot patch switches.switchlet.io --subresource=status -n default && cannot create events -A && cannot create pods -A'
check "the token of its ServiceAccount works" eval 'kubeconfig=$(lab kubeconfig --sa switchlet/agent) &&
	lab in api env KUBECONFIG="$kubeconfig" "$(lab env | sed -n s/^KUBECTL=//p)" get nodes'

# A pod on leaf1, whose token names that node. Of what is written here the server only says what it would do.
lab node leaf1
as_agent() { lab in api env KUBECONFIG="$1" "$(lab env | sed -n s/^KUBECTL=//p)" -n switchlet "${@:2}"; }
bound=$(lab kubeconfig --sa switchlet/agent --node leaf1) unbound=$(lab kubeconfig --sa switchlet/agent)
lease() { # NAME HOLDER [MORE-METADATA]; a holder "-" is none
	local spec="{holderIdentity: $2, leaseDurationSeconds: 15}"
	[ "$2" != - ] || spec='{leaseDurationSeconds: 15}'
	echo "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: $1, namespace: switchlet${3:+, $3}}, spec: $spec}"
}
make() { lease "$2" "$3" "${4:-}" | as_agent "$1" create --dry-run=server -f -; }
change() { # AS NAME HOLDER [MORE-METADATA]: an update of what is there
	lease "$2" "$3" "resourceVersion: \"$(k -n switchlet get lease "$2" -o 'jsonpath={.metadata.resourceVersion}')\"${4:+, $4}" |
		as_agent "$1" replace --dry-run=server -f -
}
# A new policy takes a moment to act.
for _ in {1..50}; do make "$bound" racks-0 leaf2 >/dev/null 2>&1 || break; sleep 0.1; done
for held in 0:leaf1 1:leaf2 2:-; do lease "racks-${held%:*}" "${held#*:}" | k create -f - >/dev/null; done
check "the policies compile without a warning" equals "" k get validatingadmissionpolicy -o 'jsonpath={.items[*].status.typeChecking.expressionWarnings}'
check "an agent makes a Lease of its own" make "$bound" racks-3 leaf1
check "or an empty one" make "$bound" racks-3 -
check "but not with another name" refused 'may not write the name "leaf2" into a lease' make "$bound" racks-3 leaf2
check "nor with a finalizer" refused "no finalizer" make "$bound" racks-3 leaf1 'finalizers: [a/b]'
check "nor without a pod" refused "not bound to a pod" make "$unbound" racks-3 leaf1
check "nor an empty one without a pod" refused "not bound to a pod" make "$unbound" racks-3 -
check "it renews its own" change "$bound" racks-0 leaf1
check "gives it back" change "$bound" racks-0 -
check "takes an empty one" change "$bound" racks-2 leaf1
check "but takes nobody else's" refused 'held by "leaf2": the agent of node "leaf1" may not write it' change "$bound" racks-1 leaf1
check "nor gives it back" refused 'held by "leaf2"' change "$bound" racks-1 -
check "nor renews it" refused 'held by "leaf2"' change "$bound" racks-1 leaf2
check "nor gives its own away" refused 'may not write the name "leaf2" into a lease' change "$bound" racks-0 leaf2
check "nor names an owner" refused "no owner" change "$bound" racks-0 leaf1 'ownerReferences: [{apiVersion: v1, kind: Node, name: leaf1, uid: x}]'
check "nor renews its own without a pod" refused "not bound to a pod" change "$unbound" racks-0 leaf1
check "an administrator may do all that" eval 'lease racks-1 - | k replace --dry-run=server -f - && k -n switchlet delete --dry-run=server lease racks-1'

now=$(date -u +%FT%TZ)
condition() { echo "{type: $1, status: \"$2\", reason: $3, message: m, observedGeneration: $4, lastTransitionTime: \"$now\"}"; }
vip() {
	echo "{prefix: 203.0.113.$1/32, networkInstance: default, services: [shop/web], state: diverged, rung: NotInFib,
		expected: [192.168.1.11], observed: [], missing: [192.168.1.11], unexpected: [], since: \"$now\", message: m,
		differences: [{nextHop: 192.168.1.11, node: null, kind: missing, rung: NotInFib, since: \"$now\"}]}"
}
vips() { local n; for n in $(seq "$1"); do printf '%s%s' "${comma:-}" "$(vip "$n")"; local comma=,; done; }
check "the agent writes a status, empty fields as null too" say_status "{observedGeneration: 3, verdict: differs, vipsOk: 3/4,
	counts: {vips: 4, ok: 3}, appliedRevision: abc, wantedRevision: abc, plan: {hash: 0123456789ab, class: add, lines: [+a, -b]}, omittedVips: 0,
	conditions: [$(condition Ready True Applied 2), $(condition Applied True Applied 3), $(condition Verified False SwitchDiverged 3)],
	vips: [$(vip 10), {prefix: 203.0.113.11/32, state: ok, rung: null, since: null, differences: []}],
	nextHops: [{nextHop: 192.168.1.11, node: worker-1, vips: 3, since: \"$now\"}],
	failedResources: [{object: Service shop/x, reason: InvalidObject, message: m}],
	capabilities: {hand: exec, frr: 8.4.4}, heartbeat: \"$now\",
	history: [{at: \"$now\", revision: abc, result: Applied, reason: Applied, class: policy, plan: 0123456789ab, message: m}]}"
check "kubectl shows it" equals "leaf1 frr abc True False 3/4 add" \
	bash -c "tests/lab/lab k -n switchlet get sw leaf1 --no-headers | awk '{ print \$1, \$2, \$3, \$4, \$5, \$6, \$7 }'"
check "a Ready of the generation before does not count" refused "timed out" \
	k -n switchlet wait --for=condition=Ready --timeout=1s switch/leaf1
check "one of this generation does" eval 'say_status "{observedGeneration: 3, conditions: [$(condition Ready True Applied 3)]}" &&
	k -n switchlet wait --for=condition=Ready --timeout=1s switch/leaf1'
check "200 VIPs fit" say_status "{vips: [$(vips 200)]}"
check "201 do not" refused "must have at most 200 items" say_status "{vips: [$(vips 201)]}"
check "kubectl get switchlet lists the category" equals "switch.switchlet.io/leaf1 switch.switchlet.io/leaf2" \
	bash -c "tests/lab/lab k -n switchlet get switchlet -o name | paste -sd' '"

# What the DaemonSet says, done by hand: its host paths below a folder that stands for the container's root, and its
# capabilities as the bound of what root may do. `ip netns exec` gives mounts of our own, so they go with the process.
as_in_the_pod='
	root=$1 pod=$2 container=$3
	shift 3
	while read -r path source readonly; do
		if [ -d "$source" ]; then mkdir -p "$root$path"; else mkdir -p "${root}${path%/*}" && touch "$root$path"; fi
		mount --bind "$source" "$root$path"
		[ "$readonly" = false ] || mount -o remount,bind,ro "$root$path"
	done < <(jq -r ".volumes as \$v | .containers[$container].volumeMounts[] | .name as \$n | select(.mountPath | endswith(\"/frr\"))
		| [.mountPath, (\$v[] | select(.name == \$n) | .hostPath.path), (.readOnly // false)] | @tsv" "$pod")
	powers=$(jq -r ".containers[$container].securityContext.capabilities.add | map(\",+\" + ascii_downcase) | add" "$pod")
	exec setpriv --no-new-privs --inh-caps=-all --bounding-set="-all$powers" "$@"'
in_the_pod() { # CONTAINER'S NUMBER, COMMAND…
	local container=$1
	shift
	k -n switchlet get daemonset switchlet -o json | jq .spec.template.spec >"$work/pod.json"
	lab in leaf1 bash -euc "$as_in_the_pod" - "$work/root$container" "$work/pod.json" "$container" "$@"
}
frr_conf() { # PATTERN: what frr.conf of leaf1 says, and whose it is
	local conf
	conf=$(lab env | sed -n 's/^FRR_ETC_LEAF1=//p')/frr.conf
	equals "frr:frr 640" stat -c '%U:%G %a' "$conf" && grep "$1" "$conf"
}
agent_in_the_pod() {
	local agent guard code=0 log=$work/agent.log
	mkdir -p "$work/root0" "$work/root1" "$work/state"
	in_the_pod 1 "$(realpath "$BINARY")" guard --form pod --frr-instance "$LAB-leaf1" --frr-root "$work/root1" --frr-hand socket \
		--state-dir "$work/state" >"$work/guard.log" 2>&1 &
	guard=$!
	in_the_pod 0 "$(realpath "$BINARY")" agent --guard required --node leaf1 --namespace switchlet --kubeconfig "$bound" \
		--frr-instance "$LAB-leaf1" --frr-root "$work/root0" --frr-hand socket --state-dir "$work/state" >"$log" 2>&1 &
	agent=$!
	k -n switchlet wait --for=jsonpath='{.status.conditions[?(@.type=="Ready")].reason}'=Applied --timeout=40s switch/leaf1 || code=1
	grep -q "watching over a change" "$work/guard.log" || code=1
	kill "$agent"
	wait "$agent"
	kill "$guard"
	wait "$guard" || :
	[ "$code" = 0 ] || tail -n 5 "$log" "$work/guard.log"
	return "$code"
}
if [ "${BINARY:-}" ]; then
	mkdir "$work/cluster"
	for n in 1 2 3; do
		echo "{apiVersion: v1, kind: Node, metadata: {name: worker-$n, labels: {role: worker}}, status: {addresses: [{type: InternalIP, address: 192.168.1.$((9 + 2 * n))}]}}" >"$work/cluster/worker-$n.yaml"
	done
	for leaf in leaf1 leaf2; do
		check "the agent renders $leaf" "$BINARY" render --node $leaf --bundle overlays/lab/$leaf --cluster "$work/cluster"
	done
	check "the binary carries the same CRD" eval '"$BINARY" crds | diff - manifests/crd.yaml'
	k -n switchlet delete switch leaf1 >/dev/null && k apply -k overlays/lab >/dev/null
	check "with the DaemonSet's powers and mounts no route can be changed" refused "Operation not permitted" \
		in_the_pod 0 ip route add 203.0.113.10/32 via 192.168.1.11
	check "and the agent applies a configuration, with the guard of the pod" agent_in_the_pod
	check "which is in frr.conf, and that is FRR's as before" frr_conf '^router bgp 65001$'
fi
[ $failed = 0 ] && echo "all checks passed" || echo "some checks FAILED"
exit $failed
