/* duration: what people write, and what is written for them. */
#include "duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static void
test_duration_parses(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"0", 0}, {"90", 90000}, {"1.5", 1500}, {"1.5s", 1500}, {"5m", 300000},
        {"1h30m", 5400000}, {"30m1h", 5400000}, {"250ms", 250}, {"0.25s", 250},
        {"1d", 86400000}, {"1s500ms", 1500}, {".5s", 500}, {"0.0004s", 0}, {"0.0005s", 1},
        {"1m1ms", 60001}, {"400d", DURATION_MAX_MS}, {"0.1234569h", 444442},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t ms = 77;

        assert_int_equal(duration_parse(good[i].text, strlen(good[i].text), &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
}

static void
test_duration_refuses(void **state)
{
    static const char *const bad[] = {
        "", " ", "x", "5x", "5 m", "-5m", "+5m", "m", "5m3", "3 5m", "1.", "1.s", ".", "1e3",
        "401d", "34560001s", "400d1ms", "99999999999999999999", "999999999999999999999d",
        "5M", "0x10", "nan", "5mm",
    };
    uint64_t ms = 77;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(duration_parse(bad[i], strlen(bad[i]), &ms), -1);
    assert_int_equal(duration_parse("5m\0", 3, &ms), -1);
    assert_int_equal(ms, 77);
}

static void
test_duration_from_seconds(void **state)
{
    uint64_t ms = 77;

    (void)state;
    assert_int_equal(duration_from_seconds(-0.001, &ms), -1);
    assert_int_equal(duration_from_seconds((double)NAN, &ms), -1);
    assert_int_equal(duration_from_seconds((double)INFINITY, &ms), -1);
    assert_int_equal(duration_from_seconds(400.0 * 86400 + 1, &ms), -1);
    assert_int_equal(ms, 77);
    assert_int_equal(duration_from_seconds(0, &ms), 0);
    assert_int_equal(ms, 0);
    assert_int_equal(duration_from_seconds(0.0015, &ms), 0);
    assert_int_equal(ms, 2);
    assert_int_equal(duration_from_seconds(0.0001, &ms), 0);
    assert_int_equal(ms, 1); /* else a short sleep would let no time pass */
    assert_int_equal(duration_from_seconds(0.3, &ms), 0);
    assert_int_equal(ms, 300);
}

static void
test_duration_formats(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        {0, "0s"}, {250, "250ms"}, {1000, "1s"}, {2500, "2.5s"}, {2050, "2.05s"},
        {60000, "1m"}, {61000, "1m1s"}, {60500, "1m0.5s"}, {5400000, "1h30m"},
        {86400000, "1d"}, {90061001, "1d1h1m1.001s"}, {DURATION_MAX_MS, "400d"},
    };
    char out[64], tiny[4];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t ms;

        assert_string_equal(duration_format(cases[i].ms, out, sizeof out), cases[i].text);
        assert_int_equal(duration_parse(out, strlen(out), &ms), 0);
        assert_int_equal(ms, cases[i].ms);
    }
    (void)duration_format(90061001, tiny, sizeof tiny);
    assert_true(strlen(tiny) < sizeof tiny);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration_parses),
        cmocka_unit_test(test_duration_refuses),
        cmocka_unit_test(test_duration_from_seconds),
        cmocka_unit_test(test_duration_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
