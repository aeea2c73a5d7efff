#!/usr/bin/env bash
# The unit of packaging/: systemd understands all of it and thinks it well shut in, and no system
# call of the daemon or of its runs is one that the unit forbids.
# shellcheck disable=SC2046,SC2013 # lists of words
set -eu
: "${MOONTAP_SOURCE:?}" "${MOONTAP_BIN:?}" "${MOONTAP_TEST_BIN:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unit=$dir/moontap.service
sed "s|^ExecStart=/usr/bin/moontap |ExecStart=$MOONTAP_BIN |" \
    "$MOONTAP_SOURCE/packaging/moontap.service" >"$unit"

fail() {
    printf '%s\n' "$@"
    exit 1
}

said=$(systemd-analyze verify "$unit" 2>&1) || fail "verify:" "$said"
[ -z "$said" ] || fail "verify:" "$said"
said=$(systemd-analyze security --offline=true --threshold=20 "$unit" 2>&1) || fail "$said"

# its command line is one that the program takes
for word in $(sed -n 's/^ExecStart=//p' "$unit" | grep -o -- ' --[a-z-]*'); do
    "$MOONTAP_BIN" cron --help | grep -q -- "$word" || fail "moontap cron has no $word"
done

# installed, it names the program where that is, which works from anywhere
cmake --install "$(dirname "$(dirname "$MOONTAP_BIN")")" --prefix "$dir/usr" >"$dir/installed" 2>&1 ||
    fail "cmake --install:" "$(cat "$dir/installed")"
program=$(sed -n 's/^ExecStart=\([^ ]*\) .*/\1/p' "$dir/usr/lib/systemd/system/moontap.service")
[ "$program" = "$dir/usr/bin/moontap" ] || fail "the installed unit starts $program"
(cd / && "$program" run -e 'require "moontap.native.http"') || fail "$program does not run"

# what a build with checks of memory calls besides says nothing
"$MOONTAP_TEST_BIN/caged" none | grep -q 'seccomp 1' || exit 0

# allowed WORD... : the system calls that words of SystemCallFilter stand for
allowed() {
    local word
    for word in "$@"; do
        case $word in
        @*) allowed $(systemd-analyze syscall-filter "$word" | sed '1d; s/#.*//') ;;
        *) echo "$word" ;;
        esac
    done
}
allowed $(sed -n 's/^SystemCallFilter=//p' "$unit") | sort -u >"$dir/allowed"

mkdir "$dir/pb"
cat >"$dir/pb/once.lua" <<'LUA'
return { api = 1, on = { cron = "* * * * * *" }, tz = "Europe/Berlin", run = function()
  local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
                                    filter_v1 = { destination_port = 53 } })
  assert(cap:wait())
  assert(cap:download())
  while true do pcall(moontap.sleep, 1) end
end, timeout = 60 }
LUA
strace -f -qq -o "$dir/trace" true 2>/dev/null || exit 0 # nobody may be traced here
strace -f -qq -o "$dir/trace" "$MOONTAP_BIN" cron --sim --speed 100 --state "$dir/state" \
    --listen 127.0.0.1:0 --drain 1s "$dir/pb" 2>"$dir/said" &
tracer=$!
for _ in $(seq 2400); do
    grep -q 'rename.*\.pcap' "$dir/trace" && break # a run came to its end
    sleep 0.1
done
kill -TERM "$(cut -d' ' -f1 "/proc/$tracer/task/$tracer/children")"
wait "$tracer" || fail "the daemon:" "$(cat "$dir/said")"
sed -nE 's/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$dir/trace" | sort -u >"$dir/used"
grep -qx seccomp "$dir/used" || fail "no run was shut in:" "$(cat "$dir/said")"
forbidden=$(comm -23 "$dir/used" "$dir/allowed")
[ -z "$forbidden" ] || fail "the unit forbids what is called:" "$forbidden"
