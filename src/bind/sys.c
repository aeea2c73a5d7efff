/*
 * bind/sys: module moontap.native.sys, the few calls of the system that Lua's
 * own library lacks. Only read_line waits (sys_input.c). A failure of the world
 * gives nil and an error of kind "io" that names the path and the reason.
 */
#include "sys.h"

#include "../task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FD_META "moontap.sys.fd"
#define DIR_META "moontap.sys.dir"
#define TREE_DEPTH_MAX 32
#define RANDOM_MAX 65536

int
sys_fail(lua_State *L, const char *what, const char *path, int why)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s %s: %s", what, path, strerror(why));
    task_new_error(L, "io", lua_tostring(L, -1));
    lua_remove(L, -2);
    return 2;
}

int
sys_succeed(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

const char *
sys_check_path(lua_State *L, int arg)
{
    size_t n;
    const char *path = luaL_checklstring(L, arg, &n);

    luaL_argcheck(L, n != 0, arg, "empty path");
    luaL_argcheck(L, strlen(path) == n, arg, "a path cannot hold a NUL byte");
    return path;
}

mode_t
sys_opt_mode(lua_State *L, int arg, mode_t other)
{
    lua_Integer mode = luaL_optinteger(L, arg, (lua_Integer)other);

    luaL_argcheck(L, mode >= 0 && mode <= 0777, arg, "expected 0 to 0777");
    return (mode_t)mode;
}

/* Descriptors ---------------------------------------------------------------- */

static int
check_fd(lua_State *L, int arg)
{
    lua_Integer fd = luaL_checkinteger(L, arg);

    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, arg, "no descriptor");
    return (int)fd;
}

/* isatty(fd) */
static int
sys_isatty(lua_State *L)
{
    lua_pushboolean(L, isatty(check_fd(L, 1)));
    return 1;
}

/* write(fd, text): writes all of it, whatever the descriptor is. */
static int
sys_write(lua_State *L)
{
    int fd = check_fd(L, 1);
    size_t n, done = 0;
    const char *text = luaL_checklstring(L, 2, &n);
    char name[32];

    while (done < n) {
        ssize_t got = write(fd, text + done, n - done);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            int why = errno;

            (void)snprintf(name, sizeof name, "descriptor %d", fd);
            return sys_fail(L, "write to", name, why);
        }
        done += (size_t)got;
    }
    return sys_succeed(L);
}

/* is_hung_up(fd): nobody will read what is written there any more */
static int
sys_is_hung_up(lua_State *L)
{
    struct pollfd output = {.fd = check_fd(L, 1)};

    (void)poll(&output, 1, 0);
    lua_pushboolean(L, (output.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0);
    return 1;
}

/* terminal_size([fd]) -> columns, rows; nil when it is no terminal */
static int
sys_terminal_size(lua_State *L)
{
    struct winsize size;
    int fd = lua_isnoneornil(L, 1) ? STDERR_FILENO : check_fd(L, 1);

    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

/* Directories ---------------------------------------------------------------- */

/* mkdir_p(path[, mode]): makes PATH and what is missing above it. */
static int
sys_mkdir_p(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    mode_t mode = sys_opt_mode(L, 2, 0777);
    size_t n = strlen(path), i;
    struct stat st;
    char *part = lua_newuserdatauv(L, n + 1, 0);

    for (i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST) {
            int why = errno;

            if (stat(part, &st) != 0) { /* a read-only place that is there already */
                return sys_fail(L, "make directory", part, why);
            }
        }
    }
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return sys_fail(L, "make directory", path, ENOTDIR);
    }
    return sys_succeed(L);
}

/* tempdir([prefix]) -> path of a new directory that only its owner may enter */
static int
sys_tempdir(lua_State *L)
{
    const char *prefix = luaL_optstring(L, 1, "moontap-");
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    luaL_argcheck(L, strchr(prefix, '/') == NULL, 1, "a prefix holds no slash");
    if (base == NULL || base[0] != '/') {
        base = "/tmp";
    }
    if (snprintf(path, sizeof path, "%s/%sXXXXXX", base, prefix) >= (int)sizeof path) {
        return sys_fail(L, "make directory in", base, ENAMETOOLONG);
    }
    if (mkdtemp(path) == NULL) {
        return sys_fail(L, "make directory", path, errno);
    }
    lua_pushstring(L, path);
    return 1;
}

/* A directory being read: a handle, because what is done with names may raise. */
struct dir {
    DIR *stream; /* NULL: closed */
};

static int
dir_gc(lua_State *L)
{
    struct dir *dir = luaL_checkudata(L, 1, DIR_META);

    if (dir->stream != NULL) {
        closedir(dir->stream);
    }
    dir->stream = NULL;
    return 0;
}

