/*
 * loop: the only place of the program that waits. Owns libuv, the one timer
 * heap, the ready queue and the clocks; knows no Lua.
 *
 * Callbacks run from loop_run and never nest: a callback may start and stop
 * timers, watches and jobs, but never calls loop_run.
 *
 * Two kinds of clock. Real: deadlines on CLOCK_BOOTTIME (they go on while the
 * machine sleeps), calendar time on CLOCK_REALTIME. Virtual: both stand still
 * while anything is ready or held, and jump to the next timer when nothing is.
 */
#ifndef MOONTAP_LOOP_H
#define MOONTAP_LOOP_H

#include "fault.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct loop_watch;
struct loop_signal;

typedef void (*loop_fn)(void *arg);
/* EVENTS is a set of LOOP_READ, LOOP_WRITE; both when the descriptor failed. */
typedef void (*loop_watch_fn)(void *arg, unsigned events);

#define LOOP_READ 1u
#define LOOP_WRITE 2u

/* Owned by its user, zero-initialised; must be stopped before it goes away. */
struct loop_timer {
    uint64_t due_ms;  /* loop_boot_ms at which it fires */
    uint64_t order;   /* start order: equal due times fire in that order */
    size_t slot;      /* place in the heap + 1; 0 when not running */
    loop_fn fn;
    void *arg;
};

/* One entry of the ready queue, owned by its user, zero-initialised. */
struct loop_job {
    struct loop_job *next, *prev; /* both NULL when not queued */
    loop_fn fn;
    void *arg;
};

enum fault_code loop_new(struct loop **out, struct fault *fault);
/* The same in two steps: between them it holds nothing of the kernel's, so that the
 * process may fork, and nothing may be watched or run. */
enum fault_code loop_new_cold(struct loop **out, struct fault *fault);
/* When it fails the loop stays cold. */
enum fault_code loop_warm(struct loop *loop, struct fault *fault);
/* All watches and signals must be freed before. */
void loop_free(struct loop *loop);

/* Milliseconds since boot (CLOCK_BOOTTIME), or virtual ones. */
uint64_t loop_boot_ms(struct loop *loop);
/* Microseconds since 1970 (CLOCK_REALTIME), or virtual ones. */
int64_t loop_real_us(struct loop *loop);

/* From now on time is virtual and starts at START_US since 1970. Only before
 * the first timer is started. */
void loop_set_virtual(struct loop *loop, int64_t start_us);
int loop_is_virtual(const struct loop *loop);
/* Virtual time that follows another clock: moves on to REAL_US since 1970, never
 * back. What becomes due fires in the next turn. Hold the loop, so that it does not
 * jump by itself. */
void loop_advance(struct loop *loop, int64_t real_us);
/* Milliseconds until the next timer is due, in *MS; 0 when there is no timer. */
int loop_next_due(struct loop *loop, uint64_t *ms);

/* While held more often than released, virtual time does not jump: something
 * real (an exchange on a socket) is on its way. No effect on a real clock. */
void loop_hold(struct loop *loop);
void loop_release(struct loop *loop);

/* Runs FN(ARG) in DELAY_MS; restarts a running timer. FAULT_NOMEM when the
 * heap cannot grow; the timer is then stopped. */
enum fault_code loop_timer_start(struct loop *loop, struct loop_timer *t,
                                 uint64_t delay_ms, loop_fn fn, void *arg);
/* Works on a stopped timer too. */
void loop_timer_stop(struct loop *loop, struct loop_timer *t);
static inline int
loop_timer_active(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* Queues JOB for the next turn, once, behind what is queued. Never fails. */
void loop_post(struct loop *loop, struct loop_job *job, loop_fn fn, void *arg);
/* Takes JOB out of the queue; works on a job that is not queued. */
void loop_unpost(struct loop *loop, struct loop_job *job);

/* Watches FD (borrowed) for EVENTS until loop_watch_free. The free is
 * complete for the caller at once; FD may be closed right after it. */
enum fault_code loop_watch_new(struct loop *loop, int fd, unsigned events,
                               loop_watch_fn fn, void *arg,
                               struct loop_watch **out, struct fault *fault);
void loop_watch_free(struct loop_watch *watch);
/* From now on WATCH is for EVENTS; none: it rests, and still counts. */
void loop_watch_events(struct loop_watch *watch, unsigned events);

/* Calls FN(ARG) from the loop after SIGNUM was delivered. */
enum fault_code loop_signal_new(struct loop *loop, int signum, loop_fn fn,
                                void *arg, struct loop_signal **out,
                                struct fault *fault);
void loop_signal_free(struct loop_signal *sig);

/* Calls FN(ARG) each time before the loop waits; NULL takes it back. There is
 * room for one. */
void loop_on_wait(struct loop *loop, loop_fn fn, void *arg);

/* A watch or signal that does not count as something to wait for: loop_run
 * returns although it is still there (signals never count). */
void loop_watch_unref(struct loop_watch *watch);

/* Makes the loop turn once more. The only function that a signal handler or
 * another thread may call. */
void loop_wakeup(struct loop *loop);

/*
 * Runs until DONE(ARG) is nonzero (returns 1), or until nothing is left that
 * could ever happen (returns 0): no job, no timer, no watch that counts.
 */
int loop_run(struct loop *loop, int (*done)(void *arg), void *arg);

#endif
