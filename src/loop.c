/*
 * loop: libuv, one timer heap, the ready queue and the clocks; see loop.h.
 * What is due soon ends the poll by the poll's own time-out, which costs no
 * call of its own but stands still while the machine sleeps. What is due later
 * is armed through one timerfd on CLOCK_BOOTTIME, touched only when the next
 * due time comes earlier than what is armed.
 */
#include "loop.h"

#include "buf.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define NOT_ARMED UINT64_MAX
#define NEAR_MS 1000u
#define HEAP_FIRST 64u
#define DESCRIPTORS_MIN 12u
#define BUSY_TURNS_MAX 8u /* turns with work before the kernel is asked again */

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t near_timer;     /* at what is due within NEAR_MS */
    uv_poll_t timer_poll;
    int timer_fd;              /* -1 until something waits for long in real time */
    uint64_t armed_ms;         /* what timer_fd is set to, or NOT_ARMED */
    struct loop_timer **heap;  /* binary heap on (due_ms, order) */
    size_t heap_len, heap_cap;
    uint64_t next_order;
    struct loop_job *first, *last; /* the ready queue */
    unsigned live_watches;     /* those that count as something to wait for */
    unsigned holds;
    loop_fn before_wait;       /* may be NULL */
    void *before_wait_arg;
    unsigned busy_turns;       /* since the kernel was asked last */
    int is_virtual;
    uint64_t virtual_ms;
    int64_t virtual_start_us;  /* calendar time at virtual_base_ms */
    uint64_t virtual_base_ms;
};

struct loop_watch {
    uv_poll_t poll;
    struct loop *loop;
    loop_watch_fn fn;
    void *arg;
    int counted;
};

struct loop_signal {
    uv_signal_t uv;
    loop_fn fn;
    void *arg;
};

static void
ignore_wake(uv_async_t *wake)
{
    (void)wake; /* its arrival ends the poll, nothing else is needed */
}

enum fault_code
loop_new(struct loop **out, struct fault *fault)
{
    struct loop *loop = mem_zalloc(sizeof *loop);
    int err;

    struct rlimit limit;

    *out = NULL;
    if (loop == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS_MIN) {
        mem_free(loop); /* libuv would abort */
        return fault_set(fault, FAULT_IO, "start the event loop: too few descriptors are"
                                          " allowed (ulimit -n says %u, %u are needed)",
                         (unsigned)limit.rlim_cur, DESCRIPTORS_MIN);
    }
    loop->timer_fd = -1;
    loop->armed_ms = NOT_ARMED;
    err = uv_loop_init(&loop->uv);
    if (err != 0) {
        mem_free(loop);
        return fault_set(fault, FAULT_IO, "start the event loop: %s", uv_strerror(err));
    }
    err = uv_async_init(&loop->uv, &loop->wake, ignore_wake);
    if (err != 0) {
        (void)uv_loop_close(&loop->uv); /* empty: cannot be busy */
        mem_free(loop);
        return fault_set(fault, FAULT_IO, "start the event loop: %s", uv_strerror(err));
    }
    (void)uv_timer_init(&loop->uv, &loop->near_timer); /* cannot fail */
    /* The wake handle stays referenced, so that a poll also sees signals when
     * nothing else is watched; whether anything is left to wait for is counted
     * by this room itself. */
    *out = loop;
    return FAULT_OK;
}

void
loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
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

/* Timers ------------------------------------------------------------------ */