static struct dir *
push_dir(lua_State *L)
{
    struct dir *dir = lua_newuserdatauv(L, sizeof *dir, 0);

    dir->stream = NULL;
    luaL_setmetatable(L, DIR_META);
    return dir;
}

/* list(path) -> names in it, sorted, without "." and ".." */
static int
sys_list(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    struct dir *dir = push_dir(L);
    struct dirent *entry;
    lua_Integer n = 0;

    dir->stream = opendir(path);
    if (dir->stream == NULL) {
        return sys_fail(L, "list", path, errno);
    }
    lua_newtable(L);
    while ((entry = readdir(dir->stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(dir->stream);
    dir->stream = NULL;
    lua_getfield(L, lua_upvalueindex(1), "sort");
    lua_pushvalue(L, -2);
    lua_call(L, 1, 0);
    return 1;
}

/*
 * Removes NAME below the directory AT with all that is in it; follows no link.
 * Returns 0, or an errno value.
 */
static int
remove_below(int at, const char *name, int depth)
{
    struct dirent *entry;
    DIR *dir;
    int fd, why = 0;

    if (unlinkat(at, name, 0) == 0) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return errno;
    }
    if (depth > TREE_DEPTH_MAX) {
        return ELOOP;
    }
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        why = errno;
        if (fd >= 0) {
            close(fd);
        }
        return why;
    }
    while (why == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            why = remove_below(fd, entry->d_name, depth + 1);
        }
    }
    closedir(dir);
    if (why == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0) {
        why = errno;
    }
    return why;
}

/* remove_tree(path): what is not there counts as removed. */
static int
sys_remove_tree(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    int why;

    luaL_argcheck(L, strspn(path, "/.") != strlen(path), 1, "will not remove this directory");
    why = remove_below(AT_FDCWD, path, 0);
    if (why != 0 && why != ENOENT) {
        return sys_fail(L, "remove", path, why);
    }
    return sys_succeed(L);
}

/* Locks ---------------------------------------------------------------------- */

static int
fd_gc(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, FD_META);

    if (*fd >= 0) {
        close(*fd); /* a lock goes with it */
    }
    *fd = -1;
    return 0;
}

int *
sys_push_fd(lua_State *L)
{
    int *fd = lua_newuserdatauv(L, sizeof *fd, 0);

    *fd = -1;
    luaL_setmetatable(L, FD_META);
    return fd;
}

/* lock(path) -> handle with release(); nil, "locked" while another has it */
static int
sys_lock(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    int *fd = sys_push_fd(L);

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) {
        return sys_fail(L, "lock", path, errno);
    }
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        int why = errno;

        close(*fd);
        *fd = -1;
        if (why != EWOULDBLOCK) {
            return sys_fail(L, "lock", path, why);
        }
        lua_pushnil(L);
        lua_pushliteral(L, "locked");
        return 2;
    }
    return 1;
}

/* Others --------------------------------------------------------------------- */

static int
sys_getpid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/* random_bytes(n) -> N bytes from the system's generator */
static int
sys_random_bytes(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_Buffer b;
    char *out;
    size_t done = 0;

    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "expected 0 to 65536");
    out = luaL_buffinitsize(L, &b, (size_t)n);
    while (done < (size_t)n) {
        ssize_t got = getrandom(out + done, (size_t)n - done, 0);

        if (got < 0 && errno != EINTR) {
            return luaL_error(L, "getrandom: %s", strerror(errno));
        }
        done += got > 0 ? (size_t)got : 0;
    }
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

/* Tables --------------------------------------------------------------------- */

static const luaL_Reg funcs[] = {
    {"getpid", sys_getpid},
    {"is_hung_up", sys_is_hung_up},
    {"isatty", sys_isatty},
    {"list", sys_list},
    {"lock", sys_lock},
    {"mkdir_p", sys_mkdir_p},
    {"random_bytes", sys_random_bytes},
    {"remove_tree", sys_remove_tree},
    {"tempdir", sys_tempdir},
    {"terminal_size", sys_terminal_size},
    {"write", sys_write},
    {NULL, NULL},
};

static const luaL_Reg lock_methods[] = {
    {"release", fd_gc},
    {NULL, NULL},
};

static void
make_metatables(lua_State *L)
{
    luaL_newmetatable(L, FD_META);
    lua_pushcfunction(L, fd_gc);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__close");
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, lock_methods);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_newmetatable(L, DIR_META);
    lua_pushcfunction(L, dir_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

int
luaopen_moontap_native_sys(lua_State *L)
{
    make_metatables(L);
    sys_open_machine(L);
    lua_newtable(L);
    lua_getglobal(L, "table");
    luaL_setfuncs(L, funcs, 1);
    luaL_setfuncs(L, sys_file_funcs, 0);
    luaL_setfuncs(L, sys_machine_funcs, 0);
    sys_open_input(L);
    return 1;
}
