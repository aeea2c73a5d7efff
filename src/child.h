/*
 * child: a process of this very program that holds one playbook run, a branch of the
 * stem, shut in as child mode (host/child_mode.c) does it. Owns the process, the link to it and
 * the pipe that its output comes through. Knows no Lua.
 *
 * The process inherits nothing but that: a clean environment, its descriptors
 * 0 (/dev/null), 1 and 2 (the pipe), 3 (the link). It leads a session of its own,
 * and dies with the thread that made it.
 */
#ifndef MOONTAP_CHILD_H
#define MOONTAP_CHILD_H

#include "link.h"
#include "stem.h"

struct child;

struct child_options {
    size_t memory_max;    /* bytes of Lua's memory; address space in all: some more */
    unsigned cpu_seconds; /* processor time */
    size_t frame_max;     /* longest frame, either way */
    size_t send_max;      /* bytes waiting to be sent before child_has_room says no */
    unsigned per_second;  /* frames from it in a second before it is killed */
    uint64_t output_max;  /* bytes of output in all before it is killed; each line counts as
                           * some more */
    const char *zone;     /* TZ of the process; NULL: the host's default */
};

/* What ended it, the first that holds. */
enum child_reason {
    CHILD_EXITED,   /* by itself; see the status */
    CHILD_KILLED,   /* child_kill, or a signal from elsewhere */
    CHILD_DEADLINE, /* child_kill with this reason */
    CHILD_MEMORY,
    CHILD_CPU,
    CHILD_FRAMES,     /* sent what is no frame, a too long one, or too many */
    CHILD_OUTPUT,     /* wrote more than output_max */
    CHILD_SECCOMP,    /* a system call of another architecture */
    CHILD_CRASHED,    /* a signal of its own making */
    CHILD_NO_SANDBOX, /* could not be shut in, and did not start */
    CHILD_NOT_STARTED /* there was no process, or none that could be watched */
};

/* "exited", "killed", …; never NULL. */
const char *child_reason_word(enum child_reason reason);

/* Exit statuses of child mode that mean something here. */
#define CHILD_STATUS_MEMORY 101
#define CHILD_STATUS_NO_SANDBOX STEM_STATUS_REFUSED

struct child_end {
    enum child_reason reason;
    int status; /* exit status, 0 when a signal ended it */
    int signal; /* 0: none */
    uint64_t cpu_ms;
    uint64_t max_rss;           /* bytes */
    char detail[FAULT_MSG_MAX]; /* what was wrong with a frame; "" */
};

/* Called from the loop. They may not free the child. */
struct child_calls {
    loop_fn received; /* a frame can be taken, or none will come any more */
    loop_fn has_room;
    loop_fn output; /* there is output to read, or none will come any more */
    loop_fn ended;  /* child_result has it */
    void *arg;
};

/* A branch of STEM, which must live longer than it. It is on its way when this returns;
 * one that could not be made ends, with reason CHILD_NOT_STARTED. */
enum fault_code
child_spawn(struct loop *loop, struct stem *stem, const struct child_options *options,
            const struct child_calls *calls, struct child **out, struct fault *fault);
/* Kills it if need be, reaps it (milliseconds, see stem_await) and frees all. NULL: nothing. Nobody
 * is called any more. */
void child_free(struct child *child);

/* Its link, for link_send and link_has_room. */
struct link *child_link(struct child *child);

/* The next frame from it, or NULL. *IS_OVER: none will come any more. */
struct frame *child_receive(struct child *child, int *is_over);

/* Reads output into TO; 0: nothing now. *IS_OVER: none will come any more. */
size_t child_read_output(struct child *child, char *to, size_t n, int *is_over);

/* Its end, or NULL while it lives. Borrowed. */
const struct child_end *child_result(const struct child *child);

/* SIGTERM to its process group. */
void child_terminate(struct child *child);
/* SIGKILL to its process group, for REASON; DETAIL (copied) may be NULL. */
void child_kill(struct child *child, enum child_reason reason, const char *detail);

/* 0: it has ended. This and the two above block while it is on its way, see stem_await. */
int child_pid(struct child *child);

/* What descriptor of the process is its end of the link. */
#define CHILD_LINK_FD STEM_LINK_FD

#endif
