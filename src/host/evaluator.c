/*
 * evaluator: in child mode, what evaluates the files of playbooks one after the
 * other without a new host for each. Module moontap.native.evaluator, for the
 * host's own code there.
 *
 * It has a lua_State of its own with the libraries that touch nothing and with
 * globals as playbooks have them (lua/moontap/child/quick.lua), made once and set
 * back to that before each file (arena.h). What that state does not have, and what
 * goes wrong in it, is not decided here: it gives up, and the file is evaluated
 * where everything is. Only what is data and nothing else is handed on, as
 * lua/moontap/child/data.lua would.
 */
#include "host.h"

#include "arena.h"
#include "buf.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#define EVALUATOR_META "moontap.evaluator"
#define ABSENT_META "moontap.absent" /* of what the state does not have */
#define REGION ((size_t)512 << 10)
#define OUTSIDE_MAX ((size_t)8 << 20)
#define TEXT_MAX ((size_t)256 << 10) /* of what a file returns */
#define NEEDS_MAX 200                /* of what a file requires */
#define DEPTH_MAX 15                 /* these two as in child/data.lua */
#define NODES_MAX 20000

static const char quick_key = 'q'; /* inner registry: the function that evaluates */

/* What `require` finds: a file of the playbook's tree. The name, the path and the
 * text lie behind it. */
struct source {
    struct source *next;
    int is_there;
    const char *name, *path, *text;
    size_t text_len;
};

struct evaluator {
    struct arena arena;
    lua_State *L; /* the inner state; NULL: not made yet */
    struct source *sources;
    int gave_up;               /* the file asked for what the state does not have */
    char needs[NEEDS_MAX + 1]; /* … for this source, which is not there yet; "" */
    struct buf text;
    int nodes; /* in it */
};

/* Memory that is refused is not for the file to see: it may have more elsewhere. */
static void *
allocate(void *ud, void *block, size_t old_size, size_t new_size)
{
    struct evaluator *ev = ud;
    void *given = arena_resize(&ev->arena, block, block != NULL ? old_size : 0, new_size);

    if (given == NULL && new_size != 0) {
        ev->gave_up = 1;
    }
    return given;
}

/* The inner state -------------------------------------------------------------------- */

static struct evaluator *
evaluator_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Also the metamethods of what is absent. */
static int
give_up(lua_State *L)
{
    evaluator_of(L)->gave_up = 1;
    return luaL_error(L, "not here");
}

/* source(name) -> text, path */
static int
find_source(lua_State *L)
{
    struct evaluator *ev = evaluator_of(L);
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);

    for (const struct source *source = ev->sources; source != NULL; source = source->next) {
        if (source->is_there && strcmp(source->name, name) == 0) {
            (void)lua_pushlstring(L, source->text, source->text_len);
            (void)lua_pushstring(L, source->path);
            return 2;
        }
        if (strcmp(source->name, name) == 0) {
            return give_up(L);
        }
    }
    if (n == strlen(name) && n <= NEEDS_MAX) {
        memcpy(ev->needs, name, n + 1);
    }
    return give_up(L);
}

/* is_module(name): is it one of the host's? */
static int
is_module(lua_State *L)
{
    lua_pushboolean(L, host_is_harmless(luaL_checkstring(L, 1)));
    return 1;
}

/* [-0, +1, m] Pushes the metatable of what is absent: whatever is done with it
 * ends in give_up. */
static void
push_absent_meta(lua_State *L, struct evaluator *ev)
{
    static const char *const events[] = {
        "__index", "__newindex", "__call",   "__len",   "__pairs", "__tostring", "__eq",
        "__lt",    "__le",       "__concat", "__add",   "__sub",   "__mul",      "__div",
        "__mod",   "__pow",      "__unm",    "__idiv",  "__band",  "__bor",      "__bxor",
        "__shl",   "__shr",      "__bnot",   "__close",
    };

    (void)luaL_newmetatable(L, ABSENT_META);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        lua_pushlightuserdata(L, ev);
        lua_pushcclosure(L, give_up, 1);
        lua_setfield(L, -2, events[i]);
    }
}

/* Guarded: (evaluator). Everything that is there for every file. */
static int
open_inner(lua_State *L)
{
    static const luaL_Reg funcs[] = {
        {"give_up", give_up},
        {"is_module", is_module},
        {"source", find_source},
        {NULL, NULL},
    };
    struct evaluator *ev = lua_touserdata(L, 1);

    host_open_child_libs(L);
    (void)lua_getglobal(L, "require");
    lua_pushliteral(L, "moontap.child.quick");
    lua_call(L, 1, 1);
    luaL_newlibtable(L, funcs);
    lua_pushlightuserdata(L, ev);
    luaL_setfuncs(L, funcs, 1);
    push_absent_meta(L, ev);
    lua_setfield(L, -2, "absent");
    lua_call(L, 1, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &quick_key);
    return 0;
}

