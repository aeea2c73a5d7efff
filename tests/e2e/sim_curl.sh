#!/usr/bin/env bash
# The simulator as a server of its own, spoken to by curl: all nine operations,
# both ways to authenticate, errors with their pointers, real capture files.
set -eu
: "${MOONTAP_BIN:?}"
dir=$(mktemp -d)
sim=
cleanup() {
    [ -z "$sim" ] || kill "$sim" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
fail() {
    echo "sim_curl: $*" >&2
    [ ! -e "$dir/answer" ] || head -c 2000 "$dir/answer" >&2
    exit 1
}

"$MOONTAP_BIN" sim --port-file "$dir/port" --bucket "$dir/bucket" --speed 20 --seed 3 \
    >"$dir/exports" 2>"$dir/log" &
sim=$!
for _ in $(seq 2400); do
    [ -s "$dir/port" ] && break
    kill -0 "$sim" 2>/dev/null || fail "the simulator ended: $(cat "$dir/log")"
    sleep 0.05
done
port=$(cat "$dir/port")
[ "$(wc -l <"$dir/exports")" -eq 3 ] || fail "expected three lines to export"
# shellcheck disable=SC1091
set -a && . "$dir/exports" && set +a
[ "$CLOUDFLARE_BASE_URL" = "http://127.0.0.1:$port/client/v4" ] || fail "$CLOUDFLARE_BASE_URL"

# request WANTED-STATUS METHOD PATH [curl's options]: the body goes to $dir/answer
auth="Authorization: Bearer $CLOUDFLARE_API_TOKEN"
request() {
    local wanted=$1 method=$2 path=$3 got
    shift 3
    got=$(curl -sS --noproxy '*' -m 20 -o "$dir/answer" -D "$dir/head" -w '%{http_code}' \
        -X "$method" -H "$auth" "$@" \
        "$CLOUDFLARE_BASE_URL/accounts/$CLOUDFLARE_ACCOUNT_ID/$path")
    [ "$got" = "$wanted" ] || fail "$method $path: expected $wanted, got $got"
    grep -qi '^cf-ray: ' "$dir/head" || fail "$method $path: no cf-ray"
    grep -qi '^ratelimit: ' "$dir/head" || fail "$method $path: no rate limit"
    [ "$(grep -ci '^date: ' "$dir/head")" -eq 1 ] || fail "$method $path: one date expected"
}
field() { sed -n 's/.*"'"$1"'":"\{0,1\}\([^",}]*\).*/\1/p' "$dir/answer"; }
expect() { grep -qF -- "$1" "$dir/answer" || fail "expected $1"; }
# wait_for ID STATUS
wait_for() {
    for _ in $(seq 2400); do
        request 200 GET "pcaps/$1"
        [ "$(field status)" = "$2" ] && return
        sleep 0.1
    done
    fail "capture $1 is $(field status), not $2"
}

simple='"type":"simple","system":"magic-transit"'
full='"type":"full","system":"magic-transit"'
json='Content-Type: application/json'

# Who may ask.
right=$auth
auth='Authorization: Bearer wrong'
request 403 GET pcaps
expect '"code":9109'
auth='Authorization: Bearer "quoted"'
request 400 GET pcaps
expect '"code":6111'
auth='X-None: x'
request 400 GET pcaps
auth=$right
request 404 GET nothing
expect '"code":7003'
request 405 DELETE pcaps
grep -qi '^allow: GET, POST' "$dir/head" || fail "no Allow header"

# What is wrong is said with its place.
request 400 POST pcaps -H "$json" -d "{$simple,\"time_limit\":301,\"packet_limit\":1.5}"
expect '"pointer":"/time_limit"'
expect '"pointer":"/packet_limit"'
request 400 POST pcaps -H "$json" \
    -d "{$simple,\"time_limit\":1,\"packet_limit\":1,\"filter_v1\":{\"protocol\":999}}"
expect '"pointer":"/filter_v1/protocol"'
request 400 POST pcaps -H "$json" -d '{'
head -c 3000000 /dev/zero >"$dir/huge"
status=$(curl -sS --noproxy '*' -m 20 -o /dev/null -w '%{http_code}' -H "$auth" -H 'Expect:' \
    --data-binary "@$dir/huge" \
    "$CLOUDFLARE_BASE_URL/accounts/$CLOUDFLARE_ACCOUNT_ID/pcaps" 2>/dev/null) || true
case $status in
413 | 000) ;;
*) fail "a huge body: expected 413 or a closed connection, got $status" ;;
esac

