/*
 * bind/child: module moontap.native.child, the host's end of a process that holds
 * a playbook run. A handle owns the process: collected or closed, it is killed
 * and reaped. receive, send, read_output and wait wait, one task each at a time.
 */
#include "../child.h"
#include "../sandbox.h"

#include "../buf.h"
#include "../task.h"
#include "child_file.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

#define CHILD_META "moontap.child"
#define STEM_META "moontap.child.stem"
#define OUTPUT_BLOCK 4096u
#define MIB ((lua_Integer)1 << 20)

int luaopen_moontap_native_child(lua_State *L);

/* One task may wait for each of these; for room, any number. */
enum waiting { WAIT_FRAME, WAIT_OUTPUT, WAIT_END, WAIT_KINDS };

struct waiter {
    struct task_ref ref;
    int is_there;
};

/* A task that waits for room; on its own stack. */
struct sender {
    struct sender *next, **at; /* AT: what points here; NULL: nothing */
    struct tasks *tasks;
    struct task_ref ref;
};

struct lua_child {
    struct sender *senders;
    struct child *child; /* NULL: closed, or never started */
    struct loop *loop;
    struct tasks *tasks;
    struct waiter waiters[WAIT_KINDS];
    int holds; /* virtual time waits for it */
};

static struct lua_child *
check_handle(lua_State *L)
{
    return luaL_checkudata(L, 1, CHILD_META);
}

static struct lua_child *
check_child(lua_State *L)
{
    struct lua_child *lc = check_handle(L);

    luaL_argcheck(L, lc->child != NULL, 1, "the child is closed");
    return lc;
}

/* Waiting ---------------------------------------------------------------------- */

static void
wake(struct lua_child *lc, enum waiting what)
{
    struct waiter *waiter = &lc->waiters[what];

    if (waiter->is_there) {
        waiter->is_there = 0;
        (void)task_wake(lc->tasks, waiter->ref);
    }
}

static void
on_received(void *arg)
{
    wake(arg, WAIT_FRAME);
}

static void
drop_sender(void *arg)
{
    struct sender *sender = arg;

    if (sender->at != NULL) {
        *sender->at = sender->next;
        if (sender->next != NULL) {
            sender->next->at = sender->at;
        }
        sender->at = NULL;
    }
}

/* All are woken; who finds no room waits again. */
static void
on_room(void *arg)
{
    struct lua_child *lc = arg;

    while (lc->senders != NULL) {
        struct sender *sender = lc->senders;

        drop_sender(sender);
        (void)task_wake(sender->tasks, sender->ref);
    }
}

/* [-0, +?, v] Parks the task until there may be room. */
static int
wait_for_room(lua_State *L, struct lua_child *lc, lua_KFunction k)
{
    struct sender *sender;

    task_check_wait(L);
    lua_settop(L, 4);
    sender = lua_newuserdatauv(L, sizeof *sender, 0);
    sender->tasks = lc->tasks;
    sender->ref = task_ref(L);
    sender->next = lc->senders;
    sender->at = &lc->senders;
    if (sender->next != NULL) {
        sender->next->at = &sender->next;
    }
    lc->senders = sender;
    return task_wait(L, drop_sender, sender, 0, k);
}

static void
on_output(void *arg)
{
    wake(arg, WAIT_OUTPUT);
}

static void
set_hold(struct lua_child *lc, int holds)
{
    if (holds && !lc->holds) {
        loop_hold(lc->loop);
    } else if (!holds && lc->holds) {
        loop_release(lc->loop);
    }
    lc->holds = holds;
}

static void
on_ended(void *arg)
{
    set_hold(arg, 0);
    wake(arg, WAIT_END);
}

static void
forget_waiter(void *arg)
{
    struct waiter *waiter = arg;

    waiter->is_there = 0;
}

/* [-0, +?, v] Parks the task until WHAT happens, then goes on in K. */
static int
wait_for(lua_State *L, struct lua_child *lc, enum waiting what, lua_KFunction k)
{
    struct waiter *waiter = &lc->waiters[what];

    task_check_wait(L);
    if (waiter->is_there) {
        return luaL_error(L, "another task waits for this already");
    }
    waiter->ref = task_ref(L);
    waiter->is_there = 1;
    return task_wait(L, forget_waiter, waiter, 0, k);
}

/* Ends ------------------------------------------------------------------------- */

