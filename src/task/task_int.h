/*
 * task_int: what the files of the task room share; nobody else includes it.
 *
 * A task is a userdata that is anchored in the scheduler's live table until it
 * has ended and its failure was taken. Its coroutine is its first user value.
 */
#ifndef MOONTAP_TASK_INT_H
#define MOONTAP_TASK_INT_H

#include "task.h"

#include <signal.h>

/* A cancelled task whose waits were refused this often is closed by force. */
#define TASK_REFUSALS_MAX 1000
/* So is one that swallowed this many interrupts. */
#define TASK_INTERRUPTS_MAX 20

/* One active resume on the C stack; the innermost is tasks->chain. */
struct task_link {
    lua_State *co;
    struct task_link *up;
};

enum wait_state {
    WAIT_NONE,      /* not waiting */
    WAIT_EARLY,     /* woken before it was parked */
    WAIT_ARMED,     /* parked */
    WAIT_WOKEN      /* over; its task is queued */
};

struct task_deadline {
    struct loop_timer timer;
    struct task *task;
    uint64_t ms;
};

/* Hangs on a task for each wait for its end. */
struct task_node {
    struct join_set *set;
    struct task *target; /* the task it hangs on; NULL: on none */
    struct task_node *next;
};

struct task {
    struct tasks *tasks;
    lua_State *co;             /* anchored by user value 1 */
    struct task *parent, *child, *next, *prev; /* the tree; siblings */
    struct task *ready_next;   /* ready queue */
    struct task *failed_child; /* its failure has to be raised here */
    struct task_node *joiners; /* whoever waits for its end */
    lua_State *parked;         /* innermost coroutine; only while parked */
    task_cancel_fn cancel_fn;
    void *cancel_arg;
    lua_KFunction k;
    lua_KContext ctx;
    struct loop_timer sleep_timer;
    struct task_deadline *deadline; /* NULL when it has none of its own */
    const char *cancel_kind;   /* "cancelled" or "timeout"; NULL: not cancelled */
    char *cancel_why;          /* heap, may be NULL */
    char *name;                /* heap, may be NULL */
    uint32_t id;               /* shown to people; counts up */
    uint32_t slot;
    uint32_t generation;       /* of the wait that is or comes next */
    uint32_t park;             /* names the stay of its coroutines; 0: runs */
    int nargs;                 /* arguments on the coroutine before it starts */
    int nresults;              /* results on top of it when done */
    unsigned short refusals;   /* waits refused since it was cancelled */
    unsigned char state;       /* enum task_state */
    unsigned char wait;        /* enum wait_state */
    unsigned char queued;      /* in the ready queue */
    unsigned char children_cancelled;
    unsigned char timed_out;   /* its own deadline cancelled it */
    unsigned char root;
    unsigned char body_failed; /* its function raised */
    unsigned char gave_in;     /* … the error of its cancellation */
    unsigned char broken;      /* the last wait was ended from outside */
    unsigned char kill;        /* close the coroutine when it comes up */
    unsigned char shielded;    /* interrupts of the foreground pass it by */
};

struct tasks {
    lua_State *main;
    struct loop *loop;
    struct loop_job job;       /* runs the ready queue */
    struct task *ready_first, *ready_last;
    struct task **slots;
    uint32_t slot_count;
    uint32_t last_id;
    uint32_t free_slot;        /* first free one + 1; 0: none */
    uint32_t *slot_next;       /* free list */
    uint32_t *slot_generation; /* where the next task in it goes on counting */
    struct task *current;
    struct task_link *chain;
    lua_State *volatile running; /* read by the signal handler */
    volatile sig_atomic_t interrupted;
    const char *volatile interrupt_why;
    int interrupts;            /* raised so far */
    struct task *foreground;   /* whom people's interrupts are meant for; NULL: nobody */
    volatile sig_atomic_t foreground_interrupts; /* of it, so far */
    int passing;               /* a host wait is on its way up to its task */
    long waits_left;           /* tests: waits until CANCEL_TARGET is cancelled; 0: never */
    struct task *cancel_target; /* anchored by the test meanwhile */
    const char *cancel_target_kind;
    uint32_t last_park;
    task_report_fn report;
    void *report_arg;
};

