#!/bin/bash
# selftest.sh: proves that the lab does what the tests rely on. One line per check; exit 1 if any fails, 77 if the
# machine lacks something. Uses two labs of its own, swla and swlb, so it may run beside others. Options go to
# `lab up`, for example --frr 10.3.
# shellcheck disable=SC2317 # functions are called through "check"
set -u
cd "$(dirname "$0")" || exit 1
VIP=203.0.113.10
VIP6=2001:db8:113::10
state=${SWITCHLET_LAB_DIR:-/tmp/switchlet-lab}/swla
failed=0
work=$(mktemp -d)

a() { LAB=swla ./lab "$@"; }
b() { LAB=swlb ./lab "$@"; }
cleanup() {
	a down
	b down
	rm -rf "$work"
}
trap cleanup EXIT

ms() { echo $(((${EPOCHREALTIME/[.,]/} - $1) / 1000)); }
# check TEXT COMMAND…: run it once.   eventually SECONDS TEXT COMMAND…: until it succeeds.
check() { eventually 0 "$@"; }
eventually() {
	local began=${EPOCHREALTIME/[.,]/} limit=$1 text=$2
	shift 2
	until "$@" >"$work/out" 2>&1; do
		if [ "$(ms "$began")" -ge $((limit * 1000)) ]; then
			printf 'FAIL  %6d ms  %s\n' "$(ms "$began")" "$text"
			sed 's/^/                 /' "$work/out" | tail -n 5
			failed=1
			return
		fi
		sleep 0.05
	done
	printf 'ok    %6d ms  %s\n' "$(ms "$began")" "$text"
}

