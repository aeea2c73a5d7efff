/*
 * child: a process that holds one playbook run; see child.h.
 */
#include "child.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM_ABOVE ((size_t)96 << 20) /* address space beside Lua's memory */
#define OUTPUT_HELD_MAX 65536u        /* read ahead; then the pipe fills */
#define LINE_COST 64u                 /* a line counts as so many bytes more: each is work */
#define RESTARTS_MAX 2u               /* of one that did not begin */

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif

/* Both ends of what connects the two processes. */
struct ends {
    int link[2], output[2]; /* 0 is this process's end */
};

struct child {
    struct loop *loop;
    struct stem *stem;
    struct stem_orders orders;
    struct stem_wait start; /* while it waits PID is 0, and it lives all the same */
    struct ends ends;       /* its own, until it has them */
    unsigned restarts;
    int is_unwanted; /* it was asked to end */
    struct child_calls calls;
    struct child_options options;
    struct link *link;
    struct loop_watch *exit_watch; /* of pid_fd; NULL: reaped */
    struct loop_watch *output_watch;
    int pid_fd;
    int output_fd; /* -1: its end was read */
    pid_t pid;     /* 0: not known yet, or reaped */
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
        "exited", "killed",  "deadline", "memory",     "cpu",         "frames",
        "output", "seccomp", "crashed",  "no_sandbox", "not_started",
    };

    return words[reason];
}

/* Start ------------------------------------------------------------------------------- */

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static enum fault_code
open_ends(struct ends *ends, struct fault *fault)
{
    *ends = (struct ends){{-1, -1}, {-1, -1}};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends->link) != 0
        || pipe2(ends->output, O_CLOEXEC) != 0
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
}

