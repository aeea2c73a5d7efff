/*
 * error: error objects, and tracebacks that go on through coroutines and
 * tasks.
 *
 * An error object is a table with a metatable of the registry. A task that
 * fails keeps its traceback as text, because its coroutine is closed at once.
 * While an error is passed on, from a coroutine or from a task to whoever joins
 * it, the text stands beside the error value (the last one only), so that the
 * next traceback starts with it.
 */
#include "task_int.h"

#include "buf.h"

#include <lauxlib.h>
#include <string.h>

static const char task_causes_key = 0; /* registry: {error value, its text} */
static const char task_traces_key = 0; /* registry: task address -> text */

static int
error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushliteral(L, "message");
    (void)lua_rawget(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "unknown error");
    }
    lua_pushliteral(L, "ray");
    (void)lua_rawget(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushfstring(L, "%s (cf-ray %s)", lua_tostring(L, -2), lua_tostring(L, -1));
    } else {
        lua_pop(L, 1);
    }
    return 1;
}

void
task_open_errors(lua_State *L)
{
    (void)luaL_newmetatable(L, TASK_ERROR_META);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    lua_createtable(L, 2, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_causes_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_traces_key);
}

void
task_new_error(lua_State *L, const char *kind, const char *message)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, kind);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    luaL_setmetatable(L, TASK_ERROR_META);
}

int
task_fail(lua_State *L, const struct fault *fault)
{
    if (fault->code == FAULT_NOMEM) {
        return luaL_error(L, "not enough memory");
    }
    lua_pushnil(L);
    task_new_error(L, fault_kind(fault->code), fault->msg);
    if (fault->status != 0) {
        lua_pushinteger(L, fault->status);
        lua_setfield(L, -2, "status");
    }
    return 2;
}

int
task_raise(lua_State *L, const char *kind, const char *message)
{
    task_new_error(L, kind, message);
    return lua_error(L);
}

/* Copies the N top values of FROM to TO. Returns -1 when there is no room.
 * Allocates through lua_checkstack only, which does not raise. */
int
task_copy_values(lua_State *from, int n, lua_State *to)
{
    int base = lua_gettop(from) - n;

    if (n > lua_gettop(from) || !lua_checkstack(from, n) || !lua_checkstack(to, n)) {
        return -1;
    }
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(from, base + i);
    }
    lua_xmove(from, to, n);
    return 0;
}

/* [-0, +1, m] Pushes the text kept for the error value at IDX, or nil. */
static void
push_cause(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_causes_key);
    (void)lua_rawgeti(L, -1, 1);
    if (!lua_isnil(L, -1) && lua_rawequal(L, -1, idx)) {
        (void)lua_rawgeti(L, -2, 2);
    } else {
        lua_pushnil(L);
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* [-1, +0, m] The text on top becomes what is kept for the error at IDX. */
static void
set_cause(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_causes_key);
    lua_pushvalue(L, idx);
    lua_rawseti(L, -2, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
}

/* [-0, +1, m] Pushes the traceback of FROM. On L itself the running function,
 * a message handler, is left out; so is the last line, which every task has. */
static void
push_frames(lua_State *L, lua_State *from)
{
    static const char last[] = "\n\t[C]: in ?";
    size_t len;
    const char *text;

    luaL_traceback(L, from, NULL, from == L ? 1 : 0);
    text = lua_tolstring(L, -1, &len);
    if (len > sizeof last - 1 && strcmp(text + len - (sizeof last - 1), last) == 0) {
        lua_pushlstring(L, text, len - (sizeof last - 1));
        lua_remove(L, -2);
    }
}

/* [-0, +1, m] Pushes the traceback of FROM behind what is kept for the error at
 * IDX. LABEL (may be NULL) names FROM. */
static void
push_trace(lua_State *L, int idx, lua_State *from, const char *label)
{
    int top = lua_gettop(L);
    lua_Debug ar;

    luaL_checkstack(L, LUA_MINSTACK, NULL);
    push_cause(L, idx);
    if (!lua_isnil(L, -1) && !lua_getstack(from, 0, &ar)) {
        return; /* FROM had ended already: it has no frames to show */
    }
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
    } else {
        lua_pushliteral(L, "\n");
    }
    if (label != NULL) {
        lua_pushfstring(L, "in %s: ", label);
    }
    push_frames(L, from);
    lua_concat(L, lua_gettop(L) - top);
}

void
task_note_trace(lua_State *L, int idx, lua_State *from, const char *label)
{
    idx = lua_absindex(L, idx);
    push_trace(L, idx, from, label);
    set_cause(L, idx);
}

