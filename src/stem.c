/*
 * stem: a process that branches into those of runs; see stem.h.
 *
 * It is made by vfork: the new process borrows the host's memory until it is the
 * program again, so become_stem touches nothing but its plan. All signals stay
 * blocked in the stem; a branch lets them through, SIGTERM when it is asked to.
 */
#include "stem_int.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_FREE_FD 10 /* above what become_stem puts in place */
#define PATIENCE_MS 2000 /* for an answer */
#define START_MS 10000   /* … for the first of a process, while the loop goes on */
#define STEM_DIED (-1)   /* reasons beside errno's */
#define STEM_HANGS (-2)

#define CLOSE_LATER 4u /* CLOSE_RANGE_CLOEXEC */

struct waits {
    struct stem_wait *first, **end;
};

struct stem {
    struct loop *loop;
    struct loop_watch *watch;
    int fd; /* -1: no process */
    pid_t pid;
    pid_t old_group; /* of a process that has gone: what it left may have to be reaped; 0: none */
    int has_answered;
    uint64_t last_number;
    struct loop_timer patience;
    struct waits waits;
    struct waits lost; /* of a process that has gone, being told */
    int lost_fd, lost_why;
};

/* Start: the new process ---------------------------------------------------------- */

struct plan {
    pid_t parent;
    int exe_fd, null_fd, link_fd; /* all FIRST_FREE_FD or above */
    char **argv, **envp;
    volatile int error; /* errno of what failed */
};

/* Runs in the borrowed memory. What is left open is closed by the program's start,
 * and by close_above where the kernel does not know how. */
static _Noreturn void
become_stem(struct plan *plan)
{
    if (setsid() >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == plan->parent
        && dup2(plan->null_fd, STDIN_FILENO) >= 0 && dup2(plan->null_fd, STDOUT_FILENO) >= 0
        && dup2(plan->null_fd, STDERR_FILENO) >= 0 && dup2(plan->link_fd, STEM_LINK_FD) >= 0) {
        (void)syscall(__NR_close_range, STEM_LINK_FD + 1u, ~0u, CLOSE_LATER);
        (void)syscall(__NR_execveat, plan->exe_fd, "", plan->argv, plan->envp, AT_EMPTY_PATH);
    }
    plan->error = errno;
    _exit(127);
}

/* Starts PLAN. Returns the process id, or -1 with errno set. */
static pid_t
start(struct plan *plan)
{
    sigset_t all, before;
    pid_t pid;
    int why;

    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    plan->error = 0;
    pid = vfork();
    if (pid == 0) {
        become_stem(plan); /* NOLINT: what must not be done there, it does not do */
    }
    why = pid < 0 ? errno : plan->error;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && why != 0) {
        (void)waitpid(pid, NULL, 0);
        pid = -1;
    }
    errno = why;
    return pid;
}

/* Start: this process --------------------------------------------------------------- */

