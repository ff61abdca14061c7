#!/bin/sh
# The main job from end to end, with nothing but the program itself: keys, a
# signed package, a mirror, an endpoint, an update, a newer package, and one that
# somebody tampered with. Each command is shown before it runs, so that this
# reads as a tutorial. Everything happens in a directory of its own, on loopback,
# and nothing is left behind.
#
# usage: demo.sh PATH-OF-AGENT
set -eu
umask 022

program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
server=
cleanup() {
  status=$?
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || :
    wait "$server" 2>/dev/null || :
  fi
  rm -rf "$work"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
cd "$work"
mkdir bin
ln -s "$program" bin/agent
PATH=$work/bin:$PATH

say() { printf '\n# %s\n' "$*"; }
run() {
  printf '$ %s\n' "$*"
  "$@"
}
# fails runs what has to fail, and shows how.
fails() {
  printf '$ %s\n' "$*"
  code=0
  "$@" 2>&1 || code=$?
  [ "$code" -ne 0 ] || { echo "demo: this should have failed" >&2; exit 1; }
  echo "(exit code $code)"
}

arch=$(uname -m)
[ "$arch" != aarch64 ] || arch=arm64
ring=mirror/linux/production
zip=$ring/arch_$arch/updates.zip

say "A throw-away CA and signer. In production the keys are your own."
run agent package keys --out keys

say "What is to be shipped: an engine and its definitions."
mkdir files
head -c 3000000 /dev/urandom >files/libmpengine.so
head -c 2000000 /dev/urandom >files/mpavbase.vdm
echo 'definitions of Monday' >files/mpavdlta.vdm
run ls files

say "A signed package, where a mirror has it."
run agent package build files --out "$zip" --engine-version 1.1.24080.9 --definition-version 1.407.417.0 \
  --key keys/leaf.key --cert keys/leaf.pem --cert keys/intermediate.pem
run agent package inspect "$zip"

say "The mirror. Any web server will do; this is our own, on a free port."
printf '$ agent mirror serve mirror --listen 127.0.0.1:0 &\n'
agent mirror serve mirror --listen 127.0.0.1:0 >serve.log 2>&1 &
server=$!
tries=0
until grep -q '^Serving ' serve.log; do
  tries=$((tries + 1))
  if [ "$tries" -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
    cat serve.log >&2
    exit 1
  fi
  sleep 0.1
done
cat serve.log
url=$(sed -n 's/^Serving .* at \(http.*\)$/\1/p' serve.log)

say "The endpoint: its managed configuration, and whom it trusts."
export AGENT_ROOT="$work/endpoint"
managed=endpoint/etc/opt/microsoft/mdatp/managed/mdatp_managed.json
mkdir -p "$(dirname "$managed")" endpoint/etc/opt/mdatp-agent/trust
cat >"$managed" <<END
{
  "cloudService": { "definitionUpdatesInterval": 1202 },
  "antivirusEngine": {
    "offlineDefinitionUpdate": "enabled",
    "offlineDefinitionUpdateUrl": "${url}linux/production/"
  }
}
END
echo '$ export AGENT_ROOT=endpoint'
run cat "$managed"
run cp keys/root.pem endpoint/etc/opt/mdatp-agent/trust/

say "The first update, and what the endpoint says of itself."
run agent definitions update
run agent health --details definitions

say "Newer definitions are published. Only one small file of them is new."
echo 'definitions of Tuesday' >files/mpavdlta.vdm
sleep 1 # the new list must be issued after the one before, in whole seconds
run agent package build files --out "$zip" --engine-version 1.1.24080.9 --definition-version 1.407.418.0 \
  --key keys/leaf.key --cert keys/leaf.pem --cert keys/intermediate.pem
run agent definitions update --dry-run
run agent definitions update
run agent definitions list

say "Newer ones again, but somebody changes some bytes of them on the mirror."
head -c 2000000 /dev/urandom >files/mpavbase.vdm
sleep 1
run agent package build files --out "$zip" --engine-version 1.1.24080.9 --definition-version 1.407.419.0 \
  --key keys/leaf.key --cert keys/leaf.pem --cert keys/intermediate.pem
echo "\$ printf tampered | dd of=$zip bs=1 seek=4000000 conv=notrunc"
printf tampered | dd of="$zip" bs=1 seek=4000000 conv=notrunc 2>/dev/null
sums() { find endpoint/var/opt/mdatp-agent/definitions.noindex -path '*/.staging' -prune -o -type f -exec sha256sum {} + | sort; }
sums >before
fails agent definitions update

say "The endpoint says why, and is as protected as before: nothing has changed."
run agent health --field definitions_update_fail_reason
run agent health --field definitions_version
sums >after
run cmp before after
run agent definitions verify

say "Done. What is above is the whole job; see README.md for the rest."
