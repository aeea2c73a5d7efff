/*
 * stem: a process of this very program that waits to branch. It is executed once
 * and gets as far as a run's process can get without knowing of a run; for each
 * run it forks, which costs a fraction of executing, linking and loading again.
 * What branches off is a child of the host, not of the stem: the host waits for
 * it, and it dies with the host.
 *
 * The stem holds nothing of the host's memory, no secret, no file but /dev/null
 * and its socket, and runs no code of a playbook. So nothing crosses from one
 * run's process to another. Knows no Lua.
 */
#ifndef MOONTAP_STEM_H
#define MOONTAP_STEM_H

#include "loop.h"

#include <sys/types.h>

#define STEM_LINK_FD 3
#define STEM_ZONE_MAX 256
#define STEM_STATUS_REFUSED 102 /* a branch's exit status: not without its limits */

/* What a branch is told; it crosses as it stands here. */
struct stem_orders {
    uint64_t number; /* stem_branch gives it */
    pid_t parent;
    size_t memory_max;  /* bytes of Lua's memory */
    size_t address_max; /* bytes of address space; 0: any */
    size_t frame_max, send_max;
    unsigned cpu_seconds;     /* processor time */
    char zone[STEM_ZONE_MAX]; /* TZ; "": the system's */
};

/* One who waits for a branch; owned by its user, zero-initialised. */
struct stem_wait {
    struct stem_wait *next;
    uint64_t number; /* of its request */
    /* Called from the loop, stem_await or stem_branch, once: its process id, or -1 and why,
     * see stem_why. Then nothing of it has begun, and it may ask again at once, except after
     * ECANCELED. */
    void (*fn)(void *arg, pid_t pid, int why);
    void *arg;
    int is_waiting;
};

/* The host's side ------------------------------------------------------------------- */

struct stem;

/* Its process starts with the first branch, and again with the next when it died. */
/* One that dies, branches no more, or gives no answer for two seconds is replaced. */
enum fault_code stem_new(struct loop *loop, struct stem **out, struct fault *fault);
/* NULL: nothing. Those who wait are told first. Branches go on. */
void stem_free(struct stem *stem);

/*
 * Asks for a branch on ORDERS with descriptor LINK_FD as its 3, OUTPUT_FD as its 1
 * and 2 (both borrowed). WAIT is told later. FAULT_IO, and WAIT is not told.
 */
enum fault_code stem_branch(struct stem *stem, const struct stem_orders *orders, int link_fd,
                            int output_fd, struct stem_wait *wait, struct fault *fault);
/* Blocks until WAIT was told: as long as a fork takes. A stem that says nothing for two
 * seconds is ended, and those who wait for it are told. */
void stem_await(struct stem *stem, struct stem_wait *wait);
/* The words for a WHY. */
const char *stem_why(int why);

/* The process's side ------------------------------------------------------------------ */

/* Is this the command line of a stem, and descriptor 3 its socket? */
int stem_is_meant(int argc, char **argv);
/*
 * Branches as it is asked to. Returns 1 in each branch, with what it was told: shut
 * off from the stem, within its limits, with descriptors 0 (/dev/null), 1, 2 and 3
 * alone, and SIGTERM blocked until stem_let_terminate; 0 in the stem when the host is gone.
 */
int stem_serve(struct stem_orders *out);
/* Lets SIGTERM through, as soon as the branch knows what to do then. */
void stem_let_terminate(void);

#endif
