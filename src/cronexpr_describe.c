/* cronexpr_describe: a schedule in plain English, and what about it surprises; see
 * cronexpr.h. Appends to a buffer that keeps its first failure, so only the last
 * answer is looked at. */
#include "cronexpr_int.h"

#include "duration.h"

#define TIMES_MAX 6 /* times of day that are named one by one */

static const char *const month_titles[] = {"",        "January",  "February", "March",  "April",
                                           "May",     "June",     "July",     "August", "September",
                                           "October", "November", "December"};
/* Sunday comes last here, so that Saturday and Sunday stand together. */
static const char *const day_titles[] = {"",         "Monday", "Tuesday",  "Wednesday",
                                         "Thursday", "Friday", "Saturday", "Sunday"};

static void
put(struct buf *out, const char *text)
{
    (void)buf_puts(out, text); /* OUT remembers a failure */
}

static void
put_value(struct buf *out, const char *const *titles, unsigned value)
{
    if (titles != NULL) {
        put(out, titles[value]);
    } else {
        (void)buf_printf(out, "%u", value);
    }
}

/* "2nd" */
static void
put_ordinal(struct buf *out, unsigned n)
{
    const char *tail = n / 10 % 10 == 1 ? "th"
                       : n % 10 == 1    ? "st"
                       : n % 10 == 2    ? "nd"
                       : n % 10 == 3    ? "rd"
                                        : "th";

    (void)buf_printf(out, "%u%s", n, tail);
}

/* The end of the run of bits that begins at FROM; one of two is two runs. */
static unsigned
run_end(uint64_t bits, unsigned from)
{
    unsigned to = from;

    while (to < 63 && bits >> (to + 1) & 1) {
        to++;
    }
    return to - from >= 2 ? to : from;
}

static unsigned
count_runs(uint64_t bits)
{
    unsigned runs = 0;

    for (unsigned v = 0; v < 64; v++) {
        if (bits >> v & 1) {
            v = run_end(bits, v);
            runs++;
        }
    }
    return runs;
}

/* "1, 3 to 5 and 9" */
static void
put_list(struct buf *out, uint64_t bits, const char *const *titles)
{
    unsigned left = count_runs(bits);

    for (unsigned v = 0; v < 64; v++) {
        unsigned to;

        if (!(bits >> v & 1)) {
            continue;
        }
        to = run_end(bits, v);
        put_value(out, titles, v);
        if (to > v) {
            put(out, " to ");
            put_value(out, titles, to);
        }
        left--;
        put(out, left > 1 ? ", " : left == 1 ? " and " : "");
        v = to;
    }
}

/* Times of day ------------------------------------------------------------------------ */

/* One of the parts of a time, the smallest first. */
struct part {
    uint64_t bits;
    unsigned values; /* how many there can be */
    unsigned step;   /* of a lone star; 0 for lists */
    const char *one, *many;
};

static int
is_all(const struct part *p)
{
    return p->bits == ((uint64_t)1 << p->values) - 1;
}

static int
is_even(const struct part *p)
{
    return p->step > 0 && p->values % p->step == 0;
}

static void
put_part(struct buf *out, const struct part *p, int is_first)
{
    if (is_all(p)) {
        (void)buf_printf(out, "every %s", p->one);
    } else if (is_first && is_even(p)) {
        (void)buf_printf(out, "every %u %s", p->step, p->many);
    } else if (p->step > 0) {
        put(out, "every ");
        put_ordinal(out, p->step);
        (void)buf_printf(out, " %s", p->one);
    } else {
        put(out, is_first ? "at " : "");
        (void)buf_printf(out, "%s ", (p->bits & (p->bits - 1)) != 0 ? p->many : p->one);
        put_list(out, p->bits, NULL);
    }
}

/* "02:00, 02:30 and 03:00"; 0 when there are too many to name. */
static int
put_times(struct buf *out, const struct cronexpr *x)
{
    unsigned left = (unsigned)(__builtin_popcount(x->hour) * __builtin_popcountll(x->minute)
                               * __builtin_popcountll(x->second));

    if (left > TIMES_MAX) {
        return 0;
    }
    put(out, "at ");
    for (unsigned t = 0; t < CIVIL_DAY_S; t++) {
        unsigned h = t / 3600, m = t / 60 % 60, s = t % 60;

        if (!(x->hour >> h & 1)) {
            t += 3600 - 1; /* it stands at the hour's begin */
            continue;
        }
        if (!(x->minute >> m & 1)) {
            t += 60 - 1;
            continue;
        }
        if (!(x->second >> s & 1)) {
            continue;
        }
        (void)buf_printf(out, "%02u:%02u", h, m);
        if (x->second != 1) {
            (void)buf_printf(out, ":%02u", s);
        }
        left--;
        put(out, left > 1 ? ", " : left == 1 ? " and " : "");
    }
    return 1;
}

static void
put_parts(struct buf *out, const struct cronexpr *x)
{
    const struct part parts[] = {
        {x->second, 60, x->steps[CRONEXPR_SECOND], "second", "seconds"},
        {x->minute, 60, x->steps[CRONEXPR_MINUTE], "minute", "minutes"},
        {x->hour, 24, x->steps[CRONEXPR_HOUR], "hour", "hours"},
    };
    unsigned first = x->second == 1, count = 3;

    /* "every 15 minutes", not "of every hour" */
    while (count > first + 1 && is_all(&parts[count - 1])
           && (is_all(&parts[count - 2]) || (count == first + 2 && is_even(&parts[first])))) {
        count--;
    }
    for (unsigned i = first; i < count; i++) {
        put(out, i > first ? " of " : "");
        put_part(out, &parts[i], i == first);
    }
}