/* Makes the inner state, unless it is there. 0, or -1: it cannot be had. */
static int
make_inner(struct evaluator *ev)
{
    int failed;

    if (ev->L != NULL) {
        return 0;
    }
    if (arena_init(&ev->arena, REGION, OUTSIDE_MAX) != 0) {
        return -1;
    }
    ev->L = lua_newstate(allocate, ev);
    failed = ev->L == NULL;
    if (!failed) {
        lua_pushcfunction(ev->L, open_inner);
        lua_pushlightuserdata(ev->L, ev);
        failed = lua_pcall(ev->L, 1, 0, 0) != LUA_OK;
    }
    if (!failed) {
        (void)lua_gc(ev->L, LUA_GCCOLLECT);
        failed = arena_keep(&ev->arena) != 0;
    }
    if (failed) {
        arena_fini(&ev->arena);
        ev->L = NULL;
        return -1;
    }
    return 0;
}

/* What a file returns ------------------------------------------------------------------ */

static void put_value(lua_State *L, struct evaluator *ev, int idx, int depth);

static void
put_string(lua_State *L, struct evaluator *ev, int idx)
{
    size_t n;
    const char *s = lua_tolstring(L, idx, &n);

    if (!buf_utf8_valid(s, n)) {
        ev->gave_up = 1;
    }
    (void)buf_json_string(&ev->text, s, n); /* a failure sticks: is looked at in the end */
}