static int
fires_before(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void
place(struct loop *loop, size_t i, struct loop_timer *t)
{
    loop->heap[i] = t;
    t->slot = i + 1;
}

static void
sift_up(struct loop *loop, size_t i, struct loop_timer *t)
{
    while (i > 0 && fires_before(t, loop->heap[(i - 1) / 2])) {
        place(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(loop, i, t);
}

static void
sift_down(struct loop *loop, size_t i, struct loop_timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= loop->heap_len) {
            break;
        }
        if (child + 1 < loop->heap_len
            && fires_before(loop->heap[child + 1], loop->heap[child])) {
            child++;
        }
        if (!fires_before(loop->heap[child], t)) {
            break;
        }
        place(loop, i, loop->heap[child]);
        i = child;
    }
    place(loop, i, t);
}

static int
grow_heap(struct loop *loop)
{
    size_t cap = loop->heap_cap == 0 ? HEAP_FIRST : loop->heap_cap * 2;
    struct loop_timer **heap = mem_realloc(loop->heap, cap * sizeof *heap);

    if (heap == NULL) {
        return -1;
    }
    loop->heap = heap;
    loop->heap_cap = cap;
    return 0;
}

enum fault_code
loop_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms,
                 loop_fn fn, void *arg)
{
    loop_timer_stop(loop, t);
    if (loop->heap_len == loop->heap_cap && grow_heap(loop) != 0) {
        return FAULT_NOMEM;
    }
    t->due_ms = loop_boot_ms(loop) + delay_ms;
    t->order = loop->next_order++;
    t->fn = fn;
    t->arg = arg;
    sift_up(loop, loop->heap_len++, t);
    return FAULT_OK;
}

void
loop_timer_stop(struct loop *loop, struct loop_timer *t)
{
    size_t i = t->slot;
    struct loop_timer *moved;

    if (i == 0) {
        return;
    }
    i--;
    t->slot = 0;
    moved = loop->heap[--loop->heap_len];
    if (moved == t) {
        return;
    }
    if (i > 0 && fires_before(moved, loop->heap[(i - 1) / 2])) {
        sift_up(loop, i, moved);
    } else {
        sift_down(loop, i, moved);
    }
}

/* Fires what is due, except timers started by what fires here. */
static void
fire_timers(struct loop *loop)
{
    uint64_t now;
    uint64_t order = loop->next_order;

    if (loop->heap_len == 0) {
        return;
    }
    now = loop_boot_ms(loop);
    while (loop->heap_len > 0 && loop->heap[0]->due_ms <= now
           && loop->heap[0]->order < order) {
        struct loop_timer *t = loop->heap[0];

        loop_timer_stop(loop, t);
        t->fn(t->arg);
    }
}

static void
on_near_timer(uv_timer_t *timer)
{
    (void)timer; /* the poll has ended, nothing else is needed */
}

static void
on_timer_fd(uv_poll_t *poll, int status, int events)
{
    struct loop *loop = poll->data;
    uint64_t expirations;

    (void)status;
    (void)events;
    (void)!read(loop->timer_fd, &expirations, sizeof expirations);
    loop->armed_ms = NOT_ARMED;
}

static int
open_timer_fd(struct loop *loop)
{
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0) {
        return -1;
    }
    if (uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd) != 0) {
        (void)close(loop->timer_fd);
        loop->timer_fd = -1;
        return -1;
    }
    loop->timer_poll.data = loop;
    (void)uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer_fd);
    return 0;
}

/* Makes the poll end when the next timer is due, which it is not yet. Returns
 * -1 when no timer descriptor can be had: the caller must then not block. */
static int
arm_timer(struct loop *loop, uint64_t now)
{
    struct itimerspec spec;
    uint64_t due;

    (void)uv_timer_stop(&loop->near_timer);
    if (loop->heap_len == 0 || loop->heap[0]->due_ms >= loop->armed_ms) {
        return 0;
    }
    due = loop->heap[0]->due_ms;
    if (due - now <= NEAR_MS) {
        uv_update_time(&loop->uv);
        /* repeats, because libuv runs timers before it polls too */
        return uv_timer_start(&loop->near_timer, on_near_timer, due - now, 1);
    }
    if (loop->timer_fd < 0 && open_timer_fd(loop) != 0) {
        return -1;
    }
    memset(&spec, 0, sizeof spec);
    spec.it_value.tv_sec = (time_t)(due / 1000u);
    spec.it_value.tv_nsec = (long)(due % 1000u) * 1000000L;
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) != 0) {
        return -1;
    }
    loop->armed_ms = due;
    return 0;
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

