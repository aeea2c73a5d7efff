/*
 * What a script gives to an operation, however odd: it is taken, or refused with
 * a text. What the client takes, the simulator's check accepts in the JSON that
 * is sent, and taking it a second time changes nothing.
 *
 * Input: operation, then values: a byte for the kind, then what it needs.
 */
#include "fuzz.h"

#include "bind/json.h"
#include "bind/schema.h"

#include <lauxlib.h>
#include <string.h>

#define DEPTH_MAX 6
#define MEMBERS_MAX 16
#define NOW_US 1767268800000000 /* 2026-01-01T12:00:00Z */

enum value_kind {
    IS_NIL,
    IS_FALSE,
    IS_TRUE,
    IS_SMALL,
    IS_INTEGER,
    IS_FLOAT,
    IS_TEXT,
    IS_NAME, /* a field's name, or a value that it knows */
    IS_FUNCTION,
    IS_TABLE,
    IS_ODD_TABLE, /* with a metatable that raises */
    IS_GOOD,      /* a whole set of parameters that is right */
    KIND_COUNT
};

static const char *const names[] = {
    "type", "simple", "full", "time_limit", "packet_limit", "byte_limit", "filter_v1",
    "source_address", "destination_address", "source_port", "destination_port", "protocol",
    "tcp", "colo_name", "ORD", "destination_conf", "s3://bucket/dir?region=us-east-1",
    "gs://bucket", "r2://b?secret-access-key=x", "offset_time", "-10m", "5m", "system",
    "magic-transit", "ownership_challenge", "2026-01-01T11:59:00Z", "203.0.113.10", "2001:db8::1",
};

static const char ODD[] =
    "local function refuse() error {} end\n" /* no text, which is what a refusal is */
    "return { __index = refuse, __newindex = refuse, __pairs = refuse, __len = refuse,\n"
    "  __eq = refuse, __tostring = refuse, __name = 'odd' }\n";

static const char CHECK[] =
    "local native, schema = require 'moontap.native.pcaps', require 'moontap.native.schema'\n"
    "local ops = { 'create', 'ownership.create', 'ownership.validate', 'list', 'get', 'stop',\n"
    "  'download', 'ownership.delete' }\n"
    "return function(op, subject, options)\n"
    "  return pcall(native.check[ops[op % #ops + 1]], subject, options)\n"
    "end\n";

static void push_value(lua_State *L, struct input *in, int depth);

static void
push_number_of(lua_State *L, struct input *in, int is_float)
{
    uint64_t bits = 0;
    double number;

    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | input_byte(in);
    }
    memcpy(&number, &bits, sizeof number);
    if (is_float) {
        lua_pushnumber(L, number);
    } else {
        lua_pushinteger(L, (lua_Integer)bits);
    }
}

static void
push_table(lua_State *L, struct input *in, int depth)
{
    unsigned n = input_byte(in) % MEMBERS_MAX;

    luaL_checkstack(L, 6, NULL);
    lua_newtable(L);
    for (unsigned i = 0; i < n; i++) {
        push_value(L, in, depth + 1);
        push_value(L, in, depth + 1);
        if (lua_isnil(L, -2) || (lua_isnumber(L, -2) && lua_tonumber(L, -2) != lua_tonumber(L, -2))) {
            lua_pop(L, 2);
        } else {
            lua_rawset(L, -3);
        }
    }
}

static void
push_good(lua_State *L, struct input *in, int depth)
{
    static const char GOOD[] =
        "return { { type = 'simple', time_limit = 300, packet_limit = 10000,\n"
        "    filter_v1 = { destination_address = '203.0.113.10', protocol = 'udp' } },\n"
        "  { type = 'full', time_limit = '5m', byte_limit = 1000000, colo_name = 'ORD',\n"
        "    destination_conf = 's3://bucket/dir?region=us-east-1' } }\n";

    luaL_checkstack(L, 8, NULL);
    fuzz_eval(L, GOOD);
    lua_newtable(L);
    (void)lua_rawgeti(L, -2, 1 + input_byte(in) % 2);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
    lua_remove(L, -2);
    push_value(L, in, depth + 1); /* and one field that may be wrong */
    push_value(L, in, depth + 1);
    if (lua_type(L, -2) == LUA_TSTRING) {
        lua_rawset(L, -3);
    } else {
        lua_pop(L, 2);
    }
}

