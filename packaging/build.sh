#!/usr/bin/env bash
# Builds .deb and .rpm of programs that are built already; see `make packages`.
#
# usage: build.sh VERSION OUT-DIR ARCH=PROGRAM...
#
# FORMATS is "deb rpm" where it is not set. With SOURCE_DATE_EPOCH, or from a commit
# without changes, two runs give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
PACKAGE_VERSION=$(packaging/version.sh "$version" "$SOURCE_DATE_EPOCH")
MAINTAINER=${MAINTAINER:-mdatp-agent <root@localhost>}
export SOURCE_DATE_EPOCH PACKAGE_VERSION MAINTAINER

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# fill puts everything that nfpm.yaml names into the stage, but for the program.
fill() {
  cp -R packaging/deb packaging/rpm packaging/systemd packaging/examples packaging/completions "$stage"
  sed '1s/.*/#compdef mdatp/' packaging/completions/mdatp-agent.zsh >"$stage/completions/mdatp.zsh"
  mkdir "$stage/man" "$stage/bin"
  local page
  for page in packaging/man/*; do
    gzip -n9 <"$page" >"$stage/man/${page##*/}.gz"
  done
  packaging/licences.sh "$stage/licenses"
  {
    cat packaging/copyright
    (cd "$stage/licenses" && find . -type f | sed 's,^\./,  ,' | LC_ALL=C sort)
  } >"$stage/copyright"
}

# package makes one package of what is in the stage.
package() {
  find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$stage" && go run "$NFPM" package --config "$1" --packager "$2" --target "$out/" | grep -v '^using ')
}

root=$PWD
fill
for pair in "$@"; do
  export ARCH=${pair%%=*}
  install -m 0755 "${pair#*=}" "$stage/bin/mdatp-agent"
  for format in ${FORMATS:-deb rpm}; do
    package "$root/packaging/nfpm.yaml" "$format"
  done
done
for format in ${FORMATS:-deb rpm}; do
  package "$root/packaging/nfpm-cli.yaml" "$format"
done
