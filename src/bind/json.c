/* bind/json: module moontap.native.json, and reading; see json.h. Nothing here waits. */
#include "json.h"

#include "../task.h"

#include <lauxlib.h>
#include <lua-cjson.h>
#include <math.h>
#include <string.h>

static const char decoder_key = 'd'; /* registry: cjson's decode function */

/* Reader ------------------------------------------------------------------- */

/* What a decoded value on top of the stack needs. */
enum fix {
    FIX_KEEP,
    FIX_DROP,   /* a null */
    FIX_REPLACE /* an integral float; the integer is in *INTEGER */
};

static enum fix
judge(lua_State *L, lua_Integer *integer)
{
    lua_Number x;

    switch (lua_type(L, -1)) {
    case LUA_TLIGHTUSERDATA: return FIX_DROP;
    case LUA_TNUMBER:
        x = lua_tonumber(L, -1);
        return !lua_isinteger(L, -1) && floor(x) == x && lua_numbertointeger(x, integer)
                   ? FIX_REPLACE
                   : FIX_KEEP;
    case LUA_TTABLE: json_normalize(L, -1); return FIX_KEEP;
    default: return FIX_KEEP;
    }
}

static void
normalize_list(lua_State *L, int table, lua_Integer len)
{
    lua_Integer from, to = 1, integer;

    for (from = 1; from <= len; from++) {
        enum fix fix;

        lua_rawgeti(L, table, from);
        fix = judge(L, &integer);
        if (fix == FIX_REPLACE) {
            lua_pop(L, 1);
            lua_pushinteger(L, integer);
        }
        if (fix == FIX_DROP || (fix == FIX_KEEP && to == from)) {
            lua_pop(L, 1);
        } else {
            lua_rawseti(L, table, to);
        }
        to += fix != FIX_DROP;
    }
    for (; to <= len; to++) {
        lua_pushnil(L);
        lua_rawseti(L, table, to);
    }
}

static void
normalize_object(lua_State *L, int table)
{
    lua_Integer integer;

    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        enum fix fix = judge(L, &integer);

        if (fix != FIX_KEEP) { /* changing a present field is safe in a walk */
            lua_pushvalue(L, -2);
            if (fix == FIX_REPLACE) {
                lua_pushinteger(L, integer);
            } else {
                lua_pushnil(L);
            }
            lua_rawset(L, table);
        }
        lua_pop(L, 1);
    }
}

void
json_normalize(lua_State *L, int idx)
{
    lua_Unsigned len;

    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, "json");
    len = lua_rawlen(L, idx); /* names are strings: only a list has a length */
    if (len != 0) {
        normalize_list(L, idx, (lua_Integer)len);
    } else {
        normalize_object(L, idx);
    }
}

/* [-1, +0, e] Calls field NAME of the cjson module below with the value on top. */
static void
configure(lua_State *L, const char *name)
{
    lua_getfield(L, -2, name);
    lua_insert(L, -2);
    lua_call(L, 1, 0);
}

/* [-0, +1, m] Pushes cjson's decode function of an instance of our own. */
static void
push_decoder(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &decoder_key) == LUA_TFUNCTION) {
        return;
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    lua_pushinteger(L, JSON_DEPTH_MAX);
    configure(L, "decode_max_depth");
    lua_pushboolean(L, 0);
    configure(L, "decode_invalid_numbers");
    lua_getfield(L, -1, "decode");
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &decoder_key);
}

int
json_decode(lua_State *L, const char *s, size_t n)
{
    lua_Integer integer;
    const char *nul;
    int status;

    luaL_checkstack(L, 6, "json");
    if (n > JSON_TEXT_MAX) {
        lua_pushfstring(L, "longer than %d bytes", (int)JSON_TEXT_MAX);
        return -1;
    }
    if (n > 0 && (nul = memchr(s, '\0', n)) != NULL) { /* to cjson it would be the end */
        lua_pushfstring(L, "a NUL byte at character %d", (int)(nul - s + 1));
        return -1;
    }
    push_decoder(L);
    lua_pushlstring(L, s, n);
    status = lua_pcall(L, 1, 1, 0);
    if (status == LUA_ERRMEM) {
        lua_error(L);
    }
    if (status != LUA_OK) {
        return -1;
    }
    switch (judge(L, &integer)) {
    case FIX_KEEP: return 0;
    case FIX_DROP: lua_pushnil(L); break;
    case FIX_REPLACE: lua_pushinteger(L, integer); break;
    }
    lua_remove(L, -2);
    return 0;
}

/* Module ------------------------------------------------------------------- */

/* encode(value[, options]) -> text */
static int
encode(lua_State *L)
{
    int pretty = 0;

    luaL_checkany(L, 1);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_getfield(L, 2, "pretty");
        pretty = lua_toboolean(L, -1);
    }
    json_encode(L, 1, pretty);
    return 1;
}

/* decode(text) -> value, or nil and an error object */
static int
decode(lua_State *L)
{
    size_t n;
    const char *s = luaL_checklstring(L, 1, &n);

    if (json_decode(L, s, n) == 0) {
        return 1;
    }
    lua_pushfstring(L, "bad JSON: %s", lua_tostring(L, -1));
    lua_pushnil(L);
    task_new_error(L, "io", lua_tostring(L, -2));
    return 2;
}

/* array([table]) -> table, marked as a list even when it is empty */
static int
array(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getmetatable(L, 1)) {
        luaL_getmetatable(L, JSON_ARRAY_META);
        luaL_argcheck(L, lua_rawequal(L, -1, -2), 1, "the table has another metatable");
    }
    luaL_setmetatable(L, JSON_ARRAY_META);
    lua_settop(L, 1);
    return 1;
}

static const luaL_Reg funcs[] = {
    {"array", array},
    {"decode", decode},
    {"encode", encode},
    {NULL, NULL},
};

int
luaopen_moontap_native_json(lua_State *L)
{
    luaL_newlib(L, funcs);
    luaL_newmetatable(L, JSON_ARRAY_META);
    lua_pop(L, 1);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
