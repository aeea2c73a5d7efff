/*
 * join: waiting for the end of other tasks. Each wait hangs one node on every
 * task it is for; the nodes live in a userdata on the waiting stack. A task
 * with a node on it has somebody who takes its failure.
 */
#include "task_int.h"

#include <lauxlib.h>

struct join_set {
    struct task *waiter;
    struct task_ref ref;
    unsigned count;   /* nodes */
    unsigned pending; /* tasks not over */
    int all;          /* wake when none is pending, else at the first */
    struct task_node nodes[];
};

static void
unlink_nodes(void *arg)
{
    struct join_set *set = arg;

    for (unsigned i = 0; i < set->count; i++) {
        struct task_node *node = &set->nodes[i];

        if (node->target != NULL) {
            struct task_node **at = &node->target->joiners;
            while (*at != node) {
                at = &(*at)->next;
            }
            *at = node->next;
            node->target = NULL;
        }
    }
}

/* Called when TASK is over: each node on it has seen what it waited for. */
void
task_wake_joiners(struct task *task)
{
    struct task_node *node = task->joiners;

    task->joiners = NULL;
    while (node != NULL) {
        struct task_node *next = node->next;
        struct join_set *set = node->set;

        node->target = NULL;
        set->pending--;
        if (!set->all || set->pending == 0) {
            (void)task_wake(task->tasks, set->ref);
        }
        node = next;
    }
}

/* The failure of TARGET, if it was to be raised in the running task, is now
 * the business of who joins it. */
static void
take_over(struct task *target)
{
    struct task *self = target->tasks->current;

    if (self != NULL && self->failed_child == target) {
        self->failed_child = NULL;
        task_unanchor(target);
    }
}

static void
check_joinable(lua_State *L, struct task *target)
{
    for (struct task *up = target->tasks->current; up != NULL; up = up->parent) {
        luaL_argcheck(L, up != target, 1,
                      "a task cannot join itself or a task it belongs to");
    }
}

/* [-0, +1, v] Pushes the nodes for the COUNT tasks on the stack from FIRST on
 * (hung on those that are not over) and names the wait. */
static struct join_set *
push_set(lua_State *L, int first, unsigned count, int all)
{
    struct join_set *set =
        lua_newuserdatauv(L, sizeof *set + count * sizeof set->nodes[0], 0);

    set->waiter = task_scheduler(L)->current;
    set->ref = task_ref(L);
    set->count = count;
    set->pending = 0;
    set->all = all;
    for (unsigned i = 0; i < count; i++) {
        struct task *target = lua_touserdata(L, first + (int)i);
        struct task_node *node = &set->nodes[i];

        node->set = set;
        node->target = NULL;
        node->next = NULL;
        if (!task_is_over(target)) {
            node->target = target;
            node->next = target->joiners;
            target->joiners = node;
            set->pending++;
        }
    }
    return set;
}

/* task:join() ------------------------------------------------------------------ */

/* [-0, +n, v] Pushes what TASK, which is over, came to. */
static int
give_outcome(lua_State *L, struct task *task)
{
    switch (task->state) {
    case TASK_DONE:
        if (task_copy_values(task->co, task->nresults, L) != 0) {
            return luaL_error(L, "not enough memory");
        }
        return task->nresults;
    case TASK_CANCELLED:
        lua_pushnil(L);
        task_push_cancellation(L, task);
        return 2;
    default:
        task_push_error(L, task);
        task_pass_trace(L, -1, task);
        return lua_error(L);
    }
}

static int
join_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return give_outcome(L, task_check(L, 1));
}

/* task:join(): waits for its end. Returns what its function returned; nil and
 * an error of kind "cancelled" or "timeout"; raises what it raised. */
int
task_join(lua_State *L)
{
    struct task *target = task_check(L, 1);

    take_over(target);
    if (task_is_over(target)) {
        return give_outcome(L, target);
    }
    task_check_wait(L);
    check_joinable(L, target);
    lua_settop(L, 1);
    return task_wait(L, unlink_nodes, push_set(L, 1, 1, 0), 0, join_done);
}

/* join_any, join_all ----------------------------------------------------------- */

/* [-0, +1, -] The place in the list of the first task that is over. */
static int
push_first_over(lua_State *L)
{
    unsigned count = (unsigned)lua_rawlen(L, 1);

    for (unsigned i = 0; i < count; i++) {
        if (task_is_over(lua_touserdata(L, 2 + (int)i))) {
            lua_pushinteger(L, (lua_Integer)i + 1);
            return 1;
        }
    }
    return 0;
}

static int
set_done(lua_State *L, int status, lua_KContext ctx)
{
    struct join_set *set = (struct join_set *)ctx;

    (void)status;
    unlink_nodes(set);
    return set->all ? 0 : push_first_over(L);
}

/* Leaves the list at 1 and its tasks behind it. */
static int
wait_for_set(lua_State *L, int all)
{
    unsigned count, over = 0;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    task_check_wait(L);
    count = (unsigned)lua_rawlen(L, 1);
    luaL_checkstack(L, (int)count + 4, "too many tasks");
    for (unsigned i = 0; i < count; i++) {
        struct task *target;

        (void)lua_rawgeti(L, 1, (lua_Integer)i + 1);
        target = luaL_testudata(L, -1, TASK_META);
        luaL_argcheck(L, target != NULL, 1, "list of tasks expected");
        check_joinable(L, target);
        over += task_is_over(target) ? 1 : 0;
    }
    for (unsigned i = 0; i < count; i++) {
        take_over(lua_touserdata(L, 2 + (int)i));
    }
    if (over == count || (over > 0 && !all)) {
        return all ? 0 : push_first_over(L);
    }
    struct join_set *set = push_set(L, 2, count, all);
    return task_wait(L, unlink_nodes, set, (lua_KContext)set, set_done);
}

/* join_any(tasks): waits until one is over; returns its place in the list. What
 * it came to is for task:join() to tell. */
int
task_join_any(lua_State *L)
{
    return wait_for_set(L, 0);
}

/* join_all(tasks): waits until all are over, however they ended. */
int
task_join_all(lua_State *L)
{
    return wait_for_set(L, 1);
}
