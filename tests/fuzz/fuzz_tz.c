/* Zone files: whatever is taken has spans that cover all years without a hole, and
 * schedules end in it. Input: the bytes of a TZif file. */
#include "fuzz.h"

#include "cronexpr.h"

#include <stdlib.h>
#include <string.h>

#define SPANS_MAX 300

/* Spans from T on: each looks the same from its first and its last second. */
static void
check_spans(const struct tz *tz, int64_t t)
{
    struct tz_span span, again;

    for (int i = 0; i < SPANS_MAX && t < TZ_END_S; i++) {
        tz_span_at(tz, t, &span);
        must(span.from <= t && t < span.until);
        must(abs(span.offset) <= TZ_OFFSET_MAX && abs(span.reached) <= TZ_OFFSET_MAX);
        tz_span_at(tz, span.until - 1, &again);
        must(again.offset == span.offset && again.until == span.until);
        if (span.from > TZ_BEGIN_S) {
            tz_span_at(tz, span.from - 1, &again);
            must(again.until == span.from);
        }
        t = span.until;
    }
}

static void
check_schedules(const struct tz *tz)
{
    static const char *const texts[] = {"30 2 * * *", "*/30 * * * *", "0 0 29 2 *"};
    const struct cronexpr_options options = {0};
    struct cronexpr_clock clock = {tz, CRONEXPR_DST_CRON};
    struct cronexpr x;
    struct cronexpr_problem problem;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int64_t t = 1700000000, fire, other;

        must(cronexpr_parse(texts[i], strlen(texts[i]), &options, &x, NULL, &problem) == FAULT_OK);
        for (int n = 0; n < 5 && cronexpr_next(&x, &clock, t, &fire); n++) {
            must(fire > t);
            must(cronexpr_nominals(&x, &clock, fire, NULL, 0) > 0);
            must(cronexpr_prev(&x, &clock, fire + 1, &other) && other == fire);
            t = fire;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tz *tz = NULL;
    struct fault fault;

    if (tz_read(data, size, &tz, &fault) != FAULT_OK) {
        must(tz == NULL && fault.msg[0] != '\0');
        return 0;
    }
    check_spans(tz, TZ_BEGIN_S);
    check_spans(tz, 0);
    check_spans(tz, 12622780800); /* 2370: on the seam of many tables */
    check_spans(tz, TZ_END_S - 100LL * 366 * CIVIL_DAY_S);
    check_schedules(tz);
    tz_free(tz);
    return 0;
}
