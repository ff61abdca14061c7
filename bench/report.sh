# What is told: tables, and what was promised. Sourced by bench/run.
# shellcheck shell=bash

wall_row() { # OPERATION WHO COLUMN
    measured "$3" || return 0
    printf '| %s | %s | %.3f | %.3f to %.3f | %.2f | %s | %.0f | %.0f |\n' "$1" "$2" "$(figure "$3" $wall median)" \
        "$(figure "$3" $wall min)" "$(figure "$3" $wall max)" "$(figure "$3" $cpu median)" \
        "$(calc %.1f "$(figure "$3" $rss max) * 1024 / 1e6")" "$(figure "$3" $requests median)" "$(figure "$3" $sent median)"
}

peers_table() {
    local operation
    echo "| operation | by | wall s, median | min to max | CPU s | peak RSS MB, max | requests | bytes from the server |"
    echo "|---|---|---:|---:|---:|---:|---:|---:|"
    for operation in install full delta nothing; do
        wall_row "$operation" script "script-$operation"
        wall_row "$operation" "curl, unzip" "plain-$operation"
        wall_row "$operation" zsync "zsync-$operation"
        wall_row "$operation" freshclam "freshclam-$operation"
        wall_row "$operation" "**agent**" "agent-$operation"
    done
}

# ---- promises -------------------------------------------------------------

# promise KIND TEXT IS AT_MOST prints a row and, where it is not kept, says so. The
# kind is time, which decides nothing, or count.
promise() {
    local kept
    kept=$(awk -v is="$3" -v most="$4" 'BEGIN { print (is <= most) ? "yes" : "NO" }')
    echo "| $2 | $3 | $4 | $kept |"
    if [ "$kept" = NO ]; then
        say "NOT KEPT ($1): $2: $3, at most $4"
        echo "$2" >>"$tmp/broken-$1"
    fi
}

# judge fails where a promise was broken that does not depend on the machine.
judge() { [ ! -e "$tmp/broken-count" ] || stop "bytes, requests or memory are above what is promised"; }

ratio_of() { ratio "$(figure "$1" $wall median)" "$(figure "$2" $wall median)"; }

# delta_needs is what a delta update has to fetch: the compressed size of the two
# changed entries, the list, and the archive's directory with its end record.
delta_needs() {
    local zip entries directory
    zip=$(zip_of successor)
    entries=$(unzip -v "$zip" | awk '$NF ~ /^(mp..dlta.vdm|META\/package.p7m)$/ { n += $3 } END { print n }')
    directory=$(tail -c 10 "$zip" | od -An -t u4 -N 4)
    echo $((entries + directory + 22))
}

peak() { # of the agent in all that was measured, in MB
    cat "$tmp"/figures/agent-* | awk '$2 > max { max = $2 } END { printf "%.1f", max * 1024 / 1e6 }'
}

part_of_straight() { # FIELD of the interrupted, as a part of a straight transfer
    awk -v f="$1" '{ r = $f / $1; if (r > max) max = r } END { printf "%.3f", max }' "$tmp/figures/interrupted"
}

promises_table() {
    echo "| promise | is | at most | kept |"
    echo "|---|---:|---:|---|"
    promise time "full update, wall, of the script's" "$(ratio_of agent-full script-full)" 0.45
    promise time "full update, wall, of curl and unzip alone" "$(ratio_of agent-full plain-full)" 0.7
    promise time "delta update, wall, of the script's" "$(ratio_of agent-delta script-delta)" 0.2
    promise count "delta update, bytes from the server (changed entries, directory, list, and 64 KiB)" \
        "$(figure agent-delta $sent max)" "$(($(delta_needs) + 65536))"
    if measured zsync-delta; then
        promise count "delta update, bytes from the server, against zsync's" "$(figure agent-delta $sent max)" "$(figure zsync-delta $sent min)"
        promise time "delta update, wall, of zsync's" "$(ratio_of agent-delta zsync-delta)" 1
    fi
    promise count "nothing new, requests" "$(figure agent-nothing $requests max)" 1
    promise count "nothing new, bytes of body" "$(figure agent-nothing $body max)" 0
    if measured freshclam-nothing; then
        promise time "nothing new, wall, of freshclam's" "$(ratio_of agent-nothing freshclam-nothing)" 1
    fi
    promise count "killed at 90 % and started again, bytes in all, of one transfer" "$(part_of_straight 2)" 1.02
    promise count "connections lost at 90 %, bytes in all, of one transfer" "$(part_of_straight 3)" 1.02
    promise count "peak memory of the agent in any of these, MB" "$(peak)" 40
}

# ---- growth ---------------------------------------------------------------

sizes_table() {
    local size
    echo "| package MB | script, install, wall s | agent, install, wall s | agent, delta, wall s | delta, bytes from the server | agent's peak RSS MB |"
    echo "|---:|---:|---:|---:|---:|---:|"
    for size in "${sizes[@]}"; do
        printf '| %s | %.2f | %.2f | %.3f | %.0f | %s |\n' "$size" "$(figure "script-size$size" $wall median)" \
            "$(figure "agent-size$size" $wall median)" "$(figure "agent-delta$size" $wall median)" \
            "$(figure "agent-delta$size" $sent median)" \
            "$(calc %.1f "$(figure "agent-size$size" $rss max) * 1024 / 1e6")"
    done
}

files_table() {
    local n
    echo "| files in $main MB | script, install, wall s | agent, install, wall s | agent's requests |"
    echo "|---:|---:|---:|---:|"
    for n in "${files[@]}"; do
        printf '| %s | %.2f | %.2f | %.0f |\n' "$n" "$(figure "script-files$n" $wall median)" \
            "$(figure "agent-files$n" $wall median)" "$(figure "agent-files$n" $requests median)"
    done
}

fleets_table() {
    local n operation
    echo "| endpoints | poll | requests | bytes from the server | without an answer | seconds | slowest in 100, ms | nginx, CPU s |"
    echo "|---:|---|---:|---:|---:|---:|---:|---:|"
    for n in "${fleets[@]}"; do
        for operation in nothing delta; do
            awk -v n="$n" -v o="$operation" '{ printf "| %s | %s | %s | %.0f | %s | %.1f | %s | %s |\n", n, o, $1, $2, $3, $4, $5, $6 }' \
                "$tmp/figures/fleet-$operation-$n"
        done
    done
}

report() {
    cat <<END
# The last measurement

Made by \`bench/run\` on $(date -u +%F); \`docs/benchmarks.md\` says what it means. Package: $main MB in 6 files,
$(megabytes "$(wc -c <"$(zip_of successor)")") MB as a zip; in its successor the two delta files are new, 5 MB. $pairs runs each, in turns, page cache warm.

## What was promised

$(promises_table)

## The peers

![Wall time and bytes from the server](peers.png)

$(peers_table)

Full: everything is new. Delta: the two delta files are. RSS is that of the largest process; bytes are those of nginx's access log, headers included.

## How cost grows

![How cost grows](growth.png)

$(sizes_table)

Medians of $repeats; content in the same proportions, so a delta grows with its package.

$(files_table)

A fleet, each endpoint once and at a random moment of $fleet_seconds s, package of $fleet_mb MB:

$(fleets_table)

## The machine

$(machine)
END
}
