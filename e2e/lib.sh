# shellcheck shell=bash
# What the steps stand on: the container and its boot, the mirror, packages of
# definitions, blocks of the documentation, and how a step is run and told.
# run sets these.
: "${top:?}" "${base:?}" "${work:?}" "${id:?}" "${release:?}" "${include:?}" "${wanted[*]-}"

mirror_ip=10.213.57.1
machine_ip=10.213.57.2

## Running and telling

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# can_run ends the run, loudly and well, where the machine can't do it.
can_run() {
  local missing=() tool
  [ "$(id -u)" = 0 ] || missing+=("root")
  for tool in debootstrap systemd-nspawn nsenter ip nginx busctl dbus-daemon dpkg-deb jq go; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if [ ${#missing[@]} = 0 ]; then
    unshare --mount --pid --fork --net --uts --ipc true 2>/dev/null || missing+=("namespaces")
    { ip link add "$id-probe" type veth peer name "$id-prob2" 2>/dev/null && ip link del "$id-probe"; } || missing+=("veth")
  fi
  [ ${#missing[@]} = 0 ] || leave_out "this needs ${missing[*]}"
}

leave_out() {
  local steps
  steps=$(grep -cE '^(must|step) ' "$top/e2e/run")
  echo "SKIPPED: the packages were not tried on a real systemd: $*"
  echo "0 passed, 0 failed, $steps skipped"
  trap - EXIT
  exit 0
}

# run_step runs a function in a shell of its own, which ends at the first command that
# fails, and says how it went, also in $outcome. Where it failed, it shows what it did.
#
# It must not be called in a condition. There bash would let the function go on behind a
# command that fails, and so would the shells below it.
run_step() {
  local title=$1 name=$2 began=$EPOCHREALTIME log=$work.log
  outcome=ok
  (
    set -euo pipefail
    PS4='  + '
    set -x
    "$name"
  ) >"$log" 2>&1 </dev/null &
  wait $! || outcome=FAIL
  [ ! -e "$work/left-out" ] || outcome=SKIPPED
  printf '%-7s %6s s  %s%s\n' "$outcome" "$(seconds_since "$began")" "$title" "$(sed -n 's/^  = /; /p' "$log" | tr -d '\n')"
  if [ "$outcome" = FAIL ]; then
    tail -n 40 "$log" | cut -c 1-400 | sed 's/^/        /'
    (inside journalctl --no-pager -o short-precise -n 30 -u 'mdatp-agent*') 2>&1 | cut -c 1-400 | sed 's/^/        | /'
  fi
}

# prepare is what must work before anything can be seen.
prepare() {
  run_step "$1" "$2"
  [ "$outcome" = ok ] || {
    echo "0 passed, 1 failed: nothing could be tried"
    exit 1
  }
}

# step is one thing to be seen.
step() {
  [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]] || return 0
  count "$1"
}

# must is a step that all that follow stand on.
must() {
  local before=$failed
  count "$1"
  [ "$failed" = "$before" ] || {
    printf '\n%d passed, %d failed, the rest was not tried\n' "$passed" "$failed"
    exit 1
  }
}

count() {
  run_step "${1//_/ }" "$1"
  case $outcome in
  ok) passed=$((passed + 1)) ;;
  SKIPPED) skipped=$((skipped + 1)) && rm "$work/left-out" ;;
  *) failed=$((failed + 1)) ;;
  esac
}

# cannot ends a step whose tools are missing.
cannot() {
  note "$*"
  : >"$work/left-out"
  exit 1
}

# fail ends a step with a reason.
fail() {
  echo "  ! $*"
  exit 1
}

# note says something of a step that is worth to be seen when it is well, too.
note() { echo "  = $*"; }

# not fails where the command succeeds. A plain ! would let a step go on.
not() { ! "$@"; }

same() {
  local -
  { set +x; } 2>/dev/null
  [ "$1" = "$2" ] || fail "got '$1', want '$2'"
}

