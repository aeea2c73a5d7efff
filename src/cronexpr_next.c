/* cronexpr_next: when a schedule fires; see cronexpr.h. Local time runs evenly
 * within a span of a zone, so each span is searched by itself: its days month by
 * month as sets of bits, its seconds likewise. What the clock skips before a span
 * or shows again in it is known from how far local time had come. */
#include "cronexpr_int.h"

#define HORIZON_S (CIVIL_CYCLE_S + 366LL * CIVIL_DAY_S)
#define ALL_WEEKDAYS 0x7fu

/* Days ---------------------------------------------------------------------------------- */

/* A set of weekdays as the days of a month whose first is a FIRST. */
static uint32_t
repeat_weekdays(unsigned weekdays, unsigned first)
{
    uint64_t week = (weekdays >> first | weekdays << (7 - first)) & ALL_WEEKDAYS;

    return (uint32_t)(week | week << 7 | week << 14 | week << 21 | week << 28);
}

static uint32_t
day_bit(unsigned day)
{
    return 1u << ((day - 1) & 31);
}

/* The weekday nearest to DAY within the month, as a bit. */
static uint32_t
nearest_weekday(unsigned day, unsigned length, unsigned first)
{
    unsigned weekday = (first + day - 1) % 7;

    if (weekday == 6) {
        return day_bit(day > 1 ? day - 1 : day + 2);
    }
    if (weekday == 0) {
        return day_bit(day < length ? day + 1 : day - 2);
    }
    return day_bit(day);
}

static uint32_t
days_of_month(const struct cronexpr *x, unsigned length, unsigned first)
{
    uint32_t days = x->dom >> 1;

    for (unsigned n = 0; x->dom_from_last >> n != 0; n++) {
        if (x->dom_from_last >> n & 1 && n < length) {
            days |= day_bit(length - n);
        }
    }
    if (x->dom_last_weekday) {
        days |= nearest_weekday(length, length, first);
    }
    for (unsigned n = 1; n <= length && x->dom_nearest >> n != 0; n++) {
        if (x->dom_nearest >> n & 1) {
            days |= nearest_weekday(n, length, first);
        }
    }
    return days;
}

static uint32_t
weekdays_of_month(const struct cronexpr *x, unsigned length, unsigned first)
{
    uint32_t days = repeat_weekdays(x->dow, first);

    for (unsigned n = 1; n <= 5; n++) {
        if (x->dow_nth[n] != 0) {
            days |=
                repeat_weekdays(x->dow_nth[n], first) & (uint32_t)((uint64_t)0x7f << (n - 1) * 7);
        }
    }
    if (x->dow_last != 0) {
        days |= repeat_weekdays(x->dow_last, first) & 0x7fu << (length - 7);
    }
    return days;
}

uint32_t
cronexpr_month_days(const struct cronexpr *x, int64_t year, unsigned month)
{
    unsigned length, first;
    uint32_t all, dom, dow;

    if (!(x->month >> month & 1)) {
        return 0;
    }
    length = civil_month_length(year, month);
    first = civil_weekday(civil_days(year, month, 1));
    all = (uint32_t)(((uint64_t)1 << length) - 1);
    dom = days_of_month(x, length, first);
    dow = weekdays_of_month(x, length, first);
    return all & (x->dom_star || x->dow_star ? dom & dow : dom | dow);
}

/* Seconds of a day ----------------------------------------------------------------------- */

/* The lowest bit of SET from FROM on, or -1. */
static int
bit_from(uint64_t set, int from)
{
    set = from < 64 ? set >> from << from : 0;
    return set != 0 ? __builtin_ctzll(set) : -1;
}

/* The highest bit of SET up to TO, or -1. */
static int
bit_to(uint64_t set, int to)
{
    set = to < 0 ? 0 : to < 63 ? set & (((uint64_t)1 << (to + 1)) - 1) : set;
    return set != 0 ? 63 - __builtin_clzll(set) : -1;
}

