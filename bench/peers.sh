# The agent and its peers, turn by turn: first install, full update, delta update,
# nothing new, and a transfer that is interrupted. Sourced by bench/run.
# shellcheck shell=bash

main=120 # MB, the size of the package that is timed

# prepare_peers builds three packages: first and successor differ in the two delta
# files alone, first and other in everything.
prepare_peers() {
    say "building the packages"
    content "$tmp/content/first" $main 417
    publish first 417
    content "$tmp/content/other" $main 418
    publish other 418
    mkdir -p "$tmp/content/successor"
    cp "$tmp/content/first"/* "$tmp/content/successor"
    deltas "$tmp/content/successor" $main 419
    publish successor 419
    if has zsyncmake; then
        (cd "$tmp/packages/successor/arch_$arch" && zsyncmake -u updates.zip -o updates.zip.zsync updates.zip 2>/dev/null)
    fi
    mkdir -p "$tmp/www/clam"
    echo '44d88612fea8a8f36de82e1278abb02f:68:Bench.Test' >"$tmp/www/clam/bench.hdb"
    touch -d '-1 hour' "$tmp/www/clam/bench.hdb"
}

# step OPERATOR NAME OPERATION measures one operation that ends with that package.
step() {
    serve "$2"
    update "$1" "$1-$3"
    got "$1" "$2"
}

turn_of_script() {
    fresh script
    step script first install
    step script other full
    fresh script
    update_unmeasured script first
    step script successor delta
}

turn_of_plain() {
    fresh plain
    step plain first install
    rm -rf "$(machine_root plain)/set"
    step plain other full
}

turn_of_zsync() {
    has zsync || return 0
    fresh zsync
    cp "$(zip_of first)" "$(machine_root zsync)/old.zip"
    step zsync successor delta
}

turn_of_agent() {
    fresh agent
    step agent first install
    step agent other full
    fresh agent
    update_unmeasured agent first
    step agent successor delta
}

# turn_of_nothing asks again where there is nothing new, a few times each because it
# takes so little. The agent has just had its delta.
turn_of_nothing() {
    local i
    if has freshclam; then
        fresh freshclam
        update freshclam unmeasured
        cmp -s "$(machine_root freshclam)/db/bench.hdb" "$tmp/www/clam/bench.hdb" ||
            stop "freshclam did not install the database"
    fi
    for ((i = 0; i < 5; i++)); do
        if has freshclam; then update freshclam freshclam-nothing; fi
        update agent agent-nothing
    done
}

# update_unmeasured OPERATOR NAME brings a machine to where a measurement begins.
update_unmeasured() {
    serve "$2"
    update "$1" unmeasured
}

# ---- interruptions --------------------------------------------------------

# start_cut BYTES THEN starts the relay that interrupts; its URL is the same each time.
start_cut() {
    : >"$tmp/cut.out"
    "$tmp/bin/cut" -to "127.0.0.1:$port" -listen "127.0.0.1:$cut_port" -after "$1" -then "$2" >"$tmp/cut.out" &
    cut=$!
    cut_says ready
}

# cut_says waits for a word of the relay, ten seconds at most.
cut_says() {
    local try
    for try in {1..1000}; do
        if grep -qx "$1" "$tmp/cut.out"; then return; fi
        sleep 0.01
    done
    stop "the relay never said $1"
}

# stop_cut ends the relay, and sets relayed to the bytes that reached the client.
# shellcheck disable=SC2034 # read by callers
stop_cut() {
    kill "$cut"
    wait "$cut" || true
    cut=
    relayed=$(grep -E '^[0-9]+$' "$tmp/cut.out" || echo 0)
}

# through_cut runs the agent to its end with the relay as it is.
through_cut() {
    "$agent" --root "$(machine_root agent)" definitions update >"$tmp/out" 2>&1 || {
        cat "$tmp/out" >&2
        stop "an update through the relay failed"
    }
    got agent first
}

# interrupted measures three first installs: one straight, one that is killed when 90 %
# of the bytes have come and then started again, one whose connections are
# dropped there.
interrupted() {
    local straight killed at
    at=$(($(wc -c <"$(zip_of first)") * 9 / 10))
    cut_port=$(free_port)
    serve first

    fresh agent "http://127.0.0.1:$cut_port/linux/production"
    start_cut 0 hold
    through_cut
    stop_cut
    straight=$relayed

    fresh agent "http://127.0.0.1:$cut_port/linux/production"
    start_cut "$at" hold
    "$agent" --root "$(machine_root agent)" definitions update >"$tmp/out" 2>&1 &
    killed=$!
    cut_says cut
    sleep 0.3 # for the agent to read what has come
    kill -9 "$killed"
    wait "$killed" 2>/dev/null || true
    stop_cut
    killed=$relayed
    start_cut 0 hold
    through_cut
    stop_cut
    killed=$((killed + relayed))

    fresh agent "http://127.0.0.1:$cut_port/linux/production"
    start_cut "$at" drop
    if "$agent" --root "$(machine_root agent)" definitions update >"$tmp/out" 2>&1; then
        got agent first
        stop_cut
    else # it gave up: what another run needs is added
        stop_cut
        at=$relayed
        start_cut 0 hold
        through_cut
        stop_cut
        relayed=$((relayed + at))
    fi
    echo "$straight $killed $relayed" >>"$tmp/figures/interrupted"
}

# ---- all of it ------------------------------------------------------------

measure_peers() {
    local i
    for ((i = 1; i <= pairs; i++)); do
        say "turn $i of $pairs"
        cut -d ' ' -f 1 /proc/loadavg >>"$tmp/figures/load"
        turn_of_script
        turn_of_plain
        turn_of_zsync
        turn_of_agent
        turn_of_nothing
    done
    say "interruptions"
    for ((i = 1; i <= 3; i++)); do
        interrupted
    done
    rm -rf "$tmp/machines"
}
