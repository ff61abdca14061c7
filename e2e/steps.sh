# shellcheck shell=bash
# The steps, in the order in which run takes them. Each is a shell of its own in which
# the first command that fails ends it.
: "${top:?}" "${work:?}"

updater=mdatp-agent-update.service
timer=mdatp-agent-update.timer
daemon=mdatp-agent.service
filler=mdatp-agent-mirror-sync # .service and .timer
sets=/var/opt/mdatp-agent/definitions.noindex

build_packages() {
  local version
  mkdir -p "$top/build/_e2e.packages"
  for version in 1.0.0 1.0.1; do
    FORMATS="deb rpm" make -C "$top" packages VERSION=$version ARCHES="$(go env GOARCH)" DIST="$top/build/_e2e.packages/$version"
  done
  make -C "$top" build PROGRAM="$top/build/_e2e.packages/agent"
}

## Installing, and updates by the timer

install_from_document() {
  cp "$top"/build/_e2e.packages/1.0.0/mdatp-agent_*.deb "$work/root/root/"
  from_document install
  [[ $(inside mdatp-agent version) == "agent 1.0.0"* ]]
}

user_and_directories() {
  same "$(inside stat -c '%U:%G %a' /var/opt/mdatp-agent)" "mdatp-agent:mdatp-agent 755"
  same "$(inside stat -c '%U:%G %a' /etc/opt/mdatp-agent/trust)" "root:root 755"
  same "$(inside stat -c '%U:%G %a' /run/mdatp-agent/inhibit)" "root:root 755"
  same "$(inside stat -c '%U:%G %a' /usr/bin/mdatp-agent)" "root:root 755"
  inside getent passwd mdatp-agent | has ':/var/opt/mdatp-agent:/usr/sbin/nologin$'
  same "$(inside id -Gn mdatp-agent)" mdatp-agent
  test -s "$work/root/usr/share/doc/mdatp-agent/copyright"
}

timer_is_enabled() {
  same "$(inside systemctl is-enabled $timer)" enabled
  active $timer
  same "$(inside systemctl is-enabled $daemon || :)" disabled
  not active $daemon
  inside systemctl list-timers --no-pager | has "$timer *$updater"
}

unconfigured_run_is_quiet() {
  local since
  since=$(now)
  inside systemctl start $updater
  same "$(property $updater Result)" success
  # It is less than a notice, and journald keeps that out, but for units that have ended when
  # it comes to ask.
  same "$(journal --unit=$updater --since="$since" --priority=notice --output=cat)" ""
  same "$(property $updater LogLevelMax)" 5
  same "$(inside ls -A /var/opt/mdatp-agent)" ""
}

first_update_from_document() {
  from_document trust
  from_document configure
  from_document first-update
  same "$(installed)" "$(published)"
  same "$(status)" up_to_date
  same "$(inside find /var/opt/mdatp-agent ! -user mdatp-agent)" ""
}

health_for_any_user() {
  same "$(as_plain mdatp-agent health --field definitions_version)" "\"$(published)\""
  as_plain mdatp-agent health --details definitions | has '^definitions_status  *: "up_to_date"$'
  as_plain mdatp-agent definitions verify
  not as_plain mdatp-agent definitions update
}

timer_from_document() { from_document timer; }

# timer_updates lets the timer alone do it, with an interval that is over in a minute.
timer_updates() {
  local dir=$work/root/etc/systemd/system/$timer.d by_hand
  by_hand=$(inside mdatp-agent health --field definitions_source_isolation)
  publish mirror 2000000
  configure "http://mirror.example:8000/linux/production/"
  mkdir -p "$dir"
  printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/3\nRandomizedDelaySec=0\nAccuracySec=100ms\n' >"$dir/e2e.conf"
  inside systemctl daemon-reload
  inside systemctl restart $timer
  within 80 is_installed "$(published)"
  same "$(property $updater Result)" success
  journal --unit=$updater --output=cat | has "updated from 1.407.2.0 to $(published)"
  # In the unit, with its filter of system calls, the process that reads sources is
  # confined as it is without.
  same "$(inside mdatp-agent health --field definitions_source_isolation)" "$by_hand"
}

