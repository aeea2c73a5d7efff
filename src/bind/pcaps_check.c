/*
 * bind/pcaps_check: the arguments of the operations. A wrong one is the
 * caller's bug and raises, with all problems at once and the caller's line.
 */
#include "pcaps.h"

#include "duration.h"
#include "schema.h"

#include <lauxlib.h>
#include <string.h>

static const char *const OPTIONS[] = {"timeout",  "max_retries", "deadline", "allow_ipv6", "case",
                                      "why",      "priority",    "share",    "detach",     "force"};

#define PRIORITY_MAX 100
#define NOTE_MAX 1000 /* bytes of a case or reason */

/* [-1, +0, v] Raises the text at the top as an argument error of OP at LEVEL. */
static int
raise(lua_State *L, const char *op, int level)
{
    luaL_where(L, level);
    lua_pushfstring(L, "pcaps.%s: ", op);
    lua_pushvalue(L, -3);
    lua_concat(L, 3);
    return lua_error(L);
}

/* The length of time at the top of the stack, in milliseconds; 0 when it is
 * none. */
static uint64_t
read_duration(lua_State *L)
{
    uint64_t ms = 0;
    size_t len;
    const char *text;

    if (lua_type(L, -1) == LUA_TNUMBER) {
        if (duration_from_seconds(lua_tonumber(L, -1), &ms) != 0) {
            return 0;
        }
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        text = lua_tolstring(L, -1, &len);
        if (duration_parse(text, len, &ms) != 0) {
            return 0;
        }
    }
    return ms;
}

/* What is wrong with the option KEY that the gate reads (lua/moontap/gate), whose
 * value is at -1; NULL when nothing is. */
static const char *
check_gate_option(lua_State *L, const char *key)
{
    if (strcmp(key, "case") == 0 || strcmp(key, "why") == 0) {
        return lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) <= NOTE_MAX
                   ? NULL
                   : "expected a string of at most 1000 bytes";
    }
    if (strcmp(key, "priority") == 0) {
        return lua_isinteger(L, -1) && lua_tointeger(L, -1) >= -PRIORITY_MAX
                       && lua_tointeger(L, -1) <= PRIORITY_MAX
                   ? NULL
                   : "expected an integer -100..100";
    }
    if (strcmp(key, "share") == 0 || strcmp(key, "detach") == 0 || strcmp(key, "force") == 0) {
        return lua_isboolean(L, -1) ? NULL : "expected true or false";
    }
    return "unknown option";
}

/* Reads the option whose key is at -2 and whose value at -1; returns what is
 * wrong with it, or NULL. */
static const char *
read_option(lua_State *L, struct pcaps_options *options)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
    uint64_t ms;

    if (strcmp(key, "timeout") == 0 || strcmp(key, "deadline") == 0) {
        ms = read_duration(L);
        if (ms == 0) {
            return "expected a duration (5, \"5m\")";
        }
        if (key[0] == 't') {
            options->timeout_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
        }
        return NULL;
    }
    if (strcmp(key, "max_retries") == 0) {
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0 || lua_tointeger(L, -1) > 1000) {
            return "expected an integer 0..1000";
        }
        return NULL;
    }
    if (strcmp(key, "allow_ipv6") == 0) {
        options->allow_ipv6 = lua_toboolean(L, -1);
        return lua_isboolean(L, -1) ? NULL : "expected true or false";
    }
    if (strcmp(key, "asked_at") == 0) { /* of a retry: the age of a window counts from then */
        options->asked_us = (int64_t)(lua_tonumber(L, -1) * 1e6);
        return lua_isnumber(L, -1) ? NULL : "expected seconds since 1970";
    }
    return check_gate_option(L, key);
}

