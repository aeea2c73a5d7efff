/*
 * bind/channel: module moontap.native.channel, in child mode only: the other end
 * of what child:receive and child:send are in the host. Owns the link, one a
 * state. receive waits, and so does an event; files that came with a frame are read
 * in place, because nothing else can be opened here.
 */
#include "channel.h"

#include "../buf.h"
#include "../child.h"
#include "../task.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHANNEL_META "moontap.channel"
#define EVENT_META "moontap.channel.event"
#define FILE_META "moontap.channel.file"
#define READ_MAX ((lua_Integer)1 << 20)

static const char channel_key = 0; /* registry: the channel */

struct waiter {
    struct task_ref ref;
    int is_there;
};

struct channel {
    struct link *link; /* NULL: closed */
    struct loop *loop;
    uint64_t seen;               /* frames received */
    uint64_t told_seen, told_ms; /* of the last report that all waits */
    int follows;                 /* virtual time follows the host's */
    struct tasks *tasks;
    struct waiter reader;
};

/* One task waits until another sets it. */
struct event {
    struct tasks *tasks;
    struct waiter waiter;
    int is_set;
};

/* A descriptor that came with a frame, closed by the collector. */
struct file {
    int fd; /* -1: closed */
};

/* Waiting ------------------------------------------------------------------------ */

static void
forget_waiter(void *arg)
{
    struct waiter *waiter = arg;

    waiter->is_there = 0;
}

static void
wake(struct tasks *tasks, struct waiter *waiter)
{
    if (waiter->is_there) {
        waiter->is_there = 0;
        (void)task_wake(tasks, waiter->ref);
    }
}

/* [-0, +?, v] */
static int
wait_for(lua_State *L, struct waiter *waiter, lua_KFunction k)
{
    task_check_wait(L);
    if (waiter->is_there) {
        return luaL_error(L, "another task waits for this already");
    }
    waiter->ref = task_ref(L);
    waiter->is_there = 1;
    return task_wait(L, forget_waiter, waiter, 0, k);
}

static void
on_received(void *arg)
{
    struct channel *channel = arg;

    wake(channel->tasks, &channel->reader);
}

static void
on_room(void *arg)
{
    (void)arg; /* whoever sends too much is blocked, and has no need of it */
}

/* Files ---------------------------------------------------------------------------- */

static struct file *
check_file(lua_State *L)
{
    struct file *file = luaL_checkudata(L, 1, FILE_META);

    luaL_argcheck(L, file->fd >= 0, 1, "the file is closed");
    return file;
}

static int
file_fail(lua_State *L, const char *what)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, strerror(errno));
    return 2;
}

