#!/usr/bin/env bash
# Runs every fuzz target of the project for a bounded time each: fuzz.sh 3s
set -euo pipefail
cd "$(dirname "$0")/.."
for_each=${1:-3s}

targets=0
while IFS=: read -r file _ line; do
  name=${line#func }
  name=${name%%(*}
  # Minimizing a find can take longer than the whole run; one try is enough here.
  go test -tags urfave_cli_no_docs "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$for_each" -fuzzminimizetime 1x |
    grep -v '^fuzz: elapsed' || { echo "FAIL: $name in $file" >&2; exit 1; }
  targets=$((targets + 1))
done < <(grep -rnE --include='*_test.go' '^func Fuzz[A-Za-z]+\(' .)
echo "fuzzed $targets targets for $for_each each"
