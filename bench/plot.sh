# The pictures, by gnuplot. Sourced by bench/run.
# shellcheck shell=bash

# plot draws both pictures as PNG into the directory of results.
plot() {
    has gnuplot || return 0
    plot_data
    gnuplot -d -e "data='$tmp/plot'; out='$results/peers.png'" "$here/bench/peers.gp"
    gnuplot -d -e "data='$tmp/plot'; out='$results/growth.png'; most=40" "$here/bench/growth.gp"
}

# bar POSITION COLOUR WHO COLUMN prints a bar of the first picture: position, wall
# seconds, megabytes, colour, who.
bar() {
    measured "$4" || return 0
    echo "$1 $(figure "$4" $wall median) $(megabytes "$(figure "$4" $sent median)" %.6f) $2 \"$3\""
}

# plot_data writes the figures as gnuplot reads them.
plot_data() {
    local n operation
    mkdir -p "$tmp/plot"
    {
        bar 1 1 script script-full
        bar 2 2 "curl, unzip" plain-full
        bar 3 5 agent agent-full
        bar 5 1 script script-delta
        bar 6 3 zsync zsync-delta
        bar 7 5 agent agent-delta
        bar 9 4 freshclam freshclam-nothing
        bar 10 5 agent agent-nothing
    } >"$tmp/plot/peers"
    for n in "${sizes[@]}"; do
        echo "$n $(figure "script-size$n" $wall median) $(figure "agent-size$n" $wall median)" \
            "$(figure "agent-delta$n" $wall median) $(calc %.1f "$(figure "agent-size$n" $rss max) * 1024 / 1e6")"
    done >"$tmp/plot/sizes"
    for n in "${files[@]}"; do
        echo "$n $(figure "script-files$n" $wall median) $(figure "agent-files$n" $wall median)"
    done >"$tmp/plot/files"
    for operation in nothing delta; do
        for n in "${fleets[@]}"; do
            echo "$n $(cut -d ' ' -f 6 "$tmp/figures/fleet-$operation-$n")"
        done >"$tmp/plot/fleet-$operation"
    done
}
