/*
 * moontap.native.schema: what the PCAPs API accepts, for scripts, help and the
 * simulator. Owns nothing; nothing here waits.
 */
#include "schema.h"

#include "../buf.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 65536 /* bytes of JSON */

/* [-0, +0, -] The value at INDEX. */
static void
read_value(lua_State *L, int index, struct schema_value *v)
{
    int exact;

    v->len = 0;
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        v->as.integer = lua_tointegerx(L, index, &exact);
        v->kind = exact ? SCHEMA_IS_INTEGER : SCHEMA_IS_NUMBER;
        if (!exact) {
            v->as.number = lua_tonumber(L, index);
        }
        break;
    case LUA_TSTRING:
        v->kind = SCHEMA_IS_STRING;
        v->as.text = lua_tolstring(L, index, &v->len);
        break;
    case LUA_TTABLE: v->kind = SCHEMA_IS_TABLE; break;
    case LUA_TBOOLEAN:
        v->kind = SCHEMA_IS_BOOLEAN;
        v->as.integer = lua_toboolean(L, index);
        break;
    default:
        v->kind = SCHEMA_IS_OTHER;
        v->as.text = lua_typename(L, lua_type(L, index));
        break;
    }
}

/* [-0, +0, -] Notes the key at INDEX, which is no field's name. */
static void
note_unknown(lua_State *L, int index, struct schema_record *record, int parent)
{
    char name[40];
    size_t len;
    const char *key;

    if (lua_type(L, index) == LUA_TSTRING) {
        key = lua_tolstring(L, index, &len);
        schema_record_unknown(record, parent, key, len);
        return;
    }
    if (lua_isinteger(L, index)) {
        (void)snprintf(name, sizeof name, "[%lld]", (long long)lua_tointeger(L, index));
    } else {
        (void)snprintf(name, sizeof name, "[%s]", luaL_typename(L, index));
    }
    schema_record_unknown(record, parent, name, strlen(name));
}

/* [-0, +0, -] Reads the pairs of the table at INDEX, fields below PARENT. */
static void
read_table(lua_State *L, int index, struct schema_record *record, int parent)
{
    size_t len;
    const char *key;
    int i;

    lua_pushnil(L);
    while (lua_next(L, index)) {
        i = -1;
        if (lua_type(L, -2) == LUA_TSTRING) {
            key = lua_tolstring(L, -2, &len);
            i = schema_find(record->op, parent, key, len);
        }
        if (parent != SCHEMA_TOP) {
            record->members++;
        }
        if (i < 0) {
            note_unknown(L, -2, record, parent);
        } else {
            size_t count;

            read_value(L, -1, &record->values[i]);
            if (record->values[i].kind == SCHEMA_IS_TABLE
                && schema_fields(record->op, &count)[i].type == SCHEMA_OBJECT) {
                read_table(L, lua_gettop(L), record, i);
            }
        }
        lua_pop(L, 1);
    }
}

void
schema_read(lua_State *L, int index, enum schema_op op, struct schema_record *record)
{
    schema_record_init(record, op);
    read_table(L, lua_absindex(L, index), record, SCHEMA_TOP);
}

/* The problems that were kept. */
static unsigned
kept(const struct schema_problems *problems)
{
    return problems->count < SCHEMA_PROBLEMS_MAX ? problems->count : SCHEMA_PROBLEMS_MAX;
}

