/*
 * bind/sys_input: lines of standard input for module moontap.native.sys.
 * read_line waits, so that other tasks go on while nothing comes. What was read
 * ahead belongs to the state, in one userdata that is the function's upvalue.
 */
#include "sys.h"

#include "../buf.h"
#include "../loop.h"
#include "../task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define INPUT_META "moontap.sys.input"
#define LINE_MAX_BYTES (1u << 20)
#define BLOCK 65536u

struct input {
    struct loop *loop;
    struct loop_watch *watch; /* NULL: nobody waits */
    struct tasks *tasks;
    struct task_ref ref; /* of whoever waits */
    char *data;          /* read, not given out yet; heap */
    size_t len, cap;     /* bytes in it, and allocated */
    size_t from;         /* the next line begins there */
    size_t seen;         /* no line ends before it */
    int is_over;         /* the end of the input was read */
    int skips;           /* the rest of a line that was too long */
};

static void
stop_waiting(void *arg)
{
    struct input *in = arg;

    if (in->watch != NULL) {
        loop_watch_free(in->watch);
        in->watch = NULL;
        loop_release(in->loop);
    }
}

static int
input_gc(lua_State *L)
{
    struct input *in = luaL_checkudata(L, 1, INPUT_META);

    stop_waiting(in);
    mem_free(in->data);
    in->data = NULL;
    in->len = in->cap = in->from = in->seen = 0;
    return 0;
}

static void
on_input(void *arg, unsigned events)
{
    struct input *in = arg;

    (void)events;
    stop_waiting(in);
    (void)task_wake(in->tasks, in->ref);
}

/* Starts to wait. libuv makes a descriptor non-blocking that it watches; this
 * one belongs to the shell too, and perhaps to standard output. */
static enum fault_code
start_waiting(struct input *in, struct fault *fault)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    enum fault_code code =
        loop_watch_new(in->loop, STDIN_FILENO, LOOP_READ, on_input, in, &in->watch, fault);

    if (flags >= 0) {
        (void)fcntl(STDIN_FILENO, F_SETFL, flags); /* best effort: it was so before */
    }
    if (code == FAULT_OK) {
        loop_hold(in->loop); /* virtual time waits for real input */
    }
    return code;
}

/* Makes room for a block: moves what is left to the front, or allocates. Returns
 * -1 when there is no memory; nothing is lost then. */
static int
make_room(struct input *in)
{
    char *data;

    if (in->from > 0) {
        memmove(in->data, in->data + in->from, in->len - in->from);
        in->len -= in->from;
        in->seen -= in->from;
        in->from = 0;
    }
    if (in->cap - in->len >= BLOCK) {
        return 0;
    }
    data = mem_realloc(in->data, in->len * 2 + BLOCK);
    if (data == NULL) {
        return -1;
    }
    in->data = data;
    in->cap = in->len * 2 + BLOCK;
    return 0;
}

enum input_step { GOT_BYTES, MUST_WAIT, NO_MEMORY, BROKEN };

/* Reads what there is, without blocking. Leaves errno when it is BROKEN. */
static enum input_step
read_more(struct input *in)
{
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    ssize_t got;

    if (make_room(in) != 0) {
        return NO_MEMORY;
    }
    switch (poll(&fd, 1, 0)) {
    case 0: return MUST_WAIT;
    case 1: break;
    default: return errno == EINTR ? GOT_BYTES : BROKEN;
    }
    got = read(STDIN_FILENO, in->data + in->len, in->cap - in->len);
    if (got < 0) {
        return errno == EINTR ? GOT_BYTES : errno == EAGAIN ? MUST_WAIT : BROKEN;
    }
    in->is_over = got == 0;
    in->len += (size_t)got;
    return GOT_BYTES;
}

/* The end of the next line (its newline, or the end of the input), or NULL. */
static const char *
find_end(struct input *in)
{
    const char *end =
        in->seen < in->len ? memchr(in->data + in->seen, '\n', in->len - in->seen) : NULL;

    if (end == NULL && in->is_over && in->from < in->len) {
        end = in->data + in->len;
    }
    in->seen = in->len;
    return end;
}

/* The line that ends at END is done with. */
static void
drop_line(struct input *in, const char *end)
{
    in->from = (size_t)(end - in->data);
    in->from += in->from < in->len;
    in->seen = in->from;
    in->skips = 0;
}

/* [-0, +2, m] */
static int
refuse_line(lua_State *L)
{
    lua_pushnil(L);
    task_new_error(L, "limit", "standard input: a line is longer than 1 MiB");
    return 2;
}

/* [-0, +1 or 2, m] Gives the line that ends at END. */
static int
give_line(lua_State *L, struct input *in, const char *end)
{
    size_t n = (size_t)(end - in->data) - in->from;

    if (n > LINE_MAX_BYTES) {
        drop_line(in, end);
        return refuse_line(L);
    }
    in->seen = in->from; /* looked for again when the next call raises */
    lua_pushlstring(L, in->data + in->from, n);
    drop_line(in, end);
    return 1;
}

static int read_line(lua_State *L);

static int
input_came(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return read_line(L);
}

/* Waits for input. Files of the disk never come here: they are always ready. */
static int
wait_for_input(lua_State *L, struct input *in)
{
    struct fault fault;

    in->tasks = task_scheduler(L);
    in->ref = task_ref(L);
    if (start_waiting(in, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    return task_wait(L, stop_waiting, in, 0, input_came);
}

/* [-0, +1 or 2, v] Gives the next line, or waits for more of it. */
static int
next_line(lua_State *L, struct input *in)
{
    for (;;) {
        const char *end = find_end(in);

        if (end != NULL && !in->skips) {
            return give_line(L, in, end);
        }
        if (end != NULL) {
            drop_line(in, end);
            continue;
        }
        if (in->is_over) {
            lua_pushnil(L);
            return 1;
        }
        if (in->len - in->from > LINE_MAX_BYTES) {
            in->from = in->len;
            in->skips = 1; /* the rest of it */
            return refuse_line(L);
        }
        switch (read_more(in)) {
        case GOT_BYTES: break;
        case MUST_WAIT: return wait_for_input(L, in);
        case NO_MEMORY: return luaL_error(L, "not enough memory");
        default: return sys_fail(L, "read", "standard input", errno);
        }
    }
}

/* read_line() -> text without its newline; nil at the end; nil and an error.
 * One task at a time. Waits. */
static int
read_line(lua_State *L)
{
    struct input *in = lua_touserdata(L, lua_upvalueindex(1));

    task_check_wait(L);
    if (in->watch != NULL) {
        return luaL_error(L, "another task reads standard input");
    }
    in->loop = task_loop(L);
    return next_line(L, in);
}

void
sys_open_input(lua_State *L)
{
    struct input *in = lua_newuserdatauv(L, sizeof *in, 0);

    memset(in, 0, sizeof *in);
    if (luaL_newmetatable(L, INPUT_META)) {
        lua_pushcfunction(L, input_gc);
        lua_setfield(L, -2, "__gc");
    }
    (void)lua_setmetatable(L, -2);
    lua_pushcclosure(L, read_line, 1);
    lua_setfield(L, -2, "read_line");
}