static void
put_number(lua_State *L, struct evaluator *ev, int idx)
{
    lua_Number x = lua_tonumber(L, idx);

    if (lua_isinteger(L, idx)) {
        (void)buf_printf(&ev->text, LUA_INTEGER_FMT, lua_tointeger(L, idx));
    } else if (isnan(x) || isinf(x)) {
        (void)buf_printf(&ev->text, "{\"x\":\"%s\"}", isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
    } else {
        (void)buf_printf(&ev->text, "%.17g", x);
    }
}

/* The table at IDX: its keys and values in turn. */
static void
put_table(lua_State *L, struct evaluator *ev, int idx, int depth)
{
    const char *before = "{\"t\":[[";

    if (depth > DEPTH_MAX) {
        ev->gave_up = 1;
        return;
    }
    luaL_checkstack(L, 4, NULL);
    lua_pushnil(L);
    while (!ev->gave_up && lua_next(L, idx) != 0) {
        int key = lua_type(L, -2);

        if (key != LUA_TSTRING && key != LUA_TNUMBER && key != LUA_TBOOLEAN) {
            ev->gave_up = 1;
        }
        (void)buf_puts(&ev->text, before);
        put_value(L, ev, lua_absindex(L, -2), depth);
        (void)buf_puts(&ev->text, ",");
        put_value(L, ev, lua_absindex(L, -1), depth + 1);
        before = "],[";
        lua_pop(L, 1);
    }
    (void)buf_puts(&ev->text, before[0] == '{' ? "{\"t\":[]}" : "]]}");
}

static int
is_absent(lua_State *L, int idx)
{
    int same;

    if (!lua_getmetatable(L, idx)) {
        return 0;
    }
    (void)luaL_getmetatable(L, ABSENT_META);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

/* IDX: absolute. A key is not converted: put_number and put_string only read. */
static void
put_value(lua_State *L, struct evaluator *ev, int idx, int depth)
{
    int type = lua_type(L, idx);

    if (++ev->nodes > NODES_MAX || ev->text.failed) {
        ev->gave_up = 1;
    } else if (type == LUA_TSTRING) {
        put_string(L, ev, idx);
    } else if (type == LUA_TNUMBER) {
        put_number(L, ev, idx);
    } else if (type == LUA_TBOOLEAN) {
        (void)buf_puts(&ev->text, lua_toboolean(L, idx) ? "true" : "false");
    } else if (type == LUA_TFUNCTION) {
        (void)buf_puts(&ev->text, "{\"f\":true}");
    } else if (type == LUA_TTABLE && !is_absent(L, idx)) {
        put_table(L, ev, idx, depth);
    } else {
        ev->gave_up = 1;
    }
}

struct file {
    const char *entry, *source;
    size_t source_len;
};

/* Guarded: (evaluator, file). Writes what the file returns; with what it has required
 * that is {"used":[name, …],"v":node}. */
static int
evaluate_inner(lua_State *L)
{
    struct evaluator *ev = lua_touserdata(L, 1);
    const struct file *file = lua_touserdata(L, 2);
    lua_Integer used;

    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &quick_key);
    (void)lua_pushstring(L, file->entry);
    (void)lua_pushlstring(L, file->source, file->source_len);
    lua_call(L, 2, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    used = luaL_len(L, 4);
    if (used == 0) {
        put_value(L, ev, 3, 1);
        return 0;
    }
    (void)buf_puts(&ev->text, "{\"used\":");
    for (lua_Integer i = 1; i <= used; i++) {
        (void)buf_puts(&ev->text, i == 1 ? "[" : ",");
        (void)lua_rawgeti(L, 4, i);
        put_string(L, ev, -1);
        lua_pop(L, 1);
    }
    (void)buf_puts(&ev->text, "],\"v\":");
    put_value(L, ev, 3, 1);
    (void)buf_puts(&ev->text, "}");
    return 0;
}

/* The module --------------------------------------------------------------------------- */

/* evaluate(entry, source) -> text | nil, name: the file has to be evaluated
 * elsewhere, or again when the source of that NAME is there. */
static int
evaluate(lua_State *L)
{
    struct evaluator *ev = evaluator_of(L);
    struct file file = {luaL_checkstring(L, 1), NULL, 0};
    int failed;

    file.source = luaL_checklstring(L, 2, &file.source_len);
    ev->gave_up = 0;
    ev->needs[0] = '\0';
    if (make_inner(ev) != 0) {
        lua_pushnil(L);
        return 1;
    }
    arena_restore(&ev->arena);
    buf_reset(&ev->text);
    ev->nodes = 0;
    lua_pushcfunction(ev->L, evaluate_inner);
    lua_pushlightuserdata(ev->L, ev);
    lua_pushlightuserdata(ev->L, &file);
    failed = lua_pcall(ev->L, 2, 0, 0) != LUA_OK;
    if (!failed && !ev->gave_up && !ev->text.failed) {
        (void)lua_pushlstring(L, buf_cstr(&ev->text), ev->text.len);
        return 1;
    }
    lua_pushnil(L);
    if (ev->needs[0] == '\0') {
        return 1;
    }
    (void)lua_pushstring(L, ev->needs);
    return 2;
}

/* add_source(name [, text, path]): what `require` finds; nothing under this name
 * when there is no text. */
static int
add_source(lua_State *L)
{
    struct evaluator *ev = evaluator_of(L);
    size_t name_len, text_len = 0, path_len = 0;
    const char *name = luaL_checklstring(L, 1, &name_len);
    const char *text = luaL_optlstring(L, 2, NULL, &text_len);
    const char *path = luaL_optlstring(L, 3, "", &path_len);
    struct source *source = mem_alloc(sizeof *source + name_len + path_len + 2 + text_len);
    char *at;

    if (source == NULL) {
        return luaL_error(L, "not enough memory");
    }
    at = (char *)(source + 1);
    source->name = memcpy(at, name, name_len + 1);
    source->path = memcpy(at + name_len + 1, path, path_len + 1);
    source->text = at + name_len + path_len + 2;
    if (text != NULL) {
        memcpy(at + name_len + path_len + 2, text, text_len);
    }
    source->text_len = text_len;
    source->is_there = text != NULL;
    source->next = ev->sources;
    ev->sources = source;
    return 0;
}

static void
free_sources(struct evaluator *ev)
{
    while (ev->sources != NULL) {
        struct source *source = ev->sources;

        ev->sources = source->next;
        mem_free(source);
    }
}

/* forget_sources(): the next files are of another tree. */
static int
forget_sources(lua_State *L)
{
    free_sources(evaluator_of(L));
    return 0;
}

/* The inner state is not closed: its finalizers are a playbook's. */
static int
evaluator_gc(lua_State *L)
{
    struct evaluator *ev = luaL_checkudata(L, 1, EVALUATOR_META);

    free_sources(ev);
    buf_fini(&ev->text);
    arena_fini(&ev->arena);
    ev->L = NULL;
    return 0;
}

void
evaluator_open(lua_State *L)
{
    static const luaL_Reg funcs[] = {
        {"add_source", add_source},
        {"evaluate", evaluate},
        {"forget_sources", forget_sources},
        {NULL, NULL},
    };
    struct evaluator *ev;

    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    luaL_newlibtable(L, funcs);
    ev = lua_newuserdatauv(L, sizeof *ev, 0);
    memset(ev, 0, sizeof *ev);
    buf_init(&ev->text, TEXT_MAX);
    (void)luaL_newmetatable(L, EVALUATOR_META);
    lua_pushcfunction(L, evaluator_gc);
    lua_setfield(L, -2, "__gc");
    (void)lua_setmetatable(L, -2);
    luaL_setfuncs(L, funcs, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "moontap.native.evaluator");
    lua_remove(L, -2);
}