# idle_timer_is_silent: some runs with nothing to do leave nothing behind.
idle_timer_is_silent() {
  local since runs before
  since=$(now)
  before=$(inside find /var/opt/mdatp-agent -printf '%p %T@ %C@\n' | sort)
  runs=$(property $updater ExecMainStartTimestampMonotonic)
  sleep 7
  [ "$(property $updater ExecMainStartTimestampMonotonic)" -gt "$runs" ] || fail "the timer did not fire"
  same "$(journal --unit=$updater --since="$since" --output=cat)" ""
  same "$(inside find /var/opt/mdatp-agent -printf '%p %T@ %C@\n' | sort)" "$before"
}

inhibited() {
  inside touch /run/mdatp-agent/inhibit/maintenance
  publish mirror 1000000
  configure "$(by_another_name)" # another URL is due at once
  sleep 5
  [ "$(installed)" != "$(published)" ] || fail "an update began in spite of the file"
  inside rm /run/mdatp-agent/inhibit/maintenance
  within 20 is_installed "$(published)"
}

exposure() {
  local unit
  for unit in $updater $daemon $filler.service; do
    inside systemd-analyze security --no-pager --threshold=15 "$unit"
  done
}

# engine_is_reloaded: an engine of another user sees each exchange, and once.
engine_is_reloaded() {
  local engine=$work/root/etc/systemd/system/engine.service
  cat >"$engine" <<'END'
[Service]
User=plain
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'readlink /var/opt/mdatp-agent/definitions.noindex/current >>/tmp/engine-loads'
END
  inside systemctl daemon-reload
  inside systemctl start engine.service
  from_document engine
  local turn
  for turn in 1 2 3; do
    publish mirror 1000000
    configure "$(by_another_name)"
    within 20 is_installed "$(published)"
    within 10 engine_has "$turn"
  done
  sleep 2
  same "$(inside sort /tmp/engine-loads | uniq -d)" ""
  inside systemctl disable --now mdatp-agent-engine.path
  inside systemctl stop engine.service
  rm -f "$engine" "$work/root/etc/systemd/system/mdatp-agent-engine".*
  inside systemctl daemon-reload
}

# engine_has TURN tells that the engine loaded what is active, as the n-th set.
engine_has() {
  [ "$(inside grep -c . /tmp/engine-loads)" = "$1" ] && [ "$(inside tail -n 1 /tmp/engine-loads)" = "$(inside readlink $sets/current)" ]
}

# journal_is_clean: no warning of ours, and no error of anybody.
journal_is_clean() {
  same "$(journal --priority=warning --unit=$updater --unit=$daemon --unit=$timer --output=cat)" ""
  same "$(journal --priority=err --output=short)" ""
}

## The daemon

daemon_from_document() {
  from_document daemon
  rm -rf "$work/root/etc/systemd/system/$timer.d"
  active $daemon
  not active $timer
}

daemon_says_what_it_does() {
  same "$(property $daemon Type)" notify
  [ -n "$(property $daemon StatusText)" ] || fail "no status"
  property $daemon StatusText
  same "$(property $daemon User)" mdatp-agent
  same "$(property $daemon NRestarts)" 0
}

# daemon_excludes_timer: a scheduled run beside the daemon does nothing.
daemon_excludes_timer() {
  local since
  since=$(now)
  inside systemctl start $updater
  same "$(property $updater Result)" success
  same "$(journal --unit=$updater --since="$since" --output=cat)" ""
  inside runuser -u mdatp-agent -- mdatp-agent definitions update --scheduled --output json | jq -e '.outcome == "skipped"'
}

# change_is_obeyed within two seconds, and the time that the update itself takes.
change_is_obeyed() {
  local began
  publish mirror 1000000
  configure "$(by_another_name)"
  began=$EPOCHREALTIME
  within 6 is_installed "$(published)"
  note "installed $(seconds_since "$began") s after the change"
  within 5 came_from "http://$(cat "$work/name").example:8000/linux/production/"
}

