/*
 * bind/term: module moontap.native.term, a terminal to read lines from. Owns
 * the one open terminal; `read` waits. Completion and hints are Lua functions,
 * called from the task that reads, inside guarded calls: nothing they raise
 * passes through readline.
 */
#include "../term.h"

#include "../task.h"

#include <lauxlib.h>
#include <string.h>

#define TERM_META "moontap.term"
#define HISTORY_MAX 2000
#define PROMPT_MAX 512
#define OFFERS_MAX 1000

__attribute__((visibility("default"))) int luaopen_moontap_native_term(lua_State *L);

/* User values: 1 the function that completes, 2 the one that gives hints. */
struct lua_term {
    struct term *term; /* NULL: closed, or never opened */
    struct tasks *tasks;
    struct task_ref ref;
    lua_State *asking; /* while term_step runs: who is to be asked */
    int self;          /* index of this handle on that stack */
    int reading;
};

static struct lua_term *
check_term(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, TERM_META);
}

static struct lua_term *
check_open(lua_State *L, int arg)
{
    struct lua_term *lt = check_term(L, arg);

    luaL_argcheck(L, lt->term != NULL, arg, "the terminal is closed");
    return lt;
}

/* Questions of readline -------------------------------------------------------- */

/* (lt, before, function): offers what the function lists. */
static int
offer_all(lua_State *L)
{
    struct lua_term *lt = lua_touserdata(L, 1);
    lua_Integer at;
    size_t len;

    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 2); /* list, start */
    if (!lua_istable(L, -2) || !lua_isinteger(L, -1)) {
        return 0;
    }
    at = lua_tointeger(L, -1);
    lua_pop(L, 1);
    for (lua_Integer i = 1; i <= OFFERS_MAX && lua_rawgeti(L, -1, i) == LUA_TSTRING; i++) {
        const char *text = lua_tolstring(L, -1, &len);

        if (at >= 1 && strlen(text) == len) {
            term_offer(lt->term, (size_t)at - 1, text);
        }
        lua_pop(L, 1);
    }
    return 0;
}

/* (lt, before, function): shows what the function says. */
static int
say_all(lua_State *L)
{
    struct lua_term *lt = lua_touserdata(L, 1);
    size_t len;
    const char *text;

    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    text = lua_tolstring(L, -1, &len);
    if (text != NULL) {
        term_say(lt->term, text, len);
    }
    return 0;
}

/* (user value) Guarded: makes BEFORE a string and calls ANSWER. */
struct question {
    struct lua_term *lt;
    lua_CFunction answer;
    int function; /* which user value */
    const char *before;
    size_t n;
};

static int
ask(lua_State *L)
{
    struct question *q = lua_touserdata(L, 1);

    lua_pushcfunction(L, q->answer);
    lua_pushlightuserdata(L, q->lt);
    lua_pushlstring(L, q->before, q->n);
    if (lua_getiuservalue(L, 2, q->function) == LUA_TFUNCTION) {
        lua_call(L, 3, 0);
    }
    return 0;
}

static void
ask_guarded(struct question *q)
{
    lua_State *L = q->lt->asking;

    if (L == NULL || !lua_checkstack(L, 4)) {
        return;
    }
    lua_pushcfunction(L, ask);
    lua_pushlightuserdata(L, q);
    lua_pushvalue(L, q->lt->self);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1); /* no answer: typing goes on */
    }
}

static void
on_complete(void *arg, struct term *t, const char *before, size_t n)
{
    struct question q = {arg, offer_all, 1, before, n};

    (void)t;
    ask_guarded(&q);
}

static void
on_hint(void *arg, struct term *t, const char *before, size_t n)
{
    struct question q = {arg, say_all, 2, before, n};

    (void)t;
    ask_guarded(&q);
}

/* Methods ------------------------------------------------------------------------ */

static void
wake(void *arg)
{
    struct lua_term *lt = arg;

    (void)task_wake(lt->tasks, lt->ref);
}

static void
cancel_read(void *arg)
{
    struct lua_term *lt = arg;

    lt->reading = 0;
    if (lt->term != NULL) {
        term_end(lt->term);
    }
}

/* (lt, prompt): what was typed since the last look. */
static int
go_on_reading(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_term *lt = lua_touserdata(L, 1);
    enum term_event event;
    const char *line;

    (void)status;
    (void)ctx;
    lt->ref = task_ref(L); /* before the step: what comes meanwhile is not lost */
    lt->asking = L;
    lt->self = 1;
    event = lt->term != NULL ? term_step(lt->term, &line) : TERM_INTERRUPT;
    lt->asking = NULL;
    if (event == TERM_NOTHING) {
        return task_wait(L, cancel_read, lt, 0, go_on_reading);
    }
    lt->reading = 0;
    if (event == TERM_LINE) {
        lua_pushstring(L, line);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, event == TERM_EOF ? "eof" : "interrupt");
    return 2;
}

/* Colours in a prompt take no room; readline wants them marked. */
static void
mark_colours(const char *from, char *to, size_t size)
{
    size_t n = 0;

    while (*from != '\0' && n + 4 < size) {
        size_t escape = *from == '\033' ? strcspn(from, "m") + 1 : 0;

        if (escape == 0) {
            to[n++] = *from++;
        } else if (escape <= strlen(from) && n + escape + 3 < size) {
            to[n++] = '\001';
            memcpy(to + n, from, escape);
            n += escape;
            to[n++] = '\002';
            from += escape;
        } else {
            break;
        }
    }
    to[n] = '\0';
}

