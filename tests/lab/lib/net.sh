# shellcheck shell=bash
# Namespaces, links, addresses and routes. No interface is ever made outside the lab's own namespaces.

# wire NS PORT ADDRESSES NS PORT ADDRESSES: one veth pair; addresses are separated by commas.
wire() {
	echo "link add name $2 netns $LAB-$1 type veth peer name $5 netns $LAB-$4" >>"$STATE/links"
	addresses "$1" "$2" "$3"
	addresses "$4" "$5" "$6"
}
addresses() {
	local a
	for a in ${3//,/ }; do
		case $a in *:*) echo "addr add $a dev $2 nodad" ;; *) echo "addr add $a dev $2" ;; esac
	done >>"$STATE/addr-$1"
	echo "link set dev $2 up" >>"$STATE/addr-$1"
}

net_up() {
	local n i
	for n in $ALL; do
		ip netns add "$LAB-$n"
		echo "link set lo up" >"$STATE/addr-$n"
		sysctls "$n"
	done
	: >"$STATE/links"
	{
		# With an address of its own: else it takes the lowest of its ports, and whoever has asked for it loses it for seconds
		# when a port with a lower one comes.
		echo "link add mgmt0 address 02:00:ac:1f:00:01 type bridge"
		echo "addr add $API_IP/24 dev mgmt0"
		echo "link set mgmt0 up"
	} >>"$STATE/addr-api"
	for i in 1 2; do
		echo "link add m-leaf$i netns $LAB-api type veth peer name mgmt netns $LAB-leaf$i" >>"$STATE/links"
		echo "link set m-leaf$i master mgmt0 up" >>"$STATE/addr-api"
		printf '%s\n' "addr add 172.31.0.1$i/24 dev mgmt" "link set mgmt up" >>"$STATE/addr-leaf$i"
		for n in 1 2 3; do # port pN of a leaf goes to server sN, whose ethM goes to leafM
			wire "leaf$i" "p$n" "192.168.$i.$((8 + 2 * n))/31,fd00:$i:$n::1/64" \
				"s$n" "eth$i" "192.168.$i.$((9 + 2 * n))/31,fd00:$i:$n::2/64"
		done
		wire "leaf$i" "c$i" "10.9.$i.1/24,fd00:9:$i::1/64" client "eth$i" "10.9.$i.2/24,fd00:9:$i::2/64"
	done
	wire leaf1 up 10.0.12.0/31,fd00:12::1/64 leaf2 up 10.0.12.1/31,fd00:12::2/64

	ip -batch "$STATE/links"
	for n in $ALL; do
		ip -n "$LAB-$n" -batch "$STATE/addr-$n"
		routes "$n"
	done
}

sysctls() {
	local set="net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
		net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0
		net.ipv6.conf.all.keep_addr_on_down=1 net.ipv6.conf.default.keep_addr_on_down=1"
	case $1 in
	s? | client) # on a lost carrier use the second default route
		set="$set net.ipv4.conf.all.ignore_routes_with_linkdown=1 net.ipv6.conf.all.ignore_routes_with_linkdown=1
			net.ipv4.conf.default.ignore_routes_with_linkdown=1 net.ipv6.conf.default.ignore_routes_with_linkdown=1"
		;;
	leaf*) # policy 1 hashes layer 4: flows of one client spread over the servers
		set="$set net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
			net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1"
		;;
	esac
	# shellcheck disable=SC2086 # a list of words
	within "$1" sysctl -qw $set
}

# routes NAME: static routes of hosts. An interface that goes down takes its routes along, so this is also called
# after "link … up". Servers answer through the leaf the question came by: the path through one leaf is then never
# mixed up with the path through the other. The second default route is for a lost first port.
routes() {
	local ns=$LAB-$1 i n
	case $1 in
	s?) n=${1#s} ;;
	client) ;;
	*) return 0 ;;
	esac
	for i in 1 2; do
		[ "$(ip -n "$ns" -br link show dev "eth$i" up)" ] || continue
		if [ "$1" = client ]; then
			ip -n "$ns" route replace default via "10.9.$i.1" dev "eth$i" metric $((i * 100))
			ip -n "$ns" -6 route replace default via "fd00:9:$i::1" dev "eth$i" metric $((i * 100))
			continue
		fi
		ip -n "$ns" -batch - <<-ROUTES
			route replace 10.9.$i.0/24 via 192.168.$i.$((8 + 2 * n))
			route replace fd00:9:$i::/64 via fd00:$i:$n::1
			route replace default via 192.168.$i.$((8 + 2 * n)) metric $((i * 100))
			route replace ::/0 via fd00:$i:$n::1 metric $((i * 100))
		ROUTES
	done
}

# link NAME PORT [--peer] up|down
link_cmd() {
	local name=${1:-} port=${2:-} peer=
	need_name "$name" "$ALL"
	shift 2 || usage_error "link NAME PORT [--peer] up|down"
	[ "${1:-}" != --peer ] || { peer=1; shift; }
	known "${1:-}" "up down" || usage_error "link NAME PORT [--peer] up|down"
	# The far end: with it down, this port loses its carrier but stays administratively up.
	if [ "$peer" ]; then
		read -r name port <<<"$(far_end "$name" "$port")"
		[ "$port" ] || usage_error "that port has no far end"
	fi
	ip -n "$LAB-$name" link set dev "$port" "$1"
	[ "$1" = down ] || routes "$name"
}
far_end() {
	case $1:$2 in
	leaf[12]:p[123]) echo "s${2#p} eth${1#leaf}" ;;
	leaf[12]:c[12]) echo "client eth${1#leaf}" ;;
	leaf[12]:mgmt) echo "api m-$1" ;;
	leaf1:up) echo "leaf2 up" ;;
	leaf2:up) echo "leaf1 up" ;;
	s[123]:eth[12]) echo "leaf${2#eth} p${1#s}" ;;
	client:eth[12]) echo "leaf${2#eth} c${2#eth}" ;;
	s[123]:mgmt) echo "api m-$1" ;;
	api:m-leaf[12] | api:m-s[123]) echo "${2#m-} mgmt" ;;
	esac
}

# vip SERVER add|del|set ADDRESS…: service addresses on a server's loopback, where kube-proxy would accept them.
vip_cmd() {
	local server=${1:-} op=${2:-} a have
	need_name "$server" "$SERVERS"
	shift 2 || usage_error "vip SERVER add|del|set ADDRESS…"
	have=$(ip -n "$LAB-$server" -o addr show dev lo | awk '$4 != "127.0.0.1/8" && $4 != "::1/128" { print $4 }')
	case $op in
	add) ;;
	del) ;;
	set)
		for a in $have; do known "$a" "$*" || ip -n "$LAB-$server" addr del "$a" dev lo; done
		op=add
		;;
	*) usage_error "vip: add, del or set, not '$op'" ;;
	esac
	for a; do
		case $a in */*) ;; *:*) a=$a/128 ;; *) a=$a/32 ;; esac
		if [ "$op" = add ]; then
			known "$a" "$have" || ip -n "$LAB-$server" addr add "$a" dev lo
		elif known "$a" "$have"; then
			ip -n "$LAB-$server" addr del "$a" dev lo
		fi
	done
}