/* read(n) -> n bytes, fewer at the end; nil behind it. */
static int
file_read(lua_State *L)
{
    struct file *file = check_file(L);
    lua_Integer wanted = luaL_checkinteger(L, 2);
    luaL_Buffer b;
    size_t done = 0;
    char *to;

    luaL_argcheck(L, wanted >= 0 && wanted <= READ_MAX, 2, "expected 0 to 1048576 bytes");
    to = luaL_buffinitsize(L, &b, (size_t)wanted);
    while (done < (size_t)wanted) {
        ssize_t got = read(file->fd, to + done, (size_t)wanted - done);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return file_fail(L, "read");
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    if (done == 0 && wanted > 0) {
        lua_pushnil(L);
        return 1;
    }
    luaL_pushresultsize(&b, done);
    return 1;
}

/* seek([whence [, offset]]) -> position, as file:seek of the io library */
static int
file_seek(lua_State *L)
{
    static const char *const words[] = {"set", "cur", "end", NULL};
    static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    struct file *file = check_file(L);
    int whence = whences[luaL_checkoption(L, 2, "cur", words)];
    off_t at = lseek(file->fd, (off_t)luaL_optinteger(L, 3, 0), whence);

    if (at < 0) {
        return file_fail(L, "seek");
    }
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

static int
file_close(lua_State *L)
{
    struct file *file = luaL_checkudata(L, 1, FILE_META);

    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    file->fd = -1;
    lua_pushboolean(L, 1);
    return 1;
}

/* Channel --------------------------------------------------------------------------- */

static struct channel *
get_channel(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* (frame, file): guarded, the frame is freed outside. */
static int
push_text(lua_State *L)
{
    const struct frame *frame = lua_touserdata(L, 1);

    lua_pushlstring(L, frame->data, frame->len);
    return 1;
}

/* The file is made before the frame is taken: nothing is lost when that fails. */
static struct file *
push_file(lua_State *L)
{
    struct file *file = lua_newuserdatauv(L, sizeof *file, 0);

    file->fd = -1;
    luaL_setmetatable(L, FILE_META);
    return file;
}

static int
receive_on(lua_State *L, int status, lua_KContext ctx)
{
    struct channel *channel = get_channel(L);
    struct file *file;
    struct frame *frame;
    struct fault fault;
    int failed;

    (void)status;
    (void)ctx;
    lua_settop(L, 0);
    file = push_file(L);
    frame = link_receive(channel->link);
    channel->seen += frame != NULL;
    if (frame == NULL) {
        if (link_has_ended(channel->link, &fault)) {
            lua_pushnil(L);
            return 1;
        }
        return wait_for(L, &channel->reader, receive_on);
    }
    lua_pushcfunction(L, push_text);
    lua_pushlightuserdata(L, frame);
    failed = lua_pcall(L, 1, 1, 0);
    file->fd = frame->fd;
    frame->fd = -1;
    frame_free(frame);
    if (failed) {
        return lua_error(L);
    }
    lua_insert(L, 1);
    lua_settop(L, file->fd >= 0 ? 2 : 1);
    return lua_gettop(L);
}

/* receive() -> text [, file] | nil when the host is gone. Waits. */
static int
receive(lua_State *L)
{
    luaL_checkstack(L, 8, NULL);
    return receive_on(L, LUA_OK, 0);
}

/* send(text) -> true | nil, err. When too much waits to be sent already it blocks
 * the whole process until the host has taken that. */
static int
send_text(lua_State *L)
{
    struct channel *channel = get_channel(L);
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct fault fault;

    if (!link_has_room(channel->link)) {
        link_flush(channel->link);
    }
    if (link_send(channel->link, text, n, -1, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* post(text) -> true | nil, err: as send, but blocks the whole process until it is
 * on its way; for the last word, where nothing may wait any more. */
static int
post(lua_State *L)
{
    struct channel *channel = get_channel(L);
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    struct fault fault;

    if (link_send(channel->link, text, n, -1, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    link_flush(channel->link);
    lua_pushboolean(L, 1);
    return 1;
}

/* Nothing is left to do here: the host is told how many of its frames that holds
 * for, and for how long unless another one comes. */
static void
report_idle(void *arg)
{
    struct channel *channel = arg;
    struct fault fault;
    uint64_t ms = UINT64_MAX;
    char text[80];
    int n;

    (void)loop_next_due(channel->loop, &ms);
    if (channel->link == NULL || (channel->seen == channel->told_seen && ms == channel->told_ms)) {
        return;
    }
    channel->told_seen = channel->seen;
    channel->told_ms = ms;
    n = ms == UINT64_MAX ? snprintf(text, sizeof text, "{\"idle\":false,\"seen\":%llu}",
                                    (unsigned long long)channel->seen)
                         : snprintf(text, sizeof text, "{\"idle\":%llu.%03u,\"seen\":%llu}",
                                    (unsigned long long)(ms / 1000), (unsigned)(ms % 1000),
                                    (unsigned long long)channel->seen);
    (void)link_send(channel->link, text, (size_t)n, -1, &fault); /* fails when the host is gone */
}

/* follow(now): from now on time is the host's, which is virtual: it moves when the
 * host says so, and the host is told whenever all waits. */
static int
follow(lua_State *L)
{
    struct channel *channel = get_channel(L);
    int64_t us = (int64_t)(luaL_checknumber(L, 1) * 1e6);

    if (channel->follows) {
        loop_advance(channel->loop, us);
    } else {
        loop_set_virtual(channel->loop, us);
        loop_hold(channel->loop);
        loop_on_wait(channel->loop, report_idle, channel);
        channel->follows = 1;
        channel->seen = 1; /* the frame that says so; those before are of another run */
    }
    return 0;
}

/* leave(): ends the process, at once. */
static int
leave(lua_State *L)
{
    (void)L;
    _exit(0);
}

static int
channel_gc(lua_State *L)
{
    struct channel *channel = luaL_checkudata(L, 1, CHANNEL_META);

    if (channel->follows) {
        loop_on_wait(channel->loop, NULL, NULL);
    }
    link_close(channel->link);
    channel->link = NULL;
    return 0;
}

/* Events ---------------------------------------------------------------------------- */

static int
event_on(lua_State *L, int status, lua_KContext ctx)
{
    struct event *event = luaL_checkudata(L, 1, EVENT_META);

    (void)status;
    (void)ctx;
    if (!event->is_set) {
        return wait_for(L, &event->waiter, event_on);
    }
    event->is_set = 0;
    return 0;
}

/* event:wait(): until it is set; takes that back. Waits. */
static int
event_wait(lua_State *L)
{
    return event_on(L, LUA_OK, 0);
}

/* event:set() */
static int
event_set(lua_State *L)
{
    struct event *event = luaL_checkudata(L, 1, EVENT_META);

    event->is_set = 1;
    wake(event->tasks, &event->waiter);
    return 0;
}

/* event() -> an event that is not set */
static int
new_event(lua_State *L)
{
    struct event *event = lua_newuserdatauv(L, sizeof *event, 0);

    memset(event, 0, sizeof *event);
    event->tasks = task_scheduler(L);
    luaL_setmetatable(L, EVENT_META);
    return 1;
}

/* Tables ---------------------------------------------------------------------------- */

static const luaL_Reg file_methods[] = {
    {"close", file_close},
    {"read", file_read},
    {"seek", file_seek},
    {NULL, NULL},
};

static const luaL_Reg file_meta[] = {
    {"__close", file_close},
    {"__gc", file_close},
    {NULL, NULL},
};

static const luaL_Reg event_methods[] = {
    {"set", event_set},
    {"wait", event_wait},
    {NULL, NULL},
};

static const luaL_Reg funcs[] = {
    {"event", new_event}, {"follow", follow},  {"leave", leave}, {"post", post},
    {"receive", receive}, {"send", send_text}, {NULL, NULL},
};

/* [-0, +0, m] */
static void
make_class(lua_State *L, const char *name, const luaL_Reg *meta, const luaL_Reg *methods)
{
    (void)luaL_newmetatable(L, name);
    if (meta != NULL) {
        luaL_setfuncs(L, meta, 0);
    }
    if (methods != NULL) {
        luaL_checkstack(L, 4, NULL);
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
        lua_setfield(L, -2, "__index");
    }
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void
channel_open(lua_State *L)
{
    struct channel *channel;
    static const luaL_Reg gc[] = {{"__gc", channel_gc}, {NULL, NULL}};

    make_class(L, CHANNEL_META, gc, NULL);
    make_class(L, FILE_META, file_meta, file_methods);
    make_class(L, EVENT_META, NULL, event_methods);
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    luaL_newlibtable(L, funcs);
    channel = lua_newuserdatauv(L, sizeof *channel, 0);
    memset(channel, 0, sizeof *channel);
    luaL_setmetatable(L, CHANNEL_META);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &channel_key);
    channel->tasks = task_scheduler(L);
    channel->loop = task_loop(L);
    luaL_setfuncs(L, funcs, 1);
    lua_setfield(L, -2, "moontap.native.channel");
    lua_pop(L, 1);
}

void
channel_connect(lua_State *L, size_t frame_max, size_t send_max)
{
    struct link_options options = {.frame_max = frame_max, .send_max = send_max, .takes_fds = 1};
    struct link_calls calls = {on_received, on_room, NULL};
    struct channel *channel;
    struct fault fault;
    int fd = fcntl(CHILD_LINK_FD, F_DUPFD_CLOEXEC, CHILD_LINK_FD + 1);

    if (fd < 0) {
        luaL_error(L, "take the link: %s", strerror(errno));
        return;
    }
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &channel_key);
    channel = lua_touserdata(L, -1);
    lua_pop(L, 1);
    calls.arg = channel;
    if (link_open(channel->loop, fd, &options, &calls, &channel->link, &fault) != FAULT_OK) {
        luaL_error(L, "take the link: %s", fault.msg);
    }
}
