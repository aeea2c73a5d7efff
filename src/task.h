/*
 * task: coroutines that wait. Owns the task tree, the wait record of each
 * task and the resume chain; is the only room that resumes host coroutines.
 *
 * The whole contract with a function that waits is task_ref, task_wait and
 * task_wake. Stack effects are given in the manual's notation [-o, +p, x].
 */
#ifndef MOONTAP_TASK_H
#define MOONTAP_TASK_H

#include "fault.h"
#include "loop.h"

#include <lua.h>
#include <stdint.h>

struct tasks; /* the scheduler: one a lua_State */
struct task;

/* Names one wait of one task. Stays safe to use after both are gone. */
struct task_ref {
    uint32_t slot;
    uint32_t generation;
};

/*
 * Undoes what the wait has started: unlink, then free; must not raise and
 * must not call task_wake. Called at most once, and never after task_wake.
 */
typedef void (*task_cancel_fn)(void *arg);

/* [-0, +0, -] The scheduler of L's state, or NULL. */
struct tasks *task_scheduler(lua_State *L);
/* [-0, +0, -] The loop of L's state. */
struct loop *task_loop(lua_State *L);

/*
 * [-0, +0, v] Checks that the running function may wait here (inside a task,
 * and yieldable along the whole chain of coroutines), else raises an error
 * that says why not. Call it before anything is acquired.
 */
void task_check_wait(lua_State *L);

/* [-0, +0, -] May the running function wait here? Cancelled or not. */
int task_can_wait(lua_State *L);

/* [-0, +0, -] The wait that the next task_wait of the running task will be. */
struct task_ref task_ref(lua_State *L);

/*
 * [-0, +?, e] Parks the running coroutine until task_wake(ref), then continues
 * in K(L, LUA_YIELD, CTX) with the stack of the calling function. When the
 * task is cancelled, CANCEL(ARG) is called (CANCEL may be NULL) and the
 * function raises the cancellation instead of calling K.
 * Call as `return task_wait(...)`. Waits.
 */
int task_wait(lua_State *L, task_cancel_fn cancel, void *arg, lua_KContext ctx,
              lua_KFunction k);

/*
 * Ends the wait REF names: its task runs in the next turn. May be called from
 * any loop callback, also before task_wait was reached (the wait then ends at
 * once). Returns 0 when REF is no longer waited for (the wake is dropped).
 */
int task_wake(struct tasks *tasks, struct task_ref ref);

/*
 * [-(1 + nargs), +1, m] Starts the function below its NARGS arguments as a
 * task and pushes the task object. DETACHED tasks belong to nobody: the host's
 * own (a server's handlers). Their failure goes to the report function.
 */
void task_spawn(lua_State *L, int nargs, int detached);

/* Calls of the host ------------------------------------------------------ */

/* [-0, +0, m] Opens the room for L's state: sets the scheduler up. */
struct tasks *task_open(lua_State *L, struct loop *loop);
/* [-0, +1, m] Pushes the table of functions scripts see: spawn, sleep, … */
int luaopen_task(lua_State *L);
/* [-0, +0, m] Replaces the functions of the coroutine library on the table at
 * the top of the stack by ones that let host waits pass. */
void task_patch_coroutine(lua_State *L);
/* Called for a detached task that failed. MESSAGE holds the traceback. */
typedef void (*task_report_fn)(void *arg, const char *message);
void task_on_report(struct tasks *tasks, task_report_fn fn, void *arg);

enum task_state {
    TASK_READY,
    TASK_RUNNING,
    TASK_WAITING,
    TASK_FINISHING, /* its function returned; waits for its children */
    TASK_DONE,
    TASK_FAILED,
    TASK_CANCELLED
};

/* [-(1 + nargs), +0, m] As task_spawn, for the task the host runs: nobody's
 * child, anchored as long as the state lives. */
struct task *task_spawn_root(lua_State *L, int nargs);
enum task_state task_state(const struct task *task);
/* [-0, +1, m] Pushes on L the error value a finished task failed with. */
void task_push_error(lua_State *L, struct task *task);
/* [-0, +1, m] Pushes on L the traceback of a failed task, through coroutines. */
void task_push_traceback(lua_State *L, struct task *task);
/* [-0, +1, m] Pushes on L the error object of a cancelled task. */
void task_push_cancellation(lua_State *L, struct task *task);
/* Cancels TASK and all below it, level-triggered. KIND is "cancelled" or
 * "timeout"; WHY is copied. Never raises. */
void task_cancel(struct task *task, const char *kind, const char *why);

/* May be called from a signal handler: makes the running coroutine raise an
 * error of kind "cancelled" with the message WHY (static). */
void task_interrupt(struct tasks *tasks, const char *why);
/* May be called from a signal handler: as task_interrupt, but only the task of
 * task_set_foreground and those below it meet the error; the second time they
 * are closed, the third time everybody meets it who is not shielded. */
void task_interrupt_foreground(struct tasks *tasks, const char *why);
/* From now on TASK (NULL: nobody) is whom interrupts of the foreground are for;
 * those of before are forgotten. It is forgotten when it ends. */
void task_set_foreground(struct tasks *tasks, struct task *task);
/* Interrupts of the foreground never meet the task object at ARG, however many
 * there are: for those who listen to them. [-0, +0, v] */
void task_shield(lua_State *L, int arg);
/* As task_shield, for the running task. [-0, +0, -] */
void task_shield_running(lua_State *L);
/* Is there a task in the foreground? */
int task_has_foreground(const struct tasks *tasks);
/* [-0, +1, m] Pushes a text with one line a task: state, and file:line where it
 * waits. */
void task_push_list(lua_State *L, struct tasks *tasks);

/* Errors ------------------------------------------------------------------ */

/*
 * [-0, +1, m] Pushes an error object of KIND with MESSAGE (copied). The caller
 * may set further fields (status, code, ray, …) on it: it is a table.
 */
void task_new_error(lua_State *L, const char *kind, const char *message);
/* [-0, +2, m] Pushes nil and the error object of FAULT; returns 2. */
int task_fail(lua_State *L, const struct fault *fault);
/* [-0, +0, v] Raises an error object of KIND. */
int task_raise(lua_State *L, const char *kind, const char *message);
/*
 * A message handler for a C function (upvalue 1) that calls another one guarded
 * and then passes its error on: a traceback of the error then starts with what
 * was below that function.
 */
int task_keep_inner_trace(lua_State *L);

#endif
