/*
 * bind/json_write: Lua values to JSON text; see json.h. Nothing here calls back
 * into Lua (no metamethods), so one scratch area per state, a userdata in the
 * registry, serves every call.
 */
#include "json.h"

#include "../buf.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_SHOWN 200
#define KEEP_BYTES (256u << 10) /* scratch memory kept from one call to the next */

static const char scratch_key = 's'; /* registry: struct scratch */

/* A key of the table that is being written; the table keeps it alive. */
struct key {
    const char *text;
    size_t len;
};

struct scratch {
    struct buf text;
    struct key *keys; /* of all tables on the way down, each one's sorted */
    size_t used, cap;
};

/* Where in the value the writer is; lives on the C stack. */
struct step {
    const struct step *up;
    const void *table; /* identity, to find cycles */
    const char *key;   /* NULL: an item of a list */
    size_t key_len;
    lua_Integer index;
    int depth;
};

struct writer {
    lua_State *L;
    struct scratch *s;
    int pretty;
};

/* Scratch ------------------------------------------------------------------ */

static int
scratch_gc(lua_State *L)
{
    struct scratch *s = lua_touserdata(L, 1);

    buf_fini(&s->text);
    mem_free(s->keys);
    s->keys = NULL;
    s->used = s->cap = 0;
    return 0;
}

/* [-0, +1, m] */
static struct scratch *
push_scratch(lua_State *L)
{
    struct scratch *s;

    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &scratch_key) == LUA_TUSERDATA) {
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    buf_init(&s->text, JSON_TEXT_MAX);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, scratch_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_key);
    return s;
}

/* Forgets what an earlier call left, also one that ended with an error. */
static void
reset_scratch(struct scratch *s)
{
    if (s->text.cap > KEEP_BYTES) {
        buf_fini(&s->text);
    }
    buf_reset(&s->text);
    s->used = 0;
}

static int
add_key(struct scratch *s, const char *text, size_t len)
{
    if (s->used == s->cap) {
        size_t cap = s->cap != 0 ? s->cap * 2 : 32;
        struct key *keys = mem_realloc(s->keys, cap * sizeof *keys);

        if (keys == NULL) {
            return -1;
        }
        s->keys = keys;
        s->cap = cap;
    }
    s->keys[s->used].text = text;
    s->keys[s->used++].len = len;
    return 0;
}

static int
compare_keys(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->text, y->text, n);

    if (order != 0) {
        return order;
    }
    return (x->len > y->len) - (x->len < y->len);
}

/* Errors of the writer ----------------------------------------------------- */

/* Writes the path that leads to STEP, outermost first; returns what is used. */
static size_t
write_path(const struct step *step, char *out, size_t size)
{
    size_t used;
    int n;

    if (step == NULL || step->up == NULL) {
        return 0;
    }
    used = write_path(step->up, out, size);
    if (step->key == NULL) {
        n = snprintf(out + used, size - used, "[%lld]", (long long)step->index);
    } else {
        n = snprintf(out + used, size - used, "%s%.*s", used != 0 ? "." : "",
                     (int)(step->key_len < 60 ? step->key_len : 60), step->key);
    }
    if (n < 0) {
        return used;
    }
    return used + (size_t)n < size ? used + (size_t)n : size - 1;
}

static void
refuse(struct writer *w, const struct step *step, const char *what)
{
    char path[PATH_MAX_SHOWN] = "";

    write_path(step, path, sizeof path);
    luaL_error(w->L, "json: %s%s%s", path, path[0] != '\0' ? ": " : "", what);
}

static void
put(struct writer *w, const char *s, size_t n)
{
    enum fault_code code = buf_append(&w->s->text, s, n);

    if (code == FAULT_NOMEM) {
        luaL_error(w->L, "not enough memory");
    }
    if (code != FAULT_OK) {
        luaL_error(w->L, "json: the text is longer than %d bytes", (int)JSON_TEXT_MAX);
    }
}

static void
put_string(struct writer *w, const char *s, size_t n)
{
    (void)buf_json_string(&w->s->text, s, n);
    put(w, "", 0); /* raises when that has failed */
}

/* Starts a new line for a member at DEPTH when the text is to be read. */
static void
put_newline(struct writer *w, int depth)
{
    if (!w->pretty) {
        return;
    }
    put(w, "\n", 1);
    while (depth-- > 0) {
        put(w, "  ", 2);
    }
}

/* Writer ------------------------------------------------------------------- */

static void write_value(struct writer *w, const struct step *step);

static void
write_number(struct writer *w, const struct step *step)
{
    lua_State *L = w->L;
    char text[40], *comma;
    lua_Number x;
    lua_Integer i;
    int n, precision;

    if (lua_isinteger(L, -1)) {
        n = snprintf(text, sizeof text, LUA_INTEGER_FMT, lua_tointeger(L, -1));
        put(w, text, (size_t)n);
        return;
    }
    x = lua_tonumber(L, -1);
    if (isnan(x)) {
        refuse(w, step, "NaN cannot be written as JSON");
    }
    if (isinf(x)) {
        refuse(w, step, "an infinite number cannot be written as JSON");
    }
    if (floor(x) == x && lua_numbertointeger(x, &i)) {
        n = snprintf(text, sizeof text, LUA_INTEGER_FMT, i);
        put(w, text, (size_t)n);
        return;
    }
    for (precision = 15; precision <= 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*g", precision, x);
        if (strtod(text, NULL) == x) {
            break;
        }
    }
    comma = strchr(text, ','); /* some locales' decimal point */
    if (comma != NULL) {
        *comma = '.';
    }
    put(w, text, strlen(text));
}

