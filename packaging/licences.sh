#!/usr/bin/env bash
# Collects the licence texts of everything that is linked into the program, and of Go
# itself. A module without one stops the build: it must not be given away.
#
# usage: licences.sh DIR [PACKAGE]
set -euo pipefail

out=$1
what=${2:-./cmd/agent}
mkdir -p "$out"

# collect copies the texts that stand in one directory.
collect() {
  local name=$1 from=$2 found=""
  for text in "$from"/{LICENSE,LICENCE,License,COPYING,NOTICE,PATENTS}*; do
    [ -f "$text" ] || continue
    case ${text##*/} in *.go) continue ;; esac
    mkdir -p "$out/$name"
    install -m 0644 "$text" "$out/$name/"
    case ${text##*/} in LICEN* | License* | COPYING*) found=yes ;; esac
  done
  if [ -z "$found" ]; then
    echo "$name has no licence text in $from" >&2
    exit 1
  fi
}

modules=$(go list -deps -tags "${TAGS:-}" -f '{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}} {{.Dir}}{{end}}{{end}}' "$what" | sort -u)
while read -r module dir; do
  [ -z "$module" ] || collect "$module" "$dir"
done <<<"$modules"
# Also for what the standard library carries of other modules, which has the same terms.
collect "go@$(go env GOVERSION)" "$(go env GOROOT)"