# within SECONDS COMMAND... waits until the command succeeds.
within() {
  local - until
  { set +x; } 2>/dev/null
  until=$(awk -v now="$EPOCHREALTIME" -v s="$1" 'BEGIN { printf "%.3f", now + s }')
  shift
  while ! "$@" >/dev/null 2>&1; do
    if awk -v now="$EPOCHREALTIME" -v until="$until" 'BEGIN { exit now < until }'; then
      fail "in vain, waited for: $*"
    fi
    sleep 0.1
  done
}

## The machine

make_base() {
  local stamp="$release $include"
  [ "$(cat "$base.stamp" 2>/dev/null)" != "$stamp" ] || [ ! -d "$base" ] || return 0
  rm -rf "$base" "$base.new"
  mkdir -p "$base.new"
  debootstrap --variant=minbase --include="$include" "$release" "$base.new"
  mv "$base.new" "$base"
  echo "$stamp" >"$base.stamp"
}

# make_machine copies the Debian, with an old friend on it: the files of a real
# Defender, which nothing may touch.
make_machine() {
  rm -rf "$work"
  mkdir -p "$work"
  cp -a --reflink=auto "$base" "$work/root"
  local root=$work/root
  echo endpoint >"$root/etc/hostname"
  printf '127.0.0.1 localhost endpoint\n%s mirror.example mirror-b.example cloud.example\n' "$mirror_ip" >"$root/etc/hosts"
  rm -f "$root/etc/resolv.conf" "$root/etc/machine-id"
  touch "$root/etc/resolv.conf" "$root/etc/machine-id"
  mkdir -p "$root/etc/opt/microsoft/mdatp/managed" "$root/opt/microsoft/mdatp/sbin" "$root/var/opt/microsoft/mdatp/definitions.noindex"
  echo '{"machineGroup": "real"}' >"$root/etc/opt/microsoft/mdatp/mdatp_onboard.json"
  head -c 100000 /dev/urandom >"$root/opt/microsoft/mdatp/sbin/wdavdaemon"
  head -c 100000 /dev/urandom >"$root/var/opt/microsoft/mdatp/definitions.noindex/mpavbase.vdm"
  chmod 0700 "$root/var/opt/microsoft/mdatp/definitions.noindex"
  useradd --root "$root" --create-home --uid 1500 plain
  defender >"$work/defender"
  everything >"$work/before"
  mkdir -p "$root/root/new"
}

# defender lists the real product's files with all that could be changed about them,
# but for the managed configuration, which the steps write.
defender() {
  (cd "$work/root" && find etc/opt/microsoft opt/microsoft var/opt/microsoft ! -path '*/managed*' ! -path etc/opt/microsoft/mdatp \
    -printf '%p %y %m %U:%G %T@ %l ' \( -type f -exec sha256sum {} \; -o -printf '\n' \) | sort)
}

# everything lists the machine's files, less what machines write by themselves.
everything() {
  (cd "$work/root" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./root \
    -o -path ./var/log -o -path ./var/cache -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/lib/systemd \
    -o -path ./var/tmp -o -path ./etc/opt/microsoft/mdatp/managed \) -prune -o -printf '%p\n' | sort)
}

# boot starts the container and waits for its systemd. Its process stands in a file,
# since each step is a shell of its own.
boot() {
  system_bus
  # Its filter is older than Landlock, which a machine's own systemd does not forbid.
  systemd-nspawn --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" --quiet --directory="$work/root" --boot --register=no --keep-unit --machine="$id" --resolv-conf=off \
    --network-namespace-path="/run/netns/$id-m" --console=pipe >"$work/console" 2>&1 </dev/null &
  echo $! >"$work/nspawn.pid"
  within 30 booted
  within 60 settled
}

# booted finds the container's first process.
booted() {
  local pid
  pid=$(pgrep -P "$(cat "$work/nspawn.pid")" -n) || return 1
  [ "$(readlink "/proc/$pid/ns/pid")" != "$(readlink /proc/self/ns/pid)" ] || return 1
  [ "$(cat "/proc/$pid/comm")" = systemd ] || return 1
  echo "$pid" >"$work/init.pid"
}

settled() { inside systemctl is-system-running | grep -qxE 'running|degraded'; }

