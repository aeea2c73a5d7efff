/*
 * tz: time zones. Reads TZif files (RFC 8536, version 2 and later, with the
 * rule behind the table), and answers for any second of the years 1 to 9999
 * which offset holds and how long. Never asks libc, whose zone is one for the
 * whole process. Pure but for tz_store, which reads the files.
 */
#ifndef MOONTAP_TZ_H
#define MOONTAP_TZ_H

#include "civil.h"
#include "fault.h"

#include <stddef.h>
#include <stdint.h>

#define TZ_NAME_MAX 63            /* bytes of a zone's name */
#define TZ_FILE_MAX (64u << 10)   /* bytes of a zone file; real ones have 4 KB */
#define TZ_OFFSET_MAX (26 * 3600) /* seconds from UTC, either way */
#define TZ_LOOK_MS 1000           /* a file is looked at no more often */

/* No span reaches beyond these; t + offset stays far from overflow. */
#define TZ_BEGIN_S (CIVIL_MIN_S - 2 * CIVIL_DAY_S)
#define TZ_END_S (CIVIL_MAX_S + 1)

/* What a zone file says; never changes once it is made. */
struct tz;

/* Seconds [from, until) in which one offset holds. Spans follow each other; two
 * that do may have the same offset. */
struct tz_span {
    int64_t from;
    int64_t until;
    int32_t offset;  /* local time minus UTC, seconds */
    int32_t reached; /* from + reached: how far local time had come before. Less
                        than offset: the clock jumps forward at `from`; more: it
                        goes back, and local times below it come again */
};

/*
 * Makes a zone of the N bytes of a TZif file, for tz_free. FAULT_INVALID with
 * what is wrong with them, FAULT_NOMEM.
 */
enum fault_code tz_read(const void *data, size_t n, struct tz **tz, struct fault *fault);

/* NULL is allowed. */
void tz_free(struct tz *tz);

/* UTC, which needs no file. */
const struct tz *tz_utc(void);

/* The span in which T lies; beyond the ends the first or the last one. */
void tz_span_at(const struct tz *tz, int64_t t, struct tz_span *span);

/* Files ----------------------------------------------------------------------- */

/* A zone by its name. Its rules follow the file. */
struct tz_zone;

/* The zones that are in use, each read once. */
struct tz_store {
    struct tz_zone *first;
};

void tz_store_init(struct tz_store *store);
/* Frees all zones. Works twice. */
void tz_store_fini(struct tz_store *store);

/*
 * The zone of that name, read from TZDIR or /usr/share/zoneinfo; it lives as
 * long as the store. FAULT_INVALID: no name of a zone, or no such zone, or its
 * file is none; FAULT_IO, FAULT_LIMIT, FAULT_NOMEM.
 */
enum fault_code tz_store_get(struct tz_store *store, const char *name, size_t len, uint64_t now_ms,
                             struct tz_zone **zone, struct fault *fault);

/* The name that was probably meant, or other advice; OUT has SIZE bytes. */
void tz_advise(const char *name, size_t len, char *out, size_t size);

const char *tz_zone_name(const struct tz_zone *zone);

/*
 * What the zone's file says now; borrowed until the next call. The file is
 * looked at when TZ_LOOK_MS have passed since the last time and read when it
 * changed; one that is gone or broken leaves the rules as they were.
 */
const struct tz *tz_zone_rules(struct tz_zone *zone, uint64_t now_ms);

/* How often the rules were replaced. */
unsigned tz_zone_generation(const struct tz_zone *zone);

/* Whether the file was gone or broken when it was last looked at. */
int tz_zone_is_stale(const struct tz_zone *zone);

#endif
