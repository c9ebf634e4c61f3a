#!/bin/bash
# root.sh: print a folder with a root file system that has FRR 10.3 in it (Debian 13), to be entered by chroot.
#
# It is cached, and made when it is missing: 15 to 60 seconds and 235 MB of disk, from the Debian mirror that this machine
# uses itself. The folder is complete or it is not there. Any number may run at once.
#
# Exit 77 ("skipped") with one line on what is missing when it cannot be made.
set -eu
cd "$(dirname "$0")"
export PATH="$PATH:/usr/sbin:/sbin"
suite=trixie release=10.3 packages=frr,frr-pythontools

say() { echo "frr root: $*" >&2; }
skip() { say "$*"; exit 77; }

cache=${SWITCHLET_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME or SWITCHLET_LAB_CACHE must be set}/.cache}/switchlet}/frr
# The last number counts changes of how it is made.
dir=$cache/$release-$(echo "$suite $packages 1" | sha256sum | cut -c1-12)
if [ -d "$dir" ]; then
	echo "$dir"
	exit
fi

# The first Debian mirror of the machine's own sources, of either form; else the one that everybody has.
mirror() {
	local found
	found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
		grep -v '^[[:space:]]*#' | grep -oE 'https?://[^][:space:]]+/debian/?([[:space:]]|$)' | head -n 1 | tr -d '[:space:]' || :)
	echo "${found:-http://deb.debian.org/debian}"
}

[ "$(id -u)" = 0 ] || skip "missing: FRR $release; making its root file system needs root"
command -v mmdebstrap >/dev/null || skip "missing: mmdebstrap, to make a root file system with FRR $release"
mkdir -p "$cache"
exec 9>"$cache/lock"
if ! flock -n 9; then
	say "another process is making it; waiting for it"
	flock 9
fi
if [ ! -d "$dir" ]; then
	# What a killed predecessor left.
	rm -rf --one-file-system "$cache"/*.new
	say "making $dir from $(mirror): once, less than a minute"
	mmdebstrap --variant=apt --include=$packages $suite "$dir.new" "$(mirror)" </dev/null >"$cache/log" 2>&1 9>&- ||
		skip "missing: FRR $release; mmdebstrap said: $(grep -m 1 '^E:' "$cache/log" || tail -n 1 "$cache/log")"
	found=$(chroot "$dir.new" /usr/lib/frr/zebra --version | sed -n 's/^zebra version //p')
	case $found in
	"$release"*) ;;
	*) skip "missing: FRR $release; Debian's $suite has ${found:-none}" ;;
	esac
	install -d -m 755 -o "$(stat -c %u "$dir.new/etc/frr")" -g "$(stat -c %g "$dir.new/etc/frr")" "$dir.new/run/frr"
	mv "$dir.new" "$dir"
fi
echo "$dir"
