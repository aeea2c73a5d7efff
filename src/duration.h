/*
 * duration: lengths of time as people write them ("90", "1.5s", "5m", "1h30m",
 * "250ms"). Pure.
 */
#ifndef MOONTAP_DURATION_H
#define MOONTAP_DURATION_H

#include <stddef.h>
#include <stdint.h>

/* The longest duration: 400 days. */
#define DURATION_MAX_MS (400ull * 86400u * 1000u)

/*
 * Reads TEXT into *MS (milliseconds). A bare number means seconds. Units: ms,
 * s, m, h, d; several may follow each other, largest first or not. Returns 0,
 * or -1 when TEXT is no duration or longer than DURATION_MAX_MS.
 */
int duration_parse(const char *text, size_t len, uint64_t *ms);

/* As above for a number of SECONDS, rounded up; -1 when negative, NaN or too
 * long. */
int duration_from_seconds(double seconds, uint64_t *ms);

/* Writes MS the short way ("1h30m", "2.5s"); returns OUT. */
char *duration_format(uint64_t ms, char *out, size_t size);

#endif
