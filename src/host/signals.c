/*
 * signals: SIGTERM, SIGINT and SIGHUP for a program that goes on: a Lua function
 * is called instead of the run being stopped. It runs as a task of its own.
 */
#include "host.h"

#include <lauxlib.h>
#include <signal.h>
#include <string.h>

/* In the order of host->told; the address of a name is its function's key. */
static const struct {
    const char *name;
    int number;
} known[HOST_SIGNALS] = {{"HUP", SIGHUP}, {"INT", SIGINT}, {"TERM", SIGTERM}};

/* (key) Guarded. */
static int
spawn_told(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1)) == LUA_TFUNCTION) {
        task_spawn(L, 0, 1);
        task_shield(L, -1);
    }
    return 0;
}

static void
tell(struct host *host, size_t i)
{
    lua_pushcfunction(host->L, spawn_told);
    lua_pushlightuserdata(host->L, (void *)&known[i]);
    if (lua_pcall(host->L, 1, 0, 0) != LUA_OK) {
        lua_pop(host->L, 1); /* no memory: the next one may reach it */
    }
}

static void
on_hup(void *arg)
{
    tell(arg, 0);
}

static void
on_int(void *arg)
{
    tell(arg, 1);
}

static void
on_term(void *arg)
{
    tell(arg, 2);
}

/* on_signal(name, fn | nil) -> true, or nil and an error */
int
host_on_signal(lua_State *L)
{
    static const loop_fn callbacks[HOST_SIGNALS] = {on_hup, on_int, on_term};
    static const char *const names[] = {"HUP", "INT", "TERM", NULL};
    int i = luaL_checkoption(L, 1, NULL, names);
    struct host *host = host_of(L);
    struct fault fault;

    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &known[i]);
    if (host->told[i] == NULL
        && loop_signal_new(host->loop, known[i].number, callbacks[i], host, &host->told[i], &fault)
               != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushboolean(L, 1);
    return 1;
}

void
host_forget_signals(struct host *host)
{
    for (size_t i = 0; i < HOST_SIGNALS; i++) {
        loop_signal_free(host->told[i]);
        host->told[i] = NULL;
    }
}
