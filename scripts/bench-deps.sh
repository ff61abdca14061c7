#!/usr/bin/env bash
# Brings the programs that only the benchmark needs, which the agent is measured
# against or which draw its pictures, from Debian's packages. Installs only as
# root, and only what is missing; otherwise says what is.
set -euo pipefail

"$(dirname "$0")/deps.sh"

# command:package
wanted="zsync:zsync zsyncmake:zsync freshclam:clamav-freshclam gnuplot:gnuplot-nox"

missing=""
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "MISSING:$missing"
  echo "the benchmark leaves out what needs them; as root on Debian: apt-get install$missing"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# freshclam is wanted as a program to call, not as a service that polls.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
echo "installed:$missing"