/* Watches and signals ------------------------------------------------------ */

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop_watch *watch = poll->data;
    unsigned happened = 0;

    if (status < 0) {
        happened = LOOP_READ | LOOP_WRITE;
    }
    if ((events & UV_READABLE) != 0) {
        happened |= LOOP_READ;
    }
    if ((events & UV_WRITABLE) != 0) {
        happened |= LOOP_WRITE;
    }
    watch->fn(watch->arg, happened);
}

/* Fails only when closing. */
void
loop_watch_events(struct loop_watch *watch, unsigned events)
{
    int mask = ((events & LOOP_READ) != 0 ? UV_READABLE : 0)
               | ((events & LOOP_WRITE) != 0 ? UV_WRITABLE : 0);

    if (mask != 0) {
        (void)uv_poll_start(&watch->poll, mask, on_poll);
    } else {
        (void)uv_poll_stop(&watch->poll);
    }
}

enum fault_code
loop_watch_new(struct loop *loop, int fd, unsigned events, loop_watch_fn fn,
               void *arg, struct loop_watch **out, struct fault *fault)
{
    struct loop_watch *watch = mem_zalloc(sizeof *watch);
    int err;

    *out = NULL;
    if (watch == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    err = uv_poll_init(&loop->uv, &watch->poll, fd);
    if (err != 0) {
        mem_free(watch);
        return fault_set(fault, FAULT_IO, "watch descriptor %d: %s", fd, uv_strerror(err));
    }
    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    watch->poll.data = watch;
    watch->counted = 1;
    loop->live_watches++;
    loop_watch_events(watch, events);
    *out = watch;
    return FAULT_OK;
}

static void
free_watch(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void
loop_watch_unref(struct loop_watch *watch)
{
    if (watch->counted) {
        watch->counted = 0;
        watch->loop->live_watches--;
    }
}

void
loop_watch_free(struct loop_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    loop_watch_unref(watch);
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, free_watch);
}

static void
on_signal(uv_signal_t *uv, int signum)
{
    struct loop_signal *sig = uv->data;

    (void)signum;
    sig->fn(sig->arg);
}

static void
free_signal(uv_handle_t *handle)
{
    mem_free(handle->data);
}

enum fault_code
loop_signal_new(struct loop *loop, int signum, loop_fn fn, void *arg,
                struct loop_signal **out, struct fault *fault)
{
    struct loop_signal *sig = mem_zalloc(sizeof *sig);
    int err;

    *out = NULL;
    if (sig == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    sig->fn = fn;
    sig->arg = arg;
    sig->uv.data = sig;
    err = uv_signal_init(&loop->uv, &sig->uv);
    if (err != 0) {
        mem_free(sig);
        return fault_set(fault, FAULT_IO, "watch signal %d: %s", signum, uv_strerror(err));
    }
    uv_unref((uv_handle_t *)&sig->uv);
    err = uv_signal_start(&sig->uv, on_signal, signum);
    if (err != 0) {
        uv_close((uv_handle_t *)&sig->uv, free_signal);
        return fault_set(fault, FAULT_IO, "watch signal %d: %s", signum, uv_strerror(err));
    }
    *out = sig;
    return FAULT_OK;
}

void
loop_signal_free(struct loop_signal *sig)
{
    if (sig == NULL) {
        return;
    }
    (void)uv_signal_stop(&sig->uv);
    uv_close((uv_handle_t *)&sig->uv, free_signal);
}

void
loop_wakeup(struct loop *loop)
{
    (void)uv_async_send(&loop->wake); /* cannot fail on an open handle */
}

/* Running ------------------------------------------------------------------ */

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
    if (arm_timer(loop, now) == 0) {
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
        fire_timers(loop);
        run_jobs(loop);
    }
    return 1;
}
