/*
 * cronexpr: schedules as crontab has them ("30 2 * * mon-fri"), parsed into sets
 * of bits, and when they fire. Pure; docs/schedules.md is the grammar.
 *
 * Fields are compared with local time. Where the clock of a zone jumps, a
 * schedule whose second, minute and hour are all fixed (none begins with a star)
 * fires once: at the first instant behind the gap for all local times that were
 * skipped, and at the first of two instants with the same local time. One with a
 * star there fires whenever the clock on the wall matches, as cronie has it.
 */
#ifndef MOONTAP_CRONEXPR_H
#define MOONTAP_CRONEXPR_H

#include "buf.h"
#include "tz.h"

#include <stddef.h>
#include <stdint.h>

#define CRONEXPR_TEXT_MAX 256
#define CRONEXPR_HINT_MAX 160
#define CRONEXPR_EVERY_MAX (400u * 86400u) /* seconds of @every */

/* What to do where the clock jumps. */
enum cronexpr_dst {
    CRONEXPR_DST_CRON, /* as above */
    CRONEXPR_DST_SKIP, /* the same, but skipped local times do not fire */
    CRONEXPR_DST_UTC   /* the fields mean UTC; the zone plays no part */
};

/* The fields, and what else an error can be about. */
enum cronexpr_field {
    CRONEXPR_SECOND,
    CRONEXPR_MINUTE,
    CRONEXPR_HOUR,
    CRONEXPR_DOM,
    CRONEXPR_MONTH,
    CRONEXPR_DOW,
    CRONEXPR_TEXT, /* the expression as a whole */
    CRONEXPR_TZ
};
#define CRONEXPR_FIELDS 6

struct cronexpr {
    uint64_t second, minute; /* bit n: value n */
    uint32_t hour, month;
    uint32_t dom;                   /* bit n: day n, 1..31 */
    uint32_t dom_from_last;         /* bit n: n days before the last, L is 0 */
    uint32_t dom_nearest;           /* bit n: the weekday nearest day n */
    uint8_t dom_last_weekday;       /* LW */
    uint8_t dow;                    /* bit n: 0 is Sunday */
    uint8_t dow_last;               /* bit n: the last such day of the month */
    uint8_t dow_nth[6];             /* [k] bit n: the k-th such day, 1..5 */
    uint8_t dom_star, dow_star;     /* the text begins with a star: does not restrict */
    uint8_t wildcard;               /* second, minute or hour begins with a star */
    uint8_t has_seconds;            /* six fields */
    uint32_t every, phase;          /* @every: seconds; 0 where there are fields */
    uint32_t warnings;              /* see cronexpr_warning */
    uint8_t steps[CRONEXPR_FIELDS]; /* of a field that is nothing but "*" and a step */
    char tz[TZ_NAME_MAX + 1];       /* of a leading CRON_TZ= or TZ=, else "" */
};

struct cronexpr_options {
    const char *name; /* what H is made of; NULL where H is refused */
    size_t name_len;
    int has_seed;
    uint64_t seed;  /* what ~ is made of; without one ~ is refused */
    uint32_t phase; /* @every fires this many seconds after multiples of it */
};

struct cronexpr_problem {
    struct fault fault;
    enum cronexpr_field field;
    char hint[CRONEXPR_HINT_MAX]; /* what to write instead; may be "" */
};

/* "second", "minute", "hour", "dom", "month", "dow", "expression", "tz". */
const char *cronexpr_field_name(enum cronexpr_field field);

/*
 * Reads the LEN bytes of TEXT into X. With RESOLVED (may be NULL) the text is
 * appended there with each H and ~ replaced by what was drawn for it. Returns
 * FAULT_OK, or FAULT_INVALID, FAULT_LIMIT or FAULT_NOMEM with the problem filled.
 */
enum fault_code
cronexpr_parse(const char *text, size_t len, const struct cronexpr_options *options,
               struct cronexpr *x, struct buf *resolved, struct cronexpr_problem *problem);

/* When and in what zone a schedule is looked at. */
struct cronexpr_clock {
    const struct tz *tz; /* borrowed */
    enum cronexpr_dst dst;
};

/*
 * The first fire after T, or the last before T, both in seconds since 1970, into
 * *FIRE; 0 when there is none in the years 1 to 9999. Ends within a bounded
 * number of steps: after 400 years everything repeats itself.
 */
int cronexpr_next(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
                  int64_t *fire);
int cronexpr_prev(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
                  int64_t *fire);

/*
 * The local times (seconds since 1970 as if they were UTC) for which a fire at T
 * stands: one, or several where skipped ones collapse into it; the first MAX of
 * them go to OUT. Returns how many there are, 0 when nothing fires at T.
 */
size_t cronexpr_nominals(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t,
                         int64_t *out, size_t max);

/* Appends what X means in English: "at 02:30 on Monday to Friday". */
enum fault_code cronexpr_describe(const struct cronexpr *x, struct buf *out);

/*
 * Appends the N-th thing about X that often surprises, from 0; FAULT_OK with
 * nothing appended when there are no more.
 */
enum fault_code cronexpr_warning(const struct cronexpr *x, unsigned n, struct buf *out);

#endif
