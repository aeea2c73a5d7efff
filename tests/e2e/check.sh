#!/usr/bin/env bash
# tools/check finds a violation of each kind, where it is, and nothing else.
set -eu
: "${MOONTAP_SOURCE:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir"/src/{host,bind,task,http} "$dir"/lua/moontap/cmd "$dir"/scripts/scenarios
cd "$dir"

touch src/{buf,fault,loop,task,server}.h src/http/{http,http_int}.h src/host/host.h
touch src/task/task_int.h src/loop_timer.c
cat >src/good.txt <<'C'
C
cat >src/loop.c <<'C'
#include "loop.h"
#include "buf.h"
#include <uv.h>
#include <sys/timerfd.h>
/* strcpy(a, b); malloc(1) "quote */
static const char *s = "strcpy(a, b) \" // ";
static int free_list(int n); // free(n)
C
cat >lua/moontap/good.lua <<'LUA'
-- print("x"), os.time()
local s = "print(1) os.time()" .. [[ math.random() ]]
local M = {}
function M.blueprint() return s:format(os.getenv("HOME")) end
return M
LUA
cat >lua/moontap/cmd/speak.lua <<'LUA'
return function() print("x") end
LUA
rm src/good.txt
"$MOONTAP_SOURCE/tools/check" . || { echo "a clean tree was refused"; exit 1; }

failed=0
# expect FINDING FILE LINE... : FILE with these lines gives exactly this finding
expect() {
    local want=$1 file=$2 got
    shift 2
    printf '%s\n' "$@" >"$file"
    if got=$("$MOONTAP_SOURCE/tools/check" .); then
        echo "not found: $want"
        failed=1
    elif [ "$got" != "$want" ]; then
        printf 'expected %s\ngot      %s\n' "$want" "$got"
        failed=1
    fi
    rm -f "$file"
}
expect 'src/buf.c:2: buf may not include loop (loop.h)' src/buf.c '#include "buf.h"' '#include "loop.h"'
expect 'src/task/x.c:1: task may not include http (../http/http.h)' src/task/x.c '#include "../http/http.h"'
expect 'src/bind/x.c:1: bind may not include host (../host/host.h)' src/bind/x.c '#include "../host/host.h"'
expect 'src/bind/x.c:1: ../task/task_int.h is for the files of task only' \
    src/bind/x.c '#include "../task/task_int.h"'
expect 'src/bind/x.c:1: includes gone.h, which is not there' src/bind/x.c '#include "gone.h"'
expect 'src/http/x.c:1: <lua.h> is at home in main host task bind, not in http' src/http/x.c '#include <lua.h>'
expect 'src/task/x.c:1: <uv.h> is at home in loop, not in task' src/task/x.c '#include <uv.h>'
expect 'src/bind/x.c:1: <curl/curl.h> is at home in http, not in bind' src/bind/x.c '#include <curl/curl.h>'
expect 'src/bind/x.c:1: <microhttpd.h> is at home in server, not in bind' src/bind/x.c '#include <microhttpd.h>'
expect 'src/bind/x.c:1: <sqlite3.h> is at home in db, not in bind' src/bind/x.c '#include <sqlite3.h>'
expect 'src/bind/x.c:1: <zlib.h> has no home: give it one in tools/check' src/bind/x.c '#include <zlib.h>'
expect 'src/cellar.c:1: room cellar has no row in tools/check: say what it may include' src/cellar.c ''
expect 'src/buf.c:3: strcpy: use buf_append, buf_printf or snprintf' src/buf.c '/* "' '*/ int x = 1;' 'strcpy(a, b);'
expect 'src/loop.c:1: sprintf: use buf_append, buf_printf or snprintf' src/loop.c 'int n = sprintf (a, "x");'
expect 'src/bind/x.c:1: atoi: use a parser that reports bad input' src/bind/x.c 'return atoi(s);'
expect 'src/bind/x.c:1: strtol: use a parser that reports bad input' src/bind/x.c 'return strtol(s, 0, 10);'
expect 'src/bind/x.c:1: malloc: use mem_alloc and mem_free (buf.h)' src/bind/x.c 'p = malloc(1);'
expect 'src/bind/x.c:1: strtok: use strcspn, or strtok_r' src/bind/x.c "c = '\"'; strtok(s, \"'\");"
expect 'lua/moontap/x.lua:2: os.time: use moontap.clock' lua/moontap/x.lua '--[[ a' ']] local t = os.time()' 'return t'
expect 'lua/moontap/x.lua:1: math.random: use moontap.random' lua/moontap/x.lua 'local r = math.random' 'return r'
expect 'lua/moontap/x.lua:1: io.popen: use an effect' lua/moontap/x.lua 'local f = io.popen("x")' 'return f'
expect 'lua/moontap/x.lua:1: os.exit: use moontap.native.host.exit' lua/moontap/x.lua 'os.exit(1)' 'return 1'
expect 'lua/moontap/x.lua:1: print: only a command speaks on standard output; use moontap.log' \
    lua/moontap/x.lua 'print "x"' 'return 1'
expect 'scripts/scenarios/x.lua:1: an embedded file is a module: it returns a value' scripts/scenarios/x.lua 'local x = 1'
expect 'README.md:2: names src/gone.c, which is not there' README.md 'x `src/loop.h`' 'x `src/` `src/gone.c`'
exit "$failed"
