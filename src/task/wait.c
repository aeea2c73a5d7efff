/*
 * wait: the wait record. A wait is named by (slot, generation); a wake that
 * does not match is dropped, so a late completion never resumes the wrong
 * wait.
 */
#include "task_int.h"

#include "buf.h"
#include "duration.h"

#include <lauxlib.h>
#include <string.h>

#define FOREGROUND_PATIENCE 3 /* interrupts of the foreground that only it meets */
#define HOOK_AGAIN 100000 /* instructions between two raised interrupts */

/* Where may not be waited ----------------------------------------------------*/

struct culprit {
    const char *table; /* NULL: a global */
    const char *name;
    const char *text;
};

static const struct culprit culprits[] = {
    {"table", "sort", "inside a table.sort comparator"},
    {"string", "gsub", "inside a string.gsub callback"},
    {"moontap.native.db", "transaction", "inside a database transaction"},
    {NULL, "require", "at the top of a file that is being required"},
    {NULL, "tostring", "inside a __tostring metamethod"},
    {NULL, "print", "inside a __tostring metamethod"},
    {NULL, "load", "inside a load reader function"},
    {NULL, "next", "inside next"},
};

/* [-0, +0, m] Is the function at the top of L's stack C's? Pops nothing. */
static int
is_culprit(lua_State *L, const struct culprit *c)
{
    int top = lua_gettop(L);
    int same;

    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, c->table != NULL ? c->table : LUA_GNAME) == LUA_TTABLE) {
        lua_pushstring(L, c->name);
        (void)lua_rawget(L, -2);
    }
    same = lua_rawequal(L, -1, top);
    lua_settop(L, top);
    return same;
}

/* [-0, +1, m] Pushes what in the coroutine CO keeps it from yielding. */
static void
push_culprit(lua_State *L, lua_State *co)
{
    lua_Debug ar, caller;
    int level;

    for (level = 0; lua_getstack(co, level, &ar); level++) {
        if (!lua_checkstack(co, 1) || !lua_getinfo(co, "Sf", &ar)) {
            break;
        }
        lua_xmove(co, L, 1);
        for (size_t i = 0; ar.what[0] == 'C' && i < sizeof culprits / sizeof *culprits; i++) {
            if (is_culprit(L, &culprits[i])) {
                lua_pop(L, 1);
                lua_pushstring(L, culprits[i].text);
                if (lua_getstack(co, level + 1, &caller) && lua_getinfo(co, "Sl", &caller)
                    && caller.currentline > 0) {
                    lua_pushfstring(L, " (called at %s:%d)", caller.short_src,
                                    caller.currentline);
                    lua_concat(L, 2);
                }
                return;
            }
        }
        lua_pop(L, 1);
    }
    lua_pushliteral(L, "inside a metamethod or a C function that cannot be suspended");
}

/* Refusing a wait ----------------------------------------------------------- */

static int
is_chain_yieldable(const struct tasks *tasks)
{
    for (struct task_link *link = tasks->chain; link != NULL; link = link->up) {
        if (!lua_isyieldable(link->co)) {
            return 0;
        }
    }
    return tasks->current != NULL;
}

/* [-0, +1, m] Pushes the error that a cancelled task meets. */
static void
push_refusal(lua_State *L, const struct task *task)
{
    task_new_error(L, task->cancel_kind,
                   task->cancel_why != NULL ? task->cancel_why : "cancelled");
}

/* The error object it ended with may know more than why it was cancelled. */
void
task_push_cancellation(lua_State *L, struct task *task)
{
    task_push_error(L, task);
    if (lua_type(L, -1) == LUA_TTABLE && lua_getmetatable(L, -1)) {
        int is_error;

        (void)luaL_getmetatable(L, TASK_ERROR_META);
        is_error = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (is_error) {
            return;
        }
    }
    lua_pop(L, 1);
    push_refusal(L, task);
}

/* [-0, +0, v] Raises here, in TASK, the failure of a child nobody joined. */
static int
raise_failure(lua_State *L, struct task *task)
{
    struct task *child = task->failed_child;

    task_push_error(L, child);
    task_pass_trace(L, -1, child);
    task->failed_child = NULL;
    task_unanchor(child);
    return lua_error(L);
}