/*
 * Tells whether the table on top is a list of *LEN items (1), or an object (0);
 * raises when it is neither. MARKED: it was made by array().
 */
static int
is_list(struct writer *w, const struct step *step, int marked, lua_Unsigned *len)
{
    lua_State *L = w->L;
    lua_Unsigned count = 0;

    *len = lua_rawlen(L, -1);
    if (*len == 0 && !marked) {
        return 0;
    }
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1
            || (lua_Unsigned)lua_tointeger(L, -1) > *len) {
            refuse(w, step, "the table has holes, or list items and other keys");
        }
        count++;
    }
    if (count != *len) {
        refuse(w, step, "the list has holes (nil items)");
    }
    return 1;
}

static void
write_list(struct writer *w, const struct step *up, const void *table, lua_Unsigned len)
{
    struct step step = {.up = up, .table = table, .depth = up->depth + 1};

    put(w, "[", 1);
    for (lua_Unsigned i = 1; i <= len; i++) {
        step.index = (lua_Integer)i;
        if (i > 1) {
            put(w, ",", 1);
        }
        put_newline(w, step.depth);
        lua_rawgeti(w->L, -1, (lua_Integer)i);
        write_value(w, &step);
        lua_pop(w->L, 1);
    }
    if (len != 0) {
        put_newline(w, up->depth);
    }
    put(w, "]", 1);
}

/* Adds the keys of the table on top to the scratch area, sorted. */
static void
collect_keys(struct writer *w, const struct step *step)
{
    lua_State *L = w->L;
    size_t base = w->s->used, len;

    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        const char *text;

        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            refuse(w, step,
                   lua_type(L, -1) == LUA_TNUMBER ? "a number key that does not belong to a list"
                                                  : "a key that is not a string");
        }
        text = lua_tolstring(L, -1, &len);
        if (add_key(w->s, text, len)) {
            luaL_error(L, "not enough memory");
        }
    }
    if (w->s->used - base > 1) {
        qsort(w->s->keys + base, w->s->used - base, sizeof *w->s->keys, compare_keys);
    }
}

static void
write_object(struct writer *w, const struct step *up, const void *table)
{
    struct step step = {.up = up, .table = table, .depth = up->depth + 1};
    size_t base = w->s->used, end, i;

    collect_keys(w, up);
    end = w->s->used;
    put(w, "{", 1);
    for (i = base; i < end; i++) {
        struct key key = w->s->keys[i]; /* a copy: the area moves when it grows */

        step.key = key.text;
        step.key_len = key.len;
        if (i > base) {
            put(w, ",", 1);
        }
        put_newline(w, step.depth);
        put_string(w, key.text, key.len);
        put(w, ": ", w->pretty ? 2 : 1);
        lua_pushlstring(w->L, key.text, key.len);
        lua_rawget(w->L, -2);
        write_value(w, &step);
        lua_pop(w->L, 1);
    }
    w->s->used = base;
    if (end != base) {
        put_newline(w, up->depth);
    }
    put(w, "}", 1);
}

static void
write_table(struct writer *w, const struct step *step)
{
    lua_State *L = w->L;
    const void *table = lua_topointer(L, -1);
    const struct step *up;
    lua_Unsigned len;
    int marked = 0;

    for (up = step; up != NULL; up = up->up) {
        if (up->table == table) {
            refuse(w, step, "a cycle: the table contains itself");
        }
    }
    if (step->depth >= JSON_DEPTH_MAX) {
        refuse(w, step, "nested too deeply");
    }
    luaL_checkstack(L, 6, "json");
    if (lua_getmetatable(L, -1)) {
        luaL_getmetatable(L, JSON_ARRAY_META);
        marked = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
    }
    if (is_list(w, step, marked, &len)) {
        write_list(w, step, table, len);
    } else {
        write_object(w, step, table);
    }
}

/* [-0, +0, v] Writes the value on top of the stack; STEP leads to it. */
static void
write_value(struct writer *w, const struct step *step)
{
    lua_State *L = w->L;
    const char *s;
    size_t n;

    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        put(w, lua_toboolean(L, -1) ? "true" : "false", lua_toboolean(L, -1) ? 4 : 5);
        return;
    case LUA_TNUMBER: write_number(w, step); return;
    case LUA_TSTRING:
        s = lua_tolstring(L, -1, &n);
        put_string(w, s, n);
        return;
    case LUA_TTABLE: write_table(w, step); return;
    case LUA_TNIL: /* only at the top: tables hold no nil */ put(w, "null", 4); return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, -1) == NULL) {
            put(w, "null", 4);
            return;
        }
        break;
    default: break;
    }
    lua_pushfstring(L, "a %s cannot be written as JSON", luaL_typename(L, -1));
    refuse(w, step, lua_tostring(L, -1));
}

void
json_encode(lua_State *L, int idx, int pretty)
{
    struct step root = {.depth = 0};
    struct writer w = {.L = L, .pretty = pretty};

    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 6, "json");
    w.s = push_scratch(L);
    reset_scratch(w.s);
    lua_pushvalue(L, idx);
    write_value(&w, &root);
    lua_pop(L, 1);
    lua_pushlstring(L, buf_cstr(&w.s->text), w.s->text.len);
    lua_remove(L, -2);
}
