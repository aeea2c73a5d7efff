/*
 * http: one HTTP exchange at a time, many in flight. Two transports: libcurl's
 * multi interface on the loop, and in process (a handler function answers).
 * Knows no Lua and no Cloudflare.
 *
 * http owns the connections, the queue before them and every exchange's
 * buffers; its caller owns the exchange handle. Callbacks of libcurl only
 * append to bounded buffers or set flags.
 */
#ifndef MOONTAP_HTTP_H
#define MOONTAP_HTTP_H

#include "buf.h"
#include "fault.h"
#include "loop.h"
#include "wire.h"

#include <stddef.h>
#include <stdint.h>

struct http;
struct http_exchange;

#define HTTP_CONNECT_TIMEOUT_MS 10000u
#define HTTP_TOTAL_TIMEOUT_MS 60000u
#define HTTP_IDLE_TIMEOUT_MS 30000u
#define HTTP_BODY_MAX (16u << 20)  /* bytes of an answer kept in memory */
#define HTTP_FILE_MAX (4ull << 30) /* bytes of an answer streamed to a file */
#define HTTP_HEADERS_MAX (64u << 10)
#define HTTP_ON_WIRE 32u /* connections; more requests queue */

/* Did the request reach the peer? What a retry has to know. */
enum http_sent {
    HTTP_SENT_NO,    /* certainly not: no connection was made */
    HTTP_SENT_MAYBE, /* some of it was handed to the kernel */
    HTTP_SENT_YES    /* all of it was handed over, or an answer has begun */
};

/* How http is set up; zero fields mean the default. Strings are copied. */
struct http_options {
    const char *cacert;     /* PEM file with the only roots to trust */
    const char *user_agent; /* NULL: "moontap" */
    unsigned on_wire;       /* connections at most (HTTP_ON_WIRE) */
};

/* A request. Everything is copied by http_start except BODY, which must stay
 * until the exchange is freed. */
struct http_request {
    const char *method; /* token, upper case */
    const char *url;    /* http:// or https:// */
    const struct wire_header *headers;
    size_t header_count;
    const void *body; /* NULL: no body */
    size_t body_len;
    uint32_t connect_timeout_ms; /* 0: the defaults above */
    uint32_t total_timeout_ms;
    uint32_t idle_timeout_ms; /* no byte in either direction */
    uint64_t body_max;        /* bound on the answer's body */
    int sink_fd;              /* answer's body goes here when >= 0 and
                                       the status is 2xx; borrowed */
    unsigned max_redirects;   /* 0: a redirect is an ordinary answer;
                                       only GET and HEAD ever follow one */
    int secret_headers;       /* index of the first header that must not
                                       follow to another host; header_count
                                       when there is none */
};

/* What came of it. Borrowed from the exchange until http_exchange_free. */
struct http_result {
    enum fault_code code; /* FAULT_OK when a whole answer came */
    struct fault fault;   /* why not */
    enum http_sent sent;
    int status;             /* HTTP status; 0 when none came */
    const struct buf *head; /* header lines as received, "Name: value\n" each,
                               of the last answer only */
    const struct buf *body; /* in memory; for a sink only non-2xx bodies */
    const char *url;        /* where the last answer came from */
    uint64_t body_bytes;    /* bytes of body received */
    uint64_t elapsed_ms;    /* from http_start, queueing included */
};

typedef void (*http_done_fn)(void *arg);

enum fault_code http_new(struct loop *loop, const struct http_options *options, struct http **out,
                         struct fault *fault);
/* Exchanges that are not freed yet stay valid, and the memory goes with the last
 * of them; the loop must not run in between. */
void http_free(struct http *http);
/* Changes the roots and the user agent for requests started from now on
 * (fields that are NULL mean the default again; on_wire is left alone). */
enum fault_code
http_configure(struct http *http, const struct http_options *options, struct fault *fault);

/* The version of libcurl in use, "7.88.1". */
const char *http_library_version(void);

/*
 * Requests to URL_PREFIX ("http://sim.internal") are answered by HANDLER
 * instead of a socket; it answers through http_inproc_reply. NULL removes it.
 */
enum fault_code
http_set_inproc(struct http *http, const char *url_prefix, wire_handler_fn handler, void *arg);
/* Answers an in-process request (copies). TOKEN is gone afterwards. A token
 * whose exchange was cancelled is still answered, without effect. */
void http_inproc_reply(struct wire_token *token, const struct wire_reply *reply);

/*
 * Can REQUEST be sent? Refuses (FAULT_INVALID) header names or values with
 * control characters, headers that frame the message, URLs that are not http
 * or https, and URLs with a user name or password in them.
 */
enum fault_code http_check(const struct http_request *request, struct fault *fault);

/*
 * Starts an exchange; DONE(ARG) is called once from the loop (never from
 * within http_start) when it has ended. Refuses (FAULT_INVALID) header names
 * or values with control characters, and URLs that are not http or https.
 */
enum fault_code http_start(struct http *http, const struct http_request *request, http_done_fn done,
                           void *arg, struct http_exchange **out, struct fault *fault);
/* Valid once DONE was called. */
const struct http_result *http_result(const struct http_exchange *exchange);
/* The value of header NAME in the last answer; NULL when absent. Copies into
 * OUT (NUL-terminated, cut to SIZE). Returns OUT or NULL. */
const char *
http_header(const struct http_exchange *exchange, const char *name, char *out, size_t size);
/* Cancels the exchange if it still runs (DONE is then not called) and frees
 * it. Never blocks, not even while a name server stays silent. */
void http_exchange_free(struct http_exchange *exchange);

/* A file that gets its name only when it is whole; its fd can be a sink. */
struct http_file {
    int fd;     /* -1 when closed */
    char *temp; /* the name beside its place, mode 0600; NULL when none */
};

/* Makes FILE under a temporary name beside PATH. Refuses a PATH that exists
 * and is no ordinary file. FILE may be dropped whatever came of it. */
enum fault_code http_file_open(struct http_file *file, const char *path, struct fault *fault);
/* Syncs FILE and gives it the name PATH. */
enum fault_code http_file_commit(struct http_file *file, const char *path, struct fault *fault);
/* Closes FILE and removes it if it has no name yet. Works twice, and on a FILE
 * with fd -1 and no temp. */
void http_file_drop(struct http_file *file);

#endif
