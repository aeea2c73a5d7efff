/* fuzz: the state that targets use, and their input; see fuzz.h. */
#include "fuzz.h"

#include "host/host.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define TURNS_PER_COLLECTION 64

int luaopen_moontap_native_http(lua_State *L);
int luaopen_moontap_native_pcaps(lua_State *L);

static struct host host;

_Noreturn void
fuzz_fail(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

static void
close_state(void)
{
    host_close(&host);
}

/* The modules that the program loads from a file are part of this one. */
static int
add_modules(lua_State *L)
{
    luaL_requiref(L, "moontap.native.http", luaopen_moontap_native_http, 0);
    luaL_requiref(L, "moontap.native.pcaps", luaopen_moontap_native_pcaps, 0);
    return 0;
}

lua_State *
fuzz_state(void)
{
    struct fault fault;

    if (host.L == NULL) {
        must(host_open(&host, &fault) == FAULT_OK);
        (void)atexit(close_state);
        lua_pushcfunction(host.L, add_modules);
        must(lua_pcall(host.L, 0, 0, 0) == LUA_OK);
    }
    return host.L;
}

void
fuzz_turn_over(lua_State *L)
{
    static unsigned turns;

    lua_settop(L, 0);
    if (++turns % TURNS_PER_COLLECTION == 0) {
        (void)lua_gc(L, LUA_GCCOLLECT, 0);
    }
}

void
fuzz_eval(lua_State *L, const char *code)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, code) == LUA_TNIL) {
        lua_pop(L, 1);
        must(luaL_loadstring(L, code) == LUA_OK);
        if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
            (void)fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
            must(!"code of the target runs");
        }
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, code);
    }
}

uint8_t
input_byte(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

const char *
input_text(struct input *in, size_t max, size_t *len)
{
    const char *text;

    *len = input_byte(in);
    *len = *len < max ? *len : max;
    *len = *len < in->left ? *len : in->left;
    text = (const char *)in->at;
    in->at += *len;
    in->left -= *len;
    return *len > 0 ? text : "";
}
