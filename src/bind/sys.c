/*
 * bind/sys: module moontap.native.sys, the few calls of the system that Lua's
 * own library lacks. Nothing here waits. A failure of the world gives nil and
 * an error of kind "io" that names the path and the reason.
 */
#include "../task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_META "moontap.sys.lock"
#define DIR_META "moontap.sys.dir"
#define READ_MAX (64 << 20)
#define TREE_DEPTH_MAX 32
#define RANDOM_MAX 65536

int luaopen_moontap_native_sys(lua_State *L);

/* [-0, +2, m] nil and the error of errno value WHY. */
static int
fail(lua_State *L, const char *what, const char *path, int why)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s %s: %s", what, path, strerror(why));
    task_new_error(L, "io", lua_tostring(L, -1));
    lua_remove(L, -2);
    return 2;
}

static int
succeed(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* [-0, +0, v] A path: text without NUL. */
static const char *
check_path(lua_State *L, int arg)
{
    size_t n;
    const char *path = luaL_checklstring(L, arg, &n);

    luaL_argcheck(L, n != 0, arg, "empty path");
    luaL_argcheck(L, strlen(path) == n, arg, "a path cannot hold a NUL byte");
    return path;
}

static mode_t
opt_mode(lua_State *L, int arg, mode_t other)
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

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int why = errno;

            (void)snprintf(name, sizeof name, "descriptor %d", fd);
            return fail(L, "write to", name, why);
        }
        done += (size_t)got;
    }
    return succeed(L);
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
    const char *path = check_path(L, 1);
    mode_t mode = opt_mode(L, 2, 0777);
    size_t n = strlen(path), i;
    struct stat st;
    char *part = lua_newuserdatauv(L, n + 1, 0);

    for (i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST) {
            int why = errno;

            if (stat(part, &st) != 0) /* a read-only place that is there already */
                return fail(L, "make directory", part, why);
        }
    }
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return fail(L, "make directory", path, ENOTDIR);
    return succeed(L);
}

/* tempdir([prefix]) -> path of a new directory that only its owner may enter */
static int
sys_tempdir(lua_State *L)
{
    const char *prefix = luaL_optstring(L, 1, "moontap-");
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    luaL_argcheck(L, strchr(prefix, '/') == NULL, 1, "a prefix holds no slash");
    if (base == NULL || base[0] != '/')
        base = "/tmp";
    if (snprintf(path, sizeof path, "%s/%sXXXXXX", base, prefix) >= (int)sizeof path)
        return fail(L, "make directory in", base, ENAMETOOLONG);
    if (mkdtemp(path) == NULL)
        return fail(L, "make directory", path, errno);
    lua_pushstring(L, path);
    return 1;
}

/* A directory being read: a handle, because what is done with names may raise. */
static int
dir_gc(lua_State *L)
{
    DIR **dir = luaL_checkudata(L, 1, DIR_META);

    if (*dir != NULL)
        closedir(*dir);
    *dir = NULL;
    return 0;
}

static DIR **
push_dir(lua_State *L)
{
    DIR **dir = lua_newuserdatauv(L, sizeof *dir, 0);

    *dir = NULL;
    luaL_setmetatable(L, DIR_META);
    return dir;
}

/* list(path) -> names in it, sorted, without "." and ".." */
static int
sys_list(lua_State *L)
{
    const char *path = check_path(L, 1);
    DIR **dir = push_dir(L);
    struct dirent *entry;
    lua_Integer n = 0;

    *dir = opendir(path);
    if (*dir == NULL)
        return fail(L, "list", path, errno);
    lua_newtable(L);
    while ((entry = readdir(*dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++n);
    }
    closedir(*dir);
    *dir = NULL;
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

    if (unlinkat(at, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno;
    if (depth > TREE_DEPTH_MAX)
        return ELOOP;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        why = errno;
        if (fd >= 0)
            close(fd);
        return why;
    }
    while (why == 0 && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            why = remove_below(fd, entry->d_name, depth + 1);
    closedir(dir);
    if (why == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0)
        why = errno;
    return why;
}

/* remove_tree(path): what is not there counts as removed. */
static int
sys_remove_tree(lua_State *L)
{
    const char *path = check_path(L, 1);
    int why;

    luaL_argcheck(L, strspn(path, "/.") != strlen(path), 1, "will not remove this directory");
    why = remove_below(AT_FDCWD, path, 0);
    if (why != 0 && why != ENOENT)
        return fail(L, "remove", path, why);
    return succeed(L);
}

/* Files ---------------------------------------------------------------------- */

/* remove(path): a file or an empty directory */
static int
sys_remove(lua_State *L)
{
    const char *path = check_path(L, 1);

    if (remove(path) != 0)
        return fail(L, "remove", path, errno);
    return succeed(L);
}

/* rename(from, to) */
static int
sys_rename(lua_State *L)
{
    const char *from = check_path(L, 1), *to = check_path(L, 2);

    if (rename(from, to) != 0) {
        int why = errno;

        lua_pushfstring(L, "%s to %s", from, to);
        return fail(L, "rename", lua_tostring(L, -1), why);
    }
    return succeed(L);
}

static const char *
type_name(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "directory";
    return S_ISLNK(mode) ? "link" : "other";
}

/* stat(path) -> {size, mode, mtime, type} */
static int
sys_stat(lua_State *L)
{
    const char *path = check_path(L, 1);
    struct stat st;

    if (stat(path, &st) != 0)
        return fail(L, "stat", path, errno);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)st.st_size);
    lua_setfield(L, -2, "size");
    lua_pushinteger(L, (lua_Integer)(st.st_mode & 07777));
    lua_setfield(L, -2, "mode");
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec + (lua_Number)st.st_mtim.tv_nsec / 1e9);
    lua_setfield(L, -2, "mtime");
    lua_pushstring(L, type_name(st.st_mode));
    lua_setfield(L, -2, "type");
    return 1;
}