void
pcaps_read_options(lua_State *L, int arg, const char *op, int level, struct pcaps_options *options)
{
    const char *wrong, *near, *key;

    memset(options, 0, sizeof *options);
    if (lua_isnoneornil(L, arg)) {
        return;
    }
    if (!lua_istable(L, arg)) {
        lua_pushfstring(L, "options: expected a table, got %s", luaL_typename(L, arg));
        (void)raise(L, op, level);
    }
    lua_pushnil(L);
    while (lua_next(L, arg)) {
        wrong = read_option(L, options);
        if (wrong != NULL) {
            key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
            near = schema_near(key, OPTIONS, sizeof OPTIONS / sizeof OPTIONS[0]);
            if (near != NULL && strcmp(near, key) != 0) {
                lua_pushfstring(L, "options.%s: %s; did you mean %s?", key, wrong, near);
            } else {
                lua_pushfstring(L, "options.%s: %s", key, wrong);
            }
            (void)raise(L, op, level);
        }
        lua_pop(L, 1);
    }
}

static enum schema_op
schema_of(enum pcaps_op op)
{
    switch (op) {
    case PCAPS_CREATE: return SCHEMA_CREATE;
    case PCAPS_OWNERSHIP_CREATE: return SCHEMA_OWNERSHIP_CREATE;
    case PCAPS_OWNERSHIP_VALIDATE: return SCHEMA_OWNERSHIP_VALIDATE;
    default: return SCHEMA_ID;
    }
}

/* A method call on a client is a likely slip. */
static void
wrong_subject(lua_State *L, int arg, const char *op, const char *expected, int level)
{
    lua_pushfstring(L, "expected %s, got %s%s", expected, luaL_typename(L, arg),
                    lua_type(L, arg) == LUA_TUSERDATA ? " (write client.create{…}, with a dot)"
                                                      : "");
    (void)raise(L, op, level);
}

void
pcaps_read_params(lua_State *L, int arg, enum pcaps_op op,
                  const struct pcaps_options *options, int level, struct schema_record *record)
{
    const char *name = pcaps_ops[op].name;
    struct schema_problems problems;
    struct schema_rules rules = {
        .side = SCHEMA_CLIENT,
        .allow_ipv6 = options->allow_ipv6,
        .has_now = 1,
        .now_us = options->asked_us != 0 ? options->asked_us : loop_real_us(task_loop(L)),
    };

    if (!lua_istable(L, arg)) {
        wrong_subject(L, arg, name, "a table of parameters", level);
    }
    schema_read(L, arg, schema_of(op), record);
    if (schema_check(record, &rules, &problems) > 0) {
        schema_push_text(L, &problems);
        (void)raise(L, name, level);
    }
}

const char *
pcaps_read_id(lua_State *L, int arg, enum pcaps_op op, int level, size_t *len)
{
    struct schema_record record;
    struct schema_problems problems;
    const struct schema_rules rules = {.side = SCHEMA_CLIENT};

    if (lua_type(L, arg) != LUA_TSTRING) {
        wrong_subject(L, arg, pcaps_ops[op].name, "an id", level);
    }
    schema_record_init(&record, SCHEMA_ID);
    record.values[0].kind = SCHEMA_IS_STRING;
    record.values[0].as.text = lua_tolstring(L, arg, &record.values[0].len);
    if (schema_check(&record, &rules, &problems) > 0) {
        schema_push_text(L, &problems);
        (void)raise(L, pcaps_ops[op].name, level);
    }
    *len = record.values[0].len;
    return record.values[0].as.text;
}

/* Upvalue 1: the operation. Raises two levels up: the caller of the Lua
 * function that calls it. */
int
pcaps_check(lua_State *L)
{
    enum pcaps_op op = (enum pcaps_op)lua_tointeger(L, lua_upvalueindex(1));
    struct pcaps_options options;
    struct schema_record record;
    size_t len;

    lua_settop(L, 2);
    if (lua_type(L, 1) == LUA_TUSERDATA) { /* before the options: they are the parameters then */
        wrong_subject(L, 1, pcaps_ops[op].name, "parameters or an id", 2);
    }
    pcaps_read_options(L, 2, pcaps_ops[op].name, 2, &options);
    switch (op) {
    case PCAPS_CREATE:
    case PCAPS_OWNERSHIP_CREATE:
    case PCAPS_OWNERSHIP_VALIDATE:
        pcaps_read_params(L, 1, op, &options, 2, &record);
        break;
    case PCAPS_LIST:
    case PCAPS_OWNERSHIP_LIST: break;
    default: (void)pcaps_read_id(L, 1, op, 2, &len); break;
    }
    return 0;
}
