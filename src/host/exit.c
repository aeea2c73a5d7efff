/*
 * exit: what is done when a run is over, before its state goes: one function
 * that may wait, such as the one that stops captures which nobody will wait
 * for. It runs as a root task of its own, after everything else was cancelled.
 */
#include "host.h"

#include <lauxlib.h>
#include <stdio.h>

static const char exit_key = 0; /* registry: function(status) */

void
host_on_exit(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &exit_key);
}

static int
is_hook_over(void *arg)
{
    struct host *host = arg;

    return task_state(host->root) >= TASK_DONE;
}

/* (status) Guarded. Pushes whether there is something to run. */
static int
spawn_hook(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &exit_key) != LUA_TFUNCTION) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_insert(L, 1);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &exit_key);
    host_of(L)->root = task_spawn_root(L, 1);
    lua_pushboolean(L, 1);
    return 1;
}

void
host_run_exit(struct host *host, int status)
{
    lua_State *L = host->L;
    int is_spawned;

    if (task_state(host->root) < TASK_DONE) {
        task_cancel(host->root, "cancelled", "the program leaves");
    }
    lua_pushcfunction(L, spawn_hook);
    lua_pushinteger(L, status);
    is_spawned = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (!is_spawned) {
        return;
    }
    (void)loop_run(host->loop, is_hook_over, host);
    if (task_state(host->root) == TASK_FAILED) {
        (void)fputs("moontap: could not tidy up\n", stderr);
    }
}
