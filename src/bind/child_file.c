/*
 * bind/child_file: see child_file.h. Each directory on the way is opened from the
 * one before, so that what is renamed or replaced meanwhile leads nowhere else.
 */
#include "child_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_FLAGS (O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
#define STEP_FLAGS (O_PATH | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY)

/* Closes FD without touching errno. */
static void
close_quietly(int fd)
{
    int before = errno;

    if (fd >= 0) {
        (void)close(fd);
    }
    errno = before;
}

/* Closes FD; -1 with errno WHY. */
static int
drop(int fd, int why)
{
    (void)close(fd);
    errno = why;
    return -1;
}

/* FD when it is a regular file, and lets all users read where it is to; else -1,
 * and FD is closed. */
static int
keep_regular(int fd, int is_public)
{
    struct stat st;

    if (fd < 0) {
        return fd;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return drop(fd, EINVAL);
    }
    return is_public && !(st.st_mode & S_IROTH) ? drop(fd, EPERM) : fd;
}

/* FD of a directory when it lets all users through, where it is to; else as above. */
static int
keep_step(int fd, int is_public)
{
    struct stat st;

    if (fd < 0 || !is_public || (fstat(fd, &st) == 0 && (st.st_mode & S_IXOTH))) {
        return fd;
    }
    return drop(fd, EPERM);
}

static int
is_step(const char *name)
{
    return name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Copies the name before the next slash of *PATH to NAME and moves on. 1: another
 * one follows; 0: it was the last; -1 and errno: it is none. */
static int
next_step(const char **path, char name[NAME_MAX + 1])
{
    const char *slash = strchr(*path, '/');
    size_t n = slash != NULL ? (size_t)(slash - *path) : strlen(*path);

    if (n > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(name, *path, n);
    name[n] = '\0';
    if (!is_step(name)) {
        errno = EINVAL;
        return -1;
    }
    *path += slash != NULL ? n + 1 : n;
    return slash != NULL;
}

int
child_file_open(const char *root, const char *path, int is_public)
{
    char name[NAME_MAX + 1];
    int fd, dir, more;

    if (root == NULL) {
        return keep_regular(open(path, FILE_FLAGS), is_public);
    }
    dir = open(root, O_PATH | O_CLOEXEC | O_DIRECTORY);
    while (dir >= 0 && (more = next_step(&path, name)) != 0) {
        fd = more > 0 ? openat(dir, name, STEP_FLAGS) : -1;
        close_quietly(dir);
        dir = keep_step(fd, is_public);
    }
    if (dir < 0) {
        return -1;
    }
    fd = openat(dir, name, FILE_FLAGS);
    close_quietly(dir);
    return keep_regular(fd, is_public);
}