static void
set_number(lua_State *L, const char *name, lua_Number value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static void
set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* [-0, +1, m] { reason, status, signal, cpu, max_rss, detail } */
static void
push_end(lua_State *L, const struct child_end *end)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, child_reason_word(end->reason));
    lua_setfield(L, -2, "reason");
    set_integer(L, "status", end->status);
    set_integer(L, "signal", end->signal);
    set_number(L, "cpu", (lua_Number)end->cpu_ms / 1e3);
    set_integer(L, "max_rss", (lua_Integer)end->max_rss);
    if (end->detail[0] != '\0') {
        lua_pushstring(L, end->detail);
        lua_setfield(L, -2, "detail");
    }
}

/* [-0, +2, m] nil, how it ended */
static int
push_no_more(lua_State *L, struct lua_child *lc)
{
    lua_pushnil(L);
    if (lc->child == NULL) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "killed");
        lua_setfield(L, -2, "reason");
    } else {
        push_end(L, child_result(lc->child));
    }
    return 2;
}

/* Methods ---------------------------------------------------------------------- */

struct taken {
    struct frame *frame;
};

/* [-0, +1, v] The text of FRAME, which is freed whatever happens: by the
 * collector when there is no memory. */
static int
push_text(lua_State *L)
{
    struct taken *taken = lua_touserdata(L, 1);

    lua_pushlstring(L, taken->frame->data, taken->frame->len);
    return 1;
}

static int
receive_on(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_child *lc = check_handle(L);
    int is_over = lc->child == NULL;
    struct taken taken = {is_over ? NULL : child_receive(lc->child, &is_over)};

    (void)status;
    (void)ctx;
    if (taken.frame != NULL) {
        int failed;

        lua_settop(L, 1);
        lua_pushcfunction(L, push_text);
        lua_pushlightuserdata(L, &taken);
        failed = lua_pcall(L, 1, 1, 0);
        frame_free(taken.frame);
        return failed ? lua_error(L) : 1;
    }
    if (is_over) {
        return push_no_more(L, lc);
    }
    return wait_for(L, lc, WAIT_FRAME, receive_on);
}

/* child:receive() -> frame | nil, end. Waits. */
static int
child_receive_method(lua_State *L)
{
    (void)check_handle(L);
    luaL_checkstack(L, 8, NULL);
    return receive_on(L, LUA_OK, 0);
}

/* Opens what child:send was given to hand over; FD is -1 when there is nothing. */
static int
open_file(lua_State *L, int arg, int *fd)
{
    const char *path;

    *fd = -1;
    if (lua_isnoneornil(L, arg)) {
        return 0;
    }
    path = lua_tostring(L, arg);
    *fd = child_file_open(lua_tostring(L, arg + 1), path, lua_toboolean(L, arg + 2));
    return *fd >= 0 ? 0 : -1;
}

/* What child:send returns when errno says why the file was not opened. */
static int
refuse_file(lua_State *L)
{
    int is_private = errno == EPERM;
    struct fault fault;
    int n;

    (void)fault_set(&fault, FAULT_IO, "open %s: %s", lua_tostring(L, 3), strerror(errno));
    n = task_fail(L, &fault);
    lua_pushboolean(L, is_private);
    return n + 1;
}