broken_configuration_changes_nothing() {
  local file=$work/root/etc/opt/microsoft/mdatp/managed/mdatp_managed.json
  cp "$file" "$file.good"
  echo '{ "cloudService": ' >"$file"
  within 4 fails_with config_invalid
  same "$(installed)" "$(published)"
  active $daemon
  mv "$file.good" "$file"
  within 4 fails_with '""'
}

# came_from and fails_with are about what a run records behind the exchange.
came_from() { [ "$(inside mdatp-agent health --field definitions_update_source_uri)" = "\"$1\"" ]; }

fails_with() { inside mdatp-agent health --field definitions_update_fail_reason | has "$1"; }

reload() {
  local pid
  pid=$(main_process $daemon)
  inside systemctl reload $daemon
  active $daemon
  same "$(property $daemon MainPID)" "$pid"
}

memory_at_rest() {
  local kib
  within 20 is_status up_to_date
  sleep 3
  kib=$(inside grep VmRSS "/proc/$(main_process $daemon)/status" | tr -dc 0-9)
  note "resident: $kib KiB"
  [ "$kib" -le 20480 ] || fail "$kib KiB are more than 20 MB"
}

# local_configuration writes the agent's own file. It is never taken away again: that
# would count only after ten minutes.
local_configuration() { echo "$1" >"$work/root/etc/opt/mdatp-agent/agent.json"; }

# hooks_in_the_unit: what the unit may do is enough for hooks, and a set that one of
# them condemns never becomes active.
hooks_in_the_unit() {
  local hook=$work/root/usr/local/bin/hook before
  cat >"$hook" <<'END'
#!/bin/sh
[ -s "$AGENT_SET_DIR/META/package.p7m" ] || exit 3
ulimit -n 64 || exit 4
echo "$1 $AGENT_DEFINITIONS_VERSION $(id -un)" >>/var/opt/mdatp-agent/hooked
[ "$1" != condemn ]
END
  chmod 755 "$hook"
  local_configuration '{"agent": {"hooks": {"preload": {"command": ["/usr/local/bin/hook", "pre"]}, "postload": {"command": ["/usr/local/bin/hook", "post"]}}}}'
  publish mirror 1000000
  configure "$(by_another_name)"
  within 10 is_installed "$(published)"
  within 5 test -s "$work/root/var/opt/mdatp-agent/hooked"
  sleep 1
  same "$(inside cat /var/opt/mdatp-agent/hooked)" "pre $(published) mdatp-agent
post $(published) mdatp-agent"
  before=$(published)
  local_configuration '{"agent": {"hooks": {"preload": {"command": ["/usr/local/bin/hook", "condemn"]}}}}'
  publish mirror 1000000
  configure "$(by_another_name)"
  within 10 fails_with preload_failed
  same "$(installed)" "$before"
  local_configuration '{}'
  inside rm /var/opt/mdatp-agent/hooked /usr/local/bin/hook
  publish mirror 1000000
  configure "$(by_another_name)"
  within 10 is_installed "$(published)"
  within 5 fails_with '""'
}

# metrics_with_drop_in: the example opens the directory that node_exporter reads.
metrics_with_drop_in() {
  local dir=/var/lib/prometheus/node-exporter
  inside groupadd --system prometheus
  inside install -d -m 2775 -g prometheus $dir
  mkdir -p "$work/root/etc/systemd/system/$daemon.d"
  cp "$work/root/usr/share/doc/mdatp-agent/examples/metrics.conf" "$work/root/etc/systemd/system/$daemon.d/"
  inside systemctl daemon-reload
  inside systemctl restart $daemon
  local_configuration '{"agent": {"metricsFile": "/var/lib/prometheus/node-exporter/mdatp-agent.prom"}}'
  publish mirror 1000000
  configure "$(by_another_name)"
  within 10 is_installed "$(published)"
  within 5 test -s "$work/root$dir/mdatp-agent.prom"
  within 5 grep -q "$(published)" "$work/root$dir/mdatp-agent.prom"
  ! command -v promtool || promtool check metrics <"$work/root$dir/mdatp-agent.prom"
  local_configuration '{}'
  sleep 2
  no_drop_in
  inside systemctl restart $daemon
  inside rm -r /var/lib/prometheus
  inside groupdel prometheus
}

