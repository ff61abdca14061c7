#!/usr/bin/env bash
# The update that a careful administrator writes today with stock tools. It is
# what the agent is measured against, so it does the same work in the same
# order of trust: nothing that was downloaded is used before the signature of
# the list and the hash of every file have been checked, what is installed is
# on the disk before it is named, and one rename puts it into force.
#
#   admin-update.sh PACKAGE_URL ROOT_CERTIFICATE DIRECTORY
#
# DIRECTORY gets one directory for each version, and current and previous, which
# link to two of them.
set -euo pipefail

url=$1
root=$2
dir=$3

mkdir -p "$dir"
work=$(mktemp -d "$dir/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT

curl -fsS -o "$work/updates.zip" "$url"
mkdir "$work/set"
unzip -q "$work/updates.zip" -d "$work/set"

# What openssl prints is what was signed. Only that is read from here on. The
# purpose is any because stock openssl asks for an e-mail certificate otherwise.
openssl cms -verify -inform DER -purpose any -CAfile "$root" \
    -in "$work/set/META/package.p7m" -out "$work/package.json" 2>"$work/openssl.log" ||
    { cat "$work/openssl.log" >&2; exit 1; }

jq -r '.files[] | "\(.sha256)  \(.name)"' "$work/package.json" >"$work/SHA256SUMS"
(cd "$work/set" && sha256sum --check --strict --quiet "$work/SHA256SUMS")
listed=$(wc -l <"$work/SHA256SUMS")
found=$(find "$work/set" ! -type d ! -path "$work/set/META/package.p7m" | wc -l)
if [ "$listed" != "$found" ]; then
    echo "the package holds $found files, and its list names $listed" >&2
    exit 1
fi

version=$(jq -r '.definitionVersion | select(test("^[0-9]+(\\.[0-9]+){3}$"))' "$work/package.json")
if [ -z "$version" ] || [ -e "$dir/$version" ]; then
    echo "version '$version' is none, or is installed already" >&2
    exit 1
fi

# Nobody needs the archive any more, and sync would write it to the disk.
rm "$work/updates.zip"
chmod 0755 "$work/set"
sync
mv "$work/set" "$dir/$version"
if old=$(readlink "$dir/current"); then
    ln -s "$old" "$work/previous"
    mv -T "$work/previous" "$dir/previous"
fi
ln -s "$version" "$work/current"
mv -T "$work/current" "$dir/current"
