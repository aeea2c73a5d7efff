/*
 * task: the tree, the ready queue, and how a task starts and ends.
 *
 * A task ends in two steps: its function returns or raises; then it waits for
 * its children, cancelling them first when it failed. Only then is it done.
 */
#include "internal.h"

#include "buf.h"
#include "duration.h"

#include <lauxlib.h>
#include <stdio.h>

const char task_live_key = 0;

/* Registry keys of texts, which are the texts themselves. */
static const char task_text_killed[] = "killed: it did not heed its cancellation";
static const char task_text_early[] = "cancelled before it started";
static const char task_text_outside[] = "attempt to yield from outside a coroutine";

struct task *
task_check(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, TASK_META);
}

struct tasks *
task_scheduler(lua_State *L)
{
    return *(struct tasks **)lua_getextraspace(L);
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

/* Slots: how a wake finds its task without a pointer ------------------------ */

static int
grow_slots(struct tasks *tasks)
{
    uint32_t count = tasks->slot_count == 0 ? 16 : tasks->slot_count * 2;
    struct task **slots = mem_realloc(tasks->slots, count * sizeof *slots);
    uint32_t *next;

    if (slots == NULL) {
        return -1;
    }
    tasks->slots = slots;
    next = mem_realloc(tasks->slot_next, count * sizeof *next);
    if (next == NULL) {
        return -1;
    }
    tasks->slot_next = next;
    for (uint32_t i = count; i > tasks->slot_count; i--) {
        slots[i - 1] = NULL;
        next[i - 1] = tasks->free_slot;
        tasks->free_slot = i;
    }
    tasks->slot_count = count;
    return 0;
}

static int
take_slot(struct tasks *tasks, struct task *task)
{
    if (tasks->free_slot == 0 && grow_slots(tasks) != 0) {
        return -1;
    }
    task->slot = tasks->free_slot - 1;
    tasks->free_slot = tasks->slot_next[task->slot];
    tasks->slots[task->slot] = task;
    return 0;
}

static void
give_slot(struct tasks *tasks, struct task *task)
{
    if (task->slot == UINT32_MAX || tasks->slots[task->slot] != task) {
        return;
    }
    tasks->slots[task->slot] = NULL;
    tasks->slot_next[task->slot] = tasks->free_slot;
    tasks->free_slot = task->slot + 1;
    task->slot = UINT32_MAX;
}

/* [-0, +1, -] Pushes the table slot + 1 -> userdata. */
static void
push_live(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &task_live_key);
}

/* [-0, +1, -] Pushes the userdata of a task that is anchored. */
void
task_push(lua_State *L, struct task *task)
{
    push_live(L);
    (void)lua_rawgeti(L, -1, (lua_Integer)task->slot + 1);
    lua_remove(L, -2);
}

/* [-0, +0, -] Lets the collector have TASK. Setting an existing entry of a
 * table to nil allocates nothing. */
void
task_unanchor(struct task *task)
{
    lua_State *L = task->tasks->main;

    if (task->slot == UINT32_MAX) {
        return;
    }
    push_live(L);
    lua_pushnil(L);
    lua_rawseti(L, -2, (lua_Integer)task->slot + 1);
    lua_pop(L, 1);
    give_slot(task->tasks, task);
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

static void
unlink_child(struct task *task)
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

static void
free_deadline(struct task *task)
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

void
task_cancel(struct task *task, const char *kind, const char *why)
{
    if (task_is_over(task)) {
        return;
    }
    if (task->cancel_kind == NULL) {
        task->cancel_kind = kind;
        task->cancel_why = mem_strdup(why); /* NULL: a general text is shown */
    }
    for (struct task *child = task->child; child != NULL;) {
        struct task *next = child->next;
        task_cancel(child, kind, why);
        child = next;
    }
    if (task->state == TASK_WAITING) {
        task_end_wait(task);
    }
}

static void
on_deadline(void *arg)
{
    struct task_deadline *deadline = arg;
    char text[32], why[80];

    (void)snprintf(why, sizeof why, "deadline of %s passed",
                   duration_format(deadline->ms, text, sizeof text));
    task_cancel(deadline->task, "timeout", why);
}

enum fault_code
task_set_deadline(struct task *task, uint64_t ms)
{
    struct task_deadline *deadline = mem_zalloc(sizeof *deadline);

    if (deadline == NULL) {
        return FAULT_NOMEM;
    }
    free_deadline(task);
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

/* Ending ------------------------------------------------------------------- */

/* [-0, +1, m] on the main state: message and traceback of a failed task. */
static int
build_report(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);

    task_push_error(L, task);
    (void)luaL_tolstring(L, -1, NULL);
    lua_pushliteral(L, "\n");
    task_push_traceback(L, task);
    lua_concat(L, 3);
    return 1;
}

static void
report_failure(struct task *task)
{
    struct tasks *tasks = task->tasks;
    lua_State *L = tasks->main;

    if (tasks->report == NULL) {
        return;
    }
    lua_pushcfunction(L, build_report);
    lua_pushlightuserdata(L, task);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        tasks->report(tasks->report_arg, lua_tostring(L, -1));
    } else {
        tasks->report(tasks->report_arg, "a task failed; not enough memory to say how");
    }
    lua_pop(L, 1);
}