## Trouble

fallback_and_back() {
  publish cloud 1000000
  stop_serving mirror
  configure "$(by_another_name)"
  within 60 is_installed "$(published)"
  within 5 came_from http://cloud.example:8001/updates.zip
  within 5 fails_with source_unreachable
  within 5 is_status up_to_date
  serve mirror 8000 "$work/mirror" ""
  publish mirror 1000000
  configure "$(by_another_name)"
  within 20 is_installed "$(published)"
  within 5 came_from "http://$(cat "$work/name").example:8000/linux/production/"
  within 5 fails_with '""'
}

# drop_in SETTING... changes the daemon's unit for a step.
drop_in() {
  local dir=$work/root/etc/systemd/system/$daemon.d
  mkdir -p "$dir"
  { echo "[Service]" && printf '%s\n' "$@"; } >"$dir/e2e.conf"
  inside systemctl daemon-reload
}

no_drop_in() {
  rm -r "$work/root/etc/systemd/system/$daemon.d"
  inside systemctl daemon-reload
}

is_another() { [ "$(property $daemon MainPID)" != "$1" ] && active $daemon; }

killed_daemon_comes_back() {
  local pid
  pid=$(main_process $daemon)
  drop_in RestartSec=1
  inside kill -9 "$pid"
  within 10 is_another "$pid"
  same "$(property $daemon NRestarts)" 1
  same "$(installed)" "$(published)"
  no_drop_in
}

hung_daemon_is_restarted() {
  local pid
  drop_in RestartSec=1 WatchdogSec=3 TimeoutStopSec=2 TimeoutAbortSec=2
  inside systemctl restart $daemon
  pid=$(main_process $daemon)
  sleep 7
  same "$(property $daemon MainPID)" "$pid" # fed, it lives
  inside kill -STOP "$pid"
  within 20 is_another "$pid"
  no_drop_in
  inside systemctl restart $daemon
}

# stop_in_transfer: a stop takes less than a second, and what was fetched is not fetched
# again.
stop_in_transfer() {
  local took size sent
  publish mirror 3000000
  sleep 3 # of a file that was written just now, a server's tag is not believed
  configure "$(by_another_name 8002)"
  within 10 is_status updating
  sleep 10
  inside systemctl stop $daemon
  # By systemd's own record, which has no time in it that this script or systemctl took.
  took=$(awk -v a="$(property $daemon ActiveExitTimestampMonotonic)" -v b="$(property $daemon InactiveEnterTimestampMonotonic)" \
    'BEGIN { printf "%.1f", (b - a) / 1e6 }')
  note "stopped in $took s"
  [[ $took == 0.* ]] || fail "stopping took $took s"
  same "$(property $daemon Result)" success
  [ "$(installed)" != "$(published)" ] || fail "it was installed before it could be stopped"
  inside systemctl start $daemon
  within 60 is_installed "$(published)"
  size=3000000
  cat "$work/nginx/slow.access"
  sent=$(awk '$1 == "GET" { n += $4 } END { print n }' "$work/nginx/slow.access")
  note "$sent bytes were sent for $size of news, in two runs"
  [ "$sent" -lt $((size * 5 / 4)) ] || fail "the transfer began anew"
  configure "$(by_another_name)"
}

reboot() {
  local before machine
  before=$(inside sha256sum /var/opt/mdatp-agent/definitions.noindex/current/META/package.p7m)
  machine=$(inside cat /etc/machine-id)
  halt_machine
  boot
  same "$(inside cat /etc/machine-id)" "$machine"
  within 10 active $daemon
  same "$(inside sha256sum /var/opt/mdatp-agent/definitions.noindex/current/META/package.p7m)" "$before"
  same "$(inside stat -c '%U:%G %a' /run/mdatp-agent/inhibit)" "root:root 755"
  publish mirror 1000000
  configure "$(by_another_name)"
  within 20 is_installed "$(published)"
}

