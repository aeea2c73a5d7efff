/*
 * task: the tree, the ready queue, and the life of a task from its start to the
 * end of its function; end.c goes on from there.
 */
#include "task_int.h"

#include "buf.h"
#include "duration.h"

#include <lauxlib.h>
#include <stdio.h>

struct task *
task_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, TASK_META);
}

struct loop *
task_loop(lua_State *L)
{
    return task_scheduler(L)->loop;
}

int
task_is_over(const struct task *task)
{
    return task->state >= TASK_DONE;
}

enum task_state
task_state(const struct task *task)
{
    return (enum task_state)task->state;
}

/* The tree -------------------------------------------------------------------*/

static void
link_child(struct task *parent, struct task *task)
{
    task->parent = parent;
    task->next = parent->child;
    if (parent->child != NULL) {
        parent->child->prev = task;
    }
    parent->child = task;
}

void
task_unlink(struct task *task)
{
    if (task->parent == NULL) {
        return;
    }
    if (task->prev != NULL) {
        task->prev->next = task->next;
    } else {
        task->parent->child = task->next;
    }
    if (task->next != NULL) {
        task->next->prev = task->prev;
    }
    task->parent = task->next = task->prev = NULL;
}

void
task_free_deadline(struct task *task)
{
    if (task->deadline != NULL) {
        loop_timer_stop(task->tasks->loop, &task->deadline->timer);
        mem_free(task->deadline);
        task->deadline = NULL;
    }
}

/* The ready queue -------------------------------------------------------------*/

static void run_ready(void *arg);

void
task_make_ready(struct task *task)
{
    struct tasks *tasks = task->tasks;

    if (task->queued) {
        return;
    }
    task->queued = 1;
    task->ready_next = NULL;
    if (tasks->ready_last != NULL) {
        tasks->ready_last->ready_next = task;
    } else {
        tasks->ready_first = task;
    }
    tasks->ready_last = task;
    loop_post(tasks->loop, &tasks->job, run_ready, tasks);
}

/* Ends the wait of TASK from outside: undoes what it started. */
void
task_end_wait(struct task *task)
{
    if (task->wait == WAIT_ARMED) {
        if (task->cancel_fn != NULL) {
            task->cancel_fn(task->cancel_arg);
            task->cancel_fn = NULL;
        }
        task->generation++;
        task->wait = WAIT_WOKEN;
        task->broken = 1;
        task_make_ready(task);
    }
}

/* Returns 0 when TASK is over or was cancelled before: then all below it was. */
static int
cancel_one(struct task *task, const char *kind, const char *why)
{
    if (task_is_over(task) || task->cancel_kind != NULL) {
        return 0;
    }
    task->cancel_kind = kind;
    task->cancel_why = mem_strdup(why); /* NULL: a general text is shown */
    if (task->state == TASK_WAITING) {
        task_end_wait(task);
    }
    return 1;
}

void
task_cancel(struct task *task, const char *kind, const char *why)
{
    struct task *at = task;

    for (;;) { /* the whole tree below TASK, which may be deep: no recursion */
        if (cancel_one(at, kind, why) && at->child != NULL) {
            at = at->child;
            continue;
        }
        while (at != task && at->next == NULL) {
            at = at->parent;
        }
        if (at == task) {
            return;
        }
        at = at->next;
    }
}

static void
on_deadline(void *arg)
{
    struct task_deadline *deadline = arg;
    char text[32], why[80];

    (void)snprintf(why, sizeof why, "deadline of %s passed",
                   duration_format(deadline->ms, text, sizeof text));
    deadline->task->timed_out = deadline->task->cancel_kind == NULL;
    task_cancel(deadline->task, "timeout", why);
}

enum fault_code
task_set_deadline(struct task *task, uint64_t ms)
{
    struct task_deadline *deadline = mem_zalloc(sizeof *deadline);

    if (deadline == NULL) {
        return FAULT_NOMEM;
    }
    task_free_deadline(task);
    deadline->task = task;
    deadline->ms = ms;
    if (loop_timer_start(task->tasks->loop, &deadline->timer, ms, on_deadline,
                         deadline) != FAULT_OK) {
        mem_free(deadline);
        return FAULT_NOMEM;
    }
    task->deadline = deadline;
    return FAULT_OK;
}