static int
send_on(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_child *lc = check_handle(L);
    size_t n;
    const char *text = lua_tolstring(L, 2, &n);
    struct fault fault;
    int fd;

    (void)status;
    (void)ctx;
    if (lc->child == NULL || child_result(lc->child) != NULL) {
        return push_no_more(L, lc);
    }
    if (!link_has_room(child_link(lc->child))) {
        return wait_for_room(L, lc, send_on);
    }
    if (open_file(L, 3, &fd) != 0) {
        return refuse_file(L);
    }
    if (link_send(child_link(lc->child), text, n, fd, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* child:send(text [, path [, root [, is_public]]]) -> true | nil, err, is_private.
 * The regular file at PATH, no link, goes along, open for reading; with ROOT it is
 * below that, with IS_PUBLIC it is what every user may read, else is_private is
 * true (child_file.h). Waits for room. */
static int
child_send_method(lua_State *L)
{
    (void)check_handle(L);
    (void)luaL_checkstring(L, 2);
    lua_settop(L, 5);
    for (int arg = 3; arg <= 4 && !lua_isnoneornil(L, arg); arg++) {
        luaL_argcheck(L, strlen(luaL_checkstring(L, arg)) == lua_rawlen(L, arg), arg,
                      "a path cannot hold a NUL byte");
    }
    luaL_checkstack(L, 8, NULL);
    return send_on(L, LUA_OK, 0);
}

/* child:cancel(): asks it to stop, now, room or not; does not wait. */
static int
child_cancel_method(lua_State *L)
{
    static const char text[] = "{\"cancel\":true}";
    struct lua_child *lc = check_handle(L);
    struct fault fault;

    if (lc->child != NULL && child_result(lc->child) == NULL) {
        (void)link_send(child_link(lc->child), text, sizeof text - 1, -1, &fault);
    }
    return 0;
}

static int
read_on(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_child *lc = check_handle(L);
    char block[OUTPUT_BLOCK];
    int is_over = 1;
    size_t n = lc->child == NULL ? 0 : child_read_output(lc->child, block, sizeof block, &is_over);

    (void)status;
    (void)ctx;
    if (n > 0) {
        lua_pushlstring(L, block, n);
        return 1;
    }
    if (is_over) {
        lua_pushnil(L);
        return 1;
    }
    return wait_for(L, lc, WAIT_OUTPUT, read_on);
}

/* child:read_output() -> bytes | nil when no more will come. Waits. */
static int
child_read_output_method(lua_State *L)
{
    (void)check_handle(L);
    luaL_checkstack(L, 4, NULL);
    return read_on(L, LUA_OK, 0);
}

static int
wait_on(lua_State *L, int status, lua_KContext ctx)
{
    struct lua_child *lc = check_handle(L);

    (void)status;
    (void)ctx;
    if (lc->child == NULL || child_result(lc->child) != NULL) {
        (void)push_no_more(L, lc);
        return 1;
    }
    return wait_for(L, lc, WAIT_END, wait_on);
}

/* child:wait() -> { reason, status, signal, cpu, max_rss, detail }. Waits. */
static int
child_wait_method(lua_State *L)
{
    (void)check_handle(L);
    luaL_checkstack(L, 8, NULL);
    return wait_on(L, LUA_OK, 0);
}

/* child:terminate(): SIGTERM to its process group. */
static int
child_terminate_method(lua_State *L)
{
    struct lua_child *lc = check_handle(L);

    if (lc->child != NULL) {
        child_terminate(lc->child);
    }
    return 0;
}

/* child:kill([reason [, detail]]): SIGKILL to its process group. */
static int
child_kill_method(lua_State *L)
{
    static const char *const words[] = {"killed", "deadline", "frames", NULL};
    static const enum child_reason reasons[] = {CHILD_KILLED, CHILD_DEADLINE, CHILD_FRAMES};
    struct lua_child *lc = check_handle(L);
    int i = luaL_checkoption(L, 2, "killed", words);
    const char *detail = luaL_optstring(L, 3, NULL);

    if (lc->child != NULL) {
        child_kill(lc->child, reasons[i], detail);
    }
    return 0;
}

/* child:hold(yes): virtual time stands still while it works. */
static int
child_hold_method(lua_State *L)
{
    struct lua_child *lc = check_handle(L);

    set_hold(lc, lc->child != NULL && child_result(lc->child) == NULL && lua_toboolean(L, 2));
    return 0;
}

/* child:pid() -> process id; 0 once it has ended */
static int
child_pid_method(lua_State *L)
{
    lua_pushinteger(L, child_pid(check_child(L)->child));
    return 1;
}

/* child:close(); also __gc and __close. Works twice. Who waits is told. */
static int
child_close_method(lua_State *L)
{
    struct lua_child *lc = check_handle(L);

    set_hold(lc, 0);
    if (lc->child != NULL) {
        child_free(lc->child);
        lc->child = NULL;
    }
    for (int i = 0; i < WAIT_KINDS; i++) {
        wake(lc, (enum waiting)i);
    }
    on_room(lc);
    return 0;
}

static int
child_tostring(lua_State *L)
{
    struct lua_child *lc = check_handle(L);
    const struct child_end *end = lc->child != NULL ? child_result(lc->child) : NULL;

    if (lc->child == NULL) {
        lua_pushliteral(L, "child (closed)");
    } else if (end != NULL) {
        lua_pushfstring(L, "child (%s)", child_reason_word(end->reason));
    } else {
        lua_pushfstring(L, "child %d", child_pid(lc->child));
    }
    return 1;
}

/* Functions -------------------------------------------------------------------- */

static const struct {
    const char *name;
    lua_Integer usual, min, max;
} numbers[] = {
    {"memory", 64 * MIB, MIB, 4096 * MIB}, {"cpu", 60, 1, 86400},
    {"frame_max", MIB, 1024, 8 * MIB},     {"send_max", MIB, 0, 64 * MIB},
    {"per_second", 2000, 1, 1000000},      {"output_max", 16 * MIB, 1024, 1024 * MIB},
};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static int
find_number(const char *name)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        if (strcmp(numbers[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* [-0, +0, v] Reads the options at 1; the zone stays in the caller's table. */
static void
read_options(lua_State *L, struct child_options *out)
{
    lua_Integer values[NUMBERS];

    for (size_t i = 0; i < NUMBERS; i++) {
        values[i] = numbers[i].usual;
    }
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int i = find_number(key);

        if (strcmp(key, "zone") == 0) {
            luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "zone: expected a string");
            out->zone = lua_tostring(L, -1);
        } else if (i < 0) {
            (void)luaL_error(L, "child.spawn: unknown option '%s'", key);
        } else {
            int is_integer;

            values[i] = lua_tointegerx(L, -1, &is_integer);
            if (!is_integer || values[i] < numbers[i].min || values[i] > numbers[i].max) {
                (void)luaL_error(L, "child.spawn: %s: expected an integer %I..%I", key,
                                 numbers[i].min, numbers[i].max);
            }
        }
        lua_pop(L, 1);
    }
    out->memory_max = (size_t)values[0];
    out->cpu_seconds = (unsigned)values[1];
    out->frame_max = (size_t)values[2];
    out->send_max = (size_t)values[3];
    out->per_second = (unsigned)values[4];
    out->output_max = (uint64_t)values[5];
}

/* The stem is the first upvalue of spawn, so that it is closed behind its branches. */
struct lua_stem {
    struct stem *stem; /* NULL: closed, or never made */
};

static int
stem_gc(lua_State *L)
{
    struct lua_stem *ls = luaL_checkudata(L, 1, STEM_META);

    stem_free(ls->stem);
    ls->stem = NULL;
    return 0;
}

/* [-0, +1, m] */
static void
push_stem(lua_State *L)
{
    struct lua_stem *ls = lua_newuserdatauv(L, sizeof *ls, 0);

    ls->stem = NULL;
    if (luaL_newmetatable(L, STEM_META)) {
        lua_pushcfunction(L, stem_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
}

/*
 * spawn{ memory, cpu, frame_max, send_max, per_second, output_max, zone } -> child
 * | nil, err. Bytes, seconds of processor time, frames; zone is its TZ.
 */
static int
spawn(lua_State *L)
{
    struct child_options options = {0};
    struct child_calls calls = {on_received, on_room, on_output, on_ended, NULL};
    struct lua_stem *ls = lua_touserdata(L, lua_upvalueindex(1));
    struct lua_child *lc;
    struct fault fault;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    read_options(L, &options);
    lc = lua_newuserdatauv(L, sizeof *lc, 0);
    memset(lc, 0, sizeof *lc);
    luaL_setmetatable(L, CHILD_META);
    lc->loop = task_loop(L);
    lc->tasks = task_scheduler(L);
    calls.arg = lc;
    if (ls->stem == NULL && stem_new(lc->loop, &ls->stem, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    if (child_spawn(lc->loop, ls->stem, &options, &calls, &lc->child, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    return 1;
}

static const luaL_Reg methods[] = {
    {"cancel", child_cancel_method},
    {"close", child_close_method},
    {"hold", child_hold_method},
    {"kill", child_kill_method},
    {"pid", child_pid_method},
    {"read_output", child_read_output_method},
    {"receive", child_receive_method},
    {"send", child_send_method},
    {"terminate", child_terminate_method},
    {"wait", child_wait_method},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__close", child_close_method},
    {"__gc", child_close_method},
    {"__tostring", child_tostring},
    {NULL, NULL},
};

/* walls() -> { landlock, seccomp, is_real }: what a process would be shut in with here:
 * the version of Landlock (0: none), whether the kernel takes a list of system calls,
 * whether this build asks for either. */
static int
walls(lua_State *L)
{
    struct sandbox sandbox;

    sandbox_look(&sandbox);
    lua_createtable(L, 0, 3);
    set_integer(L, "landlock", sandbox.landlock);
    lua_pushboolean(L, sandbox.seccomp);
    lua_setfield(L, -2, "seccomp");
    lua_pushboolean(L, sandbox_is_real());
    lua_setfield(L, -2, "is_real");
    return 1;
}

static const luaL_Reg funcs[] = {
    {"spawn", spawn},
    {"walls", walls},
    {NULL, NULL},
};

int
luaopen_moontap_native_child(lua_State *L)
{
    if (luaL_newmetatable(L, CHILD_META)) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlibtable(L, funcs);
    push_stem(L);
    luaL_setfuncs(L, funcs, 1);
    return 1;
}
