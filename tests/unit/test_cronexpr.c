/* cronexpr: what is parsed and refused, when it fires, what it says of itself. The
 * vectors of tests/vectors run in spec.cron; here a slow evaluator that looks at
 * every minute is the judge. */
#include "cronexpr.h"

#include "rfc3339.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cronexpr_options plain = {0};
static struct tz_store zones;

static const struct tz *
get_tz(const char *name)
{
    struct tz_zone *zone;

    assert_int_equal(tz_store_get(&zones, name, strlen(name), 0, &zone, NULL), FAULT_OK);
    return tz_zone_rules(zone, 0);
}

static enum fault_code
try_parse(const char *text, const struct cronexpr_options *options, struct cronexpr *x,
          struct cronexpr_problem *problem)
{
    return cronexpr_parse(text, strlen(text), options, x, NULL, problem);
}

static struct cronexpr
parse(const char *text)
{
    struct cronexpr x;
    struct cronexpr_problem problem;

    if (try_parse(text, &plain, &x, &problem) != FAULT_OK) {
        fail_msg("%s: %s (%s)", text, problem.fault.msg, problem.hint);
    }
    return x;
}

static int64_t
at(const char *text)
{
    int64_t us;

    assert_int_equal(rfc3339_parse(text, strlen(text), &us), 0);
    return us / 1000000;
}

/* Refusals ------------------------------------------------------------------------- */

static void
test_cronexpr_refuses_and_advises(void **state)
{
    static const struct {
        const char *text, *field, *hint;
    } cases[] = {
        {"", "expression", "* * * * * is every minute"},
        {"* * * *", "expression", "minute hour dom month dow, or second before them"},
        {"0 0 0 1 1 * 2026", "expression", "there is no field for the year"},
        {"60 * * * *", "minute", "0 comes after 59"},
        {"* 24 * * *", "hour", "0 comes after 23"},
        {"* * 32 * *", "dom", ""},
        {"* * 0 * *", "dom", ""},
        {"* * * 13 *", "month", ""},
        {"* * * * 8", "dow", "0 and 7 are Sunday"},
        {"5/10 * * * *", "minute", "write 5-59/10"},
        {"* 2/3 * * *", "hour", "write 2-23/3"},
        {"* * * jan/2 *", "month", "write jan-12/2"},
        {"0 22-2 * * *", "hour", "write 22-23,0-2"},
        {"0 23-0 * * *", "hour", "write 23,0"},
        {"0 22-2/2 * * *", "hour", "list the values: 22,0,2"},
        {"* * * nov-feb *", "month", "write nov-dec,jan-feb"},
        {"* * * * sat-mon", "dow", "write sat-sun,mon"},
        {"* * * * fri-tue", "dow", "write fri-sun,mon-tue"},
        {"* * * * 7-2", "dow", "write 7,1-2"},
        {"* * * * monday", "dow", "names have three letters: mon"},
        {"* * * january *", "month", "names have three letters: jan"},
        {"? * * * *", "minute", "? stands alone, and only for days; elsewhere write *"},
        {"* * ?/2 * *", "dom", "? stands alone, and only for days; elsewhere write *"},
        {"* * * * L", "dow", "say which day: 5L is the last Friday of the month"},
        {"* * L-0 * *", "dom", "L-1 to L-30 are the days before the last"},
        {"* * L-31 * *", "dom", "L-1 to L-30 are the days before the last"},
        {"* * * * 1#6", "dow", "a month has a first (#1) to a fifth (#5) day of a kind"},
        {"1,,2 * * * *", "minute", "there is a comma too many"},
        {"1, * * * *", "minute", "there is a comma too many"},
        {"*/0 * * * *", "minute", "a step is 1 or more"},
        {"0 0 30 2 *", "dom", "none of its months has such a day"},
        {"0 0 31 2,4,6,9,11 *", "dom", "none of its months has such a day"},
        {"0 0 30W 2 *", "dom", "none of its months has such a day"},
        {"0 0 L-29 2 *", "dom", "none of its months has such a day"},
        {"@reboot", "expression", "a playbook says on_start = true"},
        {"@fortnightly", "expression",
         "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every 90s"},
        {"@daily 5", "expression", "a macro stands alone"},
        {"H * * * *", "minute", "H is made of a name: give the option name"},
        {"~ * * * *", "minute", "draw a seed once, keep it, and give it as the option seed"},
        {"* * * * *\n", "expression", "an expression is one line of ASCII"},
        {"* * * * \xd9\xa3", "expression", "an expression is one line of ASCII"},
        {"CRON_TZ= * * * * *", "tz", ""},
    };
    struct cronexpr x;
    struct cronexpr_problem problem;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (try_parse(cases[i].text, &plain, &x, &problem) == FAULT_OK) {
            fail_msg("taken: %s", cases[i].text);
        }
        assert_string_equal(cronexpr_field_name(problem.field), cases[i].field);
        assert_string_equal(problem.hint, cases[i].hint);
        assert_memory_equal(problem.fault.msg, cases[i].field, strlen(cases[i].field));
    }
}

