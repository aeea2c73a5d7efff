/*
 * effect: functions that touch the world, by name, in one table; whoever calls
 * one goes through that table, so a wrapper set there sees every call.
 * Wrapping itself is policy and lives in lua/moontap/effects.lua.
 */
#include "host.h"

#include <lauxlib.h>

static const char effects_key = 0; /* registry: name -> function */
static const char callers_key = 0; /* registry: name -> its calling closure */

static int
pass_results(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

/* Upvalues: the table, the name, the plain C implementation or nil. */
static int
call_effect(lua_State *L)
{
    lua_CFunction native = lua_tocfunction(L, lua_upvalueindex(3));

    lua_pushvalue(L, lua_upvalueindex(2));
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) {
        return luaL_error(L, "effect '%s' has no implementation",
                          lua_tostring(L, lua_upvalueindex(2)));
    }
    if (native != NULL && lua_tocfunction(L, -1) == native) {
        lua_pop(L, 1);
        return native(L); /* not wrapped: run it in this very frame */
    }
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, pass_results);
    return lua_gettop(L);
}

/* [-0, +0, -] Is the value on top a C function that has no upvalues? */
static int
is_plain_c(lua_State *L)
{
    if (!lua_iscfunction(L, -1)) {
        return 0;
    }
    if (lua_getupvalue(L, -1, 1) != NULL) {
        lua_pop(L, 1);
        return 0;
    }
    return 1;
}

/* [-1, +1, m] Replaces the name on top by its calling closure. */
static void
push_caller(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &callers_key);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &effects_key);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -1);
        (void)lua_rawget(L, -3);
        if (!is_plain_c(L)) {
            lua_pop(L, 1);
            lua_pushnil(L);
        }
        lua_pushcclosure(L, call_effect, 3);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void
effect_push(lua_State *L, const char *name, lua_CFunction native)
{
    if (native != NULL) {
        (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &effects_key);
        lua_pushcfunction(L, native);
        lua_setfield(L, -2, name);
        lua_pop(L, 1);
    }
    lua_pushstring(L, name);
    push_caller(L);
}

void
effect_open(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &effects_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &callers_key);
}

/* caller(name): the function that calls an effect through its wrappers. */
static int
caller(lua_State *L)
{
    (void)luaL_checkstring(L, 1);
    lua_settop(L, 1);
    push_caller(L);
    return 1;
}

int
luaopen_effects(lua_State *L)
{
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, caller);
    lua_setfield(L, -2, "caller");
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &effects_key);
    lua_setfield(L, -2, "table");
    return 1;
}
