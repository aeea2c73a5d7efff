/*
 * env: the globals of scripts and of the files beside them. Reading one that
 * is not defined is an error that names variable and line; _G itself stays as
 * Lua made it, because busted and others rely on that.
 */
#include "host.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

static const char env_key = 0;

/* Globals made at first use, from a module (and a field of it). */
static const struct {
    const char *name;
    const char *module;
    const char *field; /* NULL: the module itself */
} lazy[] = {
    {"io", "moontap.hostlibs", "io"},
    {"math", "moontap.hostlibs", "math"},
    {"os", "moontap.hostlibs", "os"},
    {"pcaps", "pcaps", NULL},
};

static void
require_module(lua_State *L, const char *name)
{
    (void)lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

/* [-0, +1 or 0, v] */
static int
push_lazy(lua_State *L, const char *name)
{
    for (size_t i = 0; i < sizeof lazy / sizeof *lazy; i++) {
        if (strcmp(lazy[i].name, name) == 0) {
            require_module(L, lazy[i].module);
            if (lazy[i].field != NULL) {
                (void)lua_getfield(L, -1, lazy[i].field);
            }
            return 1;
        }
    }
    return 0;
}

/* __index of the script's globals: (env, name). */
static int
missing_global(lua_State *L)
{
    const char *name;

    if (lua_type(L, 2) != LUA_TSTRING) {
        lua_pushnil(L);
        return 1;
    }
    name = lua_tostring(L, 2);
    if (push_lazy(L, name)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, -2);
        lua_rawset(L, 1);
        return 1;
    }
    lua_pushglobaltable(L); /* set since, by a C module say */
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        return 1;
    }
    return luaL_error(L, "undefined global '%s'", name);
}

/*
 * load, loadfile and dofile of scripts: what they load has the script's globals
 * unless told otherwise. Upvalue: the standard function.
 */

/* Calls the standard function; the environment comes after BEFORE arguments. */
static int
call_loader(lua_State *L, int before)
{
    if (lua_gettop(L) <= before) {
        lua_settop(L, before);
        host_push_env(L);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* load(chunk [, name [, mode [, env]]]) */
static int
load_here(lua_State *L)
{
    return call_loader(L, 3);
}

/* loadfile([name [, mode [, env]]]) */
static int
loadfile_here(lua_State *L)
{
    return call_loader(L, 2);
}

static int
dofile_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L) - 1;
}

/* dofile([name]) */
static int
dofile_here(lua_State *L)
{
    const char *name = luaL_optstring(L, 1, NULL);

    lua_settop(L, 1);
    if (luaL_loadfile(L, name) != LUA_OK) {
        return lua_error(L);
    }
    host_set_env(L);
    lua_callk(L, 0, LUA_MULTRET, 0, dofile_done);
    return dofile_done(L, LUA_OK, 0);
}

/* [-0, +0, m] Puts them into the globals on top of the stack. */
static void
set_loaders(lua_State *L)
{
    (void)lua_getfield(L, -1, "load");
    lua_pushcclosure(L, load_here, 1);
    lua_setfield(L, -2, "load");
    (void)lua_getfield(L, -1, "loadfile");
    lua_pushcclosure(L, loadfile_here, 1);
    lua_setfield(L, -2, "loadfile");
    lua_pushcfunction(L, dofile_here);
    lua_setfield(L, -2, "dofile");
}

void
host_push_env(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &env_key) == LUA_TTABLE) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 40);
    lua_pushglobaltable(L);
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof lazy / sizeof *lazy; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, lazy[i].name);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, LUA_GNAME);
    set_loaders(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, missing_global);
    lua_setfield(L, -2, "__index");
    (void)lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &env_key);
}

void
host_set_env(lua_State *L)
{
    host_push_env(L);
    if (lua_setupvalue(L, -2, 1) == NULL) { /* a chunk always has _ENV */
        lua_pop(L, 1);
    }
}

/* __index of the table `moontap`: its modules, then the functions on tasks. */
static int
missing_member(lua_State *L)
{
    static const char *const on_tasks[] = {"all", "race", "timeout"};
    const char *name = luaL_checkstring(L, 2);

    for (size_t i = 0; i < sizeof on_tasks / sizeof *on_tasks; i++) {
        if (strcmp(name, on_tasks[i]) == 0) {
            require_module(L, "moontap.task");
            (void)lua_getfield(L, -1, name);
            break;
        }
    }
    if (lua_gettop(L) == 2) {
        (void)lua_getglobal(L, "require");
        lua_pushfstring(L, "moontap.%s", name);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
            const char *why = lua_tostring(L, -1);

            if (why != NULL && strncmp(why, "module '", 8) == 0) {
                return luaL_error(L, "moontap has no member '%s'", name);
            }
            return lua_error(L);
        }
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

void
host_open_moontap(lua_State *L)
{
    static const char *const internal[] = {"cancel_at", "foreground", "join_all",
                                           "join_any",  "new_error",  "spawn_detached"};

    (void)luaopen_task(L);
    for (size_t i = 0; i < sizeof internal / sizeof *internal; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, internal[i]);
    }
    (void)lua_getfield(L, -1, "sleep");
    effect_push(L, "sleep", lua_tocfunction(L, -1));
    lua_setfield(L, -3, "sleep");
    lua_pop(L, 1);
    lua_pushliteral(L, MOONTAP_VERSION);
    lua_setfield(L, -2, "version");
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, missing_member);
    lua_setfield(L, -2, "__index");
    (void)lua_setmetatable(L, -2);
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "moontap"); /* for those who require what is global */
    lua_pop(L, 1);
    lua_setglobal(L, "moontap");
}

void
host_open_libs(lua_State *L)
{
    luaL_openlibs(L);
    (void)lua_getglobal(L, LUA_COLIBNAME);
    task_patch_coroutine(L);
    lua_pop(L, 1);
    host_open_search(L);
    effect_open(L);
    host_open_moontap(L);
}
