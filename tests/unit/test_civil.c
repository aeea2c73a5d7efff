/* civil: days, dates and weekdays, checked against a walk day by day. */
#include "civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_civil_counts_days(void **state)
{
    int64_t year = 1;
    unsigned month = 1, day = 1, weekday = 1; /* 0001-01-01 was a Monday */

    (void)state;
    assert_true(civil_days(1970, 1, 1) == 0);
    for (int64_t days = civil_day_of(CIVIL_MIN_S); days <= 100000; days++) {
        int64_t y;
        unsigned m, d;

        civil_date(days, &y, &m, &d);
        assert_true(y == year && m == month && d == day);
        assert_true(civil_days(y, m, d) == days);
        assert_int_equal(civil_weekday(days), weekday);
        weekday = (weekday + 1) % 7;
        if (++day > civil_month_length(year, month)) {
            day = 1;
            if (++month > 12) {
                month = 1;
                year++;
            }
        }
    }
}

static void
test_civil_knows_its_ends(void **state)
{
    (void)state;
    assert_true(civil_days(1, 1, 1) * CIVIL_DAY_S == CIVIL_MIN_S);
    assert_true(civil_days(10000, 1, 1) * CIVIL_DAY_S == CIVIL_MAX_S + 1);
    assert_true((civil_days(2400, 2, 29) - civil_days(2000, 2, 29)) * CIVIL_DAY_S == CIVIL_CYCLE_S);
    assert_int_equal(civil_month_length(2000, 2), 29);
    assert_int_equal(civil_month_length(2100, 2), 28);
}

static void
test_civil_rounds_down(void **state)
{
    (void)state;
    assert_true(civil_day_of(0) == 0);
    assert_true(civil_day_of(86399) == 0);
    assert_true(civil_day_of(-1) == -1);
    assert_true(civil_day_of(-86400) == -1);
    assert_true(civil_day_of(-86401) == -2);
    assert_true(civil_day_of(INT64_MIN) == INT64_MIN / 86400 - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_civil_counts_days),
        cmocka_unit_test(test_civil_knows_its_ends),
        cmocka_unit_test(test_civil_rounds_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