static void
test_cronexpr_refuses_what_is_malformed(void **state)
{
    static const char *const bad[] = {
        " ",
        "*/-5 * * * *",
        "-5 * * * *",
        "0 0 * * 1#0",
        "0 0 * * #1",
        "0 0 * * mon#",
        "0 0 0L * *",
        "0 0 1-5W * *",
        "0x10 * * * *",
        "1- * * * *",
        "1-2-3 * * * *",
        "4294967297 * * * *",
        "00001 * * * *",
        "+5 * * * *",
        "1.5 * * * *",
        "** * * * *",
        "*5 * * * *",
        "*/ * * * *",
        "*/5/5 * * * *",
        "1-5/ * * * *",
        "L * * * *",
        "* L * * *",
        "* * * L *",
        "* * LW-3 * *",
        "* * L-3W * *",
        "* * LL * *",
        "* * WL * *",
        "* * W * *",
        "* * 15W/2 * *",
        "* * 32W * *",
        "* * * * 5L#2",
        "* * * * 5#2L",
        "* * * * 8L",
        "* * * * L5",
        "* * * * fr",
        "* * * * friday",
        "* * * * frii",
        "* * jan * *",
        "mon * * * *",
        "* * * mon *",
        "a * * * *",
        "* * * * * *,",
        ", * * * *",
        "@",
        "@@daily",
        "@dail",
        "@dailyx",
        "@every",
        "@every x",
        "@every 0s",
        "@every 1.5s",
        "@every 401d",
        "@every 90s 5",
        "@every -5s",
        "TZ=UTC",
        "CRON_TZ=UTC @reboot",
        "TZ=UTC TZ=UTC * * * * *",
        "# comment",
        "* * * * * command",
        "1~ * * * *",
        "~5 * * * *",
        "5~1 * * * *",
        "H( * * * *",
        "H() * * * *",
        "H(1) * * * *",
        "H(1-2 * * * *",
        "H5 * * * *",
        "* * H(1-31) * *",
        "H/61 * * * *",
        "* * H/29 * *",
        "H(5-1) * * * *",
        "~/61 * * * *",
        "* * * H(nov-feb) *",
    };
    const struct cronexpr_options drawn = {.name = "x", .name_len = 1, .has_seed = 1};
    struct cronexpr x;
    struct cronexpr_problem problem;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (try_parse(bad[i], &drawn, &x, &problem) == FAULT_OK) {
            fail_msg("taken: %s", bad[i]);
        }
        assert_int_equal(problem.fault.code, FAULT_INVALID);
    }
}

