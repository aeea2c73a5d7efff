/*
 * coroutine: the coroutine library's functions, changed so that a host wait
 * inside a user's coroutine passes upward to the task instead of landing in
 * the user's resume.
 *
 * The extra space of a coroutine holds the scheduler; its low bits say more.
 * BASE: a task itself runs in it. PARKED: a host wait has passed it; then the
 * space names the task's slot and stay instead. A mark whose stay is over
 * belongs to a coroutine that was lost with the one around it: it is dead.
 */
#include "task_int.h"

#include <lauxlib.h>

#define PARKED 1u
#define BASE 2u
#define MARKS 7u

static uintptr_t *
space_of(lua_State *co)
{
    return lua_getextraspace(co);
}

struct tasks *
task_scheduler(lua_State *L)
{
    return (struct tasks *)(*space_of(L) & ~(uintptr_t)MARKS);
}

void
task_mark_base(lua_State *co, struct tasks *tasks)
{
    *space_of(co) = (uintptr_t)tasks | BASE;
}

static int
is_marked(lua_State *co)
{
    return (*space_of(co) & PARKED) != 0;
}

static int
is_base(lua_State *co)
{
    return (*space_of(co) & MARKS) == BASE;
}

_Static_assert(sizeof(uintptr_t) >= 8, "a mark holds a slot and a stay");

static void
park(lua_State *co, const struct task *task)
{
    *space_of(co) = (uintptr_t)task->slot << 32 | (uintptr_t)(task->park & 0x7fffffffu) << 1
                    | PARKED;
}

static void
unpark(lua_State *co, struct tasks *tasks)
{
    *space_of(co) = (uintptr_t)tasks;
}

/* The task that CO is parked for; NULL when it is not parked, or lost. */
static struct task *
parked_for(const struct tasks *tasks, lua_State *co)
{
    uintptr_t mark = *space_of(co);
    uint32_t slot = (uint32_t)(mark >> 32);
    struct task *task;

    if ((mark & PARKED) == 0 || slot >= tasks->slot_count) {
        return NULL;
    }
    task = tasks->slots[slot];
    return task != NULL && task->park != 0
                   && (task->park & 0x7fffffffu) == (uint32_t)(mark >> 1 & 0x7fffffffu)
               ? task : NULL;
}

/*
 * [-nargs, +*nresults, -] (on CO) Resumes CO as the innermost coroutine and
 * returns the status of lua_resume.
 */
int
task_drive(struct tasks *tasks, lua_State *co, lua_State *from, int nargs,
           int *nresults)
{
    struct task_link link = {co, tasks->chain};
    int status;

    tasks->chain = &link;
    tasks->running = co;
    if (task_is_interrupted(tasks)) {
        task_arm_interrupt(co, 0);
    }
    status = lua_resume(co, from, nargs, nresults);
    tasks->chain = link.up;
    tasks->running = link.up != NULL ? link.up->co : NULL;
    return status;
}

static lua_State *
check_co(lua_State *L, int arg)
{
    lua_State *co = lua_tothread(L, arg);

    luaL_argexpected(L, co != NULL, arg, "coroutine");
    return co;
}

/* The refusal for a CO that cannot be resumed now; NULL when it can. */
static const char *
refusal(lua_State *L, lua_State *co)
{
    lua_Debug ar;

    if (is_marked(co) && parked_for(task_scheduler(L), co) == NULL) {
        return "cannot resume dead coroutine";
    }
    if (co == L || is_marked(co) || is_base(co)) {
        return "cannot resume non-suspended coroutine";
    }
    switch (lua_status(co)) {
    case LUA_YIELD: return NULL;
    case LUA_OK:
        if (lua_getstack(co, 0, &ar)) {
            return "cannot resume non-suspended coroutine";
        }
        return lua_gettop(co) == 0 ? "cannot resume dead coroutine" : NULL;
    default: return "cannot resume dead coroutine";
    }
}

/* [-0, +0, v] Raises in L the error that CO, which wrap made, has ended with. */
static int
raise_from(lua_State *L, lua_State *co)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (task_copy_values(co, 1, L) != 0) {
        return luaL_error(L, "not enough memory");
    }
    task_note_trace(L, -1, co, "coroutine");
    (void)lua_resetthread(co); /* closes its variables; leaves the error */
    lua_xmove(co, L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) { /* add where it was called */
        luaL_where(L, 1);
        lua_pushvalue(L, -2);
        lua_concat(L, 2);
    } else {
        lua_pushvalue(L, -1);
    }
    task_move_trace(L, -3, -1);
    return lua_error(L);
}

static int resume_finish(lua_State *L, int status, lua_KContext wraps);

/*
 * Drives CO and gives its results to L: values after a resume, or what wrap
 * would return. WRAPS tells which. When a host wait comes up, passes it on.
 */
