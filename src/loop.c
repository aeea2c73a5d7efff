/*
 * loop: libuv, the clocks, the ready queue and the turns; see loop.h.
 */
#include "loop_int.h"

#include "buf.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS_MIN 12u
#define BUSY_TURNS_MAX 8u /* turns with work before the kernel is asked again */

static void
ignore_wake(uv_async_t *wake)
{
    (void)wake; /* its arrival ends the poll, nothing else is needed */
}

enum fault_code
loop_new_cold(struct loop **out, struct fault *fault)
{
    struct loop *loop = mem_zalloc(sizeof *loop);

    *out = loop;
    if (loop == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    loop->timer_fd = -1;
    loop->armed_ms = LOOP_NOT_ARMED;
    loop->is_cold = 1;
    return FAULT_OK;
}

enum fault_code
loop_warm(struct loop *loop, struct fault *fault)
{
    struct rlimit limit;
    int err;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS_MIN) {
        /* libuv would abort */
        return fault_set(fault, FAULT_IO, "start the event loop: too few descriptors are"
                                          " allowed (ulimit -n says %u, %u are needed)",
                         (unsigned)limit.rlim_cur, DESCRIPTORS_MIN);
    }
    err = uv_loop_init(&loop->uv);
    if (err != 0) {
        return fault_set(fault, FAULT_IO, "start the event loop: %s", uv_strerror(err));
    }
    err = uv_async_init(&loop->uv, &loop->wake, ignore_wake);
    if (err != 0) {
        (void)uv_loop_close(&loop->uv); /* empty: cannot be busy */
        return fault_set(fault, FAULT_IO, "start the event loop: %s", uv_strerror(err));
    }
    (void)uv_timer_init(&loop->uv, &loop->near_timer); /* cannot fail */
    loop->is_cold = 0;
    /* The wake handle stays referenced, so that a poll also sees signals when
     * nothing else is watched; whether anything is left to wait for is counted
     * by this room itself. */
    return FAULT_OK;
}

enum fault_code
loop_new(struct loop **out, struct fault *fault)
{
    enum fault_code code = loop_new_cold(out, fault);

    if (*out == NULL) {
        return code;
    }
    code = loop_warm(*out, fault);
    if (code != FAULT_OK) {
        loop_free(*out);
        *out = NULL;
    }
    return code;
}

static void
cool(struct loop *loop)
{
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->near_timer, NULL);
    if (loop->timer_fd >= 0) {
        uv_close((uv_handle_t *)&loop->timer_poll, NULL);
    }
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* runs the close callbacks */
    if (loop->timer_fd >= 0) {
        (void)close(loop->timer_fd);
    }
    (void)uv_loop_close(&loop->uv);
}

void
loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (!loop->is_cold) {
        cool(loop);
    }
    mem_free(loop->heap);
    mem_free(loop);
}

/* Clocks ------------------------------------------------------------------ */

