/* loop: order of timers and jobs, virtual time, watches. */
#include "buf.h"
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MAX 64

struct log {
    struct loop *loop;
    int entries[LOG_MAX];
    int count;
    int stop_at; /* loop_run ends after so many entries */
};

struct entry {
    struct log *log;
    int id;
    struct loop_timer timer;
    struct loop_job job;
};

static void
note(void *arg)
{
    struct entry *entry = arg;

    entry->log->entries[entry->log->count++] = entry->id;
}

static void
note_event(void *arg, unsigned events)
{
    assert_true((events & LOOP_READ) != 0);
    note(arg);
}

static int
is_done(void *arg)
{
    struct log *log = arg;

    return log->count >= log->stop_at;
}

static int
setup(void **state)
{
    struct log *log = calloc(1, sizeof *log);
    struct fault fault;

    assert_int_equal(loop_new(&log->loop, &fault), FAULT_OK);
    *state = log;
    return 0;
}

static int
teardown(void **state)
{
    struct log *log = *state;

    loop_free(log->loop);
    free(log);
    return 0;
}

static void
test_loop_virtual_time_jumps_to_the_next_timer(void **state)
{
    struct log *log = *state;
    struct entry a = {.log = log, .id = 1}, b = {.log = log, .id = 2};
    uint64_t start;

    loop_set_virtual(log->loop, 1000000);
    start = loop_boot_ms(log->loop);
    log->stop_at = 2;
    assert_int_equal(loop_timer_start(log->loop, &a.timer, 300000, note, &a), FAULT_OK);
    assert_int_equal(loop_timer_start(log->loop, &b.timer, 100000, note, &b), FAULT_OK);
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_int_equal(log->entries[0], 2);
    assert_int_equal(log->entries[1], 1);
    assert_int_equal(loop_boot_ms(log->loop) - start, 300000);
    assert_int_equal(loop_real_us(log->loop), 1000000 + 300000 * 1000LL);
}

static void
test_loop_equal_due_times_fire_in_start_order(void **state)
{
    struct log *log = *state;
    struct entry entries[20];

    loop_set_virtual(log->loop, 0);
    log->stop_at = 20;
    for (int i = 0; i < 20; i++) {
        entries[i] = (struct entry){.log = log, .id = i};
        assert_int_equal(loop_timer_start(log->loop, &entries[i].timer, 5, note,
                                          &entries[i]), FAULT_OK);
    }
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(log->entries[i], i);
    }
}

static void
test_loop_stopped_timers_never_fire_whatever_the_order(void **state)
{
    enum { COUNT = 500 };
    struct log *log = *state;
    struct entry *entries = calloc(COUNT, sizeof *entries);
    struct entry last = {.log = log, .id = -1};
    unsigned seed = 1;

    loop_set_virtual(log->loop, 0);
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 1103515245u + 12345u;
        entries[i] = (struct entry){.log = log, .id = i};
        assert_int_equal(loop_timer_start(log->loop, &entries[i].timer,
                                          (seed >> 16) % 1000u, note, &entries[i]), FAULT_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        if (i % 50 != 7) {
            loop_timer_stop(log->loop, &entries[i].timer);
            loop_timer_stop(log->loop, &entries[i].timer);
            assert_false(loop_timer_active(&entries[i].timer));
        }
    }
    assert_int_equal(loop_timer_start(log->loop, &last.timer, 2000, note, &last), FAULT_OK);
    log->stop_at = COUNT / 50 + 1;
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_int_equal(log->count, COUNT / 50 + 1);
    for (int i = 0; i + 1 < log->count; i++) {
        assert_int_equal(log->entries[i] % 50, 7);
    }
    assert_int_equal(log->entries[log->count - 1], -1);
    free(entries);
}

static void
test_loop_a_job_is_queued_once_and_can_be_taken_back(void **state)
{
    struct log *log = *state;
    struct entry a = {.log = log, .id = 1}, b = {.log = log, .id = 2},
                 c = {.log = log, .id = 3};

    loop_post(log->loop, &a.job, note, &a);
    loop_post(log->loop, &b.job, note, &b);
    loop_post(log->loop, &a.job, note, &a);
    loop_post(log->loop, &c.job, note, &c);
    loop_unpost(log->loop, &b.job);
    loop_unpost(log->loop, &b.job);
    log->stop_at = 10;
    assert_int_equal(loop_run(log->loop, is_done, log), 0); /* nothing is left */
    assert_int_equal(log->count, 2);
    assert_int_equal(log->entries[0], 1);
    assert_int_equal(log->entries[1], 3);
}