journal_of_this_boot_is_clean() { journal_is_clean; }

## Upgrade and removal

upgrade_under_daemon() {
  local pid state
  cp "$top"/build/_e2e.packages/1.0.1/mdatp-agent_*.deb "$work/root/root/new/"
  pid=$(main_process $daemon)
  state=$(inside readlink $sets/current)
  from_document upgrade /root/new
  [[ $(inside mdatp-agent version) == "agent 1.0.1"* ]]
  is_another "$pid"
  same "$(inside readlink "/proc/$(main_process $daemon)/exe")" /usr/bin/mdatp-agent
  same "$(inside readlink $sets/current)" "$state"
  same "$(inside systemctl is-enabled $timer || :)" disabled # as the administrator left it
  active $daemon
  not active $timer
}

# upgrade_under_update goes back to the first version and upgrades again, while an
# update that the timer's service began is on a slow line.
upgrade_under_update() {
  local pid
  inside sh -c 'dpkg -i /root/mdatp-agent_*.deb'
  from_document back-to-timer
  publish mirror 4000000 # half a minute, which is more than the upgrade takes
  configure "$(by_another_name 8002)"
  inside systemctl start --no-block $updater
  within 10 is_status updating
  pid=$(main_process $updater)
  from_document upgrade /root/new
  same "$(property $updater MainPID)" "$pid"
  is_status updating
  within 120 is_installed "$(published)"
  within 10 gone_inside $updater
  same "$(property $updater Result)" success
  active $timer
  same "$(inside systemctl is-enabled $timer)" enabled
}

gone_inside() { [ "$(property "$1" MainPID)" = 0 ]; }

## The mirror's unit

# mirror_is_filled has the unit and its timer fill a mirror from a cloud, and an
# endpoint live on that.
mirror_is_filled() {
  local tree=/var/lib/mdatp-agent-mirror units=$work/root/etc/systemd/system name arch
  name=$(uname -m | sed s/aarch64/arm64/)
  arch=linux/production/arch_$name
  same "$(inside systemctl is-enabled $filler.timer || :)" disabled
  mkdir "$units/$filler.service.d" "$units/$filler.timer.d"
  printf '[Service]\nExecStart=\nExecStart=/usr/bin/mdatp-agent mirror sync --settings /etc/opt/mdatp-agent/mirror/settings.json %s\n' \
    "--base-url http://cloud.example:8003/vendor --trust /etc/opt/mdatp-agent/trust --arch $name" >"$units/$filler.service.d/e2e.conf"
  printf '[Timer]\nOnCalendar=\nOnCalendar=*:*:0/3\nRandomizedDelaySec=0\nAccuracySec=100ms\n' >"$units/$filler.timer.d/e2e.conf"
  inside systemctl daemon-reload
  offer 1000000
  from_document mirror-sync
  within 120 inside test -e "$tree/$arch/updates.zip"
  inside systemctl stop $filler.timer
  within 60 gone_inside $filler.service
  same "$(jq -r .DefinitionVersion "$work/root$tree/$arch/manifest.json")" "$(published)"
  same "$(inside find $tree ! -user mdatp-agent)" ""
  inside grep -q "updated to definitions $(published)" /var/log/mdatp-agent-mirror/sync.log
  # The next release; the one before becomes n-1.
  offer 1000000
  inside systemctl start $filler.service
  same "$(property $filler.service Result)" success
  journal --unit=$filler.service --output=cat | has "^$arch: updated from .* to $(published)$"
  as_plain mdatp-agent mirror check $tree --arch "$name"
  configure $tree/linux/production
  inside mdatp-agent definitions update --wait 60s
  same "$(installed)" "$(published)"
  # A cloud that is away is a failure that cron and systemd see.
  stop_serving vendor
  not inside systemctl start $filler.service
  same "$(property $filler.service ExecMainStatus)" 69
  inside systemctl reset-failed $filler.service
  rm -r "$units/$filler.service.d" "$units/$filler.timer.d"
  inside systemctl daemon-reload
}