static void
test_cronexpr_refuses_hostile_bytes(void **state)
{
    char text[1024];
    struct cronexpr x;
    struct cronexpr_problem problem;

    (void)state;
    assert_int_equal(cronexpr_parse("* * * * *\0 x", 12, &plain, &x, NULL, &problem),
                     FAULT_INVALID);
    assert_string_equal(problem.fault.msg, "expression: byte 10 is 0x00");
    memset(text, '*', sizeof text);
    assert_int_equal(cronexpr_parse(text, sizeof text, &plain, &x, NULL, &problem), FAULT_LIMIT);
    memset(text, ' ', sizeof text);
    memcpy(text, "* * * * *", 9);
    assert_int_equal(cronexpr_parse(text, CRONEXPR_TEXT_MAX, &plain, &x, NULL, &problem), FAULT_OK);
    assert_int_equal(cronexpr_parse(text, CRONEXPR_TEXT_MAX + 1, &plain, &x, NULL, &problem),
                     FAULT_LIMIT);
    memset(text, '9', sizeof text);
    assert_int_equal(cronexpr_parse(text, CRONEXPR_TEXT_MAX, &plain, &x, NULL, &problem),
                     FAULT_INVALID);
    /* no byte breaks it, in any place */
    for (unsigned place = 0; place < 13; place++) {
        for (unsigned c = 0; c < 256; c++) {
            memcpy(text, "1-5 L 5#2 fri", 13);
            text[place] = (char)c;
            (void)cronexpr_parse(text, 13, &plain, &x, NULL, &problem);
        }
    }
}

/* Sets ------------------------------------------------------------------------------- */

static void
test_cronexpr_reads_sets(void **state)
{
    struct cronexpr x = parse("\t*/20  5-59/20 1,3 31,1 JAN-mar,12 Sun,5-7 ");

    (void)state;
    assert_true(x.second == (1u | 1u << 20 | (uint64_t)1 << 40));
    assert_true(x.minute == (1u << 5 | 1u << 25 | (uint64_t)1 << 45));
    assert_true(x.hour == (1u << 1 | 1u << 3));
    assert_true(x.dom == (1u << 31 | 1u << 1));
    assert_true(x.month == (7u << 1 | 1u << 12));
    assert_true(x.dow == (1u | 1u << 5 | 1u << 6));
    assert_true(x.wildcard && x.has_seconds && !x.dom_star && !x.dow_star);
    x = parse("CRON_TZ=Europe/Berlin 0 0 L-2,LW,15w * friL,1#2,7#5");
    assert_string_equal(x.tz, "Europe/Berlin");
    assert_true(x.dom == 0 && x.dom_from_last == 4 && x.dom_last_weekday
                && x.dom_nearest == 1 << 15);
    assert_true(x.dow == 0 && x.dow_last == 1 << 5 && x.dow_nth[2] == 2 && x.dow_nth[5] == 1);
    assert_false(x.wildcard);
    x = parse("TZ=UTC @Hourly");
    assert_true(x.wildcard && x.minute == 1 && x.hour == 0xffffff);
    x = parse("@every 1h30m");
    assert_int_equal(x.every, 5400);
    x = parse("*/90 * * * *");
    assert_true(x.minute == 1 && x.warnings != 0);
    x = parse("* * * * fri-sun");
    assert_int_equal(x.dow, 0x61);
    x = parse("* * * * 5-0");
    assert_int_equal(x.dow, 0x61);
}

/* Firing ------------------------------------------------------------------------------ */

static void
check_fires(const char *text, const char *zone, enum cronexpr_dst dst, const char *from,
            const char *const *fires)
{
    struct cronexpr x = parse(text);
    struct cronexpr_clock clock = {get_tz(zone), dst};
    int64_t t = at(from), before = 0;

    for (; *fires != NULL; fires++) {
        char shown[RFC3339_SIZE];

        assert_true(cronexpr_next(&x, &clock, t, &t));
        assert_string_equal(rfc3339_format(t * 1000000, shown), *fires);
        assert_true(before == 0 || (cronexpr_prev(&x, &clock, t, &before) && before < t));
        before = t;
    }
}