/* Days ---------------------------------------------------------------------------------- */

static void
put_or(struct buf *out, unsigned *n, const char *prefix)
{
    put(out, (*n)++ > 0 ? ", " : "");
    put(out, prefix);
}

static void
put_days_of_month(struct buf *out, const struct cronexpr *x)
{
    unsigned n = 0;

    if (x->steps[CRONEXPR_DOM] > 1) {
        put_or(out, &n, "every ");
        put_ordinal(out, x->steps[CRONEXPR_DOM]);
        put(out, " day");
    } else if (x->dom != 0) {
        put_or(out, &n, (x->dom & (x->dom - 1)) != 0 ? "days " : "day ");
        put_list(out, x->dom, NULL);
    }
    for (unsigned before = 0; before < 31; before++) {
        if (x->dom_from_last >> before & 1) {
            put_or(out, &n, "the ");
            if (before > 0) {
                put_ordinal(out, before + 1);
                put(out, "-");
            }
            put(out, "last day");
        }
    }
    if (x->dom_last_weekday) {
        put_or(out, &n, "the last weekday");
    }
    if (x->dom_nearest != 0) {
        put_or(out, &n, "the weekday nearest to day ");
        put_list(out, x->dom_nearest, NULL);
    }
    put(out, " of the month");
}

/* With Sunday as bit 7. */
static uint64_t
sunday_last(unsigned days)
{
    return (days & 0x7e) | (days & 1) << 7;
}

static void
put_days_of_week(struct buf *out, const struct cronexpr *x)
{
    unsigned n = 0;

    if (x->dow != 0) {
        put_or(out, &n, "");
        put_list(out, sunday_last(x->dow), day_titles);
    }
    for (unsigned nth = 1; nth <= 5; nth++) {
        if (x->dow_nth[nth] != 0) {
            put_or(out, &n, "the ");
            put_ordinal(out, nth);
            put(out, " ");
            put_list(out, sunday_last(x->dow_nth[nth]), day_titles);
            put(out, " of the month");
        }
    }
    if (x->dow_last != 0) {
        put_or(out, &n, "the last ");
        put_list(out, sunday_last(x->dow_last), day_titles);
        put(out, " of the month");
    }
}

static void
put_days(struct buf *out, const struct cronexpr *x, int has_times)
{
    int dom = x->steps[CRONEXPR_DOM] != 1, dow = x->steps[CRONEXPR_DOW] != 1;

    if (!dom && !dow) {
        put(out, has_times && x->month == 0x1ffe ? " every day" : "");
        return;
    }
    put(out, " on ");
    if (dom) {
        put_days_of_month(out, x);
    }
    if (dom && dow) {
        put(out, x->dom_star || x->dow_star ? ", if that is " : ", or on ");
    }
    if (dow) {
        put_days_of_week(out, x);
    }
}

enum fault_code
cronexpr_describe(const struct cronexpr *x, struct buf *out)
{
    char text[64];
    int has_times;

    if (x->every != 0) {
        (void)buf_printf(out, "every %s, counted from 1970-01-01T00:00:00Z",
                         duration_format(x->every * (uint64_t)1000, text, sizeof text));
        if (x->phase != 0) {
            (void)buf_printf(out, " plus %s",
                             duration_format(x->phase * (uint64_t)1000, text, sizeof text));
        }
        return buf_puts(out, "");
    }
    has_times = put_times(out, x);
    if (!has_times) {
        put_parts(out, x);
    }
    put_days(out, x, has_times);
    if (x->month != 0x1ffe) {
        put(out, " in ");
        put_list(out, x->month, month_titles);
    }
    return buf_puts(out, "");
}

/* Warnings ------------------------------------------------------------------------------- */

/* What a field counts within. */
static const char *const periods[CRONEXPR_FIELDS] = {"minute", "hour", "day",
                                                     "month",  "year", "week"};

static enum fault_code
put_field_warning(unsigned bit, struct buf *out)
{
    unsigned field = bit % CRONEXPR_FIELDS;
    const char *name = cronexpr_field_name((enum cronexpr_field)field);

    return bit < CRONEXPR_FIELDS
               ? buf_printf(out,
                            "%s: the step is larger than the range, so only the first value "
                            "of the range is left",
                            name)
               : buf_printf(out,
                            "%s: the step begins anew with every %s, so the gap before that "
                            "is another one",
                            name, periods[field]);
}

enum fault_code
cronexpr_warning(const struct cronexpr *x, unsigned n, struct buf *out)
{
    uint32_t left = x->warnings;
    unsigned bit;

    while (n-- > 0 && left != 0) {
        left &= left - 1;
    }
    if (left == 0) {
        return FAULT_OK;
    }
    bit = (unsigned)__builtin_ctz(left);
    switch (1u << bit) {
    case CRONEXPR_WARN_AND:
        return buf_puts(out, "dom and dow: one begins with a star, so a day has to match both; "
                             "many other programs fire when either matches");
    case CRONEXPR_WARN_SECONDS:
        return buf_puts(out, "second: the first of six fields is the second, so this fires more "
                             "than once a minute");
    case CRONEXPR_WARN_SHORT_MONTHS:
        return buf_puts(out, "dom: months without such a day are left out; L is the last day");
    default: return put_field_warning(bit, out);
    }
}
