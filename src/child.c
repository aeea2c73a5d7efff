/*
 * child: a process that holds one playbook run; see child.h.
 *
 * It is made by vfork: the new process borrows this one's memory until it is the
 * program again, so become_child touches nothing but its plan, and all signals
 * stay blocked until child_settle.
 */
#include "child.h"

#include "buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORD "playbook-room:" MOONTAP_BUILD_ID
#define ORDERS 6                      /* words of the command line */
#define ROOM_ABOVE ((size_t)96 << 20) /* address space beside Lua's memory */
#define DESCRIPTORS_MAX 40u
#define STACK_MAX ((size_t)1 << 20)
#define FIRST_FREE_FD 10       /* above what become_child puts in place */
#define OUTPUT_HELD_MAX 65536u /* read ahead; then the pipe fills */
#define LINE_COST 64u          /* a line counts as so many bytes more: each is work */

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#define CLOSE_LATER 4u /* CLOSE_RANGE_CLOEXEC */

struct child {
    struct loop *loop;
    struct child_calls calls;
    struct child_options options;
    struct link *link;
    struct loop_watch *exit_watch; /* of pid_fd; NULL: reaped */
    struct loop_watch *output_watch;
    int pid_fd;
    int output_fd; /* -1: its end was read */
    pid_t pid;
    uint64_t output_total;
    char *output; /* read ahead; OUTPUT_HELD_MAX */
    size_t output_len;
    int link_over; /* noted why the link ended */
    int is_over;
    int kill_sent;
    enum child_reason reason; /* why it was killed */
    struct child_end end;
};

const char *
child_reason_word(enum child_reason reason)
{
    static const char *const words[] = {
        "exited", "killed", "deadline", "memory",  "cpu",
        "frames", "output", "seccomp",  "crashed", "no_sandbox",
    };

    return words[reason];
}

/* Start: the new process ---------------------------------------------------------- */

struct plan {
    pid_t parent;
    int exe_fd, null_fd, output_fd, link_fd; /* all FIRST_FREE_FD or above */
    struct rlimit memory, cpu;
    char **argv, **envp;
    volatile int error; /* errno of what failed */
};

static int
set_limit(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {soft, hard}, now;

    if (getrlimit((__rlimit_resource_t)resource, &now) == 0 && now.rlim_max < hard) {
        limit.rlim_max = now.rlim_max; /* less than wanted is fine */
        limit.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    }
    return setrlimit((__rlimit_resource_t)resource, &limit);
}

static int
set_limits(const struct plan *plan)
{
    if (plan->memory.rlim_cur != 0
        && (set_limit(RLIMIT_AS, plan->memory.rlim_cur, plan->memory.rlim_max) != 0
            || set_limit(RLIMIT_STACK, STACK_MAX, STACK_MAX) != 0)) {
        return -1;
    }
    return set_limit(RLIMIT_CPU, plan->cpu.rlim_cur, plan->cpu.rlim_max) != 0
                   || set_limit(RLIMIT_CORE, 0, 0) != 0
                   || set_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX) != 0
                   || set_limit(RLIMIT_NPROC, 0, 0) != 0 || set_limit(RLIMIT_FSIZE, 0, 0) != 0
                   || set_limit(RLIMIT_MEMLOCK, 0, 0) != 0 || set_limit(RLIMIT_MSGQUEUE, 0, 0) != 0
               ? -1
               : 0;
}

/* Runs in the borrowed memory. What is left open is closed by the program's start,
 * and by child_settle where the kernel does not know how. */
