/*
 * slot: the scheduler's tables. A slot lets a wake find its task without a
 * pointer; the live table anchors a task until it is over and its failure was
 * taken.
 */
#include "task_int.h"

#include "buf.h"

#include <lauxlib.h>

const char task_live_key = 0;

static int
grow_slots(struct tasks *tasks)
{
    uint32_t count = tasks->slot_count == 0 ? 16 : tasks->slot_count * 2;
    struct task **slots = mem_realloc(tasks->slots, count * sizeof *slots);
    uint32_t *next, *generation;

    if (slots == NULL) {
        return -1;
    }
    tasks->slots = slots;
    next = mem_realloc(tasks->slot_next, count * sizeof *next);
    if (next == NULL) {
        return -1;
    }
    tasks->slot_next = next;
    generation = mem_realloc(tasks->slot_generation, count * sizeof *generation);
    if (generation == NULL) {
        return -1;
    }
    tasks->slot_generation = generation;
    for (uint32_t i = count; i > tasks->slot_count; i--) {
        slots[i - 1] = NULL;
        next[i - 1] = tasks->free_slot;
        generation[i - 1] = 0;
        tasks->free_slot = i;
    }
    tasks->slot_count = count;
    return 0;
}

int
task_take_slot(struct tasks *tasks, struct task *task)
{
    if (tasks->free_slot == 0 && grow_slots(tasks) != 0) {
        return -1;
    }
    task->slot = tasks->free_slot - 1;
    tasks->free_slot = tasks->slot_next[task->slot];
    tasks->slots[task->slot] = task;
    task->generation = tasks->slot_generation[task->slot];
    return 0;
}

void
task_give_slot(struct tasks *tasks, struct task *task)
{
    if (task->slot == UINT32_MAX || tasks->slots[task->slot] != task) {
        return;
    }
    tasks->slots[task->slot] = NULL;
    tasks->slot_generation[task->slot] = task->generation + 1;
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

void
task_push(lua_State *L, struct task *task)
{
    push_live(L);
    (void)lua_rawgeti(L, -1, (lua_Integer)task->slot + 1);
    lua_remove(L, -2);
}

/* Setting an existing entry of a table to nil allocates nothing. */
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
    task_give_slot(task->tasks, task);
}

void
task_anchor(lua_State *L, struct task *task)
{
    push_live(L);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)task->slot + 1);
    lua_pop(L, 1);
}

static int
tasks_gc(lua_State *L)
{
    struct tasks *tasks = lua_touserdata(L, 1);

    loop_unpost(tasks->loop, &tasks->job);
    mem_free(tasks->slots);
    mem_free(tasks->slot_next);
    mem_free(tasks->slot_generation);
    tasks->slots = NULL;
    tasks->slot_next = NULL;
    tasks->slot_generation = NULL;
    tasks->slot_count = 0;
    return 0;
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
    task_open_errors(L);
    task_open_ending(L);
    return tasks;
}
