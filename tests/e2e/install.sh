#!/usr/bin/env bash
# An installed program works on its own: nothing of it lies in the build tree.
set -eu
: "${MOONTAP_BUILD:?}" "${MOONTAP_SOURCE:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cmake --install "$MOONTAP_BUILD" --prefix "$dir/prefix" >"$dir/install.log"
for file in bin/moontap lib/moontap/http.so lib/moontap/server.so \
    lib/moontap/term.so lib/moontap/db.so \
    share/moontap/scripts/first-capture.lua share/doc/moontap/LICENSE; do
    [ -e "$dir/prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done

# moved once more, so that the prefix is no longer where it was installed to
mv "$dir/prefix" "$dir/elsewhere"
mkdir "$dir/work" "$dir/home"
cd "$dir/work"
run() {
    env -i PATH=/usr/bin:/bin HOME="$dir/home" LC_ALL=C.UTF-8 TMPDIR="$dir" \
        ${ASAN_OPTIONS+ASAN_OPTIONS="$ASAN_OPTIONS"} \
        ${LSAN_OPTIONS+LSAN_OPTIONS="$LSAN_OPTIONS"} \
        ${UBSAN_OPTIONS+UBSAN_OPTIONS="$UBSAN_OPTIONS"} \
        "$dir/elsewhere/bin/moontap" "$@"
}
run version
run run --sim "$dir/elsewhere/share/moontap/scripts/first-capture.lua"

cat >maps.lua <<'LUA'
require "moontap.native.http"
require "moontap.native.server"
require "moontap.native.db"
io.write(io.open("/proc/self/maps"):read("a"))
LUA
run run maps.lua >maps
grep -q "elsewhere/lib/moontap/http.so" maps
grep -q "elsewhere/lib/moontap/server.so" maps
grep -q "elsewhere/lib/moontap/db.so" maps
if grep -F -e "$MOONTAP_BUILD" -e "$MOONTAP_SOURCE/" maps; then
    echo "the installed program maps files of the build tree"
    exit 1
fi
if readelf -d "$dir"/elsewhere/bin/moontap "$dir"/elsewhere/lib/moontap/*.so \
    | grep -E 'R(UN)?PATH'; then
    echo "an installed file has a search path of its own"
    exit 1
fi
