/* rfc3339: reads and writes the API's date-times; see rfc3339.h. */
#include "rfc3339.h"

#include "civil.h"

#include <stdio.h>

/* What is left to read. */
struct cursor {
    const char *p, *end;
};

/* Reads exactly N digits into *VALUE. */
static int
digits(struct cursor *c, int n, unsigned *value)
{
    unsigned v = 0;

    if (c->end - c->p < n) {
        return -1;
    }
    while (n-- > 0) {
        if (*c->p < '0' || *c->p > '9') {
            return -1;
        }
        v = v * 10 + (unsigned)(*c->p++ - '0');
    }
    *value = v;
    return 0;
}

/* Reads one of the characters A and B; returns it, or 0. */
static int
either(struct cursor *c, char a, char b)
{
    if (c->p == c->end || (*c->p != a && *c->p != b)) {
        return 0;
    }
    return *c->p++;
}

static int
read_date(struct cursor *c, int64_t *days)
{
    unsigned year, month, day;

    if (digits(c, 4, &year) || !either(c, '-', '-') || digits(c, 2, &month) || !either(c, '-', '-')
        || digits(c, 2, &day)) {
        return -1;
    }
    if (month < 1 || month > 12 || day < 1 || day > civil_month_length(year, month)) {
        return -1;
    }
    *days = civil_days(year, month, day);
    return 0;
}

/* Reads hh:mm:ss and a fraction into *US since midnight. */
static int
read_time(struct cursor *c, int64_t *us)
{
    unsigned hour, minute, second;
    int64_t scale = 100000;

    if (digits(c, 2, &hour) || !either(c, ':', ':') || digits(c, 2, &minute) || !either(c, ':', ':')
        || digits(c, 2, &second)) {
        return -1;
    }
    if (hour > 23 || minute > 59 || second > 60) { /* 60: a leap second */
        return -1;
    }
    *us = ((int64_t)hour * 3600 + minute * 60 + second) * 1000000;
    if (either(c, '.', '.')) {
        const char *start = c->p;

        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
            *us += (*c->p - '0') * scale;
            scale /= 10; /* digits behind the sixth count for nothing */
        }
        if (c->p == start) {
            return -1;
        }
    }
    return 0;
}

/* Reads Z or +hh:mm into *SECONDS east of UTC. */
static int
read_zone(struct cursor *c, int64_t *seconds)
{
    unsigned hour, minute;
    int sign;

    *seconds = 0;
    if (either(c, 'Z', 'z')) {
        return 0;
    }
    sign = either(c, '+', '-');
    if (!sign || digits(c, 2, &hour) || !either(c, ':', ':') || digits(c, 2, &minute) || hour > 23
        || minute > 59) {
        return -1;
    }
    *seconds = ((int64_t)hour * 3600 + minute * 60) * (sign == '-' ? -1 : 1);
    return 0;
}

int
rfc3339_parse(const char *text, size_t len, int64_t *us)
{
    struct cursor c = {text, text + len};
    int64_t days, time_us, zone_s;
    int separator;

    if (read_date(&c, &days)) {
        return -1;
    }
    separator = either(&c, 'T', 't');
    if (!separator && !either(&c, ' ', ' ')) {
        return -1;
    }
    if (read_time(&c, &time_us) || read_zone(&c, &zone_s) || c.p != c.end) {
        return -1;
    }
    *us = (days * CIVIL_DAY_S - zone_s) * 1000000 + time_us;
    return 0;
}

char *
rfc3339_format(int64_t us, char *out)
{
    int64_t fraction = us % 1000000, seconds = us / 1000000, days, y;
    unsigned m, d, rest;

    if (fraction < 0) {
        fraction += 1000000;
        seconds--;
    }
    days = civil_day_of(seconds);
    rest = (unsigned)(seconds - days * CIVIL_DAY_S);
    civil_date(days, &y, &m, &d);
    if (fraction == 0) {
        (void)snprintf(out, RFC3339_SIZE, "%04lld-%02u-%02uT%02u:%02u:%02uZ", (long long)y, m, d,
                       rest / 3600, rest / 60 % 60, rest % 60);
    } else {
        (void)snprintf(out, RFC3339_SIZE, "%04lld-%02u-%02uT%02u:%02u:%02u.%06uZ", (long long)y, m,
                       d, rest / 3600, rest / 60 % 60, rest % 60, (unsigned)fraction);
    }
    return out;
}