/* [-0, +1, m] Pushes the lines of the traceback from the innermost call of the
 * function at IDX on outwards; "" when it is not there. */
static void
push_outer_frames(lua_State *L, int idx)
{
    static const char head[] = "stack traceback:";
    lua_Debug ar;
    int is_it = 0;

    for (int level = 1; !is_it && lua_getstack(L, level, &ar); level++) {
        (void)lua_getinfo(L, "f", &ar);
        is_it = lua_rawequal(L, -1, idx);
        lua_pop(L, 1);
        if (is_it) {
            luaL_traceback(L, L, NULL, level);
        }
    }
    lua_pushstring(L, is_it ? lua_tostring(L, -1) + (sizeof head - 1) : "");
    if (is_it) {
        lua_remove(L, -2);
    }
}

int
task_keep_inner_trace(lua_State *L)
{
    size_t len, outer_len;
    const char *text, *outer;

    lua_settop(L, 1);
    push_cause(L, 1);
    if (lua_isnil(L, 2)) {
        lua_pushliteral(L, "");
        lua_replace(L, 2);
    } else {
        lua_pushliteral(L, "\n");
        lua_concat(L, 2);
    }
    luaL_traceback(L, L, NULL, 1);
    text = lua_tolstring(L, 3, &len);
    push_outer_frames(L, lua_upvalueindex(1));
    outer = lua_tolstring(L, 4, &outer_len);
    if (outer_len <= len && memcmp(text + len - outer_len, outer, outer_len) == 0) {
        len -= outer_len;
    }
    lua_pushvalue(L, 2);
    lua_pushlstring(L, text, len);
    lua_concat(L, 2);
    set_cause(L, 1);
    lua_settop(L, 1);
    return 1;
}

void
task_move_trace(lua_State *L, int was_idx, int now_idx)
{
    now_idx = lua_absindex(L, now_idx);
    push_cause(L, was_idx);
    set_cause(L, now_idx);
}

/* [-0, +0, m] Is the value at IDX the error of a cancellation? */
static int
is_cancellation(lua_State *L, int idx)
{
    int top = lua_gettop(L), is = 0;

    if (lua_istable(L, idx) && lua_getmetatable(L, idx)) {
        (void)luaL_getmetatable(L, TASK_ERROR_META);
        if (lua_rawequal(L, -1, -2) && lua_getfield(L, idx, "kind") == LUA_TSTRING) {
            is = strcmp(lua_tostring(L, -1), "cancelled") == 0
                 || strcmp(lua_tostring(L, -1), "timeout") == 0;
        }
    }
    lua_settop(L, top);
    return is;
}

/* [-0, +0, m] Keeps the text of the error at IDX, traceback of FROM included. */
static void
keep_trace_at(lua_State *L, struct task *task, int idx, lua_State *from)
{
    const char *label = task->root ? NULL : task->name != NULL ? task->name : "task";

    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_traces_key);
    push_trace(L, idx, from, label);
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
}

void
task_keep_trace_here(lua_State *L, struct task *task)
{
    keep_trace_at(L, task, 1, L);
}

/* (task) Guarded. What is kept of a task that has just failed. */
static int
keep_trace(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    int is_kept;

    task_push_error(L, task);
    task->gave_in = is_cancellation(L, 2);
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_traces_key);
    is_kept = lua_rawgetp(L, -1, task) == LUA_TSTRING;
    if (!is_kept) { /* the message handler did not run, or could not */
        keep_trace_at(L, task, 2, task->co);
    }
    return 0;
}

void
task_keep_trace(struct task *task)
{
    lua_State *L = task->tasks->main;

    lua_pushcfunction(L, keep_trace);
    lua_pushlightuserdata(L, task);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1); /* no memory for a traceback: the error itself stays */
    }
}

void
task_drop_trace(lua_State *L, struct task *task)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &task_traces_key) == LUA_TTABLE) {
        if (lua_rawgetp(L, -1, task) != LUA_TNIL) {
            lua_pushnil(L); /* the entry exists: nothing is allocated */
            lua_rawsetp(L, -3, task);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void
task_pass_trace(lua_State *L, int idx, struct task *task)
{
    idx = lua_absindex(L, idx);
    task_push_traceback(L, task);
    set_cause(L, idx);
}

void
task_push_error(lua_State *L, struct task *task)
{
    luaL_checkstack(L, 2, NULL);
    if (lua_gettop(task->co) < 1 || task_copy_values(task->co, 1, L) != 0) {
        lua_pushnil(L);
    }
}

void
task_push_traceback(lua_State *L, struct task *task)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_traces_key);
    if (lua_rawgetp(L, -1, task) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "stack traceback:\n\t(lost)");
    }
    lua_remove(L, -2);
}