/* The program as it runs, also when its file was replaced since. Stays open. */
static int
own_program(void)
{
    static int fd = -1;

    if (fd < 0) {
        int low = open("/proc/self/exe", O_PATH | O_CLOEXEC);

        fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
        if (low >= 0) {
            (void)close(low);
        }
    }
    return fd;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Moves *FD above what become_stem puts in place. */
static int
move_up(int *fd)
{
    int high = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

    close_fd(fd);
    *fd = high;
    return high < 0 ? -1 : 0;
}

/* The command line and the environment. */
struct words {
    char parent[24];
    char *argv[4];
    char *envp[6];
};

static void
write_words(struct words *w)
{
    static char name[] = "moontap", word[] = STEM_WORD, language[] = "LC_ALL=C.UTF-8",
                no_ring[] = "UV_USE_IO_URING=0";
    int n = 0;

    (void)snprintf(w->parent, sizeof w->parent, "%ld", (long)getpid());
    w->argv[0] = name;
    w->argv[1] = word;
    w->argv[2] = w->parent;
    w->argv[3] = NULL;
    w->envp[n++] = language;
    w->envp[n++] = no_ring; /* a ring is a way around a list of system calls */
#ifdef MOONTAP_SANITIZED
    static const char *const theirs[] = {"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"};
    for (size_t i = 0; i < 3; i++) {
        char *value = getenv(theirs[i]);

        if (value != NULL) {
            w->envp[n++] = value - strlen(theirs[i]) - 1; /* NAME=value */
        }
    }
#endif
    w->envp[n] = NULL;
}

/* Starts the stem's process with FDS[1] as its socket. Returns -1 with errno set. */
static pid_t
start_process(int fds[2])
{
    struct words words;
    struct plan plan = {.parent = getpid(), .exe_fd = own_program()};
    pid_t pid = -1;

    write_words(&words);
    plan.argv = words.argv;
    plan.envp = words.envp;
    plan.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (plan.exe_fd >= 0 && move_up(&plan.null_fd) == 0 && move_up(&fds[1]) == 0) {
        plan.link_fd = fds[1];
        pid = start(&plan);
    }
    close_fd(&plan.null_fd);
    return pid;
}

/* The host's side --------------------------------------------------------------------- */

/* Those who wait, in the order of their requests. */
static void
list_init(struct waits *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void
list_move(struct waits *to, struct waits *from)
{
    list_init(to);
    if (from->first != NULL) {
        *to = *from;
        list_init(from);
    }
}

/* Tells who made the request. Returns 0 when nobody did. */
static int
tell(struct waits *list, const struct stem_answer *answer)
{
    struct stem_wait **at = &list->first, *wait;

    while (*at != NULL && (*at)->number != answer->number) {
        at = &(*at)->next;
    }
    wait = *at;
    if (wait == NULL) {
        return 0;
    }
    *at = wait->next;
    if (wait->next == NULL) {
        list->end = at;
    }
    wait->is_waiting = 0;
    wait->fn(wait->arg, answer->pid, answer->why);
    return 1;
}

/* recv without waiting. The end of the other side with requests unread is an error once,
 * and comes before the answers that it had given. */
static ssize_t
receive(int fd, struct stem_answer *answer)
{
    ssize_t got;
    int resets = 0;

    do {
        got = recv(fd, answer, sizeof *answer, MSG_DONTWAIT);
    } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    return got;
}

/* Tells one of those whose process has gone what was answered before, or why not. */
static void
tell_lost(struct stem *stem)
{
    struct stem_answer answer;

    if (receive(stem->lost_fd, &answer) != (ssize_t)sizeof answer) {
        answer = (struct stem_answer){stem->lost.first->number, -1, stem->lost_why};
    }
    (void)tell(&stem->lost, &answer);
}

static void
tell_all_lost(struct stem *stem)
{
    while (stem->lost.first != NULL) {
        tell_lost(stem);
    }
    close_fd(&stem->lost_fd);
}

/* Branches that could not answer any more have ended in the group of their stem, which those
 * that could have left. Does not wait for them. */
static void
reap_unanswered(struct stem *stem)
{
    pid_t got = 0;

    if (stem->old_group != 0) {
        do {
            got = waitpid(-stem->old_group, NULL, WNOHANG);
        } while (got > 0 || (got < 0 && errno == EINTR));
    }
    if (got < 0) {
        stem->old_group = 0;
    }
}

/* The process goes, if it has not gone by itself; WHY tells those who wait and were not
 * answered: no branch of theirs can begin any more. Whom they ask meanwhile is the next
 * process. */
static void
let_go(struct stem *stem, int why)
{
    if (stem->fd < 0) {
        return;
    }
    loop_timer_stop(stem->loop, &stem->patience);
    loop_watch_free(stem->watch);
    stem->watch = NULL;
    (void)kill(stem->pid, SIGKILL);
    while (waitpid(stem->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)shutdown(stem->fd, SHUT_RD); /* what was answered by now can still be read */
    reap_unanswered(stem);
    stem->old_group = stem->pid;
    reap_unanswered(stem);
    tell_all_lost(stem); /* when it is called by one of them */
    stem->lost_fd = stem->fd;
    stem->lost_why = why;
    stem->fd = -1;
    list_move(&stem->lost, &stem->waits);
    tell_all_lost(stem);
}

static int take_answer(struct stem *stem);

/* Nobody else may ask, so that await_answer would not notice. */
static void
on_patience(void *arg)
{
    struct stem *stem = arg;

    if (!take_answer(stem) && stem->waits.first != NULL && !loop_timer_active(&stem->patience)) {
        let_go(stem, STEM_HANGS);
    }
}

/* From now on it has so long for the next answer. Virtual time says nothing about that. */
static enum fault_code
be_patient(struct stem *stem)
{
    if (loop_is_virtual(stem->loop)) {
        return FAULT_OK;
    }
    return loop_timer_start(stem->loop, &stem->patience,
                            stem->has_answered ? PATIENCE_MS : START_MS, on_patience, stem);
}

/* Takes one answer. Returns 0 when there is none now. A process that cannot branch any more,
 * because its limits were changed for instance, is let go: the next one may. */
static int
take_answer(struct stem *stem)
{
    struct stem_answer answer;
    ssize_t got = receive(stem->fd, &answer);

    if (got < 0 && errno == EAGAIN) {
        return 0;
    }
    if (got != (ssize_t)sizeof answer) {
        let_go(stem, STEM_DIED);
        return 0;
    }
    if (answer.pid < 0) {
        let_go(stem, answer.why);
        return 0;
    }
    stem->has_answered = 1;
    if (!tell(&stem->waits, &answer)) {
        let_go(stem, STEM_DIED);
    }
    loop_timer_stop(stem->loop, &stem->patience);
    if (stem->waits.first != NULL && stem->fd >= 0) {
        (void)be_patient(stem); /* it had a place in the heap just now */
    }
    return stem->fd >= 0;
}

/* Waits for an answer and takes it. A process that gives none is let go. */
static void
await_answer(struct stem *stem)
{
    struct pollfd wanted = {.fd = stem->fd, .events = POLLIN};
    int got;

    do {
        got = poll(&wanted, 1, PATIENCE_MS);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        (void)take_answer(stem);
    } else {
        let_go(stem, STEM_HANGS);
    }
}

static void
on_answers(void *arg, unsigned events)
{
    (void)events;
    while (take_answer(arg)) {
    }
    reap_unanswered(arg);
}

static enum fault_code
ensure_process(struct stem *stem, struct fault *fault)
{
    int fds[2];
    enum fault_code code;

    if (stem->fd >= 0) {
        return FAULT_OK;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        return fault_set(fault, FAULT_IO, "start a process: %s", strerror(errno));
    }
    stem->pid = start_process(fds);
    if (stem->pid < 0) {
        code = fault_set(fault, FAULT_IO, "start a process: %s", strerror(errno));
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        return code;
    }
    close_fd(&fds[1]);
    stem->fd = fds[0];
    stem->has_answered = 0;
    code = loop_watch_new(stem->loop, stem->fd, LOOP_READ, on_answers, stem, &stem->watch, fault);
    if (code != FAULT_OK) {
        let_go(stem, STEM_DIED);
        return code;
    }
    loop_watch_unref(stem->watch); /* who waits for a branch waits for its link too */
    return FAULT_OK;
}

enum fault_code
stem_new(struct loop *loop, struct stem **out, struct fault *fault)
{
    struct stem *stem = mem_zalloc(sizeof *stem);

    *out = stem;
    if (stem == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    stem->loop = loop;
    stem->fd = stem->lost_fd = -1;
    list_init(&stem->waits);
    list_init(&stem->lost);
    return FAULT_OK;
}

void
stem_free(struct stem *stem)
{
    if (stem != NULL) {
        let_go(stem, ECANCELED);
        mem_free(stem);
    }
}

/* Sends ORDERS, or fails with errno: EAGAIN, ETOOMANYREFS when too much waits. */
static int
send_orders(int to, const struct stem_orders *orders, int link_fd, int output_fd)
{
    union {
        char bytes[CMSG_SPACE(STEM_FDS_OF_BRANCH * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct stem_orders copy = *orders;
    struct iovec part = {&copy, sizeof copy};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fds[STEM_FDS_OF_BRANCH] = {link_fd, output_fd};
    ssize_t sent;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    do {
        sent = sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof copy ? 0 : -1;
}

/* Sends them when there is room: the process makes it as it answers, and may itself
 * wait for its answers to be taken. Returns -1 with errno set. */
static int
send_in_turn(struct stem *stem, const struct stem_orders *orders, int link_fd, int output_fd)
{
    while (send_orders(stem->fd, orders, link_fd, output_fd) != 0) {
        if ((errno != EAGAIN && errno != ETOOMANYREFS) || stem->waits.first == NULL) {
            return -1;
        }
        await_answer(stem);
        if (stem->fd < 0) {
            errno = EPIPE;
            return -1;
        }
    }
    return 0;
}

enum fault_code
stem_branch(struct stem *stem, const struct stem_orders *orders, int link_fd, int output_fd,
            struct stem_wait *wait, struct fault *fault)
{
    struct stem_orders numbered = *orders;
    enum fault_code code;

    numbered.number = ++stem->last_number;
    reap_unanswered(stem);
    for (int is_second = 0;; is_second++) {
        code = ensure_process(stem, fault);
        if (code != FAULT_OK) {
            return code;
        }
        if (stem->waits.first == NULL && be_patient(stem) != FAULT_OK) {
            return fault_set(fault, FAULT_NOMEM, "start a process: not enough memory");
        }
        if (send_in_turn(stem, &numbered, link_fd, output_fd) == 0) {
            break;
        }
        code = fault_set(fault, FAULT_IO, "start a process: %s", strerror(errno));
        let_go(stem, STEM_DIED); /* one more is tried */
        if (is_second) {
            return code;
        }
    }
    if (stem->waits.first == NULL) {
        (void)be_patient(stem); /* from now on; it has its place in the heap */
    }
    wait->number = numbered.number;
    wait->next = NULL;
    wait->is_waiting = 1;
    *stem->waits.end = wait;
    stem->waits.end = &wait->next;
    return FAULT_OK;
}

void
stem_await(struct stem *stem, struct stem_wait *wait)
{
    while (wait->is_waiting) {
        if (stem->lost.first != NULL) { /* it may be among those */
            tell_lost(stem);
        } else {
            await_answer(stem);
        }
    }
}

const char *
stem_why(int why)
{
    switch (why) {
    case STEM_DIED: return "the process that runs branch off from has died";
    case STEM_HANGS: return "the process that runs branch off from does not answer";
    default: return strerror(why);
    }
}