/* The running task was cancelled: raises that, or gives up on the task when it
 * has swallowed it too often. */
static int
refuse_wait(lua_State *L, struct task *task)
{
    if (++task->refusals > TASK_REFUSALS_MAX && is_chain_yieldable(task->tasks)) {
        task->kill = 1;
        task->tasks->passing = 1;
        return lua_yield(L, 0);
    }
    push_refusal(L, task);
    return lua_error(L);
}

void
task_check_wait(lua_State *L)
{
    struct tasks *tasks = task_scheduler(L);

    if (tasks->current == NULL) {
        luaL_error(L, "cannot wait here: no task is running");
        return; /* never reached, but the analyzer cannot know */
    }
    if (tasks->chain->co != L) {
        luaL_error(L, "cannot wait here: inside a coroutine that a C module resumed");
    }
    for (struct task_link *link = tasks->chain; link != NULL; link = link->up) {
        if (!lua_isyieldable(link->co)) {
            luaL_where(L, 1);
            lua_pushliteral(L, "cannot wait ");
            push_culprit(L, link->co);
            lua_concat(L, 3);
            lua_error(L);
        }
    }
    if (tasks->current->cancel_kind != NULL) { /* before anything is started */
        (void)refuse_wait(L, tasks->current);
    }
    if (tasks->current->failed_child != NULL) {
        (void)raise_failure(L, tasks->current);
    }
}

int
task_can_wait(lua_State *L)
{
    struct tasks *tasks = task_scheduler(L);

    return tasks->current != NULL && tasks->chain->co == L && is_chain_yieldable(tasks);
}

/* The contract ------------------------------------------------------------- */

struct task_ref
task_ref(lua_State *L)
{
    struct task *task = task_scheduler(L)->current;

    task->generation++;
    task->wait = WAIT_NONE;
    task->broken = 0;
    return (struct task_ref){task->slot, task->generation};
}

int
task_wake(struct tasks *tasks, struct task_ref ref)
{
    struct task *task = ref.slot < tasks->slot_count ? tasks->slots[ref.slot] : NULL;

    if (task == NULL || task->generation != ref.generation) {
        return 0;
    }
    if (task->wait == WAIT_NONE) {
        task->wait = WAIT_EARLY;
        return 1;
    }
    if (task->wait != WAIT_ARMED) {
        return 0;
    }
    task->cancel_fn = NULL;
    task->generation++;
    task->wait = WAIT_WOKEN;
    task_make_ready(task);
    return 1;
}

static int
after_wait(lua_State *L, int status, lua_KContext unused)
{
    struct task *task = task_scheduler(L)->current;

    (void)unused;
    /* A wait that was completed before the cancellation came keeps its result:
     * what was done must not be lost. The next wait is refused. */
    if (task->broken && task->cancel_kind != NULL) {
        return refuse_wait(L, task);
    }
    if (task->broken && task->failed_child != NULL) {
        return raise_failure(L, task);
    }
    return task->k(L, status, task->ctx);
}

int
task_wait(lua_State *L, task_cancel_fn cancel, void *arg, lua_KContext ctx,
          lua_KFunction k)
{
    struct tasks *tasks = task_scheduler(L);
    struct task *task = tasks->current;

    task->cancel_fn = cancel;
    task->cancel_arg = arg;
    task->k = k;
    task->ctx = ctx;
    task->parked = L;
    task->park = ++tasks->last_park != 0 ? tasks->last_park : ++tasks->last_park;
    if (task->wait == WAIT_EARLY) {
        task->generation++;
        task->wait = WAIT_WOKEN;
        task->cancel_fn = NULL;
    } else {
        task->wait = WAIT_ARMED; /* a cancellation is seen by run_task */
    }
    tasks->passing = 1;
    if (tasks->waits_left > 0 && --tasks->waits_left == 0) {
        task_cancel(tasks->cancel_target, tasks->cancel_target_kind, "cancelled at a wait");
    }
    return lua_yieldk(L, 0, 0, after_wait);
}

/* Sleep ---------------------------------------------------------------------- */

static void
wake_sleeper(void *arg)
{
    struct task *task = arg;

    (void)task_wake(task->tasks, (struct task_ref){task->slot, task->generation});
}

