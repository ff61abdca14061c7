# What every part of the benchmark uses: tools, statistics, the machine. Sourced
# by bench/run; sets nothing up by itself.
# shellcheck shell=bash

stop() {
    echo "bench: $*" >&2
    exit 1
}

say() { echo "bench: $*" >&2; }

# has says whether a peer is installed; what is missing is left out, loudly.
has() { command -v "$1" >/dev/null; }

# need looks for everything at once, so that nobody installs one tool at a time.
need() {
    local tool missing=()
    for tool in go nginx curl unzip openssl jq awk sha256sum findmnt; do
        has "$tool" || missing+=("$tool")
    done
    # The shell has a word of the same name that measures no memory.
    [ -x /usr/bin/time ] || missing+=(/usr/bin/time)
    if [ "${#missing[@]}" != 0 ]; then
        stop "not found: ${missing[*]}; 'make bench-deps' installs what is missing"
    fi
    for tool in zsync zsyncmake freshclam gnuplot; do
        has "$tool" || say "LEFT OUT: what $tool is needed for; 'make bench-deps' installs it"
    done
}

is_number() { case $1 in '' | *[!0-9]* | 0*) return 1 ;; esac; }

# calc FORMAT EXPRESSION prints what awk makes of it.
calc() { awk "BEGIN { printf \"$1\", $2 }"; }

# ---- columns of figures ---------------------------------------------------
#
# A column is a file in $tmp/figures with one line for each run:
# wall seconds, peak RSS in kB, CPU seconds, requests, bytes sent, bytes of body

wall=1 rss=2 cpu=3 requests=4 sent=5 body=6

# measured COLUMN says whether there is such a column at all.
measured() { [ -s "$tmp/figures/$1" ]; }

# figure COLUMN FIELD WHICH gives the median, min or max of a field.
figure() {
    cut -d ' ' -f "$2" "$tmp/figures/$1" | sort -n | awk -v which="$3" '
        { v[NR] = $1 }
        END {
            if (which == "min") print v[1]
            else if (which == "max") print v[NR]
            else if (NR % 2) print v[(NR + 1) / 2]
            else print (v[NR / 2] + v[NR / 2 + 1]) / 2
        }'
}

ratio() { calc %.2f "$1 / $2"; }
megabytes() { calc "${2:-%.1f}" "$1 / 1e6"; }

# ---- the machine ----------------------------------------------------------

# probe gives the seconds that the disk alone takes, to judge the rest by.
probe() {
    local TIMEFORMAT=%R
    noise 100000000 7 >"$tmp/noise"
    sync
    { time dd if="$tmp/noise" of="$tmp/probe" bs=1M conv=fsync 2>/dev/null; } 2>&1
    rm "$tmp/noise" "$tmp/probe"
}

machine() {
    local model
    model=$(awk -F ': *' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    echo "- CPU: ${model:-unknown}, $(nproc) cores; $(awk '/^MemTotal/ { printf "%.0f", $2 / 1e6 }' /proc/meminfo) GB of memory"
    echo "- disk: $(findmnt -no FSTYPE -T "$tmp"), a plain write and fsync of 100 MB take $probe_before s at the start and $probe_after s at the end"
    echo "- kernel $(uname -r), $(go env GOVERSION), $(nginx -v 2>&1 | sed 's/.*: //'), $(curl -V | awk 'NR == 1 { print $1, $2 }')," \
        "$(openssl version | cut -d ' ' -f 1,2), $(unzip -v | awk 'NR == 1 { print $1, $2 }')$(peer_versions)"
    echo "- load average of the last minute, at the starts of the turns: $(figure load 1 min) to $(figure load 1 max), median $(figure load 1 median)"
}

peer_versions() {
    if has zsync; then printf ', %s' "$(zsync -V 2>&1 | awk 'NR == 1 { print $1, $2 }')"; fi
    if has freshclam; then printf ', freshclam %s' "$(freshclam --version | sed 's/^ClamAV //; s,/.*,,')"; fi
}