/* The first second of a day from FROM on at which X fires, or -1. */
static int
second_from(const struct cronexpr *x, int from)
{
    int h = bit_from(x->hour, from / 3600), m, s;

    if (h == from / 3600) {
        m = bit_from(x->minute, from / 60 % 60);
        s = m == from / 60 % 60 ? bit_from(x->second, from % 60) : -1;
        if (m == from / 60 % 60 && s < 0) {
            m = bit_from(x->minute, m + 1);
        }
        if (m >= 0) {
            return h * 3600 + m * 60 + (s >= 0 ? s : bit_from(x->second, 0));
        }
        h = bit_from(x->hour, h + 1);
    }
    return h < 0 ? -1 : h * 3600 + bit_from(x->minute, 0) * 60 + bit_from(x->second, 0);
}

/* The last second of a day up to TO at which X fires, or -1. */
static int
second_to(const struct cronexpr *x, int to)
{
    int h = bit_to(x->hour, to / 3600), m, s;

    if (h == to / 3600) {
        m = bit_to(x->minute, to / 60 % 60);
        s = m == to / 60 % 60 ? bit_to(x->second, to % 60) : -1;
        if (m == to / 60 % 60 && s < 0) {
            m = bit_to(x->minute, m - 1);
        }
        if (m >= 0) {
            return h * 3600 + m * 60 + (s >= 0 ? s : bit_to(x->second, 59));
        }
        h = bit_to(x->hour, h - 1);
    }
    return h < 0 ? -1 : h * 3600 + bit_to(x->minute, 59) * 60 + bit_to(x->second, 59);
}

/* Local time ------------------------------------------------------------------------------- */

/* The first local second in [LOW, HIGH) at which X fires into *FOUND. */
static int
find_first(const struct cronexpr *x, int64_t low, int64_t high, int64_t *found)
{
    int64_t day = civil_day_of(low), year;
    unsigned month, date;
    int second;

    if (low >= high) {
        return 0;
    }
    civil_date(day, &year, &month, &date);
    second = second_from(x, (int)(low - day * CIVIL_DAY_S));
    if (second < 0) { /* not on this day any more */
        day++;
        date++;
        second = second_from(x, 0);
    }
    while (day * CIVIL_DAY_S < high) {
        int bit = bit_from(cronexpr_month_days(x, year, month), (int)date - 1);

        if (bit >= 0) {
            int64_t other = day + bit - ((int64_t)date - 1);

            if (other != day) {
                second = second_from(x, 0);
            }
            *found = other * CIVIL_DAY_S + second;
            return *found < high;
        }
        day += (int64_t)civil_month_length(year, month) - date + 1;
        date = 1;
        second = second_from(x, 0);
        year += month == 12;
        month = month % 12 + 1;
    }
    return 0;
}

/* The last local second in [LOW, HIGH) at which X fires into *FOUND. */
static int
find_last(const struct cronexpr *x, int64_t low, int64_t high, int64_t *found)
{
    int64_t day = civil_day_of(high - 1), year;
    unsigned month, date;
    int second;

    if (low >= high) {
        return 0;
    }
    civil_date(day, &year, &month, &date);
    second = second_to(x, (int)(high - 1 - day * CIVIL_DAY_S));
    if (second < 0) {
        day--;
        date--; /* 0: in the month before */
        second = second_to(x, CIVIL_DAY_S - 1);
    }
    while ((day + 1) * CIVIL_DAY_S > low) {
        int bit = bit_to(cronexpr_month_days(x, year, month), (int)date - 1);

        if (bit >= 0) {
            int64_t other = day + bit - ((int64_t)date - 1);

            if (other != day) {
                second = second_to(x, CIVIL_DAY_S - 1);
            }
            *found = other * CIVIL_DAY_S + second;
            return *found >= low;
        }
        day -= date;
        year -= month == 1;
        month = month == 1 ? 12 : month - 1;
        date = civil_month_length(year, month);
        second = second_to(x, CIVIL_DAY_S - 1);
    }
    return 0;
}

/* Spans ------------------------------------------------------------------------------------- */

/* A span, and what of it counts for a schedule; [low, high) in local time. */
struct window {
    struct tz_span span;
    int64_t low, high; /* local times that are met here and count */
    int64_t gap;       /* local times [gap, from + offset) were skipped, and are made up for */
    int has_gap;
};

