/*
 * loop_timer: the heap of timers, and how the poll ends in time for the first.
 * What is due soon ends the poll by the poll's own time-out, which costs no
 * call of its own but stands still while the machine sleeps. What is due later
 * is armed through one timerfd on CLOCK_BOOTTIME, touched only when the next
 * due time comes earlier than what is armed.
 */
#include "loop_int.h"

#include "buf.h"

#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NEAR_MS 1000u
#define HEAP_FIRST 64u

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

void
loop_fire_timers(struct loop *loop)
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
    loop->armed_ms = LOOP_NOT_ARMED;
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

int
loop_arm_timer(struct loop *loop, uint64_t now)
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
    /* A delay, not a due time: the kernel counts both through a sleep of the machine, and
     * libfaketime takes every due time for one of the calendar. */
    memset(&spec, 0, sizeof spec);
    spec.it_value.tv_sec = (time_t)((due - now) / 1000u);
    spec.it_value.tv_nsec = (long)((due - now) % 1000u) * 1000000L;
    if (timerfd_settime(loop->timer_fd, 0, &spec, NULL) != 0) {
        return -1;
    }
    loop->armed_ms = due;
    return 0;
}
