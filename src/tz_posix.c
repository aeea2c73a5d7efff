/* tz_posix: the rule of POSIX that stands behind the table of a TZif file and
 * holds after it; with the extension of version 3: hours from -167 to 167. */
#include "tz_int.h"

/* What is left to read. */
struct cursor {
    const char *p, *end;
};

static int
take(struct cursor *c, char wanted)
{
    if (c->p == c->end || *c->p != wanted) {
        return 0;
    }
    c->p++;
    return 1;
}

static int
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* An abbreviation: letters, or anything of letters, digits and signs in <>. */
static int
skip_name(struct cursor *c)
{
    const char *start;

    if (take(c, '<')) {
        start = c->p;
        while (c->p < c->end
               && (is_letter(*c->p) || is_digit(*c->p) || *c->p == '+' || *c->p == '-')) {
            c->p++;
        }
        return c->p - start >= 3 && take(c, '>') ? 0 : -1;
    }
    start = c->p;
    while (c->p < c->end && is_letter(*c->p)) {
        c->p++;
    }
    return c->p - start >= 3 ? 0 : -1;
}

/* One to three digits, MIN to MAX. */
static int
read_number(struct cursor *c, unsigned min, unsigned max, unsigned *value)
{
    const char *start = c->p;
    unsigned v = 0;

    while (c->p < c->end && is_digit(*c->p) && c->p - start < 3) {
        v = v * 10 + (unsigned)(*c->p++ - '0');
    }
    *value = v;
    return c->p > start && v >= min && v <= max ? 0 : -1;
}

/* [+-]hh[:mm[:ss]] as seconds. */
static int
read_time(struct cursor *c, unsigned hours_max, int32_t *seconds)
{
    int sign = take(c, '-') ? -1 : (take(c, '+'), 1);
    unsigned h, m = 0, s = 0;

    if (read_number(c, 0, hours_max, &h)) {
        return -1;
    }
    if (take(c, ':')
        && (read_number(c, 0, 59, &m) || (take(c, ':') && read_number(c, 0, 59, &s)))) {
        return -1;
    }
    *seconds = sign * (int32_t)(h * 3600 + m * 60 + s);
    return 0;
}

static int
read_rule(struct cursor *c, struct tz_rule *rule)
{
    int bad;

    rule->time = 2 * 3600;
    if (take(c, 'J')) {
        rule->kind = 'J';
        bad = read_number(c, 1, 365, &rule->day);
    } else if (take(c, 'M')) {
        rule->kind = 'M';
        bad = read_number(c, 1, 12, &rule->month) || !take(c, '.')
              || read_number(c, 1, 5, &rule->week) || !take(c, '.')
              || read_number(c, 0, 6, &rule->weekday);
    } else {
        rule->kind = 'D';
        bad = read_number(c, 0, 365, &rule->day);
    }
    return bad || (take(c, '/') && read_time(c, 167, &rule->time)) ? -1 : 0;
}

int
tz_posix_read(const char *text, size_t len, struct tz_posix *posix)
{
    struct cursor c = {text, text + len};
    int32_t west;

    *posix = (struct tz_posix){0};
    if (skip_name(&c) || read_time(&c, 24, &west)) {
        return -1;
    }
    posix->std = -west;
    if (c.p == c.end) {
        return 0;
    }
    posix->has_dst = 1;
    posix->dst = posix->std + 3600;
    if (skip_name(&c)) {
        return -1;
    }
    if (c.p < c.end && *c.p != ',') {
        if (read_time(&c, 24, &west)) {
            return -1;
        }
        posix->dst = -west;
    }
    if (!take(&c, ',') || read_rule(&c, &posix->start) || !take(&c, ',')
        || read_rule(&c, &posix->end)) {
        return -1;
    }
    return c.p == c.end ? 0 : -1;
}

/* The day of RULE in YEAR, counted from 1970-01-01. */
static int64_t
rule_day(const struct tz_rule *rule, int64_t year)
{
    int64_t first, days;
    unsigned length;

    if (rule->kind != 'M') {
        int is_behind = rule->kind == 'J' && rule->day > 59 && civil_month_length(year, 2) == 29;

        return civil_days(year, 1, 1) + rule->day - (rule->kind == 'J') + is_behind;
    }
    first = civil_days(year, rule->month, 1);
    length = civil_month_length(year, rule->month);
    days = (rule->weekday + 7 - civil_weekday(first)) % 7 + (rule->week - 1) * 7;
    return first + (days < length ? days : days - 7);
}

void
tz_posix_changes(const struct tz_posix *posix, int64_t year, struct tz_change out[2])
{
    out[0].at = rule_day(&posix->start, year) * CIVIL_DAY_S + posix->start.time - posix->std;
    out[0].offset = posix->dst;
    out[1].at = rule_day(&posix->end, year) * CIVIL_DAY_S + posix->end.time - posix->dst;
    out[1].offset = posix->std;
}
