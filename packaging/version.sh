#!/usr/bin/env bash
# Makes of what `git describe` says, or of a version, one that sorts rightly for dpkg
# and rpm alike: v1.2.3 is 1.2.3, two commits later it is 1.2.3+2.gHASH, a candidate
# is 1.2.3~rc1, and what has no tag yet is older than all of them.
#
# usage: version.sh VERSION SECONDS-SINCE-1970-OF-THE-COMMIT
set -euo pipefail

version=${1#v}
if [[ ! $version =~ ^[0-9]+\.[0-9]+ ]]; then
  version=0~git$(date -u -d "@$2" +%Y%m%d%H%M%S).$version
fi
version=$(sed -E 's/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/; s/-(alpha|beta|rc)/~\1/; s/-dirty$/+dirty/; s/-/./g' <<<"$version")
if [[ ! $version =~ ^[0-9][0-9A-Za-z.+~]*$ ]]; then
  echo "$version can not be the version of a package" >&2
  exit 64
fi
echo "$version"
