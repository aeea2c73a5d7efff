/*
 * lib: what scripts see of tasks: moontap.spawn and the task object. join
 * waits; all, race and timeout are built on these in lua/moontap/task.lua.
 */
#include "task_int.h"

#include "buf.h"
#include "duration.h"

#include <lauxlib.h>
#include <string.h>

static const char *const state_words[] = {
    "ready", "running", "waiting", "waiting", "done", "failed", "cancelled",
};

/* Where a task is -------------------------------------------------------------*/

/* [-0, +1, m] Pushes "file:line" of the innermost Lua function of CO, or nil. */
static void
push_where(lua_State *L, lua_State *co)
{
    lua_Debug ar;

    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        if (lua_getinfo(co, "Sl", &ar) && ar.currentline > 0) {
            lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushnil(L);
}

/* [-0, +1, m] Pushes one line about TASK. */
static void
push_line(lua_State *L, struct task *task)
{
    lua_State *co = task->parked != NULL && task->state == TASK_WAITING ? task->parked
                                                                         : task->co;
    lua_pushfstring(L, "task %d", (int)task->id);
    if (task->name != NULL) {
        lua_pushfstring(L, "%s (%s)", lua_tostring(L, -1), task->name);
        lua_remove(L, -2);
    }
    push_where(L, co);
    if (task->state == TASK_FINISHING) {
        lua_pushfstring(L, "%s: waiting for the tasks it started", lua_tostring(L, -2));
    } else if (lua_isnil(L, -1)) {
        lua_pushfstring(L, "%s: %s", lua_tostring(L, -2), state_words[task->state]);
    } else {
        lua_pushfstring(L, "%s: %s at %s", lua_tostring(L, -2), state_words[task->state],
                        lua_tostring(L, -1));
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void
task_push_list(lua_State *L, struct tasks *tasks)
{
    int n = 0;

    lua_pushliteral(L, "");
    for (uint32_t i = 0; i < tasks->slot_count; i++) {
        if (tasks->slots[i] != NULL && !task_is_over(tasks->slots[i])) {
            push_line(L, tasks->slots[i]);
            lua_pushliteral(L, "\n");
            lua_concat(L, 3);
            n++;
        }
    }
    lua_pushfstring(L, "%s%d task%s\n", lua_tostring(L, -1), n, n == 1 ? "" : "s");
    lua_remove(L, -2);
}

/* Methods ------------------------------------------------------------------- */

/* task:cancel([why]): cancels it and all tasks below it. */
static int
task_cancel_method(lua_State *L)
{
    struct task *task = task_check(L, 1);

    task_cancel(task, "cancelled", luaL_optstring(L, 2, "cancelled"));
    return 0;
}

/* task:kill(): as cancel, but it does not run again. */
static int
task_kill_method(lua_State *L)
{
    struct task *task = task_check(L, 1);

    task_cancel(task, "cancelled", "killed");
    if (!task_is_over(task) && task->state != TASK_RUNNING) {
        task->kill = 1;
    }
    return 0;
}

static int
task_status(lua_State *L)
{
    lua_pushstring(L, state_words[task_check(L, 1)->state]);
    return 1;
}

static int
task_tostring(lua_State *L)
{
    push_line(L, task_check(L, 1));
    return 1;
}

/* Functions ------------------------------------------------------------------- */

struct spawn_options {
    const char *name;
    uint64_t timeout_ms;
    int has_timeout;
};

/* [-0, +0, v] Reads the options table at ARG. */
static void
read_options(lua_State *L, int arg, struct spawn_options *options)
{
    lua_pushnil(L);
    while (lua_next(L, arg) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t len;

        if (strcmp(key, "name") == 0) {
            luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, arg, "name: expected a string");
            options->name = lua_tostring(L, -1); /* stays in the caller's table */
        } else if (strcmp(key, "timeout") == 0) {
            const char *text = lua_type(L, -1) == LUA_TSTRING
                                   ? lua_tolstring(L, -1, &len) : NULL;
            int bad = text != NULL
                          ? duration_parse(text, len, &options->timeout_ms)
                          : duration_from_seconds(lua_tonumber(L, -1), &options->timeout_ms);
            luaL_argcheck(L, bad == 0 && (text != NULL || lua_isnumber(L, -1)), arg,
                          "timeout: expected seconds or a duration such as \"5m\"");
            options->has_timeout = 1;
        } else {
            luaL_argerror(L, arg, lua_pushfstring(L, "unknown option \"%s\" "
                                                     "(known: name, timeout)", key));
        }
        lua_pop(L, 1);
    }
}

/* [-n, +1, v] Starts the function behind the options, if any; n is all of the
 * stack. */
static int
spawn_from_stack(lua_State *L, int detached)
{
    struct spawn_options options = {0};
    struct task *task;
    int fn = 1;

    if (lua_type(L, 1) == LUA_TTABLE) {
        read_options(L, 1, &options);
        fn = 2;
    }
    luaL_checktype(L, fn, LUA_TFUNCTION);
    if (task_scheduler(L)->current == NULL) {
        return luaL_error(L, "cannot spawn here: no task is running");
    }
    task = task_create(L, lua_gettop(L) - fn, detached, 0);
    if (options.name != NULL) {
        task->name = mem_strdup(options.name);
    }
    if (options.has_timeout && task_set_deadline(task, options.timeout_ms) != FAULT_OK) {
        task_cancel(task, "cancelled", "not enough memory");
        return luaL_error(L, "not enough memory");
    }
    return 1;
}

/* moontap.spawn([options,] fn, ...): starts fn as a child of this task. */
static int
spawn(lua_State *L)
{
    return spawn_from_stack(L, 0);
}

/* [spawn_detached([options,] fn, ...)]: as spawn, but the task belongs to none:
 * nobody waits for it, and its failure is reported when it is not joined. */
static int
spawn_detached(lua_State *L)
{
    return spawn_from_stack(L, 1);
}

/* moontap.current(): the running task. */
static int
current(lua_State *L)
{
    struct task *task = task_scheduler(L)->current;

    if (task == NULL) {
        lua_pushnil(L);
    } else {
        task_push(L, task);
    }
    return 1;
}

/* [new_error(kind, message)] An error object of the host. */
static int
new_error(lua_State *L)
{
    task_new_error(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return 1;
}

/* [foreground(task | nil)]: from now on people's interrupts are meant for it. */
static int
foreground(lua_State *L)
{
    task_set_foreground(task_scheduler(L), lua_isnil(L, 1) ? NULL : task_check(L, 1));
    return 0;
}

/* [cancel_at(task, n, kind)]: the n-th wait from now on, whoever waits, cancels
 * the task; 0: none does. Returns how many were left. For tests, which keep the
 * task. */
static int
cancel_at(lua_State *L)
{
    struct tasks *tasks = task_scheduler(L);
    long left = tasks->waits_left;

    tasks->waits_left = (long)luaL_checkinteger(L, 2);
    tasks->cancel_target = tasks->waits_left > 0 ? task_check(L, 1) : NULL;
    tasks->cancel_target_kind = strcmp(luaL_optstring(L, 3, "cancelled"), "timeout") == 0
                                    ? "timeout" : "cancelled";
    lua_pushinteger(L, left);
    return 1;
}

static const luaL_Reg funcs[] = {
    {"cancel_at", cancel_at},
    {"current", current},
    {"foreground", foreground},
    {"join_all", task_join_all},
    {"join_any", task_join_any},
    {"new_error", new_error},
    {"sleep", task_sleep},
    {"spawn", spawn},
    {"spawn_detached", spawn_detached},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"cancel", task_cancel_method},
    {"join", task_join},
    {"kill", task_kill_method},
    {"status", task_status},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__gc", task_collect},
    {"__tostring", task_tostring},
    {NULL, NULL},
};

int
luaopen_task(lua_State *L)
{
    if (luaL_newmetatable(L, TASK_META)) {
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
