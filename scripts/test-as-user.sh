#!/usr/bin/env bash
# Runs the suite once more as a plain user, where root called it: what an
# unprivileged agent may and may not do is half of what is promised. Packages in which
# nobody's rights matter have been tested by then.
set -euo pipefail
cd "$(dirname "$0")/.."

user=65534 # nobody, on every Linux
if [ "$(id -u)" != 0 ]; then
  echo "SKIPPED: the suite has just run as a plain user; as root it runs as both"
  exit 0
fi
if ! command -v setpriv >/dev/null; then
  echo "FAILED: setpriv is missing (Debian: util-linux), so the suite can not run as a plain user" >&2
  exit 1
fi

umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/src" "$work/tmp" "$work/home"
chown "$user" "$work/tmp" "$work/home"

# The binaries are compiled here and run there, beside their testdata: a plain
# user can read neither this checkout nor root's build cache.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
  if [ -f "$f" ]; then printf '%s\0' "$f"; fi
done | tar -c --null -T - | tar -x --no-same-owner --no-same-permissions -C "$work/src"

# These packages are pure, or about the sources, or measure a program that they run
# themselves, or need root anyway.
same_for_everybody='^(bench/.*|chaos/(invariant|power)|docs|packaging|printable|verifier(/(internal/cms|usages|vectors|vendorsig))?)$'

# Much of what a test does is waiting, so several packages have their turn at once.
at_once=3

# The crash sweep has had its share by now, and makes a small one: CHAOS_POINTS.
run() { # a package's directory, and the file for what it shows
  local result=ok
  (cd "$work/src/$1" && env -i PATH="$PATH:/usr/sbin:/sbin" HOME="$work/home" TMPDIR="$work/tmp" LANG=C.UTF-8 CHAOS_POINTS=10 \
    setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs ./unit.test -test.v -test.timeout=20m 2>&1) |
    awk -f scripts/show.awk >"$2" || { result=FAIL; touch "$work/failed"; }
  echo "$result  (as a plain user) $1" >>"$2"
  cat "$2"
}

number=0
for dir in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./...); do
  rel=${dir#"$PWD"/}
  if [[ $rel =~ $same_for_everybody ]]; then continue; fi
  go test -c -vet=off -ldflags '-s -w' -tags urfave_cli_no_docs -o "$work/src/$rel/unit.test" "./$rel"
  while [ "$(jobs -rp | wc -l)" -ge $at_once ]; do wait -n || true; done
  number=$((number + 1))
  run "$rel" "$work/shown.$number" &
done
wait
[ ! -e "$work/failed" ]