static _Noreturn void
become_child(struct plan *plan)
{
    if (setsid() >= 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == plan->parent
        && dup2(plan->null_fd, STDIN_FILENO) >= 0 && dup2(plan->output_fd, STDOUT_FILENO) >= 0
        && dup2(plan->output_fd, STDERR_FILENO) >= 0 && dup2(plan->link_fd, CHILD_LINK_FD) >= 0
        && set_limits(plan) == 0) {
        (void)syscall(__NR_close_range, CHILD_LINK_FD + 1u, ~0u, CLOSE_LATER);
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
        become_child(plan); /* NOLINT: what must not be done there, it does not do */
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

/* Moves *FD above what become_child puts in place. */
static int
move_up(int *fd)
{
    int high = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);

    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = high;
    return high < 0 ? -1 : 0;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Both ends of what connects the two processes. */
struct ends {
    int link[2], output[2], null_fd; /* 0 is this process's end */
};

static enum fault_code
open_ends(struct ends *ends, struct fault *fault)
{
    *ends = (struct ends){{-1, -1}, {-1, -1}, -1};
    ends->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends->link) != 0
        || pipe2(ends->output, O_CLOEXEC) != 0 || move_up(&ends->null_fd) != 0
        || move_up(&ends->link[1]) != 0 || move_up(&ends->output[1]) != 0
        || fcntl(ends->output[0], F_SETFL, O_NONBLOCK) != 0) {
        return fault_set(fault, FAULT_IO, "start a process: %s", strerror(errno));
    }
    return FAULT_OK;
}

static void
close_ends(struct ends *ends)
{
    close_fd(&ends->link[0]);
    close_fd(&ends->link[1]);
    close_fd(&ends->output[0]);
    close_fd(&ends->output[1]);
    close_fd(&ends->null_fd);
}

/* The command line and the environment, as text. */
struct words {
    char parent[24], memory[24], frame[24], send[24], zone[300];
    char *argv[ORDERS + 1];
    char *envp[8];
};