static void
run_task(struct task *task)
{
    struct tasks *tasks = task->tasks;
    int nargs = task->state == TASK_READY ? task->nargs : 0;
    int status;

    if (task->state == TASK_READY && task->cancel_kind != NULL) {
        task_fail_early(task);
        task_finish(task);
        return;
    }
    if (task->kill) {
        task_kill(task);
        task_finish(task);
        return;
    }
    task->state = TASK_RUNNING;
    task->wait = WAIT_NONE;
    task->parked = NULL;
    task->park = 0;
    tasks->current = task;
    status = task_drive(tasks, task->co, tasks->main, nargs, &task->nresults);
    tasks->current = NULL;
    if (status == LUA_YIELD && task->kill) {
        tasks->passing = 0;
        task_kill(task);
    } else if (status == LUA_YIELD && tasks->passing) {
        tasks->passing = 0;
        task->state = TASK_WAITING;
        if (task->wait == WAIT_WOKEN) {
            task_make_ready(task);
        } else if (task->cancel_kind != NULL || task->failed_child != NULL) {
            task_end_wait(task);
        }
        return;
    } else if (status == LUA_YIELD) { /* a C module yielded to nobody */
        (void)lua_resetthread(task->co); /* its error, if any, is not the point */
        task_fail_outside(task);
    } else if (status != LUA_OK) {
        task->nresults = 1;
        task->body_failed = 1;
        task_keep_trace(task);
        (void)lua_resetthread(task->co); /* keeps the error */
    }
    task_finish(task);
}

static void
run_ready(void *arg)
{
    struct tasks *tasks = arg;
    struct task *task = tasks->ready_first;

    /* what becomes ready meanwhile runs in the next turn */
    tasks->ready_first = tasks->ready_last = NULL;
    while (task != NULL) {
        struct task *next = task->ready_next;

        task->queued = 0;
        task->ready_next = NULL;
        if (!task_is_over(task) && task->state != TASK_FINISHING) {
            run_task(task);
        }
        task = next;
    }
}

/* Making ------------------------------------------------------------------- */

int
task_collect(lua_State *L)
{
    struct task *task = task_check(L, 1);

    if (task->tasks == NULL) {
        return 0;
    }
    if (task->wait == WAIT_ARMED && task->cancel_fn != NULL) {
        task->cancel_fn(task->cancel_arg); /* the state closes */
        task->cancel_fn = NULL;
        task->wait = WAIT_NONE;
    }
    loop_timer_stop(task->tasks->loop, &task->sleep_timer);
    task_free_deadline(task);
    task_give_slot(task->tasks, task);
    task_drop_trace(L, task);
    mem_free(task->cancel_why);
    mem_free(task->name);
    task->cancel_why = task->name = NULL;
    return 0;
}

/* The message handler of every task: keeps the traceback while the stack still
 * stands. */
static int
on_error(lua_State *L)
{
    task_keep_trace_here(L, task_scheduler(L)->current);
    lua_settop(L, 1);
    return 1;
}

static int
body_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status != LUA_OK && status != LUA_YIELD) {
        return lua_error(L);
    }
    return lua_gettop(L) - 1;
}

/* (fn, arguments…) The function every task starts with. A guarded call, so that
 * variables are closed while the task still runs and may wait. */
static int
task_body(lua_State *L)
{
    lua_pushcfunction(L, on_error);
    lua_insert(L, 1);
    return body_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_done), 0);
}

/* [-(1 + nargs), +1, m] */
struct task *
task_create(lua_State *L, int nargs, int detached, int root)
{
    struct tasks *tasks = task_scheduler(L);
    int fn = lua_gettop(L) - nargs;
    struct task *task = lua_newuserdatauv(L, sizeof *task, 1);

    *task = (struct task){.tasks = tasks, .slot = UINT32_MAX};
    luaL_setmetatable(L, TASK_META);
    task->co = lua_newthread(L);
    (void)lua_setiuservalue(L, -2, 1);
    if (task_take_slot(tasks, task) != 0) {
        luaL_error(L, "not enough memory");
    }
    task_mark_base(task->co, tasks);
    task_anchor(L, task);
    lua_insert(L, fn);
    if (!lua_checkstack(task->co, nargs + 3)) {
        task_unanchor(task);
        luaL_error(L, "not enough memory");
    }
    lua_pushcfunction(task->co, task_body);
    lua_xmove(L, task->co, nargs + 1);
    task->id = ++tasks->last_id;
    task->nargs = nargs + 1;
    task->state = TASK_READY;
    task->root = (unsigned char)root;
    if (!detached && !root && tasks->current != NULL) {
        link_child(tasks->current, task);
        if (tasks->current->cancel_kind != NULL) {
            task_cancel(task, tasks->current->cancel_kind, tasks->current->cancel_why);
        }
    }
    task_make_ready(task);
    return task;
}

void
task_spawn(lua_State *L, int nargs, int detached)
{
    (void)task_create(L, nargs, detached, 0);
}

struct task *
task_spawn_root(lua_State *L, int nargs)
{
    struct task *task = task_create(L, nargs, 0, 1);

    lua_pop(L, 1);
    return task;
}

void
task_on_report(struct tasks *tasks, task_report_fn fn, void *arg)
{
    tasks->report = fn;
    tasks->report_arg = arg;
}
