# shellcheck shell=bash
# The speakers: one BIRD per server. It stands where a load balancer's BGP speaker would be. Nothing goes from BIRD
# to the server's kernel (there is no "protocol kernel"), so what is announced and what is served stay independent.

bird_pid() { echo "$STATE/run/$1-bird.pid"; }
birdc_cmd() { timeout 3 birdc -s "$STATE/$1/bird.ctl" "${@:2}"; }

bird_setup() {
	local s=$1 n=${1#s} dir=$STATE/$1 i
	mkdir -p "$dir"
	: >"$dir/to-leaf1"
	: >"$dir/to-leaf2"
	[ "${V6_NEXTHOP:-global}" = global ] || touch "$dir/link-local"
	{
		cat <<-CONF
			router id 192.168.1.$((9 + 2 * n));
			protocol device {}
			include "$dir/announce.conf";
			template bgp leaf {
			  local as 6510$n;
			  hold time 9; keepalive time 3;
			  # Faults come by the dozen here; minutes of back-off would hide what comes after them.
			  connect delay time 1; connect retry time 2; error wait time 1, 2; error forget time 2;
			  graceful restart off; long lived graceful restart off;
		CONF
		# "bfd on" asks for a BFD session, and BGP comes up without one too: a leaf that has none configured peers.
		[ "${BFD:-1}" = 0 ] || echo "  bfd on;"
		echo "}"
		# 300 ms three times, as commonly set on a leaf; the slower of both ends counts.
		[ "${BFD:-1}" = 0 ] || echo 'protocol bfd { interface "eth*" { min rx interval 300 ms; min tx interval 300 ms; idle tx interval 300 ms; multiplier 3; }; }'
		for i in 1 2; do
			cat <<-CONF
				protocol bgp leaf${i}_v4 from leaf {
				  neighbor 192.168.$i.$((8 + 2 * n)) as 6500$i;
				  source address 192.168.$i.$((9 + 2 * n));
				  ipv4 { import none; export filter to_leaf$i; };
				}
				protocol bgp leaf${i}_v6 from leaf {
				  neighbor fd00:$i:$n::1 as 6500$i;
				  source address fd00:$i:$n::2;
				  ipv6 { import none; export filter to_leaf$i; };
				}
			CONF
		done
	} >"$dir/bird.conf"
	bird_announcements "$s"
}

# From the two lists (what goes to which leaf) make the routes and the two filters. BIRD re-evaluates filters on
# "configure" without touching the sessions.
bird_announcements() {
	local dir=$STATE/$1 i p family
	{
		for family in 4 6; do
			echo "protocol static vips$family { ipv$family;"
			sort -u "$dir/to-leaf1" "$dir/to-leaf2" | while read -r p; do
				case $family:$p in
				4:*:*) ;;
				4:*.* | 6:*:*) echo "  route $p blackhole;" ;;
				esac
			done
			echo "}"
		done
		for i in 1 2; do
			echo "filter to_leaf$i {"
			# BIRD adds its link-local address to the next-hop, and FRR then prefers that. Speakers differ in this;
			# V6_NEXTHOP=link-local at "lab up" gives the other kind. Setting the attribute suppresses the addition.
			[ -e "$dir/link-local" ] || echo "  if net.type = NET_IP6 then bgp_next_hop = fd00:$i:${1#s}::2;"
			while read -r p; do echo "  if net = $p then accept;"; done <"$dir/to-leaf$i"
			echo "  reject; }"
		done
	} >"$dir/announce.conf.new"
	mv "$dir/announce.conf.new" "$dir/announce.conf"
}

bird_start() {
	dead "$(bird_pid "$1")" || return 0
	rm -f "$STATE/$1/bird.ctl"
	spawn "$1-bird" "$1" bird -f -c "$STATE/$1/bird.conf" -s "$STATE/$1/bird.ctl"
	until_true 5 bird_ready "$1" || die "the speaker on $1 does not answer; see $STATE/log/$1-bird.log"
}
bird_ready() { birdc_cmd "$1" show status 2>/dev/null | grep -q 'up and running'; }

bird_reload() {
	local out
	out=$(birdc_cmd "$1" configure) || die "the speaker on $1 does not answer"
	case $out in
	*Reconfigured* | *"Reconfiguration in progress"*) ;;
	*) die "the speaker on $1 refused its configuration: $out" ;;
	esac
	until_true 5 bird_ready "$1" || die "the speaker on $1 does not finish its reconfiguration"
}

# speaker start|stop|kill|freeze|thaw SERVER
speaker_cmd() {
	local action=${1:-} s=${2:-}
	need_name "$s" "$SERVERS"
	case $action in
	start) bird_start "$s" ;;
	thaw)
		act thaw "$(bird_pid "$s")" "the speaker on $s"
		bird_reload "$s" # what was announced while it was frozen
		;;
	*) act "$action" "$(bird_pid "$s")" "the speaker on $s" ;;
	esac
}

# announce SERVER [--to LEAF] PREFIX…: the whole set from now on. A bare address is a host route. A speaker that is
# down or frozen takes the set when it is started or thawed.
announce_cmd() {
	local s=${1:-} p leaf
	# shellcheck disable=SC2153 # from base.sh
	local leaves=$LEAVES
	need_name "$s" "$SERVERS"
	shift
	if [ "${1:-}" = --to ]; then
		need_name "${2:-}" "$LEAVES"
		leaves=$2
		shift 2
	fi
	for p; do
		case $p in
		*[!0-9a-fA-F.:/]*) usage_error "'$p' is not a prefix" ;;
		*/*) echo "$p" ;;
		*:*) echo "$p/128" ;;
		*) echo "$p/32" ;;
		esac
	done >"$STATE/$s/set.$$"
	exec {LOCK_FD}>"$STATE/$s/lock" # a test and the announcer may speak for the same server
	flock "$LOCK_FD"
	for leaf in $leaves; do cp "$STATE/$s/set.$$" "$STATE/$s/to-$leaf"; done
	rm -f "$STATE/$s/set.$$"
	bird_announcements "$s"
	if dead "$(bird_pid "$s")"; then
		say "the speaker on $s is not running; it will announce this when started"
	elif frozen "$(bird_pid "$s")"; then
		say "the speaker on $s is frozen; it will announce this when thawed"
	else
		bird_reload "$s"
	fi
}