static struct stem_orders
orders_of(const struct child_options *options)
{
    struct stem_orders orders = {
        .parent = getpid(),
        .memory_max = options->memory_max,
        .frame_max = options->frame_max,
        .send_max = options->send_max,
        .cpu_seconds = options->cpu_seconds,
    };

#ifndef MOONTAP_SANITIZED
    orders.address_max = options->memory_max + 4 * options->frame_max + ROOM_ABOVE;
#endif
    if (options->zone != NULL) { /* one that is too long names no file either */
        (void)snprintf(orders.zone, sizeof orders.zone, "%s", options->zone);
    }
    return orders;
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
tell_end(struct child *child)
{
    link_drain(child->link);
    child->is_over = 1;
    child->calls.received(child->calls.arg);
    child->calls.has_room(child->calls.arg);
    child->calls.ended(child->calls.arg);
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
    tell_end(child);
}

/* To its group; to itself as long as it has not got one. */
static void
send_signal(const struct child *child, int signum)
{
    if (kill(-child->pid, signum) != 0) {
        (void)kill(child->pid, signum);
    }
}

void
child_terminate(struct child *child)
{
    child->is_unwanted = 1;
    stem_await(child->stem, &child->start);
    if (child->pid > 0) {
        send_signal(child, SIGTERM);
    }
}

static int
is_alive(const struct child *child)
{
    return child->pid > 0 || child->start.is_waiting;
}

void
child_kill(struct child *child, enum child_reason reason, const char *detail)
{
    if (!is_alive(child) || child->kill_sent) {
        return;
    }
    child->kill_sent = 1;
    child->reason = reason;
    (void)snprintf(child->end.detail, sizeof child->end.detail, "%s", detail != NULL ? detail : "");
    if (child->pid > 0) {
        send_signal(child, SIGKILL);
    } else {
        stem_await(child->stem, &child->start); /* and on_started does it */
    }
}

/* It cannot be watched, or was never there. One that was to be killed is so all the same. */
static void
end_unwatched(struct child *child, const char *what, const char *why)
{
    child->end.reason = child->reason;
    if (!child->kill_sent) {
        (void)snprintf(child->end.detail, sizeof child->end.detail, "%s: %.200s", what, why);
        child->end.reason = CHILD_NOT_STARTED;
    }
    tell_end(child);
}

static enum fault_code
watch_exit(struct child *child, struct fault *fault)
{
    child->pid_fd = (int)syscall(__NR_pidfd_open, child->pid, 0u);
    if (child->pid_fd < 0) {
        return fault_set(fault, FAULT_IO, "%s", strerror(errno));
    }
    return loop_watch_new(child->loop, child->pid_fd, LOOP_READ, on_exit_event, child,
                          &child->exit_watch, fault);
}

/* It did not begin, because of the process that it was to branch off: the next one is asked. */
static int
is_asked_again(struct child *child, int why)
{
    struct fault fault;

    return why != ECANCELED && !child->is_unwanted && !child->kill_sent
           && child->restarts++ < RESTARTS_MAX
           && stem_branch(child->stem, &child->orders, child->ends.link[1], child->ends.output[1],
                          &child->start, &fault)
                  == FAULT_OK;
}

static void
on_started(void *arg, pid_t pid, int why)
{
    struct child *child = arg;
    struct fault fault;

    if (pid < 0 && is_asked_again(child, why)) {
        return;
    }
    close_ends(&child->ends);
    if (pid < 0) {
        end_unwatched(child, "start a process", stem_why(why));
        return;
    }
    child->pid = pid;
    if (child->kill_sent) {
        send_signal(child, SIGKILL);
    }
    if (watch_exit(child, &fault) != FAULT_OK) {
        send_signal(child, SIGKILL);
        (void)reap(child, 0);
        end_unwatched(child, "watch a process", fault.msg);
    }
}

const struct child_end *
child_result(const struct child *child)
{
    return child->is_over ? &child->end : NULL;
}

int
child_pid(struct child *child)
{
    stem_await(child->stem, &child->start);
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
    return code;
}

static struct child *
make_child(struct loop *loop, struct stem *stem, const struct child_options *options,
           const struct child_calls *calls)
{
    struct child *child = mem_zalloc(sizeof *child);

    if (child == NULL) {
        return NULL;
    }
    child->loop = loop;
    child->stem = stem;
    child->orders = orders_of(options);
    child->start = (struct stem_wait){.fn = on_started, .arg = child};
    child->calls = *calls;
    child->options = *options;
    child->pid_fd = child->output_fd = -1;
    child->ends = (struct ends){{-1, -1}, {-1, -1}};
    child->output = mem_alloc(OUTPUT_HELD_MAX);
    if (child->output == NULL) {
        mem_free(child);
        return NULL;
    }
    return child;
}

enum fault_code
child_spawn(struct loop *loop, struct stem *stem, const struct child_options *options,
            const struct child_calls *calls, struct child **out, struct fault *fault)
{
    struct child *child = make_child(loop, stem, options, calls);
    enum fault_code code;

    *out = NULL;
    if (child == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    code = open_ends(&child->ends, fault);
    if (code == FAULT_OK) {
        code = watch_all(child, &child->ends, fault);
    }
    if (code == FAULT_OK) {
        code = stem_branch(stem, &child->orders, child->ends.link[1], child->ends.output[1],
                           &child->start, fault);
    }
    if (code != FAULT_OK) {
        child_free(child);
        return code;
    }
    *out = child;
    return FAULT_OK;
}

static void
ignore(void *arg)
{
    (void)arg;
}

void
child_free(struct child *child)
{
    static const struct child_calls no_calls = {ignore, ignore, ignore, ignore, NULL};

    if (child == NULL) {
        return;
    }
    child->calls = no_calls;
    child_kill(child, CHILD_KILLED, NULL);
    stem_await(child->stem, &child->start);
    if (child->pid > 0) {
        (void)reap(child, 0);
    }
    loop_watch_free(child->exit_watch);
    end_output(child);
    link_close(child->link);
    close_ends(&child->ends);
    close_fd(&child->pid_fd);
    mem_free(child->output);
    mem_free(child);
}