# A simple capture, its limit, its file.
request 200 POST pcaps -H "$json" -d "{$simple,\"time_limit\":300,\"packet_limit\":10000,
    \"filter_v1\":{\"destination_address\":\"203.0.113.10\",\"destination_port\":53,\"protocol\":17}}"
id=$(field id)
request 429 POST pcaps -H "$json" -d "{$simple,\"time_limit\":300,\"packet_limit\":10000}"
grep -qi '^retry-after: ' "$dir/head" || fail "no retry-after"
request 400 PUT "pcaps/$id/stop"
wait_for "$id" success
request 200 GET "pcaps/$id/download" -H 'Accept: application/vnd.tcpdump.pcap'
grep -qi '^content-type: application/vnd.tcpdump.pcap' "$dir/head" || fail "content type"
mv "$dir/answer" "$dir/first.pcap"
packets=$(tcpdump -nr "$dir/first.pcap" 2>/dev/null | wc -l)
[ "$packets" -gt 1000 ] || fail "only $packets packets"
counted=$(capinfos -M -c "$dir/first.pcap" 2>/dev/null | sed -n 's/^Number of packets: *//p')
[ "$packets" = "$counted" ] || fail "tcpdump counts $packets packets, capinfos $counted"
others=$(tcpdump -nr "$dir/first.pcap" 'not (dst host 203.0.113.10 and udp dst port 53)' \
    2>/dev/null | wc -l)
[ "$others" -eq 0 ] || fail "$others packets do not match the filter"

# A bucket, then a full capture into it.
conf='s3://capture-bucket/pcaps?region=us-east-1'
request 400 POST pcaps -H "$json" \
    -d "{$full,\"time_limit\":60,\"colo_name\":\"ORD\",\"destination_conf\":\"$conf\"}"
request 200 POST pcaps/ownership -H "$json" -d "{\"destination_conf\":\"$conf\"}"
ownership=$(field id)
name=$(field filename)
request 400 POST pcaps/ownership/validate -H "$json" \
    -d "{\"destination_conf\":\"$conf\",\"ownership_challenge\":\"$name\"}"
content=$(cat "$dir/bucket/s3/capture-bucket/pcaps/$name")
request 200 POST pcaps/ownership/validate -H "$json" \
    -d "{\"destination_conf\":\"$conf\",\"ownership_challenge\":\"$content\"}"
[ "$(field status)" = success ] || fail "the bucket is not validated"
request 200 GET pcaps/ownership
expect "$ownership"

capture="{$full,\"time_limit\":3600,\"colo_name\":\"ORD\",\"destination_conf\":\"$conf\"}"
request 200 POST pcaps -H "$json" -d "$capture"
id=$(field id)
request 409 POST pcaps -H "$json" -d "$capture"
wait_for "$id" running
sleep 0.5
request 204 PUT "pcaps/$id/stop" -H 'Content-Length: 0'
[ ! -s "$dir/answer" ] || fail "a body in an answer 204"
wait_for "$id" success
captured=$(field packets_captured)
[ -n "$(field stop_requested)" ] || fail "no stop_requested"
request 400 GET "pcaps/$id/download"
files=0 total=0
for file in "$dir"/bucket/s3/capture-bucket/pcaps/pcap_"$id"*.pcap; do
    files=$((files + 1))
    total=$((total + $(capinfos -M -c "$file" 2>/dev/null | sed -n 's/^Number of packets: *//p')))
done
[ "$files" -gt 1 ] || fail "$files file in the bucket"
[ "$total" = "$captured" ] || fail "$total packets in the files, $captured captured"

request 200 GET pcaps
expect '"total_count":2'
request 204 DELETE "pcaps/ownership/$ownership"
request 404 DELETE "pcaps/ownership/$ownership"
auth="X-Auth-Email: nobody@example.com"
request 403 GET pcaps -H 'X-Auth-Key: 0123456789'
expect '"code":9103'

kill "$sim"
wait "$sim" 2>/dev/null || true
sim=
