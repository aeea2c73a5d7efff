/*
 * fault: the error record of the C rooms.
 *
 * A function that can fail returns an enum fault_code (0 is success, every
 * failure is negative) and, where the caller gave one, fills a struct fault
 * with what was tried, on what, and why it failed. Nothing is allocated.
 */
#ifndef MOONTAP_FAULT_H
#define MOONTAP_FAULT_H

#include <stdarg.h>

#define FAULT_MSG_MAX 256

enum fault_code {
    FAULT_OK = 0,
    FAULT_NOMEM = -1,     /* out of memory, or the memory cap was reached */
    FAULT_INVALID = -2,   /* the caller's arguments cannot be used */
    FAULT_LIMIT = -3,     /* a stated bound was exceeded */
    FAULT_IO = -4,        /* a local file, socket or descriptor failed */
    FAULT_NETWORK = -5,   /* name look-up, connect, send or receive failed */
    FAULT_TLS = -6,       /* the peer's certificate was not accepted */
    FAULT_TIMEOUT = -7,   /* a deadline passed */
    FAULT_CANCELLED = -8, /* somebody cancelled the operation */
    FAULT_PROTOCOL = -9   /* the peer's bytes make no sense */
};

struct fault {
    enum fault_code code;
    int status;              /* HTTP status where there is one, else 0 */
    char msg[FAULT_MSG_MAX]; /* one line, no secret in it */
};

/*
 * Fills FAULT (may be NULL) and returns CODE, so that a caller can write
 * `return fault_set(f, FAULT_IO, "open %s: %s", path, strerror(errno));`.
 */
enum fault_code fault_set(struct fault *fault, enum fault_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes FAULT (may be NULL) say "no failure". */
void fault_clear(struct fault *fault);

/* The word scripts see as `err.kind` for CODE; never NULL. */
const char *fault_kind(enum fault_code code);

#endif
