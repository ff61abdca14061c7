#!/usr/bin/env bash
# Brings the servers and tools that the tests talk to, from Debian's packages.
# Installs only as root, and only what is missing; otherwise says what is.
set -euo pipefail

# command:package
wanted="nginx:nginx-light apache2:apache2-bin caddy:caddy python3:python3 openssl:openssl osslsigncode:osslsigncode zip:zip unzip:unzip
        curl:curl jq:jq strace:strace setpriv:util-linux gcc:gcc time:time promtool:prometheus
        systemd-analyze:systemd shellcheck:shellcheck mandoc:mandoc zsh:zsh fish:fish
        debootstrap:debootstrap systemd-nspawn:systemd-container dbus-daemon:dbus ip:iproute2 rpm:rpm
        mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs losetup:mount
        bindfs:bindfs fusermount3:fuse3"

missing=""
for pair in $wanted; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
# The race detector needs a C compiler with its library's headers.
test -e /usr/include/stdio.h || missing="$missing libc6-dev"
# `time` is also a word of the shell, so look for the program.
test -x /usr/bin/time || missing="$missing time"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "MISSING:$missing"
  echo "tests that need them will be skipped; as root on Debian: apt-get install$missing"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
cannot() {
  echo "MISSING:$missing"
  echo "they could not be installed, so tests that need them will be skipped"
  exit 0
}
apt-get update -qq || cannot
# A server that starts at installation would only be in the way.
printf '#!/bin/sh\nexit 101\n' >/tmp/policy-rc.d.$$
if [ ! -e /usr/sbin/policy-rc.d ]; then
  install -m 755 /tmp/policy-rc.d.$$ /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
rm -f /tmp/policy-rc.d.$$
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null || cannot
echo "installed:$missing"
