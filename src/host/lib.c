/*
 * lib: the module moontap.native.host, what the commands in Lua need of the
 * host: loading scripts, the clock's kind, the memory cap, leaving.
 */
#include "host.h"

#include "buf.h"
#include "duration.h"

#include <lauxlib.h>

/* load_script(path, arg): the script as a function; nil and the reason. */
static int
load_script(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    return host_load_script(L, path);
}

/* load_code(code, chunk name, arg): as load_script, for text. */
static int
load_code(lua_State *L)
{
    size_t n;
    const char *code = luaL_checklstring(L, 1, &n);
    const char *chunk = luaL_checkstring(L, 2);

    luaL_checktype(L, 3, LUA_TTABLE);
    host_push_env(L);
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "arg");
    if (luaL_loadbufferx(L, code, n, chunk, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    host_set_env(L);
    return 1;
}

/* set_virtual(start): from now on time is virtual; START seconds since 1970. */
static int
set_virtual(lua_State *L)
{
    loop_set_virtual(task_loop(L), (int64_t)(luaL_checknumber(L, 1) * 1e6));
    return 0;
}

/* is_virtual() */
static int
is_virtual(lua_State *L)
{
    lua_pushboolean(L, loop_is_virtual(task_loop(L)));
    return 1;
}

/* set_alarm(seconds [, is_interrupt]): in so many seconds of real time whatever
 * runs is interrupted, also what never waits; 0 takes it back. IS_INTERRUPT: only
 * the foreground is, as by a Ctrl-C every second, while on_interrupt is set. */
static int
set_alarm(lua_State *L)
{
    uint64_t ms;

    luaL_argcheck(L, duration_from_seconds(luaL_checknumber(L, 1), &ms) == 0, 1,
                  "expected seconds");
    (void)host_set_alarm(ms, lua_toboolean(L, 2)); /* fails only for arguments that cannot come */
    return 0;
}

/* alarm_left(): seconds until that happens; 0 when it has, or is not to. */
static int
alarm_left(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)host_alarm_left() / 1e3);
    return 1;
}

/* set_memory_max(bytes): Lua's memory is capped; 0 means no cap. */
static int
set_memory_max(lua_State *L)
{
    lua_Integer max = luaL_checkinteger(L, 1);

    luaL_argcheck(L, max >= 0, 1, "expected bytes");
    host_of(L)->memory_max = (size_t)max;
    return 0;
}

static int
stay_away(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return luaL_error(L, "the program is leaving");
}

/* exit(status): leaves the program; what the script opened is still closed.
 * Where nothing can wait, the script is interrupted until it comes to a place
 * where it can be left. */
static int
exit_program(lua_State *L)
{
    struct host *host = host_of(L);
    lua_Integer status = luaL_optinteger(L, 1, 0);

    luaL_argcheck(L, status >= 0 && status <= 255, 1, "expected an exit status 0..255");
    host->exiting = 1;
    host->exit_status = (int)status;
    loop_wakeup(host->loop);
    if (!task_can_wait(L)) {
        task_interrupt(host->tasks, "the program is leaving");
        return luaL_error(L, "the program is leaving");
    }
    (void)task_ref(L);
    return task_wait(L, NULL, NULL, 0, stay_away);
}

/* outcome(): the exit status, once the run is over; nil before. */
static int
outcome(lua_State *L)
{
    const struct host *host = host_of(L);

    if (host->is_over) {
        lua_pushinteger(L, host->exit_status);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* exit_status(kind): the exit status for an uncaught error of that kind. */
static int
exit_status(lua_State *L)
{
    lua_pushinteger(L, host_exit_status(luaL_optstring(L, 1, NULL)));
    return 1;
}

/* fail_alloc(n): the n-th allocation from now fails; 0: none. For tests. */
static int
fail_alloc(lua_State *L)
{
    mem_fail_at((long)luaL_checkinteger(L, 1));
    return 0;
}

/* alloc_failed(): was the allocation of fail_alloc reached? */
static int
alloc_failed(lua_State *L)
{
    lua_pushboolean(L, mem_fail_hit());
    return 1;
}

/* tasks(): the list of tasks, as SIGUSR1 prints it. */
static int
list_tasks(lua_State *L)
{
    task_push_list(L, task_scheduler(L));
    return 1;
}

/* on_interrupt(fn | nil): Ctrl-C calls fn in a task of its own, instead of
 * stopping the run, and no longer meets the task that asked for this. */
static int
on_interrupt(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
    }
    host_on_interrupt(L);
    return 0;
}

/* on_exit(fn | nil): fn(status) is called when the run is over, and may wait. */
static int
on_exit_call(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
    }
    host_on_exit(L);
    return 0;
}

static const luaL_Reg funcs[] = {
    {"alarm_left", alarm_left},
    {"alloc_failed", alloc_failed},
    {"exit", exit_program},
    {"exit_status", exit_status},
    {"fail_alloc", fail_alloc},
    {"is_virtual", is_virtual},
    {"load_code", load_code},
    {"load_script", load_script},
    {"on_exit", on_exit_call},
    {"on_interrupt", on_interrupt},
    {"on_signal", host_on_signal},
    {"outcome", outcome},
    {"point", host_point},
    {"set_alarm", set_alarm},
    {"set_memory_max", set_memory_max},
    {"set_virtual", set_virtual},
    {"tasks", list_tasks},
    {NULL, NULL},
};

int
luaopen_host(lua_State *L)
{
    luaL_newlib(L, funcs);
    lua_pushliteral(L, MOONTAP_VERSION);
    lua_setfield(L, -2, "version");
    lua_pushliteral(L, MOONTAP_BUILD_ID);
    lua_setfield(L, -2, "build_id");
    return 1;
}
