#!/usr/bin/env bash
# Runs every fuzz target of the project for a bounded time each: fuzz.sh 2s
set -euo pipefail
cd "$(dirname "$0")/.."
for_each=${1:-2s}
tags=urfave_cli_no_docs

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
cache=$(go env GOCACHE)/fuzz # where go test has what it found before, too
targets=0

# Fuzzes one target. Minimizing a find can take longer than the whole run; one try is
# enough here.
fuzz() {
  (cd "$dir" && "$built/fuzz.test" -test.run '^$' -test.fuzz "^$name\$" -test.fuzztime "$for_each" \
    -test.fuzzminimizetime 1x -test.fuzzcachedir "$cache/$package") >"$built/said" 2>&1 && return
  grep -vE '^(fuzz: elapsed|PASS$)' "$built/said"
  return 1
}

while read -r dir; do
  # The targets of a package share one program: most of a short run was building it.
  go test -c -vet=off -ldflags '-s -w' -tags "$tags" -fuzz . -o "$built/fuzz.test" "./$dir"
  package=$(go list -tags "$tags" "./$dir")
  while read -r name; do
    # A run's end can be taken for its failure (golang/go#75804, until Go 1.27): nothing was
    # found then, and the run is made again, a few times.
    tries=5
    until fuzz; do
      if ((--tries == 0)) || ! grep -q 'context deadline exceeded' "$built/said" || grep -q 'Failing input' "$built/said"; then
        echo "FAIL: $name in $dir" >&2
        exit 1
      fi
    done
    echo "ok  $dir $name"
    targets=$((targets + 1))
  done < <(sed -nE 's/^func (Fuzz[A-Za-z]+)\(.*/\1/p' "$dir"/*_test.go)
done < <(grep -rlE --include='*_test.go' '^func Fuzz[A-Za-z]+\(' . | xargs -n 1 dirname | sort -u)
echo "fuzzed $targets targets for $for_each each"