/* Hands the failure of TASK on: to whoever joins it, else to its parent. */
static void
hand_failure(struct task *task, struct task *parent)
{
    if (task->joiners != NULL || task->root) {
        return;
    }
    if (parent == NULL) {
        report_failure(task);
    } else if (parent->failed_child == NULL) {
        parent->failed_child = task;
        if (parent->state == TASK_WAITING) {
            task_end_wait(parent);
        }
    }
}

static void finish(struct task *task);

/* Its function is over and so are its children. */
static void
complete(struct task *task)
{
    struct task *parent = task->parent;
    int keep = task->root;

    free_deadline(task);
    if (task->failed_child != NULL) { /* its own end hides the child's */
        task_unanchor(task->failed_child);
        task->failed_child = NULL;
    }
    unlink_child(task);
    if (!task->body_failed) {
        task->state = TASK_DONE;
    } else if (task->cancel_kind != NULL) {
        task->state = TASK_CANCELLED;
    } else {
        task->state = TASK_FAILED;
        hand_failure(task, parent);
        keep = keep || (parent != NULL && parent->failed_child == task);
    }
    task_wake_joiners(task);
    if (!keep) {
        task_unanchor(task);
    }
    if (parent != NULL && parent->state == TASK_FINISHING) {
        finish(parent);
    }
}

/* [-0, +0, -] Makes TASK fail with the text that the registry keeps under KEY:
 * nothing may be allocated on a coroutine that does not run. */
static void
fail_with(struct task *task, const char *key)
{
    lua_settop(task->co, 0);
    if (key != NULL) {
        (void)lua_rawgetp(task->co, LUA_REGISTRYINDEX, key);
    } else {
        lua_pushnil(task->co);
    }
    task->nresults = 1;
    task->body_failed = 1;
}

/* [-0, +0, -] Makes the error of CHILD the error of TASK, whose function is
 * over: the value is put on top of its coroutine. */
static void
adopt_failure(struct task *task, struct task *child)
{
    if (task_copy_values(child->co, 1, task->co) != 0) {
        fail_with(task, NULL); /* no room: fails without a value */
        return;
    }
    task->body_failed = 1;
    task->nresults = 1;
}

/* (child) Guarded: the traceback of the child goes on with its error. */
static int
inherit_trace(lua_State *L)
{
    struct task *child = lua_touserdata(L, 1);

    task_push_error(L, child);
    task_pass_trace(L, -1, child);
    return 0;
}

/* Called when the function of TASK is over, and when one of its children has
 * ended since. */
static void
finish(struct task *task)
{
    task->state = TASK_FINISHING;
    if (task->failed_child != NULL && !task->body_failed) {
        struct task *child = task->failed_child;

        adopt_failure(task, child);
        lua_pushcfunction(task->tasks->main, inherit_trace);
        lua_pushlightuserdata(task->tasks->main, child);
        if (lua_pcall(task->tasks->main, 1, 0, 0) != LUA_OK) {
            lua_pop(task->tasks->main, 1); /* no memory: only the text is lost */
        }
        task_keep_trace(task);
        task->failed_child = NULL;
        task_unanchor(child);
    }
    if (task->body_failed) {
        for (struct task *child = task->child; child != NULL;) {
            struct task *next = child->next;
            task_cancel(child, "cancelled", "the task it belongs to failed");
            child = next;
        }
    }
    if (task->child == NULL) {
        complete(task);
    }
}

