/*
 * child_mode: the program as a process that holds one playbook run. It shuts
 * itself in before any code of a playbook has reached it, and gives that code a
 * state with the libraries which touch nothing. See docs/sandbox.md.
 *
 * The stem opens the first state and loads what every run needs; branches begin with
 * their copies of it, in which no code of a playbook has run. When a run is over the
 * state is closed and a fresh one takes the next run from the link: so one process
 * evaluates many files, each in a state of its own.
 */
#include "host.h"

#include "../bind/channel.h"
#include "../buf.h"
#include "../child.h"
#include "../sandbox.h"
#include "../stem.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STATUS_AGAIN 100 /* lua/moontap/child/main.lua returns it when a run is over */

static struct buf word; /* what the state before has left to be said */
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

void
host_open_child_libs(lua_State *L)
{
    static const char *const os_kept[] = {"clock", "date", "difftime", "time", NULL};
    static const char *const debug_kept[] = {"traceback", NULL};

    for (const luaL_Reg *lib = libraries; lib->name != NULL; lib++) {
        luaL_requiref(L, lib->name, lib->func, 1);
        lua_pop(L, 1);
    }
    keep_only(L, LUA_OSLIBNAME, os_kept);
    keep_only(L, LUA_DBLIBNAME, debug_kept);
    remove_function(L, LUA_STRLIBNAME, "dump");
    remove_function(L, LUA_GNAME, "dofile");
    remove_function(L, LUA_GNAME, "loadfile");
    host_open_child_search(L);
}

/* leave_word(text): is to be said by the next state, when this one is closed. What
 * keeps it from closing, a finalizer say, is this run's, and so is the blame. */
static int
leave_word(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);

    buf_reset(&word);
    if (buf_append(&word, text, n) != FAULT_OK) {
        return luaL_error(L, "not enough memory");
    }
    return 0;
}

/* take_word() -> text | nil */
static int
take_word(lua_State *L)
{
    if (word.len == 0) {
        lua_pushnil(L);
    } else {
        (void)lua_pushlstring(L, buf_cstr(&word), word.len);
        buf_fini(&word);
    }
    return 1;
}

static const luaL_Reg words[] = {
    {"leave_word", leave_word},
    {"take_word", take_word},
    {NULL, NULL},
};

static void
open_libs(lua_State *L)
{
    host_open_child_libs(L);
    (void)lua_getglobal(L, LUA_COLIBNAME);
    task_patch_coroutine(L);
    lua_pop(L, 1);
    effect_open(L);
    host_open_moontap(L);
    channel_open(L);
    evaluator_open(L);
    luaL_setfuncs(L, words, 0);
    lua_pop(L, 1);
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

/* A state with that function on its stack, and a loop that is cold. */
static enum fault_code
open_state(struct host *host, struct fault *fault)
{
    enum fault_code code = host_open_cold(host, open_libs, fault);

    if (code == FAULT_OK) {
        lua_pushcfunction(host->L, prepare);
        if (lua_pcall(host->L, 0, 1, 0) != LUA_OK) {
            code = fault_set(fault, FAULT_IO, "%s", lua_tostring(host->L, -1));
            host_close(host);
        }
    }
    return code;
}

/* (orders) */
static int
connect_channel(lua_State *L)
{
    const struct stem_orders *orders = lua_touserdata(L, 1);

    channel_connect(L, orders->frame_max, orders->send_max);
    return 0;
}

/* What most runs load. Guarded: a run that needs it finds out itself why it is not there. */
static int
load_more(lua_State *L)
{
    (void)lua_getglobal(L, "require");
    lua_pushliteral(L, "moontap.child.pcaps");
    lua_call(L, 1, 0);
    return 0;
}

/* So that the collector has nothing to do, and touches nothing, in a short run. */
static void
settle_state(struct host *host)
{
    lua_pushcfunction(host->L, load_more);
    if (lua_pcall(host->L, 0, 0, 0) != LUA_OK) {
        lua_pop(host->L, 1);
    }
    (void)lua_gc(host->L, LUA_GCCOLLECT);
}

static int
say_fault(const struct fault *fault, int status)
{
    (void)fprintf(stderr, "moontap: %s\n", fault->msg);
    return fault->code == FAULT_NOMEM ? CHILD_STATUS_MEMORY : status;
}

/* One state from its first call to its end. Returns the status it left. */
static int
run_once(struct host *host, struct stem_orders *orders)
{
    struct fault fault;
    int status = HOST_EXIT_FAILED;

    if (loop_warm(host->loop, &fault) != FAULT_OK) {
        return say_fault(&fault, HOST_EXIT_FAILED);
    }
    signalled = host->tasks;
    host->memory_max = orders->memory_max;
    lua_pushcfunction(host->L, connect_channel);
    lua_pushlightuserdata(host->L, orders);
    if (lua_pcall(host->L, 1, 0, 0) == LUA_OK) {
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

/* A branch: run after run, each in a state of its own, as long as it is told. */
static int
live(struct host *host, struct stem_orders *orders)
{
    struct sandbox sandbox;
    struct fault fault;
    int status;

    catch_terminate();
    stem_let_terminate();
    tzset(); /* the zone's file cannot be read later */
    if (sandbox_enter(&sandbox, &fault) != FAULT_OK) {
        return say_fault(&fault, CHILD_STATUS_NO_SANDBOX);
    }
    for (;;) {
        status = run_once(host, orders);
        host_close(host);
        if (status != STATUS_AGAIN) {
            return status;
        }
        if (open_state(host, &fault) != FAULT_OK) {
            return say_fault(&fault, HOST_EXIT_FAILED);
        }
    }
}

int
host_child_main(void)
{
    struct host host;
    struct stem_orders orders;
    struct fault fault;

    buf_init(&word, FRAME_MAX);
    if (open_state(&host, &fault) != FAULT_OK) {
        return HOST_EXIT_FAILED; /* the host sees it go */
    }
    settle_state(&host);
    if (stem_serve(&orders)) {
        return live(&host, &orders);
    }
    host_close(&host);
    return HOST_EXIT_OK;
}
