/* bind/sys_machine: the machine, who runs here, and where standard output goes;
 * functions of module moontap.native.sys, see sys.h. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#define REDIRECT_META "moontap.sys.redirect"
#define FD_ABOVE 10 /* kept descriptors lie above those that shells number */

/* Who and where ------------------------------------------------------------------ */

/* user() -> login name of the effective user; "uid N" when it has none */
static int
sys_user(lua_State *L)
{
    char room[4096];
    struct passwd entry, *found = NULL;

    if (getpwuid_r(geteuid(), &entry, room, sizeof room, &found) == 0 && found != NULL) {
        lua_pushstring(L, found->pw_name);
    } else {
        lua_pushfstring(L, "uid %I", (lua_Integer)geteuid());
    }
    return 1;
}

/* host_name() */
static int
sys_host_name(lua_State *L)
{
    char name[256] = "";

    (void)gethostname(name, sizeof name - 1); /* what is longer is cut */
    lua_pushstring(L, name);
    return 1;
}

/* boot_id() -> text that changes with each start of the machine; nil: unknown */
static int
sys_boot_id(lua_State *L)
{
    char id[64];
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd >= 0) {
        n = read(fd, id, sizeof id);
        (void)close(fd);
    }
    if (n > 0 && id[n - 1] == '\n') {
        n--;
    }
    if (n > 0) {
        lua_pushlstring(L, id, (size_t)n);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

/* free_space(directory) -> bytes that this user can still write there */
static int
sys_free_space(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    struct statvfs st;

    if (statvfs(path, &st) != 0) {
        return sys_fail(L, "ask for the free space of", path, errno);
    }
    lua_pushinteger(L, (lua_Integer)st.f_bavail * (lua_Integer)st.f_frsize);
    return 1;
}

/*
 * notify(text): tells the service manager of NOTIFY_SOCKET, "READY=1" and the
 * like -> true; false: there is none; nil and an error
 */
static int
sys_notify(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t size;
    ssize_t sent;
    int fd, why;

    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (path == NULL || (path[0] != '/' && path[0] != '@') || path[1] == '\0'
        || strlen(path) >= sizeof address.sun_path) {
        lua_pushboolean(L, 0);
        return 1;
    }
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract socket */
    }
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return sys_fail(L, "notify", "the service manager", errno);
    }
    sent = sendto(fd, text, n, MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    why = errno;
    (void)close(fd);
    if (sent < 0) {
        return sys_fail(L, "notify", "the service manager", why);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* Redirection ---------------------------------------------------------------------- */

struct redirect {
    int fd;   /* 1 or 2 */
    int kept; /* what it was before; -1: put back, or never taken */
};

/* What C's library still holds of FD goes where FD leads now. 0 or an errno value. */
static int
flush(int fd)
{
    return fflush(fd == STDOUT_FILENO ? stdout : stderr) != 0 ? errno : 0;
}

static int
put_back(struct redirect *self)
{
    int why;

    if (self->kept < 0) {
        return 0;
    }
    why = flush(self->fd);
    if (dup2(self->kept, self->fd) < 0) {
        why = errno;
    }
    (void)close(self->kept);
    self->kept = -1;
    return why;
}

static struct redirect *
check_redirect(lua_State *L)
{
    return luaL_checkudata(L, 1, REDIRECT_META);
}

static const char *
stream_name(int fd)
{
    return fd == STDOUT_FILENO ? "standard output" : "standard error";
}

/* redirection:restore(): works twice. nil, err when what was written got lost. */
static int
redirect_restore(lua_State *L)
{
    struct redirect *self = check_redirect(L);
    int why = put_back(self);

    return why == 0 ? sys_succeed(L) : sys_fail(L, "write", stream_name(self->fd), why);
}

/* __gc and __close */
static int
redirect_gc(lua_State *L)
{
    (void)put_back(check_redirect(L));
    return 0;
}

static int
redirect_tostring(lua_State *L)
{
    const struct redirect *self = check_redirect(L);

    lua_pushfstring(L, "redirection of %s%s", stream_name(self->fd),
                    self->kept < 0 ? " (restored)" : "");
    return 1;
}

/* Lets SELF->fd lead where TARGET does; an errno value, or 0. */
static int
redirect_to(struct redirect *self, int target)
{
    int why = flush(self->fd);

    if (why != 0) {
        return why;
    }
    self->kept = fcntl(self->fd, F_DUPFD_CLOEXEC, FD_ABOVE);
    if (self->kept < 0) {
        return errno;
    }
    if (dup2(target, self->fd) < 0) {
        why = errno;
        (void)close(self->kept);
        self->kept = -1;
    }
    return why;
}

static int
redirect_to_file(struct redirect *self, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int why;

    if (fd < 0) {
        return errno;
    }
    why = redirect_to(self, fd);
    (void)close(fd);
    return why;
}

/*
 * redirect(fd, target) -> handle with restore(): until then standard output (1)
 * or error (2) goes to the descriptor TARGET, or to the end of the file TARGET,
 * which is made with mode 0600.
 */
static int
sys_redirect(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    int is_fd = lua_type(L, 2) == LUA_TNUMBER, why;
    lua_Integer target = is_fd ? luaL_checkinteger(L, 2) : 0;
    const char *path = is_fd ? NULL : sys_check_path(L, 2);
    struct redirect *self;

    luaL_argcheck(L, fd == STDOUT_FILENO || fd == STDERR_FILENO, 1, "expected 1 or 2");
    luaL_argcheck(L, target >= 0 && target <= 0x7fffffff, 2, "no descriptor");
    self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (struct redirect){(int)fd, -1};
    luaL_setmetatable(L, REDIRECT_META);
    why = is_fd ? redirect_to(self, (int)target) : redirect_to_file(self, path);
    if (why == 0) {
        return 1;
    }
    lua_pushfstring(L, "%s to ", stream_name(self->fd));
    if (is_fd) {
        lua_pushfstring(L, "descriptor %I", target);
    } else {
        lua_pushstring(L, path);
    }
    lua_concat(L, 2);
    return sys_fail(L, "redirect", lua_tostring(L, -1), why);
}

/* Tables ----------------------------------------------------------------------------- */

const luaL_Reg sys_machine_funcs[] = {
    {"boot_id", sys_boot_id},
    {"free_space", sys_free_space},
    {"host_name", sys_host_name},
    {"notify", sys_notify},
    {"redirect", sys_redirect},
    {"user", sys_user},
    {NULL, NULL},
};

static const luaL_Reg redirect_methods[] = {
    {"restore", redirect_restore},
    {NULL, NULL},
};

static const luaL_Reg redirect_meta[] = {
    {"__close", redirect_gc},
    {"__gc", redirect_gc},
    {"__tostring", redirect_tostring},
    {NULL, NULL},
};

void
sys_open_machine(lua_State *L)
{
    luaL_newmetatable(L, REDIRECT_META);
    luaL_setfuncs(L, redirect_meta, 0);
    luaL_newlib(L, redirect_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
