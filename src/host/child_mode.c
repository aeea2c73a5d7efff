/*
 * child_mode: the program as a process that holds one playbook run. It shuts
 * itself in before any code of a playbook has reached it, and gives that code a
 * state with the libraries which touch nothing. See docs/sandbox.md.
 *
 * When a run is over the state is closed and a fresh one takes the next run from
 * the link: so one process evaluates many files, each in a state of its own.
 */
#include "host.h"

#include "../bind/channel.h"
#include "../child.h"
#include "../sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STATUS_AGAIN 100 /* lua/moontap/child/main.lua returns it when a run is over */

static const struct child_orders *given; /* what the state at hand is opened with */
static struct tasks *volatile signalled;

/* SIGTERM comes when the run did not heed the frame that cancels it: it is too busy. */
static void
on_terminate(int signum)
{
    struct tasks *tasks = signalled;

    (void)signum;
    if (tasks != NULL) {
        task_interrupt_foreground(tasks, "the run was told to stop");
    }
}

static void
catch_terminate(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = on_terminate;
    (void)sigaction(SIGTERM, &action, NULL);
}

/* Libraries ---------------------------------------------------------------------- */

static const luaL_Reg libraries[] = {
    {LUA_GNAME, luaopen_base},          {LUA_LOADLIBNAME, luaopen_package},
    {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
    {LUA_STRLIBNAME, luaopen_string},   {LUA_MATHLIBNAME, luaopen_math},
    {LUA_UTF8LIBNAME, luaopen_utf8},    {LUA_OSLIBNAME, luaopen_os},
    {LUA_DBLIBNAME, luaopen_debug},     {NULL, NULL},
};

/* [-0, +0, m] The global library NAME keeps the functions KEPT, which NULL ends. */
static void
keep_only(lua_State *L, const char *name, const char *const *kept)
{
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    (void)lua_getglobal(L, name);
    lua_newtable(L);
    for (; *kept != NULL; kept++) {
        (void)lua_getfield(L, -2, *kept);
        lua_setfield(L, -2, *kept);
    }
    lua_pushvalue(L, -1);
    lua_setglobal(L, name);
    lua_setfield(L, -3, name);
    lua_pop(L, 2);
}

/* [-0, +0, m] */
static void
remove_function(lua_State *L, const char *library, const char *name)
{
    (void)lua_getglobal(L, library);
    lua_pushnil(L);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void
open_libs(lua_State *L)
{
    static const char *const os_kept[] = {"clock", "date", "difftime", "time", NULL};
    static const char *const debug_kept[] = {"traceback", NULL};

    for (const luaL_Reg *lib = libraries; lib->name != NULL; lib++) {
        luaL_requiref(L, lib->name, lib->func, 1);
        lua_pop(L, 1);
    }
    (void)lua_getglobal(L, LUA_COLIBNAME);
    task_patch_coroutine(L);
    lua_pop(L, 1);
    keep_only(L, LUA_OSLIBNAME, os_kept);
    keep_only(L, LUA_DBLIBNAME, debug_kept);
    remove_function(L, LUA_STRLIBNAME, "dump");
    remove_function(L, LUA_GNAME, "dofile");
    remove_function(L, LUA_GNAME, "loadfile");
    host_open_child_search(L);
    effect_open(L);
    host_open_moontap(L);
    channel_open(L, given->frame_max, given->send_max);
}

/* Runs ------------------------------------------------------------------------------ */

/* -> function of the root task */
static int
prepare(lua_State *L)
{
    (void)lua_getglobal(L, "require");
    lua_pushliteral(L, "moontap.child.main");
    lua_call(L, 1, 1);
    return 1;
}

/* One state from its opening to its end. Returns the status it left. */
static int
run_once(struct host *host)
{
    int status = HOST_EXIT_FAILED;

    signalled = host->tasks;
    host->memory_max = given->memory_max;
    lua_pushcfunction(host->L, prepare);
    if (lua_pcall(host->L, 0, 1, 0) == LUA_OK) {
        status = host_run(host, 0);
    } else {
        (void)fprintf(stderr, "moontap: %s\n", lua_tostring(host->L, -1));
    }
    signalled = NULL;
    if (status == HOST_EXIT_FAILED && host->memory_refused) {
        status = CHILD_STATUS_MEMORY;
    }
    return status;
}

int
host_child_main(const struct child_orders *orders)
{
    struct host host;
    struct sandbox sandbox;
    struct fault fault;
    int status;

    child_settle(orders);
    catch_terminate();
    given = orders;
    tzset(); /* the zone's file cannot be read later */
    if (sandbox_enter(&sandbox, &fault) != FAULT_OK) {
        (void)fprintf(stderr, "moontap: %s\n", fault.msg);
        return CHILD_STATUS_NO_SANDBOX;
    }
    do {
        if (host_open_with(&host, open_libs, &fault) != FAULT_OK) {
            (void)fprintf(stderr, "moontap: %s\n", fault.msg);
            return fault.code == FAULT_NOMEM ? CHILD_STATUS_MEMORY : HOST_EXIT_FAILED;
        }
        status = run_once(&host);
        host_close(&host);
    } while (status == STATUS_AGAIN);
    return status;
}