static void
push_value(lua_State *L, struct input *in, int depth)
{
    size_t len;
    const char *text;
    unsigned kind = depth < DEPTH_MAX ? input_byte(in) % KIND_COUNT : IS_NIL;

    switch (kind) {
    case IS_FALSE:
    case IS_TRUE: lua_pushboolean(L, kind == IS_TRUE); break;
    case IS_SMALL: lua_pushinteger(L, input_byte(in)); break;
    case IS_INTEGER: push_number_of(L, in, 0); break;
    case IS_FLOAT: push_number_of(L, in, 1); break;
    case IS_TEXT:
        text = input_text(in, 255, &len);
        lua_pushlstring(L, text, len);
        break;
    case IS_NAME:
        lua_pushstring(L, names[input_byte(in) % (sizeof names / sizeof *names)]);
        break;
    case IS_FUNCTION: lua_pushcfunction(L, luaopen_moontap_native_json); break;
    case IS_TABLE: push_table(L, in, depth); break;
    case IS_ODD_TABLE:
        push_table(L, in, depth);
        fuzz_eval(L, ODD);
        (void)lua_setmetatable(L, -2);
        break;
    case IS_GOOD: push_good(L, in, depth); break;
    default: lua_pushnil(L); break;
    }
}

/* The record of the table at INDEX, checked on SIDE; its number of problems. */
static unsigned
check_table(lua_State *L, int index, enum schema_op op, enum schema_side side,
            struct schema_record *record, struct schema_problems *problems)
{
    struct schema_rules rules = {
        .side = side, .allow_ipv6 = 1, .has_now = side == SCHEMA_CLIENT, .now_us = NOW_US};

    schema_read(L, index, op, record);
    return schema_check(record, &rules, problems);
}

/* (op, params): what the client takes goes through the simulator's check. */
static int
round_trip(lua_State *L)
{
    enum schema_op op = (enum schema_op)lua_tointeger(L, 1);
    struct schema_record record;
    static struct schema_problems problems;
    struct buf first, second;

    if (!lua_istable(L, 2)) {
        return 0;
    }
    if (check_table(L, 2, op, SCHEMA_CLIENT, &record, &problems) > 0) {
        schema_push_text(L, &problems);
        must(lua_rawlen(L, -1) > 0);
        return 0;
    }
    buf_init(&first, 1u << 20);
    buf_init(&second, 1u << 20);
    must(schema_write(&record, &first) == FAULT_OK);
    must(json_decode(L, buf_cstr(&first), first.len) == 0);
    must(check_table(L, lua_gettop(L), op, SCHEMA_SERVER, &record, &problems) == 0);
    must(check_table(L, lua_gettop(L), op, SCHEMA_CLIENT, &record, &problems) == 0);
    must(schema_write(&record, &second) == FAULT_OK);
    must(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_state();
    struct input in = {data, size};
    unsigned op = input_byte(&in);

    fuzz_eval(L, CHECK);
    lua_pushinteger(L, op);
    push_value(L, &in, 0);
    push_value(L, &in, 0);
    lua_pushvalue(L, -2);
    lua_insert(L, 1); /* kept for the round trip */
    must(lua_pcall(L, 3, 2, 0) == LUA_OK);
    must(lua_toboolean(L, 2) || lua_type(L, 3) == LUA_TSTRING);
    lua_settop(L, 1);
    lua_pushcfunction(L, round_trip);
    lua_pushinteger(L, op % SCHEMA_ID);
    lua_pushvalue(L, 1);
    must(lua_pcall(L, 2, 0, 0) == LUA_OK);
    fuzz_turn_over(L);
    return 0;
}
