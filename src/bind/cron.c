/*
 * bind/cron: module moontap.native.cron, schedules. Owns the zones that are in
 * use, in a userdata that every schedule keeps alive. Nothing here waits.
 */
#include "../buf.h"
#include "../cronexpr.h"
#include "../loop.h"
#include "../rfc3339.h"
#include "../task.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

int luaopen_moontap_native_cron(lua_State *L);

#define SCHEDULE_META "moontap.schedule"
#define FIRES_MAX 1000000 /* of one call of next */
#define FIRES_AT_ONCE 128 /* found before Lua allocates again */
#define NOMINALS_MAX 100  /* local times that are named; the others are counted */
#define WORDS_MAX 8192    /* of a description, a warning */

/* A schedule. Its user value is the store of its zone. */
struct schedule {
    struct cronexpr expr;
    struct tz_zone *zone; /* borrowed from the store */
    const struct tz_store *store;
    enum cronexpr_dst dst;
    struct buf resolved; /* the text, with what was drawn in it */
    struct buf words;    /* what is being put together; empty between calls */
};

/* The schedule at 1. Finalizers may still ask for it when its zone is gone. */
static struct schedule *
check_schedule(lua_State *L)
{
    struct schedule *s = luaL_checkudata(L, 1, SCHEDULE_META);

    if (s->store == NULL || s->store->first == NULL) {
        luaL_error(L, "the schedule was closed");
    }
    return s;
}

/* The zone's rules now, and how they are used. What allocates in Lua may run a
 * finalizer, which may make the zone read its file again: good until then. */
static struct cronexpr_clock
clock_of(lua_State *L, const struct schedule *s)
{
    return (struct cronexpr_clock){tz_zone_rules(s->zone, loop_boot_ms(task_loop(L))), s->dst};
}

/* The time at ARG, rounded by ROUND to a whole second. */
static int64_t
check_time(lua_State *L, int arg, double (*round)(double))
{
    lua_Number t = round(luaL_checknumber(L, arg));

    luaL_argcheck(L, t >= (lua_Number)CIVIL_MIN_S && t <= (lua_Number)CIVIL_MAX_S, arg,
                  "outside the years 1 to 9999");
    return (int64_t)t;
}

/* [-0, +1, v] Pushes what was put into the words of S, and empties them. */
static void
push_words(lua_State *L, struct schedule *s)
{
    if (s->words.failed) {
        buf_fini(&s->words);
        luaL_error(L, "not enough memory");
    }
    lua_pushlstring(L, buf_cstr(&s->words), s->words.len);
    buf_fini(&s->words);
}

/* Schedules ---------------------------------------------------------------------------- */

/* Up to N fires after T into FIRES; how many there are. */
static int
find_fires(lua_State *L, const struct schedule *s, int64_t t, lua_Integer n, int64_t *fires)
{
    struct cronexpr_clock clock = clock_of(L, s);
    int found = 0;

    while (found < n && found < FIRES_AT_ONCE && cronexpr_next(&s->expr, &clock, t, &t)) {
        fires[found++] = t;
    }
    return found;
}

/* [-0, +1, m] The list of up to N fires after T. */
static int
push_fires(lua_State *L, const struct schedule *s, int64_t t, lua_Integer n)
{
    int64_t fires[FIRES_AT_ONCE];
    lua_Integer done = 0;
    int found;

    lua_createtable(L, n < FIRES_AT_ONCE ? (int)n : FIRES_AT_ONCE, 0);
    do {
        found = find_fires(L, s, t, n - done, fires);
        for (int i = 0; i < found; i++) {
            t = fires[i];
            lua_pushinteger(L, t);
            lua_rawseti(L, -2, ++done);
        }
    } while (found == FIRES_AT_ONCE);
    return 1;
}