static void
cancel_sleep(void *arg)
{
    struct task *task = arg;

    loop_timer_stop(task->tasks->loop, &task->sleep_timer);
}

static int
sleep_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

/* The duration at ARG in milliseconds: seconds, or text such as "5m". */
static uint64_t
check_duration(lua_State *L, int arg)
{
    uint64_t ms = 0;
    size_t len;
    int bad;

    if (lua_type(L, arg) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, arg, &len);
        bad = duration_parse(text, len, &ms);
    } else {
        bad = duration_from_seconds(luaL_checknumber(L, arg), &ms);
    }
    luaL_argcheck(L, bad == 0, arg, "expected seconds or a duration such as \"5m\"");
    return ms;
}

/* moontap.sleep(duration): waits at least that long. */
int
task_sleep(lua_State *L)
{
    uint64_t ms = check_duration(L, 1);
    struct task *task;

    task_check_wait(L);
    task = task_scheduler(L)->current;
    (void)task_ref(L);
    if (loop_timer_start(task->tasks->loop, &task->sleep_timer, ms, wake_sleeper,
                         task) != FAULT_OK) {
        return luaL_error(L, "not enough memory");
    }
    return task_wait(L, cancel_sleep, task, 0, sleep_done);
}

/* Interrupts ------------------------------------------------------------------ */

/* Is the interrupt meant for TASK? One for the foreground reaches everybody who
 * is not shielded when it is asked for again and again: somebody does not let go. */
static int
is_meant(const struct tasks *tasks, const struct task *task)
{
    if (tasks->interrupted) {
        return 1;
    }
    if (task->shielded) {
        return 0;
    }
    if (tasks->foreground_interrupts >= FOREGROUND_PATIENCE) {
        return 1;
    }
    while (task != NULL && task != tasks->foreground) {
        task = task->parent;
    }
    return task != NULL;
}

static void
interrupt_hook(lua_State *L, lua_Debug *ar)
{
    struct tasks *tasks = task_scheduler(L);
    struct task *task = tasks->current;

    (void)ar;
    if (!task_is_interrupted(tasks) || task == NULL) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    task_arm_interrupt(L, HOOK_AGAIN);
    if (!is_meant(tasks, task)) {
        return;
    }
    if ((++tasks->interrupts > TASK_INTERRUPTS_MAX || tasks->foreground_interrupts > 1)
        && is_chain_yieldable(tasks)) {
        task_cancel(task, "cancelled", tasks->interrupt_why);
        task->kill = 1; /* a pcall loop swallows what is raised, not this */
        tasks->passing = 1;
        (void)lua_yield(L, 0);
        return;
    }
    task_new_error(L, "cancelled", tasks->interrupt_why);
    lua_error(L);
}

/* Makes L run into the interrupt after COUNT instructions (0: a usual number).
 * Safe in a signal handler, as far as lua_sethook is. */
void
task_arm_interrupt(lua_State *L, int count)
{
    lua_sethook(L, interrupt_hook, LUA_MASKCOUNT, count > 0 ? count : HOOK_AGAIN);
}

void
task_set_foreground(struct tasks *tasks, struct task *task)
{
    tasks->foreground = task;
    tasks->foreground_interrupts = 0;
    if (!tasks->interrupted) {
        tasks->interrupts = 0;
    }
}

void
task_shield(lua_State *L, int arg)
{
    task_check(L, arg)->shielded = 1;
}

void
task_shield_running(lua_State *L)
{
    struct task *task = task_scheduler(L)->current;

    if (task != NULL) {
        task->shielded = 1;
    }
}

int
task_has_foreground(const struct tasks *tasks)
{
    return tasks->foreground != NULL;
}

void
task_interrupt_foreground(struct tasks *tasks, const char *why)
{
    lua_State *L = tasks->running;

    tasks->interrupt_why = why;
    tasks->foreground_interrupts++;
    if (L != NULL) {
        task_arm_interrupt(L, 1);
    }
    loop_wakeup(tasks->loop);
}

void
task_interrupt(struct tasks *tasks, const char *why)
{
    lua_State *L = tasks->running;

    tasks->interrupt_why = why;
    tasks->interrupted = 1;
    if (L != NULL) {
        task_arm_interrupt(L, 1);
    }
    loop_wakeup(tasks->loop);
}