extern const char task_live_key;   /* registry: slot -> task userdata */

#define TASK_META "moontap.task"
#define TASK_ERROR_META "moontap.error"

/* slot.c: what it says of a task holds for anchored ones */
/* Returns -1 when there is no memory. */
int task_take_slot(struct tasks *tasks, struct task *task);
void task_give_slot(struct tasks *tasks, struct task *task);
/* [-0, +0, m] Anchors TASK, whose userdata is on top of the stack. */
void task_anchor(lua_State *L, struct task *task);
/* [-0, +0, -] Lets the collector have TASK; works twice. */
void task_unanchor(struct task *task);
/* [-0, +1, -] Pushes the userdata of an anchored task. */
void task_push(lua_State *L, struct task *task);

/* task.c */
/* [-0, +0, v] */
struct task *task_check(lua_State *L, int arg);
/* [-(1 + nargs), +1, m] Makes a task of the function below its arguments. */
struct task *task_create(lua_State *L, int nargs, int detached, int root);
/* Queues TASK for the next turn, once. */
void task_make_ready(struct task *task);
/* Ends the wait of TASK from outside: undoes what it started. */
void task_end_wait(struct task *task);
int task_is_over(const struct task *task);
/* FAULT_NOMEM. */
enum fault_code task_set_deadline(struct task *task, uint64_t ms);
void task_free_deadline(struct task *task);
/* Takes TASK out of its parent's children. */
void task_unlink(struct task *task);
/* __gc of tasks */
int task_collect(lua_State *L);

/* end.c: [-0, +0, -] on the coroutine of the task, all of them */
/* The function of TASK is over, or one of its children is since. */
void task_finish(struct task *task);
/* Closes the coroutine of a task that did not heed its cancellation. */
void task_kill(struct task *task);
/* Makes TASK fail: cancelled before it started. */
void task_fail_early(struct task *task);
/* Makes TASK fail: a C module yielded to nobody. */
void task_fail_outside(struct task *task);
/* [-0, +0, m] */
void task_open_ending(lua_State *L);

/* join.c */
void task_wake_joiners(struct task *task);
int task_join(lua_State *L);
int task_join_any(lua_State *L);
int task_join_all(lua_State *L);

/* coroutine.c */
/* Marks CO as the coroutine that a task itself runs in. */
void task_mark_base(lua_State *co, struct tasks *tasks);
int task_drive(struct tasks *tasks, lua_State *co, lua_State *from, int nargs,
               int *nresults);

/* wait.c */
static inline int
task_is_interrupted(const struct tasks *tasks)
{
    return tasks->interrupted || tasks->foreground_interrupts > 0;
}
void task_arm_interrupt(lua_State *L, int count);
int task_sleep(lua_State *L);

/* error.c */
void task_open_errors(lua_State *L);
/* [-0, +0, m] The error at IDX leaves the coroutine FROM. */
void task_note_trace(lua_State *L, int idx, lua_State *from, const char *label);
/* [-0, +0, m] The error at WAS_IDX goes on as the one at NOW_IDX. */
void task_move_trace(lua_State *L, int was_idx, int now_idx);
/* [-0, +0, m] The error at index 1 is raised in TASK right here. */
void task_keep_trace_here(lua_State *L, struct task *task);
/* [-0, +0, -] TASK has just failed: keeps its traceback, unless that was done. */
void task_keep_trace(struct task *task);
/* [-0, +0, -] */
void task_drop_trace(lua_State *L, struct task *task);
/* [-0, +0, m] The error of TASK goes on as the one at IDX. */
void task_pass_trace(lua_State *L, int idx, struct task *task);
int task_copy_values(lua_State *from, int n, lua_State *to);

#endif