/* next(t) -> the first fire after t, or nil; next(t, n) -> a list of up to n */
static int
schedule_next(lua_State *L)
{
    struct schedule *s = check_schedule(L);
    int64_t t = check_time(L, 2, floor);
    struct cronexpr_clock clock;

    if (!lua_isnoneornil(L, 3)) {
        lua_Integer n = luaL_checkinteger(L, 3);

        luaL_argcheck(L, n >= 1 && n <= FIRES_MAX, 3, "expected 1 to 1000000");
        return push_fires(L, s, t, n);
    }
    clock = clock_of(L, s);
    if (cronexpr_next(&s->expr, &clock, t, &t)) {
        lua_pushinteger(L, t);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* prev(t) -> the last fire before t, or nil */
static int
schedule_prev(lua_State *L)
{
    struct schedule *s = check_schedule(L);
    int64_t t = check_time(L, 2, ceil);
    struct cronexpr_clock clock = clock_of(L, s);

    if (cronexpr_prev(&s->expr, &clock, t, &t)) {
        lua_pushinteger(L, t);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* nominals(t) -> the local times that a fire at t stands for, and how many there are */
static int
schedule_nominals(lua_State *L)
{
    struct schedule *s = check_schedule(L);
    int64_t t = check_time(L, 2, floor), out[NOMINALS_MAX];
    struct cronexpr_clock clock = clock_of(L, s);
    size_t n = cronexpr_nominals(&s->expr, &clock, t, out, NOMINALS_MAX);
    size_t named = n < NOMINALS_MAX ? n : NOMINALS_MAX;
    char text[RFC3339_SIZE];

    lua_createtable(L, (int)named, 0);
    for (size_t i = 0; i < named; i++) {
        (void)rfc3339_format(out[i] * 1000000, text);
        lua_pushlstring(L, text, strlen(text) - 1); /* without the Z: it is local */
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushinteger(L, (lua_Integer)n);
    return 2;
}

/* describe() -> what it means, in English */
static int
schedule_describe(lua_State *L)
{
    struct schedule *s = check_schedule(L);

    (void)cronexpr_describe(&s->expr, &s->words); /* push_words looks */
    if (s->expr.every == 0) {
        (void)buf_printf(&s->words, " (%s)",
                         s->dst == CRONEXPR_DST_UTC ? "UTC" : tz_zone_name(s->zone));
    }
    push_words(L, s);
    return 1;
}

/* warnings() -> a list of what surprises; empty for most */
static int
schedule_warnings(lua_State *L)
{
    struct schedule *s = check_schedule(L);
    lua_Integer n = 0;

    lua_newtable(L);
    for (;; n++) {
        (void)cronexpr_warning(&s->expr, (unsigned)n, &s->words);
        if (s->words.len == 0 && !s->words.failed) {
            break;
        }
        push_words(L, s);
        lua_rawseti(L, -2, n + 1);
    }
    (void)clock_of(L, s); /* looks at the file */
    if (tz_zone_is_stale(s->zone)) {
        lua_pushfstring(L, "tz: the file of %s is gone or broken; what was read before holds",
                        tz_zone_name(s->zone));
        lua_rawseti(L, -2, n + 1);
    }
    return 1;
}

/* resolved() -> the expression with what was drawn for H and ~ */
static int
schedule_resolved(lua_State *L)
{
    struct schedule *s = check_schedule(L);

    lua_pushlstring(L, buf_cstr(&s->resolved), s->resolved.len);
    return 1;
}

/* zone() -> the name of its zone */
static int
schedule_zone(lua_State *L)
{
    lua_pushstring(L, tz_zone_name(check_schedule(L)->zone));
    return 1;
}

static int
schedule_tostring(lua_State *L)
{
    struct schedule *s = check_schedule(L);

    lua_pushfstring(L, "schedule (%s, %s)", buf_cstr(&s->resolved), tz_zone_name(s->zone));
    return 1;
}

static int
schedule_gc(lua_State *L)
{
    struct schedule *s = luaL_checkudata(L, 1, SCHEDULE_META);

    buf_fini(&s->resolved);
    buf_fini(&s->words);
    return 0;
}

/* Parsing ------------------------------------------------------------------------------- */

/* [-0, +2, v] nil and the error of PROBLEM, with its field and its hint. */
static int
push_problem(lua_State *L, const struct cronexpr_problem *problem)
{
    int has_hint = problem->hint[0] != '\0';

    if (problem->fault.code == FAULT_NOMEM) {
        return luaL_error(L, "not enough memory");
    }
    lua_pushfstring(L, "%s%s%s", problem->fault.msg, has_hint ? "; " : "", problem->hint);
    lua_pushnil(L);
    task_new_error(L, fault_kind(problem->fault.code), lua_tostring(L, -2));
    lua_pushstring(L, cronexpr_field_name(problem->field));
    lua_setfield(L, -2, "field");
    if (has_hint) {
        lua_pushstring(L, problem->hint);
        lua_setfield(L, -2, "hint");
    }
    return 2;
}

/* [-0, +1, m] A schedule with nothing in it. */
static struct schedule *
push_schedule(lua_State *L)
{
    struct schedule *s = lua_newuserdatauv(L, sizeof *s, 1);

    memset(s, 0, sizeof *s);
    buf_init(&s->resolved, 4 * CRONEXPR_TEXT_MAX);
    buf_init(&s->words, WORDS_MAX);
    luaL_setmetatable(L, SCHEDULE_META);
    lua_pushvalue(L, lua_upvalueindex(1));
    (void)lua_setiuservalue(L, -2, 1);
    s->store = lua_touserdata(L, lua_upvalueindex(1));
    return s;
}

/* The zone called NAME. */
static enum fault_code
get_zone(lua_State *L, const char *name, size_t len, struct tz_zone **zone,
         struct cronexpr_problem *problem)
{
    struct tz_store *store = lua_touserdata(L, lua_upvalueindex(1));
    struct fault why;
    enum fault_code bad = tz_store_get(store, name, len, loop_boot_ms(task_loop(L)), zone, &why);

    if (bad) {
        problem->field = CRONEXPR_TZ;
        tz_advise(name, len, problem->hint, sizeof problem->hint);
        (void)fault_set(&problem->fault, bad, "tz: %s", why.msg);
    }
    return bad;
}

/* Finds the zone: NAME, or that of the expression, or UTC. */
static enum fault_code
find_zone(lua_State *L, struct schedule *s, const char *name, size_t len,
          struct cronexpr_problem *problem)
{
    const char *own = s->expr.tz;

    problem->field = CRONEXPR_TZ;
    problem->hint[0] = '\0';
    if (name != NULL && *own != '\0' && (len != strlen(own) || memcmp(name, own, len) != 0)) {
        return fault_set(&problem->fault, FAULT_INVALID,
                         "tz: the expression says %s, not the zone that was given", own);
    }
    if (name == NULL) {
        name = *own != '\0' ? own : "UTC";
        len = strlen(name);
    }
    return get_zone(L, name, len, &s->zone, problem);
}

/* parse(text, zone or nil, dst, name or nil, seed or nil, phase) -> schedule, or nil and
 * an error with field and hint */
static int
cron_parse(lua_State *L)
{
    static const char *const policies[] = {"cron", "skip", "utc", NULL};
    struct cronexpr_options options = {0};
    struct cronexpr_problem problem;
    size_t len, zone_len = 0;
    const char *text = luaL_checklstring(L, 1, &len);
    const char *zone = luaL_optlstring(L, 2, NULL, &zone_len);
    enum cronexpr_dst dst = (enum cronexpr_dst)luaL_checkoption(L, 3, "cron", policies);
    lua_Integer phase = luaL_optinteger(L, 6, 0);
    struct schedule *s;

    options.name = luaL_optlstring(L, 4, NULL, &options.name_len);
    options.has_seed = !lua_isnoneornil(L, 5);
    options.seed = (uint64_t)luaL_optinteger(L, 5, 0);
    luaL_argcheck(L, phase >= 0 && phase <= CRONEXPR_EVERY_MAX, 6, "expected 0 to 400 days");
    options.phase = (uint32_t)phase;
    s = push_schedule(L);
    s->dst = dst;
    if (cronexpr_parse(text, len, &options, &s->expr, &s->resolved, &problem) != FAULT_OK
        || find_zone(L, s, zone, zone_len, &problem) != FAULT_OK) {
        return push_problem(L, &problem);
    }
    return 1;
}

/* offset(zone, t) -> seconds that local time is ahead of UTC at t, or nil and an
 * error with hint */
static int
cron_offset(lua_State *L)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    int64_t t = check_time(L, 2, floor);
    struct cronexpr_problem problem = {0};
    struct tz_zone *zone;
    struct tz_span span;

    if (get_zone(L, name, len, &zone, &problem) != FAULT_OK) {
        return push_problem(L, &problem);
    }
    tz_span_at(tz_zone_rules(zone, loop_boot_ms(task_loop(L))), t, &span);
    lua_pushinteger(L, span.offset);
    return 1;
}

/* The module ----------------------------------------------------------------------------- */

static int
store_gc(lua_State *L)
{
    tz_store_fini(lua_touserdata(L, 1));
    return 0;
}

/* [-0, +1, m] */
static void
push_store(lua_State *L)
{
    tz_store_init(lua_newuserdatauv(L, sizeof(struct tz_store), 0));
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, store_gc);
    lua_setfield(L, -2, "__gc");
    (void)lua_setmetatable(L, -2);
}

static const luaL_Reg methods[] = {
    {"describe", schedule_describe}, {"next", schedule_next},
    {"nominals", schedule_nominals}, {"prev", schedule_prev},
    {"resolved", schedule_resolved}, {"warnings", schedule_warnings},
    {"zone", schedule_zone},         {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__gc", schedule_gc},
    {"__tostring", schedule_tostring},
    {NULL, NULL},
};

static const luaL_Reg funcs[] = {
    {"offset", cron_offset},
    {"parse", cron_parse},
    {NULL, NULL},
};

int
luaopen_moontap_native_cron(lua_State *L)
{
    if (luaL_newmetatable(L, SCHEDULE_META)) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    luaL_newlibtable(L, funcs);
    push_store(L);
    luaL_setfuncs(L, funcs, 1);
    return 1;
}