/* t:read(prompt): waits for a line. Returns it; or nil and "eof" or "interrupt". */
static int
term_read(lua_State *L)
{
    struct lua_term *lt = check_open(L, 1);
    const char *prompt = luaL_checkstring(L, 2);
    char marked[PROMPT_MAX];
    struct fault fault;

    luaL_argcheck(L, !lt->reading, 1, "somebody reads from it already");
    task_check_wait(L);
    lua_settop(L, 2);
    mark_colours(prompt, marked, sizeof marked);
    lt->ref = task_ref(L);
    if (term_begin(lt->term, marked, wake, lt, &fault) != FAULT_OK) {
        return luaL_error(L, "read from the terminal: %s", fault.msg);
    }
    lt->reading = 1;
    return task_wait(L, cancel_read, lt, 0, go_on_reading);
}

/* t:interrupt(): the reading that goes on ends with nil, "interrupt". */
static int
term_interrupt_method(lua_State *L)
{
    struct lua_term *lt = check_open(L, 1);

    term_interrupt(lt->term);
    return 0;
}

/* t:add_history(text [, is_kept]): is_kept = false: not in the file. */
static int
term_add_history_method(lua_State *L)
{
    struct lua_term *lt = check_open(L, 1);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);

    if (len > 0 && strlen(text) == len) {
        term_add_history(lt->term, text, lua_isnoneornil(L, 3) || lua_toboolean(L, 3));
    }
    return 0;
}

/* t:width() -> columns */
static int
term_width_method(lua_State *L)
{
    lua_pushinteger(L, term_width(check_open(L, 1)->term));
    return 1;
}

/* t:close(); also __gc and __close. Works twice; a reading ends with "interrupt". */
static int
term_close_method(lua_State *L)
{
    struct lua_term *lt = check_term(L, 1);

    if (lt->reading) {
        (void)task_wake(lt->tasks, lt->ref);
    }
    if (lt->term != NULL) {
        term_close(lt->term);
        lt->term = NULL;
    }
    return 0;
}

static int
term_tostring(lua_State *L)
{
    lua_pushstring(L, check_term(L, 1)->term != NULL ? "terminal" : "terminal (closed)");
    return 1;
}

/* Functions ---------------------------------------------------------------------- */

/* [-0, +0, v] */
static void
check_option_names(lua_State *L)
{
    static const char *const known[] = {"complete", "hint", "history", "history_max"};

    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;

        while (i < sizeof known / sizeof *known && strcmp(known[i], key) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof *known) {
            (void)luaL_error(L, "term.open: unknown option '%s'", key);
        }
        lua_pop(L, 1);
    }
}

/* [-0, +0, v] The function NAME of the options at 1 becomes user value N. */
static void
take_function(lua_State *L, const char *name, int n)
{
    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TFUNCTION);
    }
    (void)lua_setiuservalue(L, -2, n);
}

/*
 * open{ complete = f, hint = f, history = FILE, history_max = n }: takes the
 * terminal at standard input and output. complete(before) -> list, start;
 * hint(before) -> text. Returns it, and why the history cannot be used if so;
 * or nil and the reason.
 */
static int
open_term(lua_State *L)
{
    struct lua_term *lt;
    struct term_calls calls = {on_complete, on_hint, NULL};
    struct fault fault;
    const char *history;
    lua_Integer max;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    check_option_names(L);
    (void)lua_getfield(L, 1, "history");
    history = luaL_optstring(L, -1, NULL);
    (void)lua_getfield(L, 1, "history_max");
    max = luaL_optinteger(L, -1, HISTORY_MAX);
    luaL_argcheck(L, max >= 0 && max <= 1000000, 1, "history_max: expected 0..1000000");
    lt = lua_newuserdatauv(L, sizeof *lt, 2);
    memset(lt, 0, sizeof *lt);
    luaL_setmetatable(L, TERM_META);
    lt->tasks = task_scheduler(L);
    take_function(L, "complete", 1);
    take_function(L, "hint", 2);
    calls.arg = lt;
    if (term_open(task_loop(L), &calls, &lt->term, &fault) != FAULT_OK) {
        lua_pushnil(L);
        lua_pushstring(L, fault.msg);
        return 2;
    }
    if (term_open_history(lt->term, history, (int)max, &fault) != FAULT_OK) {
        lua_pushstring(L, fault.msg);
        return 2;
    }
    return 1;
}

static const luaL_Reg methods[] = {
    {"add_history", term_add_history_method},
    {"close", term_close_method},
    {"interrupt", term_interrupt_method},
    {"read", term_read},
    {"width", term_width_method},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__close", term_close_method},
    {"__gc", term_close_method},
    {"__tostring", term_tostring},
    {NULL, NULL},
};

static const luaL_Reg funcs[] = {
    {"open", open_term},
    {NULL, NULL},
};

int
luaopen_moontap_native_term(lua_State *L)
{
    if (luaL_newmetatable(L, TERM_META)) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, funcs);
    return 1;
}
