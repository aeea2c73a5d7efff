/*
 * host: the state's memory, its libraries and its life; see host.h.
 */
#include "host.h"

#include "buf.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

/* Lua's own values are 200 and 100. A heap that grows less before the next
 * collection, which then is over sooner, stays in the processor's cache. */
#define GC_PAUSE 140
#define GC_STEP_MUL 400

static const char host_key = 0;

/* Lua's allocator: counts bytes against the cap. When PTR is NULL, OSIZE is a
 * type tag and no size. */
static void *
allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct host *host = ud;
    size_t old = ptr != NULL ? osize : 0;
    void *grown;

    if (nsize == 0) {
        (void)heap_resize(&host->heap, ptr, old, 0);
        host->memory_used -= old;
        return NULL;
    }
    if (nsize > old) {
        if (host->memory_max != 0 && host->memory_used - old + nsize > host->memory_max) {
            host->memory_refused = 1;
            return NULL;
        }
        if (mem_should_fail()) {
            return NULL;
        }
    }
    grown = heap_resize(&host->heap, ptr, old, nsize);
    if (grown == NULL) {
        /* Lua relies on shrinking never to fail */
        return nsize <= old ? ptr : NULL;
    }
    host->memory_used += nsize - old;
    return grown;
}

struct host *
host_of(lua_State *L)
{
    struct host *host;

    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &host_key);
    host = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return host;
}

/* Guarded: everything in here may raise. */
static int
open_state(lua_State *L)
{
    struct host *host = lua_touserdata(L, 1);

    lua_pushlightuserdata(L, host);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &host_key);
    host->tasks = task_open(L, host->loop);
    host->open_libs(L);
    return 0;
}

/* Opens the state on the loop that is there. */
static enum fault_code
open_on_loop(struct host *host, struct fault *fault)
{
    host->L = lua_newstate(allocate, host);
    if (host->L == NULL) {
        host_close(host);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    luaL_checkversion(host->L);
    lua_gc(host->L, LUA_GCSTOP); /* nothing is garbage while it opens */
    lua_pushcfunction(host->L, open_state);
    lua_pushlightuserdata(host->L, host);
    if (lua_pcall(host->L, 1, 0, 0) != LUA_OK) {
        const char *why = lua_tostring(host->L, -1);

        (void)fault_set(fault, FAULT_IO, "start Lua: %s", why != NULL ? why : "?");
        host_close(host);
        return FAULT_IO;
    }
    lua_gc(host->L, LUA_GCRESTART);
    (void)lua_gc(host->L, LUA_GCINC, GC_PAUSE, GC_STEP_MUL, 0);
    return FAULT_OK;
}

enum fault_code
host_open_cold(struct host *host, void (*open_libs)(lua_State *L), struct fault *fault)
{
    enum fault_code code;

    *host = (struct host){.open_libs = open_libs};
    code = loop_new_cold(&host->loop, fault);
    return code == FAULT_OK ? open_on_loop(host, fault) : code;
}

enum fault_code
host_open(struct host *host, struct fault *fault)
{
    enum fault_code code;

    *host = (struct host){.open_libs = host_open_libs};
    code = loop_new(&host->loop, fault);
    return code == FAULT_OK ? open_on_loop(host, fault) : code;
}

void
host_close(struct host *host)
{
    host_release_signals();
    if (host->L != NULL) {
        lua_close(host->L);
        host->L = NULL;
    }
    heap_fini(&host->heap);
    host_forget_signals(host);
    loop_signal_free(host->usr1);
    host->usr1 = NULL;
    loop_free(host->loop);
    host->loop = NULL;
}
