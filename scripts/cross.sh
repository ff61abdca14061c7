#!/usr/bin/env bash
# Compiles and vets the program for the systems beside Linux that a mirror may
# stand on. It is not run there, and neither are its tests, which are for Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
tags=${TAGS:-urfave_cli_no_docs}
for GOOS in windows darwin; do
  export GOOS
  for GOARCH in amd64 arm64; do
    export GOARCH
    go build -tags "$tags" -o /dev/null ./cmd/agent
  done
  # By its files, a package is vetted without its tests.
  for package in $(go list -tags "$tags" -deps ./cmd/agent | grep '^mdatp-offline-agent/'); do
    # shellcheck disable=SC2046
    go vet -tags "$tags" $(go list -tags "$tags" -f '{{range .GoFiles}}{{$.Dir}}/{{.}} {{end}}' "$package")
  done
done