#define FIRES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
test_cronexpr_has_ways_with_gaps(void **state)
{
    (void)state;
    check_fires("30 2 * * *", "America/New_York", CRONEXPR_DST_CRON, "2026-03-08T06:00:00Z",
                FIRES("2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"));
    check_fires("30 2 * * *", "America/New_York", CRONEXPR_DST_SKIP, "2026-03-08T06:00:00Z",
                FIRES("2026-03-09T06:30:00Z"));
    check_fires("30 2 * * *", "America/New_York", CRONEXPR_DST_UTC, "2026-03-08T06:00:00Z",
                FIRES("2026-03-09T02:30:00Z"));
    check_fires("30 1 * * *", "America/New_York", CRONEXPR_DST_SKIP, "2026-10-31T16:00:00Z",
                FIRES("2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"));
    check_fires("*/30 * * * *", "America/New_York", CRONEXPR_DST_SKIP, "2026-11-01T05:00:00Z",
                FIRES("2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z"));
    /* a day that Apia never had */
    check_fires("0 12 30 12 *", "Pacific/Apia", CRONEXPR_DST_SKIP, "2011-12-01T00:00:00Z",
                FIRES("2012-12-29T22:00:00Z"));
    /* standard time as the exception */
    check_fires("30 1 * * *", "Europe/Dublin", CRONEXPR_DST_CRON, "2026-03-28T12:00:00Z",
                FIRES("2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"));
    check_fires("30 1 * * *", "Europe/Dublin", CRONEXPR_DST_CRON, "2026-10-24T12:00:00Z",
                FIRES("2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"));
    /* long after the tables end */
    check_fires("30 2 * * *", "America/New_York", CRONEXPR_DST_CRON, "2999-03-10T05:00:00Z",
                FIRES("2999-03-10T07:00:00Z", "2999-03-11T06:30:00Z"));
}

static void
test_cronexpr_collapses_and_lists_nominal_times(void **state)
{
    struct cronexpr x = parse("0,30 2,3 * * *");
    struct cronexpr_clock clock = {get_tz("America/New_York"), CRONEXPR_DST_CRON};
    int64_t out[4], t = at("2026-03-08T07:00:00Z");

    (void)state;
    assert_int_equal(cronexpr_nominals(&x, &clock, t, out, 4), 3);
    assert_true(out[0] == at("2026-03-08T02:00:00Z"));
    assert_true(out[1] == at("2026-03-08T02:30:00Z"));
    assert_true(out[2] == at("2026-03-08T03:00:00Z"));
    assert_int_equal(cronexpr_nominals(&x, &clock, t, out, 1), 3);
    assert_int_equal(cronexpr_nominals(&x, &clock, t + 1800, out, 4), 1);
    assert_true(out[0] == at("2026-03-08T03:30:00Z"));
    assert_int_equal(cronexpr_nominals(&x, &clock, t + 1, out, 4), 0);
    assert_int_equal(cronexpr_nominals(&x, &clock, INT64_MIN, out, 4), 0);
    assert_int_equal(cronexpr_nominals(&x, &clock, INT64_MAX, out, 4), 0);
    clock.dst = CRONEXPR_DST_SKIP;
    assert_int_equal(cronexpr_nominals(&x, &clock, t, out, 4), 1);
}

static void
test_cronexpr_ends_with_the_years(void **state)
{
    struct cronexpr x = parse("* * * * *"), rare = parse("0 0 29 2 */7"),
                    every = parse("@every 7s");
    struct cronexpr_clock clock = {tz_utc(), CRONEXPR_DST_CRON};
    int64_t fire;

    (void)state;
    assert_false(cronexpr_next(&x, &clock, INT64_MAX, &fire));
    assert_false(cronexpr_next(&x, &clock, CIVIL_MAX_S, &fire));
    assert_false(cronexpr_next(&x, &clock, CIVIL_MAX_S - 59, &fire));
    assert_true(cronexpr_next(&x, &clock, CIVIL_MAX_S - 60, &fire) && fire == CIVIL_MAX_S - 59);
    assert_true(cronexpr_next(&x, &clock, INT64_MIN, &fire) && fire == CIVIL_MIN_S);
    assert_false(cronexpr_prev(&x, &clock, INT64_MIN, &fire));
    assert_false(cronexpr_prev(&x, &clock, CIVIL_MIN_S, &fire));
    assert_true(cronexpr_prev(&x, &clock, CIVIL_MIN_S + 1, &fire) && fire == CIVIL_MIN_S);
    assert_true(cronexpr_prev(&x, &clock, INT64_MAX, &fire) && fire == CIVIL_MAX_S - 59);
    assert_true(cronexpr_next(&rare, &clock, at("2088-02-29T00:00:00Z"), &fire));
    assert_true(fire == at("2128-02-29T00:00:00Z")); /* 40 years later */
    assert_true(cronexpr_prev(&rare, &clock, fire, &fire) && fire == at("2088-02-29T00:00:00Z"));
    assert_false(cronexpr_next(&rare, &clock, at("9999-01-01T00:00:00Z"), &fire));
    assert_true(cronexpr_next(&every, &clock, -1, &fire) && fire == 0);
    assert_true(cronexpr_next(&every, &clock, 0, &fire) && fire == 7);
    assert_true(cronexpr_prev(&every, &clock, 0, &fire) && fire == -7);
    assert_true(cronexpr_prev(&every, &clock, INT64_MAX, &fire) && fire <= CIVIL_MAX_S);
    assert_false(cronexpr_next(&every, &clock, CIVIL_MAX_S, &fire));
    assert_true(cronexpr_next(&every, &clock, INT64_MIN, &fire) && fire >= CIVIL_MIN_S);
}

