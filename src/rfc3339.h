/*
 * rfc3339: date-times of the API ("2026-11-22T10:00:00.123456Z"). Pure.
 */
#ifndef MOONTAP_RFC3339_H
#define MOONTAP_RFC3339_H

#include <stddef.h>
#include <stdint.h>

#define RFC3339_SIZE 56

/* Reads TEXT (whole, with zone) into microseconds since 1970; 0 or -1. */
int rfc3339_parse(const char *text, size_t len, int64_t *us);

/* Writes US in UTC with six digits of fraction, or none when the fraction is
 * zero. OUT has RFC3339_SIZE bytes; returns it. */
char *rfc3339_format(int64_t us, char *out);

#endif
