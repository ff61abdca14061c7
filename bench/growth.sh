# How cost grows: with the package's size, with the number of its files, and with
# the endpoints that ask one mirror. Sourced by bench/run.
# shellcheck shell=bash

repeats=3 # runs for each size and number, of which the median is shown

# measure_sizes times installs and delta updates of packages of other sizes.
measure_sizes() {
    local size i
    for size in "${sizes[@]}"; do
        say "packages of $size MB"
        content "$tmp/content/size" "$size" 420
        publish size 420
        mkdir -p "$tmp/content/next"
        cp "$tmp/content/size"/* "$tmp/content/next"
        deltas "$tmp/content/next" "$size" 421
        publish next 421
        for ((i = 0; i < repeats; i++)); do
            fresh agent
            step agent size "size$size"
            step agent next "delta$size"
            fresh script
            step script size "size$size"
        done
        rm -rf "$tmp/machines"
        unpublish size
        unpublish next
    done
}

# measure_files times installs of packages of one size, in one file or many.
measure_files() {
    local n i
    for n in "${files[@]}"; do
        say "a package of $n files"
        split_content "$tmp/content/split" $main 422 "$n"
        publish split 422
        for ((i = 0; i < repeats; i++)); do
            fresh agent
            step agent split "files$n"
            fresh script
            step script split "files$n"
        done
        rm -rf "$tmp/machines"
        unpublish split
    done
}

# ---- a fleet --------------------------------------------------------------

fleet_mb=10 # MB, small enough that ten thousand delta updates can be moved
fleet_seconds=${FLEET_SECONDS:-20} # the period into which their eight hours are pressed

# measure_fleets lets endpoints poll a mirror, once where they have what there is
# and once where a new package came, for which they ask as the agent was seen to.
measure_fleets() {
    local n package old new
    say "a fleet's package"
    content "$tmp/content/size" $fleet_mb 423
    publish size 423
    mkdir -p "$tmp/content/next"
    cp "$tmp/content/size"/* "$tmp/content/next"
    deltas "$tmp/content/next" $fleet_mb 424
    publish next 424
    fresh agent
    step agent size fleet-install
    package=$url/arch_$arch/updates.zip
    old=$(etag_of "$package")
    step agent next fleet-delta
    new=$(etag_of "$package")
    local -a asked=()
    mapfile -t asked < <(awk -F '"' '$2 != "-" { print "-range"; print $2 }' "$tmp/logs/agent-fleet-delta")
    for n in "${fleets[@]}"; do
        say "a fleet of $n, nothing new"
        fleet "$n" nothing -etag "$new" "${asked[@]:0:2}"
        say "a fleet of $n, a delta for each"
        fleet "$n" delta -etag "$old" "${asked[@]}"
    done
    unpublish size
    unpublish next
}

etag_of() { curl -fsSI "$1" | tr -d '\r' | sed -n 's/^ETag: //Ip'; }

# fleet N OPERATION FLAG... lets N endpoints poll, and keeps one line:
# requests, bytes sent, failed, seconds, ms of the slowest in 100, CPU s of nginx
fleet() {
    local n=$1 operation=$2 before after line
    shift 2
    forget
    before=$(server_cpu)
    line=$("$tmp/bin/fleet" -url "$package" -endpoints "$n" -period "${fleet_seconds}s" "$@")
    after=$(server_cpu)
    read -r _ _ failed seconds slowest <<<"$line"
    [ "$failed" = 0 ] || say "WARNING: $failed of $n endpoints got no answer"
    read -r asked_for sent_all _ <<<"$(logged)"
    echo "$asked_for $sent_all $failed $seconds $slowest $(calc %.2f "$after - $before")" \
        >"$tmp/figures/fleet-$operation-$n"
}