/* Against a slow evaluator --------------------------------------------------------------- */

/* Whether X matches local time L, read straight from the grammar. */
static int
matches(const struct cronexpr *x, int64_t local)
{
    int64_t days = civil_day_of(local), year;
    unsigned second = (unsigned)(local - days * CIVIL_DAY_S), month, day, length, weekday;
    int dom, dow;

    civil_date(days, &year, &month, &day);
    length = civil_month_length(year, month);
    weekday = civil_weekday(days);
    if (!(x->second >> second % 60 & 1) || !(x->minute >> second / 60 % 60 & 1)
        || !(x->hour >> second / 3600 & 1) || !(x->month >> month & 1)) {
        return 0;
    }
    dom = (x->dom >> day & 1) || (x->dom_from_last >> (length - day) & 1);
    for (unsigned n = 1; n <= length; n++) { /* the weekday nearest to n, and to the last */
        if ((x->dom_nearest >> n & 1) || (n == length && x->dom_last_weekday)) {
            unsigned best = 0;

            for (unsigned d = 1; d <= length; d++) {
                unsigned w = civil_weekday(civil_days(year, month, d));
                int closer = best == 0 || abs((int)d - (int)n) < abs((int)best - (int)n);

                best = w != 0 && w != 6 && closer ? d : best;
            }
            dom = dom || day == best;
        }
    }
    dow = (x->dow >> weekday & 1) || (x->dow_nth[(day + 6) / 7] >> weekday & 1)
          || (day + 7 > length && (x->dow_last >> weekday & 1));
    return x->dom_star || x->dow_star ? dom && dow : dom || dow;
}

/* Whether X fires at T: its local time matches and comes for the first time, or a
 * gap ends here and something in it matches. Looks at whole minutes only. */
static int
fires_at(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t)
{
    struct tz_span now, before;
    int64_t local;

    tz_span_at(clock->tz, t, &now);
    local = t + now.offset;
    if (matches(x, local)) {
        int is_first = 1;

        for (int64_t u = t - 4 * 3600; u < t; u += 60) {
            tz_span_at(clock->tz, u, &before);
            is_first = is_first && u + before.offset != local;
        }
        if (x->wildcard || is_first) {
            return 1;
        }
    }
    tz_span_at(clock->tz, t - 1, &before);
    for (int64_t l = t + before.offset; !x->wildcard && l < local; l += 60) {
        if (matches(x, l)) {
            return 1;
        }
    }
    return 0;
}

static uint64_t
draw(uint64_t *random, unsigned values)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % values;
}

