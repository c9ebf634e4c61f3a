#!/bin/bash
# image.sh CONTEXT IMAGE: builds the image, looks into it and runs it once, all of it without any network, and without
# anything of this machine but two folders.
set -eu
[ "${IN_NETNS:-}" = yes ] || IN_NETNS=yes exec unshare --net "$0" "$@"
context=${1:?context} image=${2:?image}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
container=
ended() {
	[ -z "$container" ] || buildah rm "$container" >/dev/null || :
	rm -rf "$work"
}
trap ended EXIT
fail() { echo "image: $*" >&2; exit 1; }

buildah build --quiet --pull=never --isolation=chroot -t "$image" "$context" >/dev/null
container=$(buildah from --pull=never "$image")
root=$(buildah mount "$container")
files=$(cd "$root" && find . -type f | sort)
[ "$files" = ./switchlet ] || fail "it holds more than the binary: $files"
size=$(stat -c %s "$root/switchlet")
[ "$size" -lt $((32 << 20)) ] || fail "the binary has $size bytes"
ldd "$root/switchlet" 2>&1 | grep -qE 'statically linked|not a dynamic' || fail "the binary is not static"
buildah umount "$container" >/dev/null
entry=$(buildah inspect --type image "$image" | jq -c '.OCIv1.config | [.Entrypoint, .Cmd]')
[ "$entry" = '[["/switchlet"],["agent"]]' ] || fail "it starts $entry"

inside() { buildah run --isolation=chroot -v "$work:/in:ro" "$container" -- "$@"; }
version=$(inside /switchlet --version)
[[ $version == "switchlet "* ]] || fail "--version says '$version'"

# A rendering: the templates are inside, and so is the child that renders them.
mkdir -p "$work/bundle" "$work/cluster"
cp "$here/../../overlays/lab/leaf1/switch.yaml" "$work/bundle/"
cat >"$work/cluster/nodes.yaml" <<'NODES'
apiVersion: v1
kind: Node
metadata: {name: worker-1, labels: {role: worker}}
status: {addresses: [{type: InternalIP, address: 192.168.1.11}]}
NODES
text=$(inside /switchlet render --node leaf1 --bundle /in/bundle --cluster /in/cluster)
grep -qx ' neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS' <<<"$text" || fail "render says: $text"
sed -i 's/^asn: .*/asn: 0/' "$work/bundle/switch.yaml"
code=0
said=$(inside /switchlet render --node leaf1 --bundle /in/bundle --cluster /in/cluster 2>&1) || code=$?
grep -q 'AS number 0 is out of range' <<<"$said" || fail "a mistake is answered with $code: $said"
echo "image: $image holds one static binary of $((size >> 10)) KiB, $version; it renders, and refuses AS 0 (exit code $code)"
