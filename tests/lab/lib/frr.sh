# shellcheck shell=bash
# One FRR per leaf. "-N INSTANCE" moves its configuration to /etc/frr/INSTANCE and its sockets to
# /var/run/frr/INSTANCE, so several run beside each other, and beside one that belongs to the machine.
#
# It is the machine's own FRR, or another release in a root file system of its own; then all paths lie beneath that.

FRR_BIN=${FRR_BIN:-/usr/lib/frr}
FRR_ROOT=
[ ! -e "$STATE/frr-root" ] || FRR_ROOT=$(<"$STATE/frr-root")
FRR_ETC=$FRR_ROOT/etc/frr
FRR_RUN=$FRR_ROOT/run/frr
[ "$FRR_ROOT" ] || FRR_RUN=/var/run/frr
FRR_USER=frr FRR_GROUP=frr
# Names mean something else there.
[ -z "$FRR_ROOT" ] || { FRR_USER=$(stat -c %u "$FRR_ETC") FRR_GROUP=$(stat -c %g "$FRR_ETC"); }
# In the order they are started; from 10 on mgmtd hands out the configuration.
FRR_DAEMONS="zebra staticd bgpd bfdd"
[ ! -x "$FRR_ROOT$FRR_BIN/mgmtd" ] || FRR_DAEMONS="mgmtd $FRR_DAEMONS"
# $STATE as FRR sees it.
FRR_STATE=$STATE
[ -z "$FRR_ROOT" ] || FRR_STATE=/mnt
frr_pid() { echo "$FRR_RUN/$LAB-$1/$2.pid"; }
# Places where a lab may have left folders, of whatever release it was.
frr_roots() {
	local cache=${SWITCHLET_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/switchlet}/frr
	printf '%s\n' "" "$FRR_ROOT" "$cache"/*/ | sort -u
}
frr_folders() {
	local root n
	frr_roots | while read -r root; do
		for n in "${root%/}/etc/frr/$LAB"-leaf? "${root%/}/run/frr/$LAB"-leaf?; do [ ! -e "$n" ] || echo "$n"; done
	done
}

frr_setup() {
	local etc=$FRR_ETC/$LAB-$1 d
	install -d -o "$FRR_USER" -g "$FRR_GROUP" -m 750 "$etc"
	install -d -o "$FRR_USER" -g "$FRR_GROUP" -m 755 "$FRR_RUN/$LAB-$1"
	install -d -o "$FRR_USER" -g "$FRR_GROUP" -m 755 "$STATE/$1"
	# Made here: a daemon would make it while still root, and not be allowed to open it again.
	install -o "$FRR_USER" -g "$FRR_GROUP" -m 644 /dev/null "$STATE/$1/frr.log"
	# The least that FRR calls a configuration; BGP and everything else is for the agent under test to bring.
	install -o "$FRR_USER" -g "$FRR_GROUP" -m 640 /dev/stdin "$etc/frr.conf" <<-CONF
		frr defaults datacenter
		hostname $1
		log file $FRR_STATE/$1/frr.log informational
	CONF
	echo "service integrated-vtysh-config" | install -o "$FRR_USER" -g "$FRR_GROUP" -m 640 /dev/stdin "$etc/vtysh.conf"
	# Without a file of its own each daemon logs a complaint at start, although the integrated one is loaded later.
	for d in $FRR_DAEMONS; do install -o "$FRR_USER" -g "$FRR_GROUP" -m 640 /dev/null "$etc/$d.conf"; done
}

frr_start() { # frr_start LEAF [DAEMON]: start, then load frr.conf (for one daemon only its part)
	local leaf=$1 only=${2:-} d instance=$LAB-$1
	local -a part=()
	for d in $FRR_DAEMONS; do
		[ -z "$only" ] || [ "$only" = "$d" ] || continue
		dead "$(frr_pid "$leaf" "$d")" || continue
		# Daemons keep what they inherit, a caller's pipe included, hence the redirection.
		( 	[ -z "${LOCK_FD:-}" ] || exec {LOCK_FD}>&-
			frr_run "$leaf" "$FRR_BIN/$d" -d -N "$instance" -A 127.0.0.1 --log "file:$FRR_STATE/$leaf/frr.log" \
				</dev/null >>"$STATE/log/$leaf-frr.log" 2>&1 )
	done
	[ -z "$only" ] || part=(-d "$only")
	for d in ${only:-$FRR_DAEMONS}; do
		until_true 5 vty_ready "$instance" "$d" || die "$d of $leaf does not answer; see $STATE/$leaf/frr.log"
	done
	in_frr_root vtysh -N "$instance" -b "${part[@]}" </dev/null >>"$STATE/log/$leaf-frr.log" 2>&1 ||
		die "$leaf: frr.conf was not loaded completely; see $STATE/log/$leaf-frr.log"
}
# In a leaf's namespace. "ip netns exec" gives a mount namespace of its own, which ends with the daemon.
frr_run() {
	local leaf=$1
	shift
	if [ -z "$FRR_ROOT" ]; then
		within "$leaf" "$@"
	else
		# shellcheck disable=SC2016 # expanded over there
		within "$leaf" sh -c 'mount -t proc proc "$0/proc" && mount --bind "$1" "$0/mnt" && shift && exec chroot "$0" "$@"' \
			"$FRR_ROOT" "$STATE" "$@"
	fi
}
in_frr_root() { if [ "$FRR_ROOT" ]; then chroot "$FRR_ROOT" "$@"; else "$@"; fi; }
vty_ready() { in_frr_root vtysh -N "$1" -d "$2" -c 'show version' </dev/null >/dev/null 2>&1; }

# frr start|stop|kill|freeze|thaw LEAF [DAEMON]
frr_cmd() {
	local action=${1:-} leaf=${2:-} only=${3:-} d
	need_name "$leaf" "$LEAVES"
	[ -z "$only" ] || need_name "$only" "$FRR_DAEMONS"
	if [ "$action" = start ]; then
		frr_start "$leaf" "$only"
		return
	fi
	for d in ${only:-$(tac -s" " <<<"$FRR_DAEMONS " | tr -d "\n")}; do act "$action" "$(frr_pid "$leaf" "$d")" "$d of $leaf"; done
}

vtysh_cmd() {
	local leaf=${1:-} inside
	need_name "$leaf" "$LEAVES"
	shift
	# A file of the machine must be carried into the other root.
	if [ "$FRR_ROOT" ] && [ "${1:-}" = -f ]; then
		inside=/run/frr/$LAB-$leaf/vtysh-$$.conf
		cp -- "${2:?-f FILE}" "$FRR_ROOT$inside"
		shift 2
		set -- -f "$inside" "$@"
	fi
	[ -z "$FRR_ROOT" ] || exec chroot "$FRR_ROOT" vtysh -N "$LAB-$leaf" "$@"
	exec vtysh -N "$LAB-$leaf" "$@"
}