# system_bus starts one where there is none: nspawn wants to talk to it.
system_bus() {
  ! timeout 5 busctl --system list >/dev/null 2>&1 || return 0
  mkdir -p /run/dbus
  dbus-daemon --system --fork --nopidfile --print-pid >"$work/bus.pid"
}

# inside runs a command in the machine, as root and with nothing of this environment.
inside() {
  local -
  { set +x; } 2>/dev/null
  nsenter --target "$(cat "$work/init.pid")" --all \
    env -i --chdir=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb "$@"
}

as_plain() { inside setpriv --reuid=1500 --regid=1500 --clear-groups --no-new-privs "$@"; }

halt_machine() {
  local nspawn
  nspawn=$(cat "$work/nspawn.pid")
  inside systemctl poweroff || :
  within 30 gone "$nspawn"
}

gone() { [ ! -e "/proc/$1" ] || [ "$(awk '/^State/ { print $2 }' "/proc/$1/status")" = Z ]; }

# main_process gives the number of a unit's process, and fails where it has none: what
# is sent to process 0 goes to everybody here.
main_process() {
  local pid
  pid=$(property "$1" MainPID)
  [ "$pid" -gt 1 ] || fail "$1 has no process"
  echo "$pid"
}

property() { inside systemctl show --property="$2" --value "$1"; }

active() { inside systemctl is-active --quiet "$1"; }

journal() { inside journalctl --quiet --no-pager --boot "$@"; }

# now is a time that journalctl's --since takes, of this moment.
now() { inside date '+%Y-%m-%d %H:%M:%S.%6N'; }