static void
random_expression(uint64_t *r, char *out, size_t size)
{
    static const char *const minutes[] = {"*", "*/7", "0", "30", "0,15,45", "10-50/20", "*/15"};
    static const char *const hours[] = {"*", "*/2", "1", "2", "0-3", "1,2,3", "23", "0"};
    static const char *const doms[] = {"*", "*", "*", "1,29", "L", "LW", "15W", "*/2", "1W,L-3"};
    static const char *const dows[] = {"*", "*", "*", "0", "1-5", "5L", "sun#1", "*/3", "?"};

    (void)snprintf(out, size, "%s %s %s * %s", minutes[draw(r, 7)], hours[draw(r, 8)],
                   doms[draw(r, 9)], dows[draw(r, 9)]);
}

static void
test_cronexpr_agrees_with_a_slow_evaluator(void **state)
{
    static const struct {
        const char *zone, *from;
    } places[] = {
        {"Europe/Berlin", "2026-03-27T00:00:00Z"},
        {"Europe/Berlin", "2026-10-23T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-10-02T00:00:00Z"},
        {"America/Santiago", "2026-09-04T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-04-03T00:00:00Z"},
        {"America/Havana", "2026-10-30T00:00:00Z"},
        {"Africa/Casablanca", "2026-02-13T00:00:00Z"},
        {"UTC", "2026-12-29T00:00:00Z"},
        {"Pacific/Apia", "2011-12-28T00:00:00Z"},
    };
    uint64_t random = 6;

    (void)state;
    for (int i = 0; i < 150; i++) {
        char text[80];
        unsigned place = (unsigned)draw(&random, sizeof places / sizeof *places);
        struct cronexpr_clock clock = {get_tz(places[place].zone), CRONEXPR_DST_CRON};
        int64_t from = at(places[place].from), t, fire, last = 0;
        struct cronexpr x;

        random_expression(&random, text, sizeof text);
        x = parse(text);
        for (t = from; t < from + 4 * CIVIL_DAY_S; t += 60) {
            int expected = fires_at(&x, &clock, t);
            int got = cronexpr_next(&x, &clock, t - 60, &fire) && fire <= t;

            if (got != expected) {
                fail_msg("%s in %s at %lld: %d", text, places[place].zone, (long long)t, got);
            }
            assert_int_equal(cronexpr_nominals(&x, &clock, t, NULL, 0) > 0, expected);
            if (expected && last != 0) {
                assert_true(cronexpr_prev(&x, &clock, t, &fire) && fire == last);
            }
            last = expected ? t : last;
        }
    }
}

static void
test_cronexpr_next_is_monotonic(void **state)
{
    static const char *const names[] = {"Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu",
                                        "Pacific/Apia", "Australia/Lord_Howe"};
    uint64_t random = 7;

    (void)state;
    for (int i = 0; i < 400; i++) {
        char text[80];
        struct cronexpr_clock clock = {get_tz(names[draw(&random, 5)]),
                                       (enum cronexpr_dst)draw(&random, 3)};
        int64_t t = (int64_t)draw(&random, 4000000000u), fire, again;
        struct cronexpr x;

        random_expression(&random, text, sizeof text);
        x = parse(text);
        for (int n = 0; n < 50; n++) {
            int64_t middle;

            assert_true(cronexpr_next(&x, &clock, t, &fire) && fire > t);
            /* from anywhere before it, the same one is next */
            middle = t + (int64_t)draw(&random, (unsigned)(fire - t));
            assert_true(cronexpr_next(&x, &clock, middle, &again) && again == fire);
            /* and the one before is not after where we came from */
            assert_true(cronexpr_prev(&x, &clock, fire, &again) && again <= t);
            assert_true(cronexpr_prev(&x, &clock, fire + 1, &again) && again == fire);
            t = fire;
        }
    }
}

/* Draws ------------------------------------------------------------------------------------ */

static void
check_resolved(const char *text, const struct cronexpr_options *options, const char *expected)
{
    struct cronexpr x, again;
    struct cronexpr_problem problem;
    struct buf b;

    buf_init(&b, 1024);
    assert_int_equal(cronexpr_parse(text, strlen(text), options, &x, &b, &problem), FAULT_OK);
    if (expected != NULL) {
        assert_string_equal(buf_cstr(&b), expected);
    }
    again = parse(buf_cstr(&b)); /* the same without any option */
    assert_true(x.minute == again.minute && x.hour == again.hour && x.dom == again.dom
                && x.month == again.month && x.dow == again.dow && x.second == again.second);
    buf_fini(&b);
}

