# Who is measured, and how one run is. Sourced by bench/run.
#
#   agent      agent definitions update, as users run it
#   script     bench/admin-update.sh, the same work with stock tools
#   plain      curl -o and unzip alone: no check, no sync, no swap
#   zsync      zsync with its side file and the old zip as seed; no unpacking
#   freshclam  freshclam --update-db=custom, one tiny database
# shellcheck shell=bash

machine_root() { echo "$tmp/machines/$1"; }

# fresh OPERATOR [URL] makes a machine without definitions.
fresh() {
    local root
    root=$(machine_root "$1")
    rm -rf "${root:?}"
    mkdir -p "$root"
    case $1 in
    agent)
        mkdir -p "$root/etc/opt/mdatp-agent/trust" "$root/etc/opt/microsoft/mdatp/managed"
        cp "$(keyfile root)" "$root/etc/opt/mdatp-agent/trust/root.pem"
        jq -n --arg url "${2:-$url}" '{antivirusEngine: {offlineDefinitionUpdate: "enabled", offlineDefinitionUpdateUrl: $url}}' \
            >"$root/etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        ;;
    freshclam)
        mkdir "$root/db"
        cat >"$root/freshclam.conf" <<CONF
DatabaseDirectory $root/db
DatabaseOwner $(id -un)
DatabaseMirror 127.0.0.1
DatabaseCustomURL http://127.0.0.1:$port/clam/bench.hdb
TestDatabases no
CONF
        ;;
    esac
}

# command_of OPERATOR sets command to what is run and measured.
command_of() {
    local root zip=$url/arch_$arch/updates.zip
    root=$(machine_root "$1")
    case $1 in
    agent) command=("$agent" --root "$root" definitions update) ;;
    script) command=("$here/bench/admin-update.sh" "$zip" "$(keyfile root)" "$root") ;;
    plain) command=(sh -c 'curl -fsS -o "$1/updates.zip" "$2" && unzip -qo "$1/updates.zip" -d "$1/set"' sh "$root" "$zip") ;;
    zsync) command=(sh -c 'cd "$1" && zsync -q -i old.zip -o updates.zip "$2"' sh "$root" "$zip.zsync") ;;
    freshclam) command=(freshclam "--config-file=$root/freshclam.conf" --update-db=custom --no-dns --quiet) ;;
    esac
}

# update OPERATOR COLUMN runs one update and adds its figures to the column. What
# was written before is not its debt: a sync goes before it and is not measured.
update() {
    local -a command
    local start seconds
    command_of "$1"
    sync
    forget
    start=$EPOCHREALTIME
    if ! /usr/bin/time -v -o "$tmp/time" "${command[@]}" >"$tmp/out" 2>&1; then
        cat "$tmp/out" >&2
        stop "an update by the $1 failed ($2)"
    fi
    seconds=$(calc %.6f "$EPOCHREALTIME - $start")
    echo "$seconds $(resources) $(logged)" >>"$tmp/figures/$2"
    cp "$tmp/access.log" "$tmp/logs/$2"
}

# resources prints peak RSS in kB and CPU seconds of the last run. For those who
# start others, the first is that of the largest process.
resources() {
    awk '
        /Maximum resident set size/ { rss = $NF }
        /User time|System time/ { cpu += $NF }
        END { if (rss == "") exit 1; print rss, cpu }
    ' "$tmp/time" || stop "what time(1) printed is not understood"
}

# got OPERATOR NAME makes sure, not measured, that what is there now is what was
# served, to the last byte: a program that does nothing is quick.
got() {
    local active file root
    root=$(machine_root "$1")
    case $1 in
    agent) active=$root/var/opt/mdatp-agent/definitions.noindex/current ;;
    script) active=$root/current ;;
    plain) active=$root/set ;;
    zsync)
        cmp -s "$root/updates.zip" "$(zip_of "$2")" || stop "zsync made another file"
        return
        ;;
    esac
    for file in "$tmp/content/$2"/*; do
        cmp -s "$active/${file##*/}" "$file" || stop "after an update by the $1, ${file##*/} is not what was served"
    done
}
