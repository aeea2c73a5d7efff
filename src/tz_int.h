/* tz_int: what the files of the room tz share. */
#ifndef MOONTAP_TZ_INT_H
#define MOONTAP_TZ_INT_H

#include "tz.h"

/* From AT on OFFSET holds; `reached` as in struct tz_span. */
struct tz_change {
    int64_t at;
    int32_t offset;
    int32_t reached;
};

struct tz {
    /* From here on the table repeats itself every 400 years; INT64_MAX when
     * nothing changes any more. */
    int64_t fold;
    size_t count;              /* at least 1; the first is at TZ_BEGIN_S */
    struct tz_change *changes; /* behind this struct, in the same block */
};

/* A day of the year and a second of it, as a POSIX rule gives it. */
struct tz_rule {
    char kind;                     /* 'J': day 1..365 without 29 February; 'D': day 0..365; 'M' */
    unsigned day;                  /* of 'J' and 'D' */
    unsigned month, week, weekday; /* of 'M'; week 5 is the last */
    int32_t time; /* seconds since midnight, of that day's clock; may be negative */
};

/* The rule behind the table of a TZif file. */
struct tz_posix {
    int32_t std; /* offsets from UTC, east positive */
    int32_t dst;
    int has_dst;
    struct tz_rule start, end; /* of daylight saving time */
};

/* Reads a rule such as "CET-1CEST,M3.5.0,M10.5.0/3"; 0 or -1. */
int tz_posix_read(const char *text, size_t len, struct tz_posix *posix);

/* The two changes of YEAR, start and end of daylight saving time. */
void tz_posix_changes(const struct tz_posix *posix, int64_t year, struct tz_change out[2]);

#endif
