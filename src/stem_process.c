/*
 * stem_process: the stem's own side: what it does with the orders of the host, and
 * what becomes of a branch; see stem.h.
 */
#include "stem_int.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 40u
#define STACK_MAX ((size_t)1 << 20)

int
stem_is_meant(int argc, char **argv)
{
    struct stat st;

    return argc == 3 && strcmp(argv[1], STEM_WORD) == 0 && fstat(STEM_LINK_FD, &st) == 0
           && S_ISSOCK(st.st_mode);
}

/* For kernels that know no close_range: one by one. */
static void
close_above(int fd)
{
    if (syscall(__NR_close_range, (unsigned)fd + 1u, ~0u, 0u) != 0) {
        while (++fd < (int)DESCRIPTORS_MAX) {
            (void)close(fd);
        }
    }
}

static int
set_limit(int resource, rlim_t most)
{
    struct rlimit limit = {most, most}, now;

    if (getrlimit((__rlimit_resource_t)resource, &now) == 0 && now.rlim_max < most) {
        limit.rlim_cur = limit.rlim_max = now.rlim_max; /* less than wanted is fine */
    }
    return setrlimit((__rlimit_resource_t)resource, &limit);
}

/* The signal at the first second, the end at the next. */
static int
limit_cpu(rlim_t seconds)
{
    struct rlimit limit = {seconds, seconds + 1}, now;

    if (getrlimit(RLIMIT_CPU, &now) == 0 && now.rlim_max < limit.rlim_max) {
        limit.rlim_max = now.rlim_max;
        limit.rlim_cur = seconds < now.rlim_max ? seconds : now.rlim_max;
    }
    return setrlimit(RLIMIT_CPU, &limit);
}

static int
set_limits(const struct stem_orders *orders)
{
    if (orders->address_max != 0
        && (set_limit(RLIMIT_AS, orders->address_max) != 0
            || set_limit(RLIMIT_STACK, STACK_MAX) != 0)) {
        return -1;
    }
    return limit_cpu(orders->cpu_seconds) != 0 || set_limit(RLIMIT_CORE, 0) != 0
                   || set_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX) != 0
                   || set_limit(RLIMIT_NPROC, 0) != 0 || set_limit(RLIMIT_FSIZE, 0) != 0
                   || set_limit(RLIMIT_MEMLOCK, 0) != 0 || set_limit(RLIMIT_MSGQUEUE, 0) != 0
               ? -1
               : 0;
}

/* Takes orders and the descriptors that came with them. Returns 0 when the host is gone. */
static int
take_orders(struct stem_orders *orders, int fds[STEM_FDS_OF_BRANCH])
{
    union {
        char bytes[CMSG_SPACE(STEM_FDS_OF_BRANCH * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {orders, sizeof *orders};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c;
    ssize_t got;

    do {
        got = recvmsg(STEM_LINK_FD, &msg, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    c = CMSG_FIRSTHDR(&msg);
    if (got != (ssize_t)sizeof *orders || c == NULL
        || c->cmsg_len != CMSG_LEN(STEM_FDS_OF_BRANCH * sizeof(int))) {
        return 0;
    }
    memcpy(fds, CMSG_DATA(c), STEM_FDS_OF_BRANCH * sizeof(int));
    return 1;
}

/* Makes this process one for a run: its own session, descriptors and limits. Ends it
 * when that cannot be done: no run without them. It answers itself, before it leaves the
 * stem's group: so whatever happens to the stem, a run that the host was not told of has
 * not begun, and never will. */
static void
become_branch(const struct stem_orders *orders, const int fds[STEM_FDS_OF_BRANCH])
{
    struct stem_answer answer = {orders->number, getpid(), 0};
    sigset_t terminate;

    if (send(STEM_LINK_FD, &answer, sizeof answer, MSG_NOSIGNAL) < 0 || setsid() < 0
        || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != orders->parent
        || dup2(fds[1], STDOUT_FILENO) < 0 || dup2(fds[1], STDERR_FILENO) < 0
        || dup2(fds[0], STEM_LINK_FD) < 0) {
        _exit(STEM_STATUS_REFUSED);
    }
    close_above(STEM_LINK_FD);
    if (set_limits(orders) != 0
        || (orders->zone[0] != '\0' && setenv("TZ", orders->zone, 1) != 0)) {
        _exit(STEM_STATUS_REFUSED);
    }
    (void)sigemptyset(&terminate);
    (void)sigaddset(&terminate, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, &terminate, NULL);
}

void
stem_let_terminate(void)
{
    sigset_t terminate;

    (void)sigemptyset(&terminate);
    (void)sigaddset(&terminate, SIGTERM);
    (void)sigprocmask(SIG_UNBLOCK, &terminate, NULL);
}

int
stem_serve(struct stem_orders *out)
{
    int fds[STEM_FDS_OF_BRANCH];

    close_above(STEM_LINK_FD);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* nobody of the same user looks in */
    while (take_orders(out, fds)) {
        /* a child of the host, as the stem is; the call itself, because the library has
         * none that gives away its child */
        pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
        struct stem_answer answer = {out->number, -1, errno};

        if (pid == 0) {
            become_branch(out, fds);
            return 1;
        }
        (void)close(fds[0]);
        (void)close(fds[1]);
        if (pid < 0 && send(STEM_LINK_FD, &answer, sizeof answer, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    return 0;
}