uint64_t
loop_boot_ms(struct loop *loop)
{
    struct timespec ts;

    if (loop->is_virtual) {
        return loop->virtual_ms;
    }
    (void)clock_gettime(CLOCK_BOOTTIME, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

int64_t
loop_real_us(struct loop *loop)
{
    struct timespec ts;

    if (loop->is_virtual) {
        return loop->virtual_start_us
               + (int64_t)(loop->virtual_ms - loop->virtual_base_ms) * 1000;
    }
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void
loop_set_virtual(struct loop *loop, int64_t start_us)
{
    loop->virtual_ms = loop_boot_ms(loop);
    loop->virtual_base_ms = loop->virtual_ms;
    loop->virtual_start_us = start_us;
    loop->is_virtual = 1;
}

int
loop_is_virtual(const struct loop *loop)
{
    return loop->is_virtual;
}

void
loop_advance(struct loop *loop, int64_t real_us)
{
    int64_t ms = (real_us - loop_real_us(loop) + 500) / 1000;

    if (loop->is_virtual && ms > 0) {
        loop->virtual_ms += (uint64_t)ms;
    }
}

int
loop_next_due(struct loop *loop, uint64_t *ms)
{
    uint64_t now;

    if (loop->heap_len == 0) {
        return 0;
    }
    now = loop_boot_ms(loop);
    *ms = loop->heap[0]->due_ms > now ? loop->heap[0]->due_ms - now : 0;
    return 1;
}

void
loop_hold(struct loop *loop)
{
    loop->holds++;
}

void
loop_release(struct loop *loop)
{
    loop->holds--;
}

/* Jobs -------------------------------------------------------------------- */

static int
is_queued(const struct loop *loop, const struct loop_job *job)
{
    return job->prev != NULL || loop->first == job;
}

void
loop_post(struct loop *loop, struct loop_job *job, loop_fn fn, void *arg)
{
    job->fn = fn;
    job->arg = arg;
    if (is_queued(loop, job)) {
        return;
    }
    job->next = NULL;
    job->prev = loop->last;
    if (loop->last != NULL) {
        loop->last->next = job;
    } else {
        loop->first = job;
    }
    loop->last = job;
}

void
loop_unpost(struct loop *loop, struct loop_job *job)
{
    if (!is_queued(loop, job)) {
        return;
    }
    if (job->prev != NULL) {
        job->prev->next = job->next;
    } else {
        loop->first = job->next;
    }
    if (job->next != NULL) {
        job->next->prev = job->prev;
    } else {
        loop->last = job->prev;
    }
    job->next = job->prev = NULL;
}

/* Runs what is queued now; what is queued meanwhile waits for the next turn. */
static void
run_jobs(struct loop *loop)
{
    struct loop_job *stop = loop->last;
    int more = loop->first != NULL;

    while (more && loop->first != NULL) {
        struct loop_job *job = loop->first;

        more = job != stop;
        loop_unpost(loop, job);
        job->fn(job->arg);
    }
}

/* Running ------------------------------------------------------------------ */

void
loop_wakeup(struct loop *loop)
{
    (void)uv_async_send(&loop->wake); /* cannot fail on an open handle */
}

void
loop_on_wait(struct loop *loop, loop_fn fn, void *arg)
{
    loop->before_wait = fn;
    loop->before_wait_arg = arg;
}

static int
has_future(const struct loop *loop)
{
    return loop->first != NULL || loop->heap_len > 0 || loop->live_watches > 0
           || loop->holds > 0;
}

/* Blocks in the poll until something happens. */
static void
wait_for_event(struct loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
}

/* One turn in which nothing is ready: wait, or let virtual time jump. */
static void
wait_turn(struct loop *loop)
{
    uint64_t now;

    if (loop->is_virtual) {
        if (loop->holds > 0 || loop->heap_len == 0) {
            wait_for_event(loop);
            return;
        }
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        if (loop->first == NULL && loop->holds == 0 && loop->heap_len > 0
            && loop->heap[0]->due_ms > loop->virtual_ms) {
            loop->virtual_ms = loop->heap[0]->due_ms;
        }
        return;
    }
    now = loop->heap_len > 0 ? loop_boot_ms(loop) : 0;
    if (loop->heap_len > 0 && loop->heap[0]->due_ms <= now) {
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    if (loop_arm_timer(loop, now) == 0) {
        wait_for_event(loop);
    } else {
        (void)usleep(1000); /* out of descriptors: poll by hand */
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
}

int
loop_run(struct loop *loop, int (*done)(void *arg), void *arg)
{
    while (!done(arg)) {
        if (!has_future(loop)) {
            return 0;
        }
        if (loop->first == NULL) {
            loop->busy_turns = 0;
            if (loop->before_wait != NULL) {
                loop->before_wait(loop->before_wait_arg);
            }
            wait_turn(loop);
        } else if (++loop->busy_turns >= BUSY_TURNS_MAX) {
            loop->busy_turns = 0;
            (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        }
        loop_fire_timers(loop);
        run_jobs(loop);
    }
    return 1;
}
