/*
 * wire: one HTTP request and its reply as plain values, the shape that the
 * server (libmicrohttpd) and the in-process transport of http share. Knows no
 * Lua and no library. Names of headers compare without regard to case.
 */
#ifndef MOONTAP_WIRE_H
#define MOONTAP_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct wire_header {
    const char *name;
    const char *value;
};

/* A request as a handler sees it. All pointers are borrowed. */
struct wire_request {
    const char *method;   /* "POST" */
    const char *target;   /* path and query as sent: "/a%20b?x=1" */
    const char *peer;     /* "127.0.0.1:40000", or "in-process" */
    const struct wire_header *headers;
    size_t header_count;
    const char *body;     /* may hold NUL bytes */
    size_t body_len;
};

/* What a reply does to the connection: faults of a simulated peer. */
enum wire_cut {
    WIRE_WHOLE = 0,   /* an ordinary reply */
    WIRE_CUT_BEFORE,  /* close without one byte of reply */
    WIRE_CUT_MIDDLE,  /* close after the head and half of the body */
    WIRE_SILENT       /* never answer; the connection stays open */
};

/* A reply. The receiver copies what it needs before it returns, and takes
 * over FD. */
struct wire_reply {
    int status;
    const struct wire_header *headers;
    size_t header_count;
    const char *body;
    size_t body_len;
    int fd;              /* body from this file instead when >= 0 */
    uint64_t fd_size;
    enum wire_cut cut;
};

/*
 * A handler gets REQUEST (borrowed until it returns) and answers now or later,
 * exactly once, through the reply function of whoever called it, with TOKEN.
 */
struct wire_token;
typedef void (*wire_handler_fn)(void *arg, const struct wire_request *request,
                                struct wire_token *token);

#endif