static void
write_words(struct words *w, const struct child_options *options)
{
    static char name[] = "moontap", word[] = WORD, language[] = "LC_ALL=C.UTF-8",
                no_ring[] = "UV_USE_IO_URING=0";
    int n = 0;

    (void)snprintf(w->parent, sizeof w->parent, "%ld", (long)getpid());
    (void)snprintf(w->memory, sizeof w->memory, "%zu", options->memory_max);
    (void)snprintf(w->frame, sizeof w->frame, "%zu", options->frame_max);
    (void)snprintf(w->send, sizeof w->send, "%zu", options->send_max);
    w->argv[0] = name;
    w->argv[1] = word;
    w->argv[2] = w->parent;
    w->argv[3] = w->memory;
    w->argv[4] = w->frame;
    w->argv[5] = w->send;
    w->argv[ORDERS] = NULL;
    w->envp[n++] = language;
    w->envp[n++] = no_ring; /* a ring is a way around a list of system calls */
    if (options->zone != NULL
        && snprintf(w->zone, sizeof w->zone, "TZ=%s", options->zone) < (int)sizeof w->zone) {
        w->envp[n++] = w->zone;
    }
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

static enum fault_code
start_process(struct child *child, struct ends *ends, struct fault *fault)
{
    struct words words;
    struct plan plan = {
        .parent = getpid(),
        .exe_fd = own_program(),
        .null_fd = ends->null_fd,
        .output_fd = ends->output[1],
        .link_fd = ends->link[1],
        .cpu = {child->options.cpu_seconds, child->options.cpu_seconds + 1u},
    };

#ifndef MOONTAP_SANITIZED
    plan.memory.rlim_cur = plan.memory.rlim_max =
        child->options.memory_max + 4 * child->options.frame_max + ROOM_ABOVE;
#endif
    write_words(&words, &child->options);
    plan.argv = words.argv;
    plan.envp = words.envp;
    child->pid = start(&plan);
    if (child->pid < 0) {
        return fault_set(fault, FAULT_IO, "start a process: %s", strerror(errno));
    }
    child->pid_fd = (int)syscall(__NR_pidfd_open, child->pid, 0u);
    if (child->pid_fd < 0) {
        return fault_set(fault, FAULT_IO, "watch a process: %s", strerror(errno));
    }
    return FAULT_OK;
}

/* Its end --------------------------------------------------------------------------- */

static enum child_reason
judge(const struct child *child, int status)
{
    if (child->kill_sent) {
        return child->reason;
    }
    if (WIFEXITED(status)) {
        switch (WEXITSTATUS(status)) {
        case CHILD_STATUS_MEMORY: return CHILD_MEMORY;
        case CHILD_STATUS_NO_SANDBOX: return CHILD_NO_SANDBOX;
        default: return CHILD_EXITED;
        }
    }
    switch (WTERMSIG(status)) {
    case SIGXCPU: return CHILD_CPU;
    case SIGSYS: return CHILD_SECCOMP;
    case SIGTERM:
    case SIGINT:
    case SIGHUP: return CHILD_KILLED;
    case SIGKILL: /* the processor limit's second step, or from elsewhere */
        return child->end.cpu_ms >= child->options.cpu_seconds * 1000u ? CHILD_CPU : CHILD_KILLED;
    default: return CHILD_CRASHED;
    }
}

static uint64_t
to_ms(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000u + (uint64_t)tv->tv_usec / 1000u;
}

/* Takes its exit status. Returns 0 when it lives still. */
static int
reap(struct child *child, int options)
{
    struct rusage usage;
    int status = 0;
    pid_t got;

    do {
        got = wait4(child->pid, &status, options, &usage);
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return 0;
    }
    if (got < 0) { /* somebody else waited for it: nothing is known */
        child->end.reason = child->kill_sent ? child->reason : CHILD_KILLED;
    } else {
        child->end.cpu_ms = to_ms(&usage.ru_utime) + to_ms(&usage.ru_stime);
        child->end.max_rss = (uint64_t)usage.ru_maxrss * 1024u;
        child->end.status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        child->end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        child->end.reason = judge(child, status);
    }
    child->pid = 0;
    return 1;
}

static void
on_exit_event(void *arg, unsigned events)
{
    struct child *child = arg;

    (void)events;
    if (!reap(child, WNOHANG)) {
        return;
    }
    loop_watch_free(child->exit_watch);
    child->exit_watch = NULL;
    link_drain(child->link);
    child->is_over = 1;
    child->calls.received(child->calls.arg);
    child->calls.has_room(child->calls.arg);
    child->calls.ended(child->calls.arg);
}

void
child_terminate(struct child *child)
{
    if (child->pid > 0) {
        (void)kill(-child->pid, SIGTERM);
    }
}

void
child_kill(struct child *child, enum child_reason reason, const char *detail)
{
    if (child->pid <= 0 || child->kill_sent) {
        return;
    }
    child->kill_sent = 1;
    child->reason = reason;
    (void)snprintf(child->end.detail, sizeof child->end.detail, "%s", detail != NULL ? detail : "");
    (void)kill(-child->pid, SIGKILL);
}

const struct child_end *
child_result(const struct child *child)
{
    return child->is_over ? &child->end : NULL;
}

int
child_pid(const struct child *child)
{
    return (int)child->pid;
}

/* Frames ------------------------------------------------------------------------------ */

/* It closes its end when it leaves; anything else is no way to behave. */
static void
note_link_end(struct child *child)
{
    struct fault fault;

    if (child->link_over || !link_has_ended(child->link, &fault)) {
        return;
    }
    child->link_over = 1;
    if (fault.code != FAULT_OK) {
        child_kill(child, CHILD_FRAMES, fault.msg);
    }
}

static void
on_received(void *arg)
{
    struct child *child = arg;

    note_link_end(child);
    child->calls.received(child->calls.arg);
}

static void
on_room(void *arg)
{
    struct child *child = arg;

    child->calls.has_room(child->calls.arg);
}

struct link *
child_link(struct child *child)
{
    return child->link;
}

struct frame *
child_receive(struct child *child, int *is_over)
{
    struct frame *frame = link_receive(child->link);

    if (frame == NULL) {
        note_link_end(child);
    }
    *is_over = frame == NULL && child->is_over;
    return frame;
}

/* Output ------------------------------------------------------------------------------ */

static void
end_output(struct child *child)
{
    loop_watch_free(child->output_watch);
    child->output_watch = NULL;
    close_fd(&child->output_fd);
}

/* What N bytes of output count as. */
static uint64_t
weigh(const char *text, size_t n)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    return n + lines * LINE_COST;
}

static void
on_output(void *arg, unsigned events)
{
    struct child *child = arg;
    ssize_t got = read(child->output_fd, child->output + child->output_len,
                       OUTPUT_HELD_MAX - child->output_len);

    (void)events;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        end_output(child);
    } else {
        child->output_total += weigh(child->output + child->output_len, (size_t)got);
        child->output_len += (size_t)got;
        if (child->output_total > child->options.output_max) {
            child_kill(child, CHILD_OUTPUT, "more output than it may write");
        }
        if (child->output_len == OUTPUT_HELD_MAX) {
            loop_watch_events(child->output_watch, 0);
        }
    }
    child->calls.output(child->calls.arg);
}

