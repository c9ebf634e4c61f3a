# shellcheck shell=bash
# Taking the lab away, whatever state it is in, and proof that nothing is left.

REAPER_LOG=${STATE%/*}/.$LAB-reaper.log

# Processes of the lab: all that carry its mark, and all inside its namespaces (started there by other means).
lab_pids() {
	marked "$MARK"
	local n
	for n in $ALL; do
		[ ! -e "/run/netns/$LAB-$n" ] || ip netns pids "$LAB-$n" 2>/dev/null || :
	done
}
# marked WORD: pids with exactly this word in their environment. Zombies have none, so they do not count.
marked() { { grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null || :; } | cut -d/ -f3; }

down() {
	local pid pids n tries=0
	# First the reaper, or it would do the same at the same time (not if it is what called us).
	if [ "${REAPING:-}" != 1 ]; then
		for pid in $(marked "$REAPER"); do kill -KILL "$pid" 2>/dev/null || :; done
	fi
	# An unfinished "up" is marked as well and dies here; what it was just starting may slip through one round.
	while :; do
		pids=$(lab_pids | sort -u | grep -vx $$ || :)
		for pid in $pids; do kill -KILL "$pid" 2>/dev/null || :; done
		# shellcheck disable=SC2086 # a list of pids
		until_true 3 gone $pids || :
		for n in $ALL; do
			[ ! -e "/run/netns/$LAB-$n" ] || ip netns del "$LAB-$n" 2>/dev/null || :
		done
		frr_folders | while read -r n; do rm -rf "$n"; done
		cluster_down
		if [ "${KEEP:-}" = 1 ] && [ -d "$STATE" ]; then
			# Logs and configurations stay for reading; what makes it look alive, and keys, do not.
			rm -rf "$STATE/up" "$STATE/run" "$STATE/etcd" "$STATE/pki" "$STATE/kube"
		else
			rm -rf "$STATE"
		fi
		[ "$(leftovers)" ] || break
		tries=$((tries + 1))
		if [ $tries = 5 ]; then
			leftovers >&2
			die "could not be removed completely"
		fi
		pause 0.1
	done
	rm -f "$REAPER_LOG"
	rmdir "${STATE%/*}" 2>/dev/null || : # the last lab takes the common directory along
}
# One line for each thing that is still there.
leftovers() {
	local pid n
	for pid in $(lab_pids | sort -un) $(marked "$REAPER"); do
		if [ "$pid" = $$ ] || [ ! -e "/proc/$pid" ]; then continue; fi
		[ "${REAPING:-}" != 1 ] || ! grep -qzxF "$REAPER" "/proc/$pid/environ" 2>/dev/null || continue
		echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-100)"
	done
	for n in $ALL; do [ ! -e "/run/netns/$LAB-$n" ] || echo "namespace $LAB-$n"; done
	frr_folders | sed 's/^/directory /'
	cluster_leftovers
	[ "${KEEP:-}" = 1 ] || [ ! -e "$STATE" ] || echo "directory $STATE"
}
leftovers_cmd() {
	local found
	found=$(leftovers)
	[ "$found" ] || return 0
	echo "$found"
	return 1
}

# The reaper outlives whatever happens to its owner, SIGKILL included, so the lab never outlives the owner.
reaper_start() { # OWNER BIRTH
	(
		[ -z "${PAUSE_FD:-}" ] || exec {PAUSE_FD}>&-
		cd /
		exec setsid env "$REAPER" "$SELF" reap "$1" "$2" </dev/null >/dev/null 2>"$REAPER_LOG"
	) &
}
reap() { # OWNER BIRTH
	while alive_since "$1 $2"; do pause 0.3; done
	REAPING=1
	down
}
alive_since() { [ "${1#* }" ] && [ "$(birth "${1% *}")" = "${1#* }" ]; } # "OWNER BIRTH"
# birth PID: when it was started, in clock ticks since boot; with that a pid names one process only. Not for zombies.
birth() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	stat=${stat##*) }
	# shellcheck disable=SC2086 # fields 3 to 52 of proc(5)
	set -- $stat
	[ "$1" != Z ] && [ "$1" != X ] && echo "${20}"
}