# from_document runs the commands that stand behind a mark in the documentation, as
# they stand there.
from_document() {
  local commands
  commands=$(awk -v mark="<!-- e2e: $1 -->" '$0 == mark { on = 1; next } on && /^```sh$/ { copy = 1; next } copy && /^```$/ { exit } copy' "$top"/docs/*.md)
  [ -n "$commands" ] || fail "no page of docs/ has commands marked $1"
  inside sh -exc "cd ${2:-/root}
$commands"
}

## The mirror

start_mirror() {
  ip netns add "$id-m"
  ip netns add "$id-s"
  ip link add "$id-m" netns "$id-m" type veth peer name "$id-s" netns "$id-s"
  ip -n "$id-m" addr add "$machine_ip/24" dev "$id-m"
  ip -n "$id-s" addr add "$mirror_ip/24" dev "$id-s"
  ip -n "$id-m" link set "$id-m" up
  ip -n "$id-m" link set lo up
  ip -n "$id-s" link set "$id-s" up
  ip -n "$id-s" link set lo up
  mkdir -p "$work/mirror" "$work/cloud" "$work/vendor" "$work/files" "$work/nginx"
  serve mirror 8000 "$work/mirror" ""
  serve slow 8002 "$work/mirror" "limit_rate 150k;"
  serve cloud 8001 "$work/cloud" ""
  # One address, and the query says whether the package is wanted or what it is.
  # shellcheck disable=SC2016 # the variables are nginx's
  serve vendor 8003 "$work/vendor" 'set $object updates.zip; if ($arg_action = info) { set $object info.xml; } location = /vendor { try_files /$object =404; }'
  "$top/build/_e2e.packages/agent" package keys --out "$work/keys"
  cp "$work/keys/root.pem" "$work/root/root/root.pem"
  head -c 3000000 /dev/urandom >"$work/files/libmpengine.so"
  echo 1 >"$work/version"
  publish mirror 2000000
}

# serve NAME PORT DIR EXTRA starts an nginx.
serve() {
  cat >"$work/nginx/$1.conf" <<END
daemon off;
user root;
worker_processes 1;
pid $work/nginx/$1.nginx;
error_log $work/nginx/$1.error;
events {}
http {
  log_format bytes '\$request_method \$uri \$status \$body_bytes_sent \$http_range';
  access_log $work/nginx/$1.access bytes;
  client_body_temp_path $work/nginx/t1; proxy_temp_path $work/nginx/t2; fastcgi_temp_path $work/nginx/t3;
  uwsgi_temp_path $work/nginx/t4; scgi_temp_path $work/nginx/t5;
  gzip off;
  server { listen $mirror_ip:$2; root $3; $4 }
}
END
  ip netns exec "$id-s" nginx -e "$work/nginx/$1.error" -c "$work/nginx/$1.conf" &
  echo $! >"$work/nginx/$1.pid"
  within 5 test -s "$work/nginx/$1.nginx"
}

stop_serving() {
  local pid
  pid=$(cat "$work/nginx/$1.pid")
  kill "$pid"
  within 5 gone "$pid"
}

# publish WHERE BYTES makes and signs a package whose definitions are BYTES of news, and
# puts it on the mirror or into a cloud. Its version is in $work/version.
publish() {
  local - n out
  { set +x; } 2>/dev/null
  n=$(($(cat "$work/version") + 1))
  echo "$n" >"$work/version"
  head -c "$2" /dev/urandom >"$work/files/mpavbase.vdm"
  out=$work/$1/updates.zip
  [ "$1" != mirror ] || out=$work/mirror/linux/production/arch_$(uname -m | sed s/aarch64/arm64/)/updates.zip
  mkdir -p "$(dirname "$out")"
  sleep 1 # lists are issued in whole seconds, and a later one must be later
  "$top/build/_e2e.packages/agent" package build "$work/files" --out "$out" --engine-version 1.1.24080.9 --definition-version "1.407.$n.0" --force \
    --key "$work/keys/leaf.key" --cert "$work/keys/leaf.pem" --cert "$work/keys/intermediate.pem"
}

# offer BYTES publishes news for the tool that fills mirrors, in a cloud like the vendor's.
offer() {
  publish vendor "$1"
  echo "<versions><engine>1.1.24080.9</engine><signatures date=\"2026-11-26T10:00:00Z\">$(published)</signatures></versions>" >"$work/vendor/info.xml"
}

published() { echo "1.407.$(cat "$work/version").0"; }

installed() { inside mdatp-agent health --field definitions_version | tr -d '"'; }

is_installed() { [ "$(installed)" = "$1" ]; }

status() { inside mdatp-agent health --field definitions_status | tr -d '"'; }

is_status() { [ "$(status)" = "$1" ]; }

# by_another_name gives the mirror's URL with the name that was not used last. Whatever
# follows the configuration then updates at once, since the URL was changed.
by_another_name() {
  local name=mirror
  [ "$(cat "$work/name" 2>/dev/null)" = mirror-b ] || name=mirror-b
  echo "$name" >"$work/name"
  echo "http://$name.example:${1:-8000}/linux/production/"
}

# configure URL writes the managed configuration as management tools do, by rename. The
# interval is the shortest that there is, and nothing is spread.
configure() {
  local -
  { set +x; } 2>/dev/null
  local dir=$work/root/etc/opt/microsoft/mdatp/managed
  mkdir -p "$dir"
  cat >"$dir/.new" <<END
{
  "cloudService": { "definitionUpdatesInterval": 60 },
  "antivirusEngine": {
    "offlineDefinitionUpdate": "enabled",
    "offlineDefinitionUpdateUrl": "$1",
    "offlineDefinitionUpdateFallbackToCloud": true
  },
  "agent": { "jitter": 0, "cloudUrl": "http://cloud.example:8001/updates.zip" }
}
END
  mv "$dir/.new" "$dir/mdatp_managed.json"
}

## The end

end_process() {
  [ -s "$1" ] || return 0
  kill "$(cat "$1")" 2>/dev/null || :
}

clean_up() {
  local code=$? file
  set +e
  if [ -s "$work/nspawn.pid" ] && [ -e "/proc/$(cat "$work/nspawn.pid")" ]; then
    (halt_machine) >/dev/null 2>&1 || end_process "$work/nspawn.pid"
  fi
  for file in "$work"/nginx/*.pid "$work/bus.pid"; do
    end_process "$file"
  done
  wait
  ip netns del "$id-m" 2>/dev/null
  ip netns del "$id-s" 2>/dev/null
  rm -rf "$work" "$work.log"
  exit "$code"
}
