/* rfc3339: what is a date-time and what is not. */
#include "rfc3339.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

static void
check_parse(const char *text, int64_t expected)
{
    int64_t us = 0;

    assert_int_equal(rfc3339_parse(text, strlen(text), &us), 0);
    assert_true(us == expected);
}

static void
test_rfc3339_reads_the_shapes_of_the_api(void **state)
{
    (void)state;
    check_parse("1970-01-01T00:00:00Z", 0);
    check_parse("2026-11-22T10:00:00Z", 1795341600000000);
    check_parse("2026-11-22T10:00:00.123456Z", 1795341600123456);
    check_parse("2026-11-22T10:00:00.123456789Z", 1795341600123456);
    check_parse("2026-11-22T10:00:00.5+01:00", 1795338000500000);
    check_parse("2026-11-22t10:00:00-00:30", 1795343400000000);
    check_parse("2026-11-22 10:00:00z", 1795341600000000);
    check_parse("2016-12-31T23:59:60Z", 1483228800000000); /* a leap second */
    check_parse("2024-02-29T00:00:00Z", 1709164800000000);
    check_parse("1969-12-31T23:59:59.5Z", -500000);
    check_parse("0001-01-01T00:00:00Z", -62135596800000000);
}

static void
test_rfc3339_refuses_the_rest(void **state)
{
    static const char *const bad[] = {
        "",
        "2026",
        "2026-11-22",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00Z",
        "2026-13-22T10:00:00Z",
        "2026-00-22T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:00:61Z",
        "2026-11-22T10:00:00.Z",
        "2026-11-22T10:00:00+1:00",
        "2026-11-22T10:00:00+24:00",
        "2026-11-22T10:00:00Zx",
        "2026-11-22T10:00:00 Z",
        "+026-11-22T10:00:00Z",
        "2026-11-2210:00:00Z",
    };
    int64_t us;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(rfc3339_parse(bad[i], strlen(bad[i]), &us), -1);
    assert_int_equal(rfc3339_parse("2026-11-22T10:00:00Z", 19, &us), -1);
}

static void
test_rfc3339_writes(void **state)
{
    char out[RFC3339_SIZE];

    (void)state;
    assert_string_equal(rfc3339_format(0, out), "1970-01-01T00:00:00Z");
    assert_string_equal(rfc3339_format(1795341600000000, out), "2026-11-22T10:00:00Z");
    assert_string_equal(rfc3339_format(1795341600000001, out), "2026-11-22T10:00:00.000001Z");
    assert_string_equal(rfc3339_format(-1, out), "1969-12-31T23:59:59.999999Z");
    assert_true(strlen(rfc3339_format(INT64_MAX, out)) < RFC3339_SIZE);
    assert_true(strlen(rfc3339_format(INT64_MIN, out)) < RFC3339_SIZE);
}

/* Every day of four centuries agrees with the C library and comes back. */
static void
test_rfc3339_agrees_with_gmtime(void **state)
{
    char ours[RFC3339_SIZE], theirs[RFC3339_SIZE];

    (void)state;
    for (time_t t = -6311952000; t < 6311952000; t += 86400 + 61) {
        struct tm tm;
        int64_t us;

        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0);
        assert_string_equal(rfc3339_format((int64_t)t * 1000000, ours), theirs);
        assert_int_equal(rfc3339_parse(ours, strlen(ours), &us), 0);
        assert_true(us == (int64_t)t * 1000000);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339_reads_the_shapes_of_the_api),
        cmocka_unit_test(test_rfc3339_refuses_the_rest),
        cmocka_unit_test(test_rfc3339_writes),
        cmocka_unit_test(test_rfc3339_agrees_with_gmtime),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
