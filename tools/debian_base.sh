#!/bin/sh
# Makes an image out of Debian packages, for machines where none can be pulled: mmdebstrap unpacks them from the mirror that
# this machine's apt is configured for, `docker import` gives the result a name. Does nothing if the image is there.
# usage: debian_base.sh TAG PACKAGE...      the tag should name what is in it: it is not compared
set -eu

tag=$1
shift
! docker image inspect "$tag" >/dev/null 2>&1 || exit 0

packages=$(echo "$*" | tr ' ' ',')
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
# The mirror may be behind a proxy: what this machine's apt is told is for the making only, and not left in the image.
set -- --format=tar --variant=minbase --quiet --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list* "$1"/etc/apt/apt.conf.d/99* "$1"/var/lib/apt/lists/*' \
    --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/log/* "$1"/dev/*'
for options in /etc/apt/apt.conf.d/99*; do
    [ ! -e "$options" ] || set -- "$@" --aptopt="$options"
done
mmdebstrap "$@" "$suite" "$folder/system.tar" "$sources" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
docker import "$folder/system.tar" "$tag" >/dev/null