/* Writes N bytes to FD and makes them durable; an errno value, or 0. */
static int
write_durably(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t got = write(fd, data, n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        data += got;
        n -= (size_t)got;
    }
    return fsync(fd) != 0 ? errno : 0;
}

/* write_file(path, data[, mode]): the whole file or none; it is replaced by a
 * rename, so that nobody reads half of it. */
static int
sys_write_file(lua_State *L)
{
    const char *path = check_path(L, 1);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    mode_t mode = opt_mode(L, 3, 0600);
    char temp[PATH_MAX];
    int fd, why;

    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return fail(L, "write", path, ENAMETOOLONG);
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return fail(L, "write", path, errno);
    why = fchmod(fd, mode) != 0 ? errno : write_durably(fd, data, n);
    if (close(fd) != 0 && why == 0)
        why = errno;
    if (why == 0 && rename(temp, path) != 0)
        why = errno;
    if (why != 0) {
        (void)unlink(temp); /* best effort: the error says enough */
        return fail(L, "write", path, why);
    }
    return succeed(L);
}

/* Reads FD to its end into B; an errno value, EFBIG beyond MAX bytes, or 0. */
static int
read_all(int fd, luaL_Buffer *b, size_t max)
{
    size_t total = 0;

    for (;;) {
        char *room = luaL_prepbuffer(b);
        ssize_t got = read(fd, room, LUAL_BUFFERSIZE);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return 0;
        total += (size_t)got;
        if (total > max)
            return EFBIG;
        luaL_addsize(b, (size_t)got);
    }
}

/* A descriptor as a handle, closed by the collector at the latest. */
static int
fd_gc(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, LOCK_META);

    if (*fd >= 0)
        close(*fd); /* a lock goes with it */
    *fd = -1;
    return 0;
}

static int *
push_fd(lua_State *L)
{
    int *fd = lua_newuserdatauv(L, sizeof *fd, 0);

    *fd = -1;
    luaL_setmetatable(L, LOCK_META);
    return fd;
}

/* read_file(path[, max]) -> data; more than MAX bytes is a failure */
static int
sys_read_file(lua_State *L)
{
    const char *path = check_path(L, 1);
    lua_Integer max = luaL_optinteger(L, 2, READ_MAX);
    luaL_Buffer b;
    int *fd, why;

    luaL_argcheck(L, max >= 0, 2, "expected a number of bytes");
    fd = push_fd(L);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return fail(L, "read", path, errno);
    luaL_buffinit(L, &b);
    why = read_all(*fd, &b, (size_t)max);
    close(*fd);
    *fd = -1;
    luaL_pushresult(&b);
    if (why == EFBIG) {
        lua_pushfstring(L, "read %s: longer than %I bytes", path, max);
        lua_pushnil(L);
        task_new_error(L, "limit", lua_tostring(L, -2));
        return 2;
    }
    if (why != 0)
        return fail(L, "read", path, why);
    return 1;
}

/* Locks ---------------------------------------------------------------------- */

/* lock(path) -> handle with release(); nil, "locked" while another has it */
static int
sys_lock(lua_State *L)
{
    const char *path = check_path(L, 1);
    int *fd = push_fd(L);

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return fail(L, "lock", path, errno);
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        int why = errno;

        close(*fd);
        *fd = -1;
        if (why != EWOULDBLOCK)
            return fail(L, "lock", path, why);
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

        if (got < 0 && errno != EINTR)
            return luaL_error(L, "getrandom: %s", strerror(errno));
        done += got > 0 ? (size_t)got : 0;
    }
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

/* Tables --------------------------------------------------------------------- */

static const luaL_Reg funcs[] = {
    {"getpid", sys_getpid},
    {"isatty", sys_isatty},
    {"list", sys_list},
    {"lock", sys_lock},
    {"mkdir_p", sys_mkdir_p},
    {"random_bytes", sys_random_bytes},
    {"read_file", sys_read_file},
    {"remove", sys_remove},
    {"remove_tree", sys_remove_tree},
    {"rename", sys_rename},
    {"stat", sys_stat},
    {"tempdir", sys_tempdir},
    {"terminal_size", sys_terminal_size},
    {"write", sys_write},
    {"write_file", sys_write_file},
    {NULL, NULL},
};

static const luaL_Reg lock_methods[] = {
    {"release", fd_gc},
    {NULL, NULL},
};

static void
make_metatables(lua_State *L)
{
    luaL_newmetatable(L, LOCK_META);
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
    luaL_newlibtable(L, funcs);
    lua_getglobal(L, "table");
    luaL_setfuncs(L, funcs, 1);
    return 1;
}
