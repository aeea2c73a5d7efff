/*
 * bind/clock: module moontap.native.clock, the loop's clocks, date-times and
 * durations. Nothing here waits.
 */
#include "../duration.h"
#include "../loop.h"
#include "../rfc3339.h"
#include "../task.h"

#include <lauxlib.h>
#include <math.h>
#include <time.h>

int luaopen_moontap_native_clock(lua_State *L);

/* Seconds since 1970 that a date-time of four digits can have. */
#define CLOCK_MIN_S (-62135596800.0)
#define CLOCK_MAX_S 253402300799.0

/* now() -> seconds since 1970, a float */
static int
clock_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)loop_real_us(task_loop(L)) / 1e6);
    return 1;
}

/* boot() -> seconds since boot, a float */
static int
clock_boot(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)loop_boot_ms(task_loop(L)) / 1e3);
    return 1;
}

/* cpu() -> seconds of the processor that this program has used, a float; real
 * ones also in virtual time */
static int
clock_cpu(lua_State *L)
{
    struct timespec used = {0, 0};

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    lua_pushnumber(L, (lua_Number)used.tv_sec + (lua_Number)used.tv_nsec / 1e9);
    return 1;
}

/* format(seconds) -> "2026-11-22T10:00:00Z" */
static int
clock_format(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    char text[RFC3339_SIZE];

    luaL_argcheck(L, seconds >= CLOCK_MIN_S && seconds <= CLOCK_MAX_S, 1,
                  "outside the years 1 to 9999");
    lua_pushstring(L, rfc3339_format(llround(seconds * 1e6), text));
    return 1;
}

/* parse(text) -> seconds since 1970, or nil */
static int
clock_parse(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    int64_t us;

    if (rfc3339_parse(text, n, &us) != 0) {
        lua_pushnil(L);
    } else {
        lua_pushnumber(L, (lua_Number)us / 1e6);
    }
    return 1;
}

/* [-0, +1, -] MS as seconds: an integer when it is whole. */
static void
push_seconds(lua_State *L, uint64_t ms)
{
    if (ms % 1000 == 0) {
        lua_pushinteger(L, (lua_Integer)(ms / 1000));
    } else {
        lua_pushnumber(L, (lua_Number)ms / 1e3);
    }
}

/* parse_duration("5m" or seconds) -> seconds, or nil (also for other types) */
static int
clock_parse_duration(lua_State *L)
{
    uint64_t ms = 0;
    size_t n;
    int bad = -1;

    luaL_checkany(L, 1);
    if (lua_type(L, 1) == LUA_TNUMBER) {
        bad = duration_from_seconds(lua_tonumber(L, 1), &ms);
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, 1, &n);

        bad = duration_parse(text, n, &ms);
    }
    if (bad) {
        lua_pushnil(L);
    } else {
        push_seconds(L, ms);
    }
    return 1;
}

/* format_duration(seconds) -> "1h30m" */
static int
clock_format_duration(lua_State *L)
{
    uint64_t ms = 0;
    char text[64];

    luaL_argcheck(L, duration_from_seconds(luaL_checknumber(L, 1), &ms) == 0, 1,
                  "expected 0 to 400 days, in seconds");
    lua_pushstring(L, duration_format(ms, text, sizeof text));
    return 1;
}

static const luaL_Reg funcs[] = {
    {"boot", clock_boot},
    {"cpu", clock_cpu},
    {"format", clock_format},
    {"format_duration", clock_format_duration},
    {"now", clock_now},
    {"parse", clock_parse},
    {"parse_duration", clock_parse_duration},
    {NULL, NULL},
};

int
luaopen_moontap_native_clock(lua_State *L)
{
    luaL_newlib(L, funcs);
    return 1;
}
