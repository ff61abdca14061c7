# What is served, and the server. Sourced by bench/run.
# shellcheck shell=bash

# noise BYTES SEED gives bytes that do not compress, the same ones for each seed.
noise() {
    head -c "$1" /dev/zero | openssl enc -aes-128-ctr -nosalt -iv 0 -K "$2" 2>/dev/null
}

# records BYTES SEED gives text that compresses well, as an engine's tables do.
records() {
    awk -v bytes="$1" -v n="$2" 'BEGIN {
        while (bytes > 0) {
            line = sprintf("record %d name=Trojan.Linux.Sample.%d severity=%d\n", n, (n * 7919) % 99991, n % 5)
            line = substr(line, 1, bytes)
            bytes -= length(line)
            n++
            printf "%s", line
        }
    }'
}

# content DIR MB SEED makes a package's files in the vendor's proportions: of
# 120 MB, 20 MB compress and 100 MB do not, of which the two deltas are 5 MB.
content() {
    local dir=$1 unit=$(($2 * 1000000 / 120)) seed=$3
    mkdir -p "$dir"
    records $((unit * 20)) "${seed}00000" >"$dir/libmpengine.so"
    noise 1024 "${seed}1" >"$dir/libmpengine.so.sig"
    noise $((unit * 25)) "${seed}2" >"$dir/mpasbase.vdm"
    noise $((unit * 70)) "${seed}4" >"$dir/mpavbase.vdm"
    deltas "$dir" "$2" "$seed"
}

# deltas DIR MB SEED replaces the two delta files and nothing else.
deltas() {
    local unit=$(($2 * 1000000 / 120))
    noise $((unit * 2)) "${3}3" >"$1/mpasdlta.vdm"
    noise $((unit * 3)) "${3}5" >"$1/mpavdlta.vdm"
}

# split_content DIR MB SEED FILES makes a package of so many files of one size.
split_content() {
    local i
    mkdir -p "$1"
    for ((i = 1; i <= $4; i++)); do
        noise $(($2 * 1000000 / $4)) "$3$i" >"$1/part$i.vdm"
    done
}

# publish NAME N builds a package of version 1.407.N.0 out of
# $tmp/content/NAME. Its time is set back, another hour for each version: a server's
# entity tag for a file of this very second is not trusted, and rightly.
publish() {
    local zip=$tmp/packages/$1/arch_$arch/updates.zip
    "$agent" package build "$tmp/content/$1" --out "$zip" \
        --engine-version 1.1.24080.9 --definition-version "1.407.$2.0" --arch "$arch" \
        --key "$(keyfile leafKey)" --cert "$(keyfile leaf)" --cert "$(keyfile intermediate)" >/dev/null
    touch -d "-$((500 - $2)) hours" "$zip"
}

unpublish() { rm -rf "${tmp:?}/content/$1" "${tmp:?}/packages/$1"; }

zip_of() { echo "$tmp/packages/$1/arch_$arch/updates.zip"; }

# keyfile NAME is the path of one of the throw-away CA's files.
keyfile() { jq -r ".$1" "$tmp/keys.json"; }

# serve NAME makes a package the one that the ring has.
serve() { ln -sfn "../../packages/$1" "$tmp/www/linux/production"; }

# free_port prints a port of loopback that nobody listens at.
free_port() {
    local try candidate
    for try in 1 2 3 4 5; do
        candidate=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    stop "no free port was found"
}

start_nginx() {
    local try
    port=$(free_port)
    {
        if [ "$(id -u)" = 0 ]; then echo "user root;"; fi
        cat <<CONF
worker_processes 1;
worker_rlimit_nofile 8192;
daemon off;
pid $tmp/nginx.pid;
error_log $tmp/nginx.log;
events { worker_connections 2048; }
http {
    log_format bench '\$status \$bytes_sent \$body_bytes_sent "\$http_range"';
    access_log $tmp/access.log bench;
    sendfile on;
    client_body_temp_path $tmp/nginx-body;
    proxy_temp_path $tmp/nginx-proxy;
    fastcgi_temp_path $tmp/nginx-fastcgi;
    uwsgi_temp_path $tmp/nginx-uwsgi;
    scgi_temp_path $tmp/nginx-scgi;
    server {
        listen 127.0.0.1:$port backlog=4096;
        root $tmp/www;
        # freshclam asks by the time of its own copy. By default nginx wants the
        # very time of the file, and would send all of it again and again.
        location /clam/ { if_modified_since before; }
    }
}
CONF
    } >"$tmp/nginx.conf"
    nginx -e "$tmp/nginx.log" -p "$tmp" -c "$tmp/nginx.conf" &
    nginx=$!
    url=http://127.0.0.1:$port/linux/production
    for try in {1..50}; do
        if curl -fsS -o /dev/null -r 0-0 "$url/arch_$arch/updates.zip" 2>/dev/null; then
            return
        fi
        sleep 0.1
    done
    cat "$tmp/nginx.log" >&2
    stop "nginx does not serve"
}

# forget empties the access log; nginx goes on at its start.
forget() { : >"$tmp/access.log"; }

# logged prints requests, bytes sent and bytes of body since the last forget. The
# server writes its line after the client has the last byte, so a moment passes.
logged() {
    sleep 0.05
    awk '{ sent += $2; body += $3 } END { print NR, sent + 0, body + 0 }' "$tmp/access.log"
}

# server_cpu is the CPU time of nginx's worker so far, in seconds.
server_cpu() {
    local worker
    worker=$(cat "/proc/$nginx/task/$nginx/children")
    awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / tick }' "/proc/${worker%% *}/stat"
}
