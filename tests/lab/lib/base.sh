# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the other parts
# Names, progress lines and processes; everything else in lib/ builds on it.

LAB=${LAB:-swl}
# Six characters at most: the names of namespaces, FRR instances and sockets are made from it.
case $LAB in
*[!a-z0-9]* | "" | ???????*)
	echo "lab: LAB must be 1 to 6 characters of a-z0-9, not '$LAB'" >&2
	exit 2
	;;
esac
STATE=${SWITCHLET_LAB_DIR:-/tmp/switchlet-lab}/$LAB
MARK=SWITCHLET_LAB_MARK=$STATE     # in the environment of every process of the lab, so none can hide
REAPER=SWITCHLET_LAB_REAPER=$STATE # in the environment of the reaper only
PYTHON=/usr/bin/python3
[ -x $PYTHON ] || PYTHON=$(command -v python3)

LEAVES="leaf1 leaf2"
SERVERS="s1 s2 s3"
ALL="api $LEAVES $SERVERS client"
API_IP=172.31.0.1

say() { echo "lab $LAB: $*" >&2; }
die() { say "$*"; exit 1; }
usage_error() { say "$*; see 'lab help'"; exit 2; }

# step TEXT: a progress line with the time since the command began.
BEGAN=${BEGAN:-${EPOCHREALTIME/[.,]/}}
step() {
	local ms=$(((${EPOCHREALTIME/[.,]/} - BEGAN) / 1000))
	printf 'lab %s: %2d.%01d s  %s\n' "$LAB" $((ms / 1000)) $((ms % 1000 / 100)) "$*" >&2
}

known() { # known WORD LIST: the word, if the list has it
	local w
	for w in $2; do [ "$w" != "$1" ] || return 0; done
	return 1
}
need_name() { known "${1:-}" "$2" || usage_error "'${1:-}' is none of: $2"; }
need_up() { [ -e "$STATE/up" ] || die "is not up; run 'lab up'"; }

# Every command that enters a namespace goes through here, and so carries the mark.
within() {
	local name=$1
	shift
	env "$MARK" ip netns exec "$LAB-$name" "$@"
}

# until_true SECONDS COMMAND…: try every 30 ms; the pause forks nothing.
until_true() {
	local limit=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/[.,]/}" -lt $limit ] || return 1
		pause 0.03
	done
}
pause() {
	[ -n "${PAUSE_FD:-}" ] || exec {PAUSE_FD}<> <(:)
	read -rt "$1" -u "$PAUSE_FD" _ || :
}

# ---- processes: a pid file, and a check that the pid is still ours ----

# spawn ID NAMESPACE COMMAND…: start detached; the pid is the command's own, since env and ip only exec.
# No file descriptor is inherited: with a caller's pipe among them, the caller would wait for the daemon to end.
spawn() {
	local id=$1 name=$2
	shift 2
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		[ -z "${LOCK_FD:-}" ] || exec {LOCK_FD}>&-
		cd /
		exec setsid env "$MARK" ip netns exec "$LAB-$name" "$@" </dev/null >>"$STATE/log/$id.log" 2>&1
	) &
	echo $! >"$STATE/run/$id.pid"
}

# alive PIDFILE: print the pid if that process exists, is not a zombie, and belongs to this lab.
alive() {
	local pid stat
	{ read -r pid <"$1"; } 2>/dev/null || return 1
	{ read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	[ "${stat%% *}" != Z ] || return 1
	grep -qzxF "$MARK" "/proc/$pid/environ" 2>/dev/null || return 1
	echo "$pid"
}
# gone PID…: really ended. A process that was killed loses its environment, then becomes a zombie, and only after its
# last thread has ended are its sockets closed; until then a successor could not bind its port.
gone() {
	local pid stat
	for pid; do
		{ read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
		stat=${stat##*) }
		[ "${stat%% *}" = Z ] || return 1
		[ "$(echo "/proc/$pid/task/"*)" = "/proc/$pid/task/$pid" ] || [ ! -e "/proc/$pid/task" ] || return 1
	done
}
dead() { ! alive "$1" >/dev/null; }
frozen() {
	local pid stat
	pid=$(alive "$1") && read -r stat <"/proc/$pid/stat" && stat=${stat##*) } && [ "${stat%% *}" = T ]
}

# act ACTION PIDFILE WHAT: stop (TERM), kill (KILL), freeze (STOP), thaw (CONT). Stopping what is stopped is fine.
act() {
	local pid
	if ! pid=$(alive "$2"); then
		case $1 in stop | kill) return 0 ;; *) die "$3 is not running" ;; esac
	fi
	case $1 in
	stop) kill -TERM "$pid" ;;
	kill) kill -KILL "$pid" ;;
	freeze) kill -STOP "$pid" && return ;;
	thaw) kill -CONT "$pid" && return ;;
	*) usage_error "unknown action '$1'" ;;
	esac
	until_true 5 gone "$pid" || die "$3 ($pid) did not end within 5 s of $1"
}
