/*
 * end: how a task ends. Its function returns or raises; then it waits for its
 * children, cancelling them first when it failed. Only then is it over, and its
 * failure goes to whoever joins it, else to its parent.
 */
#include "task_int.h"

#include <lauxlib.h>

/* Registry keys of texts, which are the texts themselves. */
static const char task_text_killed[] = "killed: it did not heed its cancellation";
static const char task_text_early[] = "cancelled before it started";
static const char task_text_outside[] = "attempt to yield from outside a coroutine";

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
    } else if (parent->failed_child != NULL) {
        report_failure(task); /* the parent can raise one only */
    } else {
        parent->failed_child = task;
        if (parent->state == TASK_WAITING) {
            task_end_wait(parent);
        }
    }
}

/* Its function is over and so are its children. Returns the parent if that
 * waited for this, else NULL. */
static struct task *
complete(struct task *task)
{
    struct task *parent = task->parent;
    int keep = task->root;

    task_free_deadline(task);
    if (task->tasks->foreground == task) {
        task_set_foreground(task->tasks, NULL);
    }
    if (task->failed_child != NULL) { /* its own end hides the child's */
        task_unanchor(task->failed_child);
        task->failed_child = NULL;
    }
    task_unlink(task);
    if (!task->body_failed) {
        task->state = TASK_DONE;
    } else if (task->cancel_kind != NULL && task->gave_in) {
        task->state = TASK_CANCELLED;
    } else {
        task->state = TASK_FAILED;
    }
    if (task->state == TASK_FAILED || (task->state == TASK_CANCELLED && task->timed_out)) {
        hand_failure(task, parent);
        keep = keep || (parent != NULL && parent->failed_child == task);
    }
    task_wake_joiners(task);
    if (!keep) {
        task_unanchor(task);
    }
    return parent != NULL && parent->state == TASK_FINISHING ? parent : NULL;
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
    task->gave_in = key != NULL;
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

static void
cancel_children(struct task *task)
{
    for (struct task *child = task->child; child != NULL; child = child->next) {
        task_cancel(child, "cancelled", "the task it belongs to failed");
    }
}

/* One step of task_finish; returns whose turn it is then. */
static struct task *
finish_one(struct task *task)
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
    if (task->body_failed && !task->children_cancelled) {
        task->children_cancelled = 1; /* once: many may end one by one */
        cancel_children(task);
    }
    return task->child == NULL ? complete(task) : NULL;
}

/* Called when the function of TASK is over, and when one of its children has
 * ended since. A line of tasks that wait for each other ends in one go. */
void
task_finish(struct task *task)
{
    while (task != NULL) {
        task = finish_one(task);
    }
}

/* Closes the coroutine of a task that did not heed its cancellation. */
void
task_kill(struct task *task)
{
    (void)lua_resetthread(task->co); /* its error, if any, is not the point */
    fail_with(task, task_text_killed);
}

void
task_fail_early(struct task *task)
{
    fail_with(task, task_text_early);
}

void
task_fail_outside(struct task *task)
{
    fail_with(task, task_text_outside);
}

static void
keep_text(lua_State *L, const char *text)
{
    lua_pushstring(L, text);
    lua_rawsetp(L, LUA_REGISTRYINDEX, text);
}

void
task_open_ending(lua_State *L)
{
    keep_text(L, task_text_killed);
    keep_text(L, task_text_early);
    keep_text(L, task_text_outside);
}