/* Closes the coroutine of a task that did not heed its cancellation. */
static void
kill_task(struct task *task)
{
    (void)lua_resetthread(task->co); /* its error, if any, is not the point */
    fail_with(task, task_text_killed);
}

static void
run_task(struct task *task)
{
    struct tasks *tasks = task->tasks;
    int nargs = task->state == TASK_READY ? task->nargs : 0;
    int status;

    if (task->state == TASK_READY && task->cancel_kind != NULL) {
        fail_with(task, task_text_early);
        finish(task);
        return;
    }
    task->state = TASK_RUNNING;
    task->wait = WAIT_NONE;
    task->parked = NULL;
    tasks->current = task;
    status = task_drive(tasks, task->co, tasks->main, nargs, &task->nresults);
    tasks->current = NULL;
    if (status == LUA_YIELD && task->kill) {
        tasks->passing = 0;
        kill_task(task);
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
        fail_with(task, task_text_outside);
    } else if (status != LUA_OK) {
        task->nresults = 1;
        task->body_failed = 1;
        task_keep_trace(task);
        (void)lua_resetthread(task->co); /* closes its variables; keeps the error */
    }
    finish(task);
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
    struct task *task = lua_touserdata(L, 1);

    if (task->tasks == NULL) {
        return 0;
    }
    if (task->wait == WAIT_ARMED && task->cancel_fn != NULL) {
        task->cancel_fn(task->cancel_arg); /* the state closes */
        task->cancel_fn = NULL;
        task->wait = WAIT_NONE;
    }
    loop_timer_stop(task->tasks->loop, &task->sleep_timer);
    free_deadline(task);
    give_slot(task->tasks, task);
    task_drop_trace(L, task);
    mem_free(task->cancel_why);
    mem_free(task->name);
    task->cancel_why = task->name = NULL;
    return 0;
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
    if (take_slot(tasks, task) != 0) {
        luaL_error(L, "not enough memory");
    }
    push_live(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)task->slot + 1);
    lua_pop(L, 1);
    lua_insert(L, fn);
    if (!lua_checkstack(task->co, nargs + 1)) {
        task_unanchor(task);
        luaL_error(L, "not enough memory");
    }
    lua_xmove(L, task->co, nargs + 1);
    task->id = ++tasks->last_id;
    task->nargs = nargs;
    task->state = TASK_READY;
    task->detached = (unsigned char)detached;
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
task_release_root(lua_State *L, struct task *task)
{
    (void)L;
    task_unanchor(task);
}

void
task_on_report(struct tasks *tasks, task_report_fn fn, void *arg)
{
    tasks->report = fn;
    tasks->report_arg = arg;
}

static int
tasks_gc(lua_State *L)
{
    struct tasks *tasks = lua_touserdata(L, 1);

    loop_unpost(tasks->loop, &tasks->job);
    mem_free(tasks->slots);
    mem_free(tasks->slot_next);
    tasks->slots = NULL;
    tasks->slot_next = NULL;
    tasks->slot_count = 0;
    return 0;
}

static void
keep_text(lua_State *L, const char *text)
{
    lua_pushstring(L, text);
    lua_rawsetp(L, LUA_REGISTRYINDEX, text);
}

struct tasks *
task_open(lua_State *L, struct loop *loop)
{
    struct tasks *tasks = lua_newuserdatauv(L, sizeof *tasks, 0);

    *tasks = (struct tasks){.main = L, .loop = loop};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, tasks_gc);
    lua_setfield(L, -2, "__gc");
    (void)lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, tasks);
    *(struct tasks **)lua_getextraspace(L) = tasks;
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_live_key);
    keep_text(L, task_text_killed);
    keep_text(L, task_text_early);
    keep_text(L, task_text_outside);
    task_open_errors(L);
    return tasks;
}