static int
resume_step(lua_State *L, lua_State *co, int nargs, int wraps)
{
    struct tasks *tasks = task_scheduler(L);
    int n, status = task_drive(tasks, co, L, nargs, &n);

    if (status == LUA_YIELD && tasks->passing) {
        park(co, tasks->current);
        return lua_yieldk(L, 0, wraps, resume_finish);
    }
    if (status == LUA_OK || status == LUA_YIELD) {
        if (!lua_checkstack(L, n + 1)) {
            lua_pop(co, n);
            return luaL_error(L, "too many results to resume");
        }
        if (!wraps) {
            lua_pushboolean(L, 1);
        }
        lua_xmove(co, L, n);
        return wraps ? n : n + 1;
    }
    if (!wraps) {
        lua_pushboolean(L, 0);
        lua_xmove(co, L, 1);
        return 2;
    }
    return raise_from(L, co);
}

static lua_State *
resumed_co(lua_State *L, int wraps)
{
    return lua_tothread(L, wraps ? lua_upvalueindex(1) : 1);
}

/* The wait that passed here is over: the coroutine goes on. */
static int
resume_finish(lua_State *L, int status, lua_KContext wraps)
{
    lua_State *co = resumed_co(L, (int)wraps);

    (void)status;
    if (!is_marked(co)) { /* closed while it waited */
        if (wraps) {
            return luaL_error(L, "the coroutine was closed while it waited");
        }
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "the coroutine was closed while it waited");
        return 2;
    }
    unpark(co, task_scheduler(L));
    return resume_step(L, co, 0, (int)wraps);
}

static int
co_resume(lua_State *L)
{
    lua_State *co = check_co(L, 1);
    int nargs = lua_gettop(L) - 1;
    const char *why = refusal(L, co);

    if (why == NULL && !lua_checkstack(co, nargs)) {
        why = "too many arguments to resume";
    }
    if (why != NULL) {
        lua_pushboolean(L, 0);
        lua_pushstring(L, why);
        return 2;
    }
    lua_xmove(L, co, nargs);
    return resume_step(L, co, nargs, 0);
}

static int
wrap_call(lua_State *L)
{
    lua_State *co = resumed_co(L, 1);
    int nargs = lua_gettop(L);
    const char *why = refusal(L, co);

    if (why == NULL && !lua_checkstack(co, nargs)) {
        why = "too many arguments to resume";
    }
    if (why != NULL) {
        return luaL_error(L, "%s", why);
    }
    lua_xmove(L, co, nargs);
    return resume_step(L, co, nargs, 1);
}

static int
co_create(lua_State *L)
{
    lua_State *co;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int
co_wrap(lua_State *L)
{
    (void)co_create(L);
    lua_pushcclosure(L, wrap_call, 1);
    return 1;
}

/* Is L the coroutine that a task itself runs in? */
static int
is_task_base(lua_State *L)
{
    struct tasks *tasks = task_scheduler(L);

    return tasks->current != NULL && tasks->current->co == L;
}

static int
co_yield(lua_State *L)
{
    if (is_task_base(L)) {
        return luaL_error(L, "attempt to yield from outside a coroutine");
    }
    return lua_yield(L, lua_gettop(L));
}

static const char *
status_word(lua_State *L, lua_State *co)
{
    lua_Debug ar;

    if (co == L) {
        return "running";
    }
    if (is_marked(co)) {
        return parked_for(task_scheduler(L), co) != NULL ? "normal" : "dead";
    }
    if (is_base(co)) {
        return "normal"; /* also when its task is over: it is not the script's */
    }
    switch (lua_status(co)) {
    case LUA_YIELD: return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &ar)) {
            return "normal";
        }
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default: return "dead";
    }
}

static int
co_status(lua_State *L)
{
    lua_pushstring(L, status_word(L, check_co(L, 1)));
    return 1;
}

static int
co_running(lua_State *L)
{
    (void)lua_pushthread(L);
    lua_pushboolean(L, is_task_base(L) || task_scheduler(L)->current == NULL);
    return 2;
}

static int
co_isyieldable(lua_State *L)
{
    lua_State *co = lua_isnoneornil(L, 1) ? L : check_co(L, 1);

    lua_pushboolean(L, lua_isyieldable(co) && !is_task_base(co));
    return 1;
}

/* Closing a parked coroutine ends the wait; the resume that passed it on then
 * finds the coroutine dead. */
static int
co_close(lua_State *L)
{
    lua_State *co = check_co(L, 1);
    struct tasks *tasks = task_scheduler(L);
    struct task *task = parked_for(tasks, co);
    const char *word = status_word(L, co);

    if (is_marked(co)) {
        unpark(co, tasks);
        if (task != NULL) {
            task_end_wait(task);
        }
    } else if (word[0] == 'n' || word[0] == 'r') {
        return luaL_error(L, "cannot close a %s coroutine", word);
    }
    if (lua_resetthread(co) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

static const luaL_Reg funcs[] = {
    {"close", co_close},
    {"create", co_create},
    {"isyieldable", co_isyieldable},
    {"resume", co_resume},
    {"running", co_running},
    {"status", co_status},
    {"wrap", co_wrap},
    {"yield", co_yield},
    {NULL, NULL},
};

void
task_patch_coroutine(lua_State *L)
{
    luaL_setfuncs(L, funcs, 0);
}