static void
test_loop_held_time_does_not_jump(void **state)
{
    struct log *log = *state;
    struct entry timer = {.log = log, .id = 1};
    struct loop_watch *watch;
    int fds[2];
    struct entry readable = {.log = log, .id = 2};
    struct fault fault;

    assert_int_equal(pipe(fds), 0);
    loop_set_virtual(log->loop, 0);
    loop_hold(log->loop);
    assert_int_equal(loop_timer_start(log->loop, &timer.timer, 10, note, &timer), FAULT_OK);
    assert_int_equal(loop_watch_new(log->loop, fds[0], LOOP_READ,
                                    note_event, &readable, &watch, &fault), FAULT_OK);
    assert_int_equal(write(fds[1], "x", 1), 1);
    log->stop_at = 1;
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_int_equal(log->entries[0], 2);
    loop_watch_free(watch);
    loop_release(log->loop);
    log->stop_at = 2;
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_int_equal(log->entries[1], 1);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void
test_loop_real_timers_never_fire_early(void **state)
{
    struct log *log = *state;
    struct entry a = {.log = log, .id = 1};
    uint64_t start = loop_boot_ms(log->loop);

    log->stop_at = 1;
    assert_int_equal(loop_timer_start(log->loop, &a.timer, 20, note, &a), FAULT_OK);
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_true(loop_boot_ms(log->loop) - start >= 20);
}

static void
test_loop_a_timer_that_cannot_be_kept_is_refused(void **state)
{
    struct log *log = *state;
    struct entry a = {.log = log, .id = 1};

#ifndef MOONTAP_TESTING
    skip();
#endif
    mem_fail_at(1);
    assert_int_equal(loop_timer_start(log->loop, &a.timer, 20, note, &a), FAULT_NOMEM);
    mem_fail_at(0);
    assert_false(loop_timer_active(&a.timer));
}

/* Held, it moves only as far as it is told, and never back. */
static void
test_loop_virtual_time_follows_another_clock(void **state)
{
    struct log *log = *state;
    struct entry a = {.log = log, .id = 1};
    uint64_t start, left;

    loop_set_virtual(log->loop, 5000000);
    loop_hold(log->loop);
    start = loop_boot_ms(log->loop);
    assert_int_equal(loop_next_due(log->loop, &left), 0);
    assert_int_equal(loop_timer_start(log->loop, &a.timer, 2000, note, &a), FAULT_OK);
    assert_int_equal(loop_next_due(log->loop, &left), 1);
    assert_int_equal(left, 2000);
    loop_advance(log->loop, 6500000);
    loop_advance(log->loop, 5500000);
    assert_int_equal(loop_boot_ms(log->loop) - start, 1500);
    assert_int_equal(loop_next_due(log->loop, &left), 1);
    assert_int_equal(left, 500);
    loop_advance(log->loop, 8000000);
    log->stop_at = 1;
    loop_wakeup(log->loop);
    assert_int_equal(loop_run(log->loop, is_done, log), 1);
    assert_int_equal(loop_boot_ms(log->loop) - start, 3000);
    loop_release(log->loop);
}

static void
count_up(void *arg)
{
    ++*(int *)arg;
}

static int
is_one(void *arg)
{
    return *(int *)arg == 1;
}

/* Cold, it holds no descriptor, keeps timers, and may be freed. */
static void
test_loop_is_cold_until_it_is_warmed(void **state)
{
    struct loop *loop, *other;
    struct loop_timer timer = {0};
    struct fault fault;
    int lowest = dup(0), fired = 0, fd;

    (void)state;
    (void)close(lowest);
    assert_int_equal(loop_new_cold(&other, &fault), FAULT_OK);
    assert_int_equal(loop_new_cold(&loop, &fault), FAULT_OK);
    assert_int_equal(loop_timer_start(loop, &timer, 1, count_up, &fired), FAULT_OK);
    fd = dup(0);
    assert_int_equal(fd, lowest);
    (void)close(fd);
    loop_free(other);
    assert_int_equal(loop_warm(loop, &fault), FAULT_OK);
    assert_int_equal(loop_run(loop, is_one, &fired), 1);
    loop_free(loop);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loop_virtual_time_jumps_to_the_next_timer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loop_equal_due_times_fire_in_start_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loop_stopped_timers_never_fire_whatever_the_order,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_loop_a_job_is_queued_once_and_can_be_taken_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loop_held_time_does_not_jump, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loop_virtual_time_follows_another_clock, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_loop_real_timers_never_fire_early, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loop_a_timer_that_cannot_be_kept_is_refused, setup,
                                        teardown),
        cmocka_unit_test(test_loop_is_cold_until_it_is_warmed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
