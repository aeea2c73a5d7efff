/*
 * civil: days and dates of the proleptic Gregorian calendar. Pure.
 */
#ifndef MOONTAP_CIVIL_H
#define MOONTAP_CIVIL_H

#include <stdint.h>

#define CIVIL_DAY_S 86400
/* After 400 years dates fall on the same days of the week. */
#define CIVIL_CYCLE_S (146097LL * CIVIL_DAY_S)
/* The first and the last second of the years 1 to 9999, in UTC. */
#define CIVIL_MIN_S (-62135596800LL)
#define CIVIL_MAX_S 253402300799LL

/* Days from 1970-01-01 to the given day. */
int64_t civil_days(int64_t year, unsigned month, unsigned day);

/* The opposite of civil_days. */
void civil_date(int64_t days, int64_t *year, unsigned *month, unsigned *day);

unsigned civil_month_length(int64_t year, unsigned month);

/* The day of the week, 0 for Sunday. */
unsigned civil_weekday(int64_t days);

/* The day in which second T lies; rounds down. */
int64_t civil_day_of(int64_t t);

#endif