static void
test_cronexpr_resolves_draws(void **state)
{
    const struct cronexpr_options a = {.name = "nightly", .name_len = 7, .has_seed = 1, .seed = 42};

    (void)state;
    /* these are kept for ever: changing them moves everybody's schedules */
    check_resolved("H H(1-4) * * *", &a, "42 4 * * *");
    check_resolved("H/15 H H H H", &a, "12-59/15 23 27 11 5");
    check_resolved("~ 1~5 * * ~", &a, "51 2 * * 3");
    check_resolved("~/10,0~9/3 * ~ ~ *", &a, "1-59/10,2-9/3 * 8 8 *");
    check_resolved("H H H(10-20)/3,L H(jan-mar) mon,H", &a, NULL);
    check_resolved("CRON_TZ=UTC @weekly", &a, "0 0 * * 0");
    check_resolved("*/5  1-5\t* * fri#2", &a, "*/5 1-5 * * fri#2");
}

static void
test_cronexpr_spreads_names_evenly(void **state)
{
    unsigned minutes[60] = {0};
    struct cronexpr x;
    struct cronexpr_problem problem;
    double chi = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char name[32];
        struct cronexpr_options options = {.name = name};

        options.name_len = (size_t)snprintf(name, sizeof name, "playbook-%d", i);
        assert_int_equal(try_parse("H * * * *", &options, &x, &problem), FAULT_OK);
        minutes[__builtin_ctzll(x.minute)]++;
    }
    for (int i = 0; i < 60; i++) {
        chi += (minutes[i] - 1000 / 60.0) * (minutes[i] - 1000 / 60.0) / (1000 / 60.0);
    }
    /* 59 degrees of freedom: mean 59, deviation sqrt(118) */
    assert_true(fabs(chi - 59) < 3 * sqrt(118));
}

/* Words ------------------------------------------------------------------------------------ */

static void
check_description(const char *text, const char *expected)
{
    struct cronexpr x = parse(text);
    struct buf b;

    buf_init(&b, 1024);
    assert_int_equal(cronexpr_describe(&x, &b), FAULT_OK);
    assert_string_equal(buf_cstr(&b), expected);
    buf_fini(&b);
}

static void
test_cronexpr_describes(void **state)
{
    (void)state;
    check_description("* * * * *", "every minute");
    check_description("*/15 * * * *", "every 15 minutes");
    check_description("*/7 * * * *", "every 7th minute of every hour");
    check_description("30 2 * * *", "at 02:30 every day");
    check_description("0,30 2 * * mon-fri", "at 02:00 and 02:30 on Monday to Friday");
    check_description("5-59/20 * * * *", "at minutes 5, 25 and 45 of every hour");
    check_description("0 */2 * * *", "at minute 0 of every 2nd hour");
    check_description("*/5 9-17 * * 1-5", "every 5 minutes of hours 9 to 17 on Monday to Friday");
    check_description("* 3 * * *", "every minute of hour 3");
    check_description("0 0 1,15 * 1", "at 00:00 on days 1 and 15 of the month, or on Monday");
    check_description("0 0 */2 * 1", "at 00:00 on every 2nd day of the month, if that is Monday");
    check_description("0 0 L * *", "at 00:00 on the last day of the month");
    check_description("0 0 L-2,LW * *",
                      "at 00:00 on the 3rd-last day, the last weekday of the month");
    check_description("0 0 15W jan,mar-may *",
                      "at 00:00 on the weekday nearest to day 15 of the month in January and March "
                      "to May");
    check_description("0 12 * * fri#2,7L",
                      "at 12:00 on the 2nd Friday of the month, the last Sunday of the month");
    check_description("0 12 * * 6,0", "at 12:00 on Saturday and Sunday");
    check_description("0 0 1 1 *", "at 00:00 on day 1 of the month in January");
    check_description("*/20 * * * * *", "every 20 seconds");
    check_description("* * * * * *", "every second");
    check_description("30 0 0 * * *", "at 00:00:30 every day");
    check_description("*/10 5 * * * *", "every 10 seconds of minute 5 of every hour");
    check_description("15 * * * * *", "at second 15 of every minute");
    check_description("@every 90s", "every 1m30s, counted from 1970-01-01T00:00:00Z");
    check_description("* * * * 0-6", "every minute on Monday to Sunday");
}