# The next-hops of a VIP that the kernel of a leaf would use now.
nexthops() { # LAB-FUNCTION LEAF ADDRESS
	"$1" in "$2" ip -j route show "$3" | jq -c '[.[] | if .nexthops then .nexthops[] else . end
		| select((.flags // []) | (index("dead") or index("linkdown")) | not) | .gateway] | sort'
}
nexthops6() { "$1" in "$2" ip -6 -j route show "$3" | jq -c '[.[] | (.nexthops // [.])[] | .gateway] | sort'; }
equals() { # EXPECTED COMMAND…
	local want=$1 got
	shift
	got=$("$@")
	echo "got $got, want $want"
	[ "$got" = "$want" ]
}
answered_by() { # HOW-MANY ADDRESS [ASK-OPTIONS]: at least so many servers answer, and nothing is lost
	a ask "$2" 60 "${@:3}" | tee /dev/stderr | jq -e --argjson n "$1" '.lost == 0 and (.answers | length) >= $n'
}
established() { # LEAF HOW-MANY
	a vtysh "$1" -c 'show bgp summary json' |
		jq -e --argjson n "$2" '[.[].peers | to_entries[] | select(.value.state == "Established") | .key] | unique | length == $n'
}
daemons() {
	local leaf d s
	for leaf in leaf1 leaf2; do
		for d in zebra staticd bgpd bfdd; do "$1" vtysh "$leaf" -d "$d" -c 'show version' || return; done
	done
	for s in s1 s2 s3; do "$1" birdc "$s" show status | grep 'up and running' || return; done
}
bfd_up() { [ "$(a vtysh leaf1 -c 'show bfd peers json' | jq '[.[] | select(.status == "up")] | length')" = 6 ]; }
sessions_since() { a birdc s1 show protocols | awk '$2 == "BGP" && $1 ~ /leaf1/ { print $1, $5 }'; }

bgp_config() { # a small configuration as an operator would write it
	cat <<-CONF
		bfd
		 profile fast
		  receive-interval 300
		  transmit-interval 300
		 exit
		exit
		ip prefix-list VIPS seq 5 permit 203.0.113.0/24 ge 32
		ipv6 prefix-list VIPS seq 5 permit 2001:db8:113::/64 ge 128
		bgp route-map delay-timer 1
		router bgp 65001
		 bgp router-id 10.0.0.1
		 no bgp ebgp-requires-policy
		 no bgp default ipv4-unicast
		 bgp bestpath as-path multipath-relax
		$(for v in 4 6; do printf ' neighbor V%s %s\n' $v peer-group $v "remote-as external" $v "bfd profile fast"; done)
		$(for n in 1 2 3; do printf ' neighbor %s peer-group V%s\n' "192.168.1.$((9 + 2 * n))" 4 "fd00:1:$n::2" 6; done)
		 address-family ipv4 unicast
		  neighbor V4 activate
		  neighbor V4 prefix-list VIPS in
		 exit-address-family
		 address-family ipv6 unicast
		  neighbor V6 activate
		  neighbor V6 prefix-list VIPS in
		 exit-address-family
		exit
	CONF
}

a up "$@" || exit $?
check "API ready" a k get --raw /readyz
check "all daemons run" daemons a
check "a Node can be made and patched" a node worker-1 --ip 192.168.1.11 fd00:1:1::2 --label rack=r1
check "its address is there" equals 192.168.1.11 a k get node worker-1 -o 'jsonpath={.status.addresses[1].address}'

bgp_config >"$work/frr.conf"
check "leaf1 takes a BGP configuration" a vtysh leaf1 -f "$work/frr.conf"
for s in s1 s2 s3; do
	check "$s serves and announces the VIPs" eval "a vip $s add $VIP $VIP6 && a announce $s $VIP $VIP6"
done
eventually 15 "six sessions established, v4 and v6" established leaf1 6
eventually 10 "BFD up on all of them" bfd_up
three='["192.168.1.11","192.168.1.13","192.168.1.15"]'
eventually 10 "kernel FIB of leaf1: three next-hops" equals "$three" nexthops a leaf1 $VIP
eventually 10 "the same for IPv6" equals '["fd00:1:1::2","fd00:1:2::2","fd00:1:3::2"]' nexthops6 a leaf1 $VIP6
check "UDP from the client, several servers answer" answered_by 2 $VIP
check "TCP too" answered_by 2 $VIP --tcp
check "IPv6 too" answered_by 2 $VIP6

sessions_since >"$work/since"
check "a withdrawal" a announce s3 $VIP6
eventually 5 "takes one next-hop away" equals '["192.168.1.11","192.168.1.13"]' nexthops a leaf1 $VIP
check "announced again, to leaf1 only" a announce s3 --to leaf1 $VIP $VIP6
eventually 5 "it is back" equals "$three" nexthops a leaf1 $VIP
check "no session was reset by that" equals "$(cat "$work/since")" sessions_since
check "s2's speaker killed" a speaker kill s2
eventually 5 "its next-hop goes" equals '["192.168.1.11","192.168.1.15"]' nexthops a leaf1 $VIP
check "and started" a speaker start s2
eventually 15 "its next-hop comes" equals "$three" nexthops a leaf1 $VIP
eventually 10 "BFD up again" bfd_up
check "s2's speaker frozen" a speaker freeze s2
eventually 3 "BFD takes its next-hop away" equals '["192.168.1.11","192.168.1.15"]' nexthops a leaf1 $VIP
check "and thawed" a speaker thaw s2
eventually 15 "its next-hop comes back" equals "$three" nexthops a leaf1 $VIP
check "bgpd of leaf1 killed" a frr kill leaf1 bgpd
check "and started; frr.conf has no BGP, so neither has it" eval "a frr start leaf1 bgpd && a vtysh leaf1 -f $work/frr.conf"
eventually 15 "three next-hops again" equals "$three" nexthops a leaf1 $VIP
check "p1 loses its carrier" a link leaf1 p1 --peer down
eventually 2 "two next-hops" equals '["192.168.1.13","192.168.1.15"]' nexthops a leaf1 $VIP
check "packets still arrive" answered_by 2 $VIP
check "p1 gets it back" a link leaf1 p1 --peer up

check "API server killed and started" eval "a api kill apiserver && a api start apiserver"
cat >"$work/web.yaml" <<-YAML
	{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}}
	---
	apiVersion: discovery.k8s.io/v1
	kind: EndpointSlice
	metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
	addressType: IPv4
	ports: [{port: 80}]
	endpoints: [{addresses: [10.244.1.1], nodeName: worker-1}]
YAML
check "a Service with an endpoint on worker-1" a k apply -f "$work/web.yaml"
check "one pass of the announcer" env LAB=swla ./announcer --once --pool 203.0.113.64/26
check "the Service has the first address of the pool" equals 203.0.113.74 a k get service web -o 'jsonpath={.status.loadBalancer.ingress[0].ip}'
check "s1 announces it" grep -x 203.0.113.74/32 "$state/s1/to-leaf1"
check "s2 does not" test ! -s "$state/s2/to-leaf1"

sleep 300 &
owner=$!
check "a second lab beside the first" b up --owner $owner "$@"
check "both APIs answer" eval "a k get --raw /readyz && b k get --raw /readyz"
check "the second one does not know the first one's Node" eval "! b k get node worker-1"
kill -KILL $owner
wait $owner 2>/dev/null
eventually 5 "it goes when its owner is killed" b leftovers
check "the first one is untouched" daemons a
check "down" a down
check "nothing is left" a leftovers
check "down again" a down
[ $failed = 0 ] && echo "all checks passed" || echo "some checks FAILED"
exit $failed
