# shellcheck shell=bash
# One FRR per leaf. "-N INSTANCE" moves its configuration to /etc/frr/INSTANCE and its sockets to
# /var/run/frr/INSTANCE, so several run beside each other, and beside one that belongs to the machine.

FRR_BIN=${FRR_BIN:-/usr/lib/frr}
FRR_DAEMONS="zebra staticd bgpd bfdd" # in the order they are started
frr_pid() { echo "/var/run/frr/$LAB-$1/$2.pid"; }

frr_setup() {
	local etc=/etc/frr/$LAB-$1 d
	install -d -o frr -g frr -m 750 "$etc"
	install -d -o frr -g frr -m 755 "/var/run/frr/$LAB-$1"
	install -d -o frr -g frr -m 755 "$STATE/$1"
	# Made here: a daemon would make it while still root, and not be allowed to open it again.
	install -o frr -g frr -m 644 /dev/null "$STATE/$1/frr.log"
	# The least that FRR calls a configuration; BGP and everything else is for the agent under test to bring.
	install -o frr -g frr -m 640 /dev/stdin "$etc/frr.conf" <<-CONF
		frr defaults datacenter
		hostname $1
		log file $STATE/$1/frr.log informational
	CONF
	echo "service integrated-vtysh-config" | install -o frr -g frr -m 640 /dev/stdin "$etc/vtysh.conf"
	# Without a file of its own each daemon logs a complaint at start, although the integrated one is loaded later.
	for d in $FRR_DAEMONS; do install -o frr -g frr -m 640 /dev/null "$etc/$d.conf"; done
}

frr_start() { # frr_start LEAF [DAEMON]: start, then load frr.conf (for one daemon only its part)
	local leaf=$1 only=${2:-} d instance=$LAB-$1
	local -a part=()
	for d in $FRR_DAEMONS; do
		[ -z "$only" ] || [ "$only" = "$d" ] || continue
		dead "$(frr_pid "$leaf" "$d")" || continue
		# Daemons keep what they inherit, a caller's pipe included, hence the redirection.
		( 	[ -z "${LOCK_FD:-}" ] || exec {LOCK_FD}>&-
			within "$leaf" "$FRR_BIN/$d" -d -N "$instance" -A 127.0.0.1 --log "file:$STATE/$leaf/frr.log" \
				</dev/null >>"$STATE/log/$leaf-frr.log" 2>&1 )
	done
	[ -z "$only" ] || part=(-d "$only")
	for d in ${only:-$FRR_DAEMONS}; do
		until_true 5 vty_ready "$instance" "$d" || die "$d of $leaf does not answer; see $STATE/$leaf/frr.log"
	done
	vtysh -N "$instance" -b "${part[@]}" </dev/null >>"$STATE/log/$leaf-frr.log" 2>&1 ||
		die "$leaf: frr.conf was not loaded completely; see $STATE/log/$leaf-frr.log"
}
vty_ready() { vtysh -N "$1" -d "$2" -c 'show version' </dev/null >/dev/null 2>&1; }

# frr start|stop|kill|freeze|thaw LEAF [DAEMON]
frr_cmd() {
	local action=${1:-} leaf=${2:-} only=${3:-} d
	need_name "$leaf" "$LEAVES"
	[ -z "$only" ] || need_name "$only" "$FRR_DAEMONS"
	if [ "$action" = start ]; then
		frr_start "$leaf" "$only"
		return
	fi
	for d in ${only:-bfdd bgpd staticd zebra}; do act "$action" "$(frr_pid "$leaf" "$d")" "$d of $leaf"; done
}

vtysh_cmd() {
	local leaf=${1:-}
	need_name "$leaf" "$LEAVES"
	shift
	exec vtysh -N "$LAB-$leaf" "$@"
}