static void
window_at(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t, struct window *w)
{
    int64_t reached;

    tz_span_at(clock->dst == CRONEXPR_DST_UTC ? tz_utc() : clock->tz, t, &w->span);
    w->low = w->span.from + w->span.offset;
    w->high = w->span.until + w->span.offset;
    w->has_gap = 0;
    if (x->wildcard) {
        return;
    }
    reached = w->span.from + w->span.reached;
    if (reached > w->low) {
        w->low = reached;
    } else if (reached < w->low && clock->dst == CRONEXPR_DST_CRON) {
        w->gap = reached;
        w->has_gap = 1;
    }
}

/* The first fire in W at T or later. */
static int
first_in(const struct cronexpr *x, const struct window *w, int64_t t, int64_t *fire)
{
    int64_t found, low = t + w->span.offset;

    if (w->has_gap && t <= w->span.from && find_first(x, w->gap, w->low, &found)) {
        *fire = w->span.from;
        return 1;
    }
    if (!find_first(x, low > w->low ? low : w->low, w->high, &found)) {
        return 0;
    }
    *fire = found - w->span.offset;
    return 1;
}

/* The last fire in W before T. */
static int
last_in(const struct cronexpr *x, const struct window *w, int64_t t, int64_t *fire)
{
    int64_t found, high = t + w->span.offset;

    if (find_last(x, w->low, high < w->high ? high : w->high, &found)) {
        *fire = found - w->span.offset;
        return 1;
    }
    if (w->has_gap && t > w->span.from && find_first(x, w->gap, w->low, &found)) {
        *fire = w->span.from;
        return 1;
    }
    return 0;
}

/* @every ------------------------------------------------------------------------------------ */

/* The last multiple of the interval, moved by its phase, that is not after T. */
static int64_t
every_floor(const struct cronexpr *x, int64_t t)
{
    int64_t rest = (t - x->phase) % x->every;

    return t - (rest < 0 ? rest + x->every : rest);
}

/* Answers ------------------------------------------------------------------------------------ */

int
cronexpr_next(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
              int64_t *fire)
{
    struct window w;
    int64_t end;

    if (t >= CIVIL_MAX_S) {
        return 0;
    }
    t = t < CIVIL_MIN_S ? CIVIL_MIN_S : t + 1;
    if (x->every != 0) {
        *fire = every_floor(x, t - 1) + x->every;
        return *fire <= CIVIL_MAX_S;
    }
    end = t + HORIZON_S < TZ_END_S ? t + HORIZON_S : TZ_END_S;
    while (t < end) {
        window_at(x, clock, t, &w);
        if (first_in(x, &w, t, fire)) {
            return 1;
        }
        t = w.span.until;
    }
    return 0;
}

int
cronexpr_prev(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
              int64_t *fire)
{
    struct window w;
    int64_t end;

    if (t <= CIVIL_MIN_S) {
        return 0;
    }
    t = t > TZ_END_S ? TZ_END_S : t;
    if (x->every != 0) {
        *fire = every_floor(x, t - 1);
        return *fire >= CIVIL_MIN_S;
    }
    end = t - HORIZON_S > CIVIL_MIN_S ? t - HORIZON_S : CIVIL_MIN_S;
    while (t > end) {
        window_at(x, clock, t - 1, &w);
        if (last_in(x, &w, t, fire)) {
            return *fire >= CIVIL_MIN_S;
        }
        t = w.span.from;
    }
    return 0;
}

size_t
cronexpr_nominals(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
                  int64_t *out, size_t max)
{
    struct window w;
    int64_t fire, found;
    size_t n = 0;

    if (t < CIVIL_MIN_S || !cronexpr_next(x, clock, t - 1, &fire) || fire != t) {
        return 0;
    }
    window_at(x, clock, t, &w);
    if (x->every == 0 && w.has_gap && t == w.span.from) {
        for (int64_t low = w.gap; find_first(x, low, w.low, &found); low = found + 1) {
            if (n < max) {
                out[n] = found;
            }
            n++;
        }
        if (!find_first(x, w.low, w.low + 1, &found)) {
            return n; /* nothing is due at the first local time behind the gap */
        }
    }
    if (n < max) {
        out[n] = t + w.span.offset;
    }
    return n + 1;
}
