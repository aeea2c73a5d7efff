/*
 * loop_int: what the files of the loop share; nobody else includes it.
 * loop.c has the clocks, the ready queue and the turns, loop_timer.c the heap
 * of timers, loop_watch.c descriptors and signals.
 */
#ifndef MOONTAP_LOOP_INT_H
#define MOONTAP_LOOP_INT_H

#include "loop.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define LOOP_NOT_ARMED UINT64_MAX

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t near_timer;     /* at what is due within NEAR_MS */
    uv_poll_t timer_poll;
    int timer_fd;              /* -1 until something waits for long in real time */
    uint64_t armed_ms;         /* what timer_fd is set to, or LOOP_NOT_ARMED */
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
    int is_cold; /* UV is not there yet */
    uint64_t virtual_ms;
    int64_t virtual_start_us;  /* calendar time at virtual_base_ms */
    uint64_t virtual_base_ms;
};

/* Fires what is due, except timers started by what fires here. */
void loop_fire_timers(struct loop *loop);

/* Makes the poll end when the next timer is due, which it is not yet at `now`
 * (milliseconds of the boot clock). Returns -1 when no timer descriptor can be
 * had: the caller must then not block. */
int loop_arm_timer(struct loop *loop, uint64_t now);

#endif
