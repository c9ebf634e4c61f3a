# shellcheck shell=bash
# Builds that take minutes and are done once a machine: into the cache, under a hash of all that goes into them.

say() { echo "${ASSETS:-assets}: $*" >&2; }
skip() { say "$*"; exit 77; }

# once NAME WHAT FILES… -- COMMAND…: prints the folder. COMMAND gets it as its last argument, fills it, and leaves `complete`
# there at the end. Any number may ask at once. Exit 77 with one line where it cannot be built.
once() {
	local name=$1 what=$2 cache key dir
	local -a files=()
	shift 2
	while [ "$1" != -- ]; do files+=("$1") && shift; done
	shift
	cache=${SWITCHLET_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME or SWITCHLET_LAB_CACHE must be set}/.cache}/switchlet}/$name
	key=$(cat "${files[@]}" | sha256sum | cut -c1-12)
	dir=$cache/$key
	if [ ! -e "$dir/complete" ]; then
		command -v go >/dev/null || skip "missing: a Go toolchain to build $what"
		mkdir -p "$dir"
		exec 9>"$dir/lock"
		if ! flock -n 9; then
			say "another process is building $what; waiting for it"
			flock 9
		fi
		[ -e "$dir/complete" ] || build_there "$what" "$dir" "$@"
	fi
	echo "$dir"
}
build_there() {
	local what=$1 dir=$2 build
	shift 2
	say "building $what into $dir: once, some minutes on two cores"
	# The compiler inherits the lock: if this script is killed, the next one waits for the orphan instead of starting a second
	# build, and then finds Go's own cache warm.
	nice "$@" "$dir" >"$dir/build.log" 2>&1 &
	build=$!
	SECONDS=0
	while kill -0 "$build" 2>/dev/null; do
		sleep 1
		[ $((SECONDS % 15)) != 0 ] || say "building for $SECONDS s"
	done
	wait "$build" || skip "missing: $what; the build failed: $(tail -n 1 "$dir/build.log")"
	touch "$dir/complete"
}