static void
check_warnings(const char *text, const char *expected)
{
    struct cronexpr x = parse(text);
    struct buf b;
    size_t before;

    buf_init(&b, 2048);
    for (unsigned n = 0;; n++) {
        before = b.len;
        assert_int_equal(cronexpr_warning(&x, n, &b), FAULT_OK);
        if (b.len == before) {
            break;
        }
        (void)buf_puts(&b, "\n");
    }
    if (strstr(buf_cstr(&b), expected) == NULL || (*expected == '\0' && b.len > 0)) {
        fail_msg("%s: %s", text, buf_cstr(&b));
    }
    buf_fini(&b);
}

static void
test_cronexpr_warns(void **state)
{
    (void)state;
    check_warnings("* * * * *", "");
    check_warnings("*/15 */2 1,15 * 1", "");
    check_warnings("0 0 ? * mon", "");
    check_warnings("*/90 * * * *", "minute: the step is larger than the range");
    check_warnings("5-10/9 * * * *", "minute: the step is larger than the range");
    check_warnings("*/7 * * * *", "minute: the step begins anew with every hour");
    check_warnings("0 */5 * * *", "hour: the step begins anew with every day");
    check_warnings("0 0 */2 * *", "dom: the step begins anew with every month");
    check_warnings("0 0 1 * */7", "dow: the step is larger than the range");
    check_warnings("0 0 */31 * 1", "dom and dow: one begins with a star");
    check_warnings("0 0 1 * *,5", "dom and dow: one begins with a star");
    check_warnings("*/10 * * * * *", "second: the first of six fields is the second");
    check_warnings("0 0 31 * *", "dom: months without such a day are left out");
    check_warnings("0 0 29-31,L * *", "");
}

static void
test_cronexpr_survives_without_memory(void **state)
{
    const char *text = "*/5 1,2 L * mon";
    struct cronexpr x;
    struct cronexpr_problem problem;
    struct buf b;
    long n = 1;

    (void)state;
    for (;; n++) {
        enum fault_code bad;

        buf_init(&b, 4096);
        mem_fail_at(n);
        bad = cronexpr_parse(text, strlen(text), &plain, &x, &b, &problem);
        bad = bad ? bad : cronexpr_describe(&x, &b);
        bad = bad ? bad : cronexpr_warning(&x, 0, &b);
        buf_fini(&b);
        if (!mem_fail_hit()) {
            assert_int_equal(bad, FAULT_OK);
            break;
        }
        assert_int_equal(bad, FAULT_NOMEM);
    }
    mem_fail_at(0);
    assert_true(n > 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cronexpr_refuses_and_advises),
        cmocka_unit_test(test_cronexpr_refuses_what_is_malformed),
        cmocka_unit_test(test_cronexpr_refuses_hostile_bytes),
        cmocka_unit_test(test_cronexpr_reads_sets),
        cmocka_unit_test(test_cronexpr_has_ways_with_gaps),
        cmocka_unit_test(test_cronexpr_collapses_and_lists_nominal_times),
        cmocka_unit_test(test_cronexpr_ends_with_the_years),
        cmocka_unit_test(test_cronexpr_agrees_with_a_slow_evaluator),
        cmocka_unit_test(test_cronexpr_next_is_monotonic),
        cmocka_unit_test(test_cronexpr_resolves_draws),
        cmocka_unit_test(test_cronexpr_spreads_names_evenly),
        cmocka_unit_test(test_cronexpr_describes),
        cmocka_unit_test(test_cronexpr_warns),
        cmocka_unit_test(test_cronexpr_survives_without_memory),
    };
    int failed;

    (void)unsetenv("TZDIR");
    tz_store_init(&zones);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    tz_store_fini(&zones);
    return failed;
}