size_t
child_read_output(struct child *child, char *to, size_t n, int *is_over)
{
    size_t most = n < child->output_len ? n : child->output_len;

    memcpy(to, child->output, most);
    memmove(child->output, child->output + most, child->output_len - most);
    if (child->output_watch != NULL && child->output_len == OUTPUT_HELD_MAX && most > 0) {
        loop_watch_events(child->output_watch, LOOP_READ);
    }
    child->output_len -= most;
    *is_over = most == 0 && child->output_fd < 0;
    return most;
}

/* Life -------------------------------------------------------------------------------- */

static enum fault_code
watch_all(struct child *child, struct ends *ends, struct fault *fault)
{
    struct link_options options = {
        .frame_max = child->options.frame_max,
        .send_max = child->options.send_max,
        .per_second = child->options.per_second,
    };
    struct link_calls calls = {on_received, on_room, child};
    int fd = ends->link[0];
    enum fault_code code;

    ends->link[0] = -1;
    code = link_open(child->loop, fd, &options, &calls, &child->link, fault);
    if (code == FAULT_OK) {
        child->output_fd = ends->output[0];
        ends->output[0] = -1;
        code = loop_watch_new(child->loop, child->output_fd, LOOP_READ, on_output, child,
                              &child->output_watch, fault);
    }
    if (code == FAULT_OK) {
        code = loop_watch_new(child->loop, child->pid_fd, LOOP_READ, on_exit_event, child,
                              &child->exit_watch, fault);
    }
    return code;
}

enum fault_code
child_spawn(struct loop *loop, const struct child_options *options, const struct child_calls *calls,
            struct child **out, struct fault *fault)
{
    struct child *child = mem_zalloc(sizeof *child);
    struct ends ends;
    enum fault_code code;

    *out = NULL;
    if (child == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    child->loop = loop;
    child->calls = *calls;
    child->options = *options;
    child->pid_fd = child->output_fd = -1;
    child->output = mem_alloc(OUTPUT_HELD_MAX);
    if (child->output == NULL) {
        mem_free(child);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    code = open_ends(&ends, fault);
    if (code == FAULT_OK) {
        code = start_process(child, &ends, fault);
    }
    if (code == FAULT_OK) {
        code = watch_all(child, &ends, fault);
    }
    close_ends(&ends);
    if (code != FAULT_OK) {
        child_free(child);
        return code;
    }
    *out = child;
    return FAULT_OK;
}

void
child_free(struct child *child)
{
    if (child == NULL) {
        return;
    }
    if (child->pid > 0) {
        child_kill(child, CHILD_KILLED, NULL);
        (void)reap(child, 0);
    }
    loop_watch_free(child->exit_watch);
    end_output(child);
    link_close(child->link);
    close_fd(&child->pid_fd);
    mem_free(child->output);
    mem_free(child);
}

/* Child mode -------------------------------------------------------------------------- */

static int
read_number(const char *text, size_t *out)
{
    size_t n = 0;

    if (*text == '\0' || strlen(text) > 18) {
        return -1;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        n = n * 10 + (size_t)(*text - '0');
    }
    *out = n;
    return 0;
}

int
child_read_orders(int argc, char **argv, struct child_orders *out)
{
    size_t parent;
    struct stat st;

    if (argc != ORDERS || strcmp(argv[1], WORD) != 0 || read_number(argv[2], &parent) != 0
        || parent > INT_MAX || read_number(argv[3], &out->memory_max) != 0
        || read_number(argv[4], &out->frame_max) != 0
        || read_number(argv[5], &out->send_max) != 0) {
        return 0;
    }
    out->parent = (int)parent;
    return fstat(CHILD_LINK_FD, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* For kernels that know no close_range. */
static void
close_one_by_one(void)
{
    for (int fd = CHILD_LINK_FD + 1; fd < (int)DESCRIPTORS_MAX; fd++) {
        (void)close(fd);
    }
}

void
child_settle(const struct child_orders *orders)
{
    sigset_t none;

    if (syscall(__NR_close_range, CHILD_LINK_FD + 1u, ~0u, 0u) != 0) {
        close_one_by_one();
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != orders->parent) {
        _exit(1);
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}