cli_package() {
  local fake=$work/fake
  cp "$top"/build/_e2e.packages/1.0.1/mdatp-agent-cli_*.deb "$work/root/root/"
  inside sh -c 'apt-get install -y /root/mdatp-agent-cli_*.deb'
  inside mdatp health --field definitions_version
  mkdir -p "$fake/DEBIAN" "$fake/usr/bin"
  printf 'Package: mdatp\nVersion: 101.1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: stands for the real one\n' >"$fake/DEBIAN/control"
  echo real >"$fake/usr/bin/mdatp"
  dpkg-deb --build "$fake" "$work/root/root/mdatp.deb"
  not inside dpkg -i /root/mdatp.deb
  inside apt-get purge -y mdatp-agent-cli
  inside dpkg -i /root/mdatp.deb
  not inside sh -c 'dpkg -i /root/mdatp-agent-cli_*.deb'
  same "$(inside cat /usr/bin/mdatp)" real
  inside apt-get purge -y mdatp-agent-cli mdatp
}

removal_and_purge() {
  inside systemctl enable --now $daemon
  from_document removal
  not active $daemon
  not active $timer
  same "$(inside find /etc/systemd/system -name 'mdatp-agent*')" ""
  inside test -e $sets/current/META/package.p7m
  inside test -e /etc/opt/mdatp-agent/trust/root.pem
  # It comes back as it was, enabled again.
  cp "$top"/build/_e2e.packages/1.0.1/mdatp-agent_*.deb "$work/root/root/new/"
  inside sh -c 'dpkg -i /root/new/mdatp-agent_*.deb'
  same "$(inside systemctl is-enabled $timer)" enabled
  same "$(installed)" "$(published)"
  # What is not the agent's is left, and nothing is done where links lead.
  inside ln -s /opt/microsoft /var/opt/mdatp-agent/elsewhere
  inside install -D /dev/null /var/opt/mdatp-agent/foreign/file
  from_document purge
  # Nor is what a mirror serves, and the settings that it was filled by.
  inside test -e /var/lib/mdatp-agent-mirror/linux/production
  inside test -e /etc/opt/mdatp-agent/mirror/settings.json
  inside rm -r /var/lib/mdatp-agent-mirror
  same "$(inside find /var/opt/mdatp-agent -mindepth 1 -printf '%P ')" "foreign foreign/file "
  inside rm -r /var/opt/mdatp-agent
  inside test -e /etc/opt/mdatp-agent/trust/root.pem
  inside rm -r /etc/opt/mdatp-agent
  same "$(everything | diff "$work/before" - | grep -E '^[<>]' || :)" "$(expected_leftovers)"
  inside getent passwd mdatp-agent
  same "$(inside ls -A /run | grep mdatp || :)" ""
  same "$(defender | diff "$work/defender" - || :)" ""
}

# expected_leftovers is what stays of any package with a user: the copies that useradd's
# kin make of their files.
expected_leftovers() { everything | diff "$work/before" - | grep -E '^> \./etc/(passwd|group|g?shadow)-$' || :; }

# rpm_package looks at the .rpm with rpm itself, and installs it into an empty root.
rpm_package() {
  local rpm scratch=$work/scratch
  command -v rpm >/dev/null || cannot "rpm is missing (Debian: rpm)"
  rpm=$(echo "$top"/build/_e2e.packages/1.0.1/mdatp-agent-1.0.1-1.*.rpm)
  rpm -qlp "$rpm" | has -x /usr/lib/systemd/system/$timer
  rpm -qlp "$rpm" | has -x /usr/share/zsh/site-functions/_mdatp-agent
  rpm -qp --scripts "$rpm" | has 'systemctl preset'
  mkdir -p "$scratch"
  rpm --root "$scratch" --dbpath /rpmdb --nodeps --noscripts -i "$rpm"
  "$scratch/usr/bin/mdatp-agent" version | has '^agent 1.0.1'
  same "$(stat -c '%a' "$scratch/etc/opt/mdatp-agent/trust")" 755
  rpm --root "$scratch" --dbpath /rpmdb --nodeps --noscripts -e mdatp-agent
  same "$(find "$scratch" -name '*mdatp*')" ""
}
