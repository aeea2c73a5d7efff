/* bind/sys_file: files of module moontap.native.sys; see sys.h. */
#include "sys.h"

#include "../task.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX (64 << 20)
#define READ_BLOCK 65536

/* remove(path): a file or an empty directory */
static int
sys_remove(lua_State *L)
{
    const char *path = sys_check_path(L, 1);

    if (remove(path) != 0) {
        return sys_fail(L, "remove", path, errno);
    }
    return sys_succeed(L);
}

/* rename(from, to) */
static int
sys_rename(lua_State *L)
{
    const char *from = sys_check_path(L, 1), *to = sys_check_path(L, 2);

    if (rename(from, to) != 0) {
        int why = errno;

        lua_pushfstring(L, "%s to %s", from, to);
        return sys_fail(L, "rename", lua_tostring(L, -1), why);
    }
    return sys_succeed(L);
}

static const char *
type_name(mode_t mode)
{
    if (S_ISREG(mode)) {
        return "file";
    }
    if (S_ISDIR(mode)) {
        return "directory";
    }
    return S_ISLNK(mode) ? "link" : "other";
}

/* A name for the file itself, whatever it is called. */
static void
write_identity(const struct stat *st, char *out, size_t size)
{
    (void)snprintf(out, size, "%llu:%llu", (unsigned long long)st->st_dev,
                   (unsigned long long)st->st_ino);
}

/* [-0, +1, m] */
static void
push_stat(lua_State *L, const struct stat *st)
{
    char identity[48];

    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)st->st_size);
    lua_setfield(L, -2, "size");
    lua_pushinteger(L, (lua_Integer)(st->st_mode & 07777));
    lua_setfield(L, -2, "mode");
    lua_pushnumber(L, (lua_Number)st->st_mtim.tv_sec + (lua_Number)st->st_mtim.tv_nsec / 1e9);
    lua_setfield(L, -2, "mtime");
    lua_pushstring(L, type_name(st->st_mode));
    lua_setfield(L, -2, "type");
    write_identity(st, identity, sizeof identity);
    lua_pushstring(L, identity);
    lua_setfield(L, -2, "identity");
}

/* stat(path) -> {size, mode, mtime, type, identity} */
static int
sys_stat(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    struct stat st;

    if (stat(path, &st) != 0) {
        return sys_fail(L, "stat", path, errno);
    }
    push_stat(L, &st);
    return 1;
}

/* is_same_file(path, identity) -> is there still the file that stat() said this of? */
static int
sys_is_same_file(lua_State *L)
{
    const char *path = sys_check_path(L, 1), *identity = luaL_checkstring(L, 2);
    char text[48];
    struct stat st;

    if (stat(path, &st) != 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    write_identity(&st, text, sizeof text);
    lua_pushboolean(L, strcmp(text, identity) == 0);
    return 1;
}

/* lstat(path): as stat, of a link itself */
static int
sys_lstat(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    struct stat st;

    if (lstat(path, &st) != 0) {
        return sys_fail(L, "stat", path, errno);
    }
    push_stat(L, &st);
    return 1;
}

/* real_path(path) -> the absolute path without links; PATH must exist */
static int
sys_real_path(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    char real[PATH_MAX];

    if (realpath(path, real) == NULL) {
        return sys_fail(L, "find", path, errno);
    }
    lua_pushstring(L, real);
    return 1;
}

/* Makes what was written to PATH durable; an errno value, or 0. */
static int
sync_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), why = 0;

    if (fd < 0) {
        return errno;
    }
    if (fsync(fd) != 0) {
        why = errno;
    }
    (void)close(fd);
    return why;
}

/* place(from, to): gives the file FROM, made durable, the name TO, which nothing
 * may have so far. */
static int
sys_place(lua_State *L)
{
    const char *from = sys_check_path(L, 1), *to = sys_check_path(L, 2);
    int why = sync_file(from);

    if (why != 0) {
        return sys_fail(L, "write", from, why);
    }
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return sys_succeed(L);
    }
    if (errno != EINVAL && errno != ENOSYS) { /* file systems that cannot do that have links */
        return sys_fail(L, "write", to, errno);
    }
    if (link(from, to) != 0) {
        return sys_fail(L, "write", to, errno);
    }
    (void)unlink(from); /* best effort: a second name of the same file */
    return sys_succeed(L);
}

/* Writes N bytes to FD and makes them durable; an errno value, or 0. */
static int
write_durably(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t got = write(fd, data, n);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
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
    const char *path = sys_check_path(L, 1);
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    mode_t mode = sys_opt_mode(L, 3, 0600);
    char temp[PATH_MAX];
    int fd, why;

    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp) {
        return sys_fail(L, "write", path, ENAMETOOLONG);
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        return sys_fail(L, "write", path, errno);
    }
    why = fchmod(fd, mode) != 0 ? errno : write_durably(fd, data, n);
    if (close(fd) != 0 && why == 0) {
        why = errno;
    }
    if (why == 0 && rename(temp, path) != 0) {
        why = errno;
    }
    if (why != 0) {
        (void)unlink(temp); /* best effort: the error says enough */
        return sys_fail(L, "write", path, why);
    }
    return sys_succeed(L);
}

/* Reads FD to its end into B; an errno value, EFBIG beyond MAX bytes, or 0. */
static int
read_all(int fd, luaL_Buffer *b, size_t max)
{
    size_t total = 0;

    for (;;) {
        char *room = luaL_prepbuffsize(b, READ_BLOCK);
        ssize_t got = read(fd, room, READ_BLOCK);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return errno;
        }
        if (got == 0) {
            return 0;
        }
        total += (size_t)got;
        if (total > max) {
            return EFBIG;
        }
        luaL_addsize(b, (size_t)got);
    }
}

/* read_file(path[, max]) -> data; more than MAX bytes is a failure */
static int
sys_read_file(lua_State *L)
{
    const char *path = sys_check_path(L, 1);
    lua_Integer max = luaL_optinteger(L, 2, READ_MAX);
    luaL_Buffer b;
    int *fd, why;

    luaL_argcheck(L, max >= 0, 2, "expected a number of bytes");
    fd = sys_push_fd(L);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) {
        return sys_fail(L, "read", path, errno);
    }
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
    if (why != 0) {
        return sys_fail(L, "read", path, why);
    }
    return 1;
}

const luaL_Reg sys_file_funcs[] = {
    {"is_same_file", sys_is_same_file},
    {"lstat", sys_lstat},
    {"place", sys_place},
    {"read_file", sys_read_file},
    {"real_path", sys_real_path},
    {"remove", sys_remove},
    {"rename", sys_rename},
    {"stat", sys_stat},
    {"write_file", sys_write_file},
    {NULL, NULL},
};