void
schema_push_text(lua_State *L, const struct schema_problems *problems)
{
    luaL_Buffer b;
    unsigned n = kept(problems);

    if (problems->count == 1) {
        lua_pushfstring(L, "%s: %s", problems->items[0].path, problems->items[0].message);
        return;
    }
    luaL_buffinit(L, &b);
    lua_pushfstring(L, "%d problems", (int)problems->count);
    luaL_addvalue(&b);
    for (unsigned i = 0; i < n; i++) {
        lua_pushfstring(L, "\n  %s: %s", problems->items[i].path, problems->items[i].message);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
}

/* [-0, +1, m] */
static void
push_problems(lua_State *L, const struct schema_problems *problems)
{
    unsigned n = kept(problems);

    lua_createtable(L, (int)n, 0);
    for (unsigned i = 0; i < n; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, problems->items[i].path);
        lua_setfield(L, -2, "path");
        lua_pushstring(L, problems->items[i].pointer);
        lua_setfield(L, -2, "pointer");
        lua_pushstring(L, problems->items[i].message);
        lua_setfield(L, -2, "message");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static enum schema_op
check_op(lua_State *L, int arg)
{
    int op = schema_op_find(luaL_checkstring(L, arg));

    luaL_argcheck(L, op >= 0, arg, "unknown operation");
    return (enum schema_op)op;
}

/* The option table at ARG: now (seconds since 1970), allow_ipv6. */
static void
check_rules(lua_State *L, int arg, struct schema_rules *rules)
{
    if (lua_isnoneornil(L, arg)) {
        return;
    }
    luaL_checktype(L, arg, LUA_TTABLE);
    if (lua_getfield(L, arg, "now") != LUA_TNIL) {
        lua_Number now = luaL_checknumber(L, -1);

        luaL_argcheck(L, now > -1e11 && now < 1e11, arg, "now is out of range");
        rules->has_now = 1;
        rules->now_us = (int64_t)(now * 1e6);
    }
    lua_getfield(L, arg, "allow_ipv6");
    rules->allow_ipv6 = lua_toboolean(L, -1);
    lua_pop(L, 2);
}

/* check(op, params, "client"|"server"[, {now=, allow_ipv6=}]) -> problems */
static int
schema_module_check(lua_State *L)
{
    static const char *const sides[] = {"client", "server", NULL};
    struct schema_rules rules = {.side = SCHEMA_CLIENT};
    struct schema_record record;
    struct schema_problems problems;
    enum schema_op op = check_op(L, 1);

    luaL_checktype(L, 2, LUA_TTABLE);
    if (luaL_checkoption(L, 3, NULL, sides) == 1) {
        rules.side = SCHEMA_SERVER;
    }
    check_rules(L, 4, &rules);
    schema_read(L, 2, op, &record);
    (void)schema_check(&record, &rules, &problems);
    push_problems(L, &problems);
    return 1;
}

/* [-0, +1, m] The fields of RECORD below PARENT, as they go to the API. */
static void
push_record(lua_State *L, const struct schema_record *record, int parent)
{
    size_t count;
    const struct schema_field *fields = schema_fields(record->op, &count);

    luaL_checkstack(L, 4, NULL);
    lua_newtable(L);
    for (size_t i = 0; i < count; i++) {
        const struct schema_value *v = &record->values[i];

        if (fields[i].parent != parent || v->kind == SCHEMA_ABSENT) {
            continue;
        }
        if (fields[i].type == SCHEMA_OBJECT) {
            push_record(L, record, (int)i);
        } else if (v->kind == SCHEMA_IS_STRING) {
            lua_pushlstring(L, v->as.text, v->len);
        } else {
            lua_pushinteger(L, v->as.integer);
        }
        lua_setfield(L, -2, fields[i].name);
    }
}

/* [-0, +(0|2), v] The record of (op, params[, rules]); 0, or nil and the problems
 * are pushed. */
static int
read_record(lua_State *L, struct schema_record *record)
{
    struct schema_rules rules = {.side = SCHEMA_CLIENT};
    struct schema_problems problems;
    enum schema_op op = check_op(L, 1);

    luaL_checktype(L, 2, LUA_TTABLE);
    check_rules(L, 3, &rules);
    schema_read(L, 2, op, record);
    if (schema_check(record, &rules, &problems) > 0) {
        lua_pushnil(L);
        push_problems(L, &problems);
        return -1;
    }
    return 0;
}

/* normalize(op, params[, {now=, allow_ipv6=}]) -> wire params | nil, problems */
static int
schema_module_normalize(lua_State *L)
{
    struct schema_record record;

    if (read_record(L, &record) != 0) {
        return 2;
    }
    push_record(L, &record, SCHEMA_TOP);
    return 1;
}

/* (buf) Guarded. */
static int
push_text(lua_State *L)
{
    const struct buf *text = lua_touserdata(L, 1);

    lua_pushlstring(L, buf_cstr(text), text->len);
    return 1;
}

/* encode(op, params[, {now=, allow_ipv6=}]) -> the JSON of normalize() | nil, problems */
static int
schema_module_encode(lua_State *L)
{
    struct schema_record record;
    struct buf text;
    int status;

    if (read_record(L, &record) != 0) {
        return 2;
    }
    lua_pushcfunction(L, push_text);
    buf_init(&text, TEXT_MAX);
    if (schema_write(&record, &text) != FAULT_OK) {
        int is_long = text.failed == FAULT_LIMIT;

        buf_fini(&text);
        return luaL_error(L, is_long ? "longer than %d bytes" : "not enough memory", TEXT_MAX);
    }
    lua_pushlightuserdata(L, &text);
    status = lua_pcall(L, 1, 1, 0);
    buf_fini(&text);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* [-0, +0, m] Sets t[NAME] of the table at the top to the set of types. */
static void
set_types(lua_State *L, const char *name, unsigned types)
{
    static const char *const names[] = {"simple", "full"};
    int n = 0;

    lua_createtable(L, 2, 0);
    for (unsigned i = 0; i < 2; i++) {
        if (types & (1u << i)) {
            lua_pushstring(L, names[i]);
            lua_rawseti(L, -2, ++n);
        }
    }
    lua_setfield(L, -2, name);
}

static void
set_string(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value); /* nil for NULL */
    lua_setfield(L, -2, name);
}

static void
set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* [-0, +1, m] */
static void
push_field(lua_State *L, const struct schema_field *fields, size_t i)
{
    static const char *const types[] = {"integer", "string", "object"};
    const struct schema_field *f = &fields[i];

    lua_createtable(L, 0, 14);
    set_string(L, "name", f->name);
    set_string(L, "type", types[f->type]);
    set_string(L, "doc", f->doc);
    set_string(L, "source", f->source);
    set_string(L, "fill", f->fill);
    if (f->parent == SCHEMA_TOP) {
        set_string(L, "path", f->name);
    } else {
        set_string(L, "parent", fields[f->parent].name);
        lua_pushfstring(L, "%s.%s", fields[f->parent].name, f->name);
        lua_setfield(L, -2, "path");
    }
    if (f->max != 0) {
        set_integer(L, "min", f->min);
        set_integer(L, "max", f->max);
    }
    if (f->full_max != 0) {
        set_integer(L, "full_max", f->full_max);
    }
    lua_pushboolean(L, f->client_bounds);
    lua_setfield(L, -2, "client_bounds");
    set_types(L, "types", f->types);
    set_types(L, "required", f->required);
    if (f->values != NULL) {
        lua_newtable(L);
        for (int n = 0; f->values[n] != NULL; n++) {
            lua_pushstring(L, f->values[n]);
            lua_rawseti(L, -2, n + 1);
        }
        lua_setfield(L, -2, "values");
    }
}

/* fields(op) -> list of fields, in the order of the JSON body */
static int
schema_module_fields(lua_State *L)
{
    size_t count;
    const struct schema_field *fields = schema_fields(check_op(L, 1), &count);

    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_field(L, fields, i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* near(word, names) -> the name that was probably meant, or nil */
static int
schema_module_near(lua_State *L)
{
    const char *word = luaL_checkstring(L, 1), **names;
    lua_Integer n;

    luaL_checktype(L, 2, LUA_TTABLE);
    n = (lua_Integer)lua_rawlen(L, 2);
    luaL_argcheck(L, n < 10000, 2, "too many names");
    luaL_checkstack(L, (int)n + 4, NULL); /* the names stay reachable there */
    names = lua_newuserdatauv(L, sizeof *names * (size_t)(n + 1), 0);
    for (lua_Integer i = 1; i <= n; i++) {
        luaL_argcheck(L, lua_rawgeti(L, 2, i) == LUA_TSTRING, 2, "a list of strings expected");
        names[i - 1] = lua_tostring(L, -1);
    }
    lua_pushstring(L, schema_near(word, names, (size_t)n));
    return 1;
}

/* redact(text) -> text with the queries of bucket URIs hidden */
static int
schema_module_redact(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_Buffer b;
    char *copy = luaL_buffinitsize(L, &b, len);

    memcpy(copy, text, len);
    luaL_pushresultsize(&b, schema_redact(copy, len));
    return 1;
}

static const luaL_Reg funcs[] = {
    {"check", schema_module_check},
    {"encode", schema_module_encode},
    {"fields", schema_module_fields},
    {"near", schema_module_near},
    {"normalize", schema_module_normalize},
    {"redact", schema_module_redact},
    {NULL, NULL},
};

int luaopen_moontap_native_schema(lua_State *L);

int
luaopen_moontap_native_schema(lua_State *L)
{
    luaL_newlib(L, funcs);
    return 1;
}
