/*
 * http_int: what the files of the http room share. Nobody else includes it.
 *
 * Who does what: http.c owns exchanges, the queue and the deadlines; request.c
 * checks and copies what the caller gave; answer.c takes in heads and bodies;
 * redirect.c decides where to go next; transfer.c and handle.c (libcurl),
 * sockets.c (its descriptors), roots.c (whom to trust) and urls.c (parsed URLs)
 * are the transport on sockets; inproc.c is the one without.
 */
#ifndef MOONTAP_HTTP_INT_H
#define MOONTAP_HTTP_INT_H

#include "http.h"

#include <curl/curl.h>

#define HTTP_METHOD_MAX 24u /* bytes of a method with its NUL */
#define HTTP_LABEL_MAX 128u /* bytes of "METHOD https://host:port" */

struct transfers;
struct transfer;
struct url_entry;
struct inproc_route;

enum exchange_state {
    EXCHANGE_QUEUED, /* waits for a connection */
    EXCHANGE_WIRE,   /* bound to a libcurl handle */
    EXCHANGE_INPROC, /* with a handler in this process */
    EXCHANGE_ENDED,  /* its result stands; done() is still to be called */
    EXCHANGE_OVER    /* done() was called */
};

/* One header of a request; name and value are parts of node.data. */
struct request_header {
    struct curl_slist node; /* "Name: value", in the shape libcurl reads */
    size_t name_len;
    const char *value;
};

struct http_exchange {
    struct http *http;
    http_done_fn done;
    void *arg;
    enum exchange_state state;
    struct http_exchange *next, *prev; /* in the queue or among the ended */
    struct loop_timer timer;           /* at the earliest deadline */
    struct loop_job job;               /* steps of the in-process transport */
    int held;                          /* loop_hold was called for it */

    /* the request */
    char method[HTTP_METHOD_MAX];
    char *url;                      /* in the block, or moved_url */
    const char *target;             /* path and query: "/a?x", no fragment */
    char *moved_url;                /* heap: where a redirect led */
    struct request_header *headers; /* in the block, linked */
    size_t header_count;
    size_t secret_from; /* index of the first secret header */
    const void *body;
    size_t body_len;
    int idempotent; /* may be sent twice without harm (RFC 9110, 9.2.2) */
    uint32_t connect_timeout_ms, total_timeout_ms, idle_timeout_ms;
    uint64_t body_max;
    int sink_fd;
    unsigned redirects_left, redirects_max;
    struct curl_slist quiet[2]; /* switch off headers libcurl would add */
    unsigned quiet_count;
    int takes_gzip; /* a compressed answer is asked for */

    /* where it stands */
    uint64_t started_ms;
    uint64_t wire_ms;   /* when it left the queue */
    uint64_t active_ms; /* the last byte in either direction */
    int connected;      /* a connection was ready to take the request */
    int blocked_resend; /* libcurl wanted to send it a second time */
    uint64_t uploaded;  /* as last seen by the idle check */
    struct url_entry *parsed;
    struct transfer *transfer;
    struct wire_token *token;

    /* the answer */
    struct buf head, body_buf;
    int in_head; /* between a status line and the empty line */
    struct http_result result;

    size_t block_size; /* of this struct and what follows it */
};

struct http {
    struct loop *loop;
    char *cacert, *user_agent;
    unsigned on_wire;
    unsigned generation; /* of the options; handles follow it */
    uint64_t now_ms;     /* when the loop called last */
    struct http_exchange *queue_first, *queue_last;
    struct http_exchange *ended_first, *ended_last;
    struct loop_job settle_job;
    unsigned live;               /* exchanges not freed yet */
    int doomed;                  /* http_free was called; the last exchange frees it */
    struct transfers *transfers; /* NULL until a request needs a socket */
    struct inproc_route *routes;
    struct buf spare_head, spare_body; /* memory for the next answer */
};

/* request.c --------------------------------------------------------------- */

/* Checks REQUEST and makes an exchange of it (state EXCHANGE_QUEUED, in no
 * list). UA is added unless the request names a user agent. */
enum fault_code request_copy(const struct http_request *request, const char *ua,
                             struct http_exchange **out, struct fault *fault);
/* Wipes and frees what request_copy made. */
void request_free(struct http_exchange *exchange);
/* Links the headers (again) in the shape libcurl reads; NULL when there is
 * none. */
struct curl_slist *request_link(struct http_exchange *exchange);
/* Forgets the secret headers, and Host: the request goes to another host. */
void request_drop_secrets(struct http_exchange *exchange);
/* The end of "scheme://host:port" in URL. */
size_t request_origin_len(const char *url);
/* Writes "METHOD scheme://host:port"; returns OUT. */
const char *request_label(const struct http_exchange *exchange, char *out, size_t size);
/* Does the message say how long its body is, be it empty? */
int request_has_body(const struct http_exchange *exchange);

/* answer.c ---------------------------------------------------------------- */

/* Forgets what came so far. */
void answer_reset(struct http_exchange *exchange);
/* Takes in one line of a head, with or without its line end. 0, or -1 with the
 * exchange's fault set. */
int answer_head_line(struct http_exchange *exchange, const char *line, size_t len);
/* Takes in bytes of the body. 0, or -1 with the exchange's fault set. */
int answer_body(struct http_exchange *exchange, const char *data, size_t len);
/* Sets the exchange's fault to CODE with its label and WHY; returns -1. */
int answer_refuse(struct http_exchange *exchange, enum fault_code code, const char *why);
/* The value of header NAME among the lines of HEAD; NULL when absent. Its
 * length goes to *LEN. */
const char *answer_find(const struct buf *head, const char *name, size_t *len);

/* redirect.c -------------------------------------------------------------- */

/* Does the answer send the exchange elsewhere? 1: url is the new one and the
 * answer is forgotten. 0: it stands as it is. -1: fault set. */
int redirect_follow(struct http_exchange *exchange);

/* urls.c ------------------------------------------------------------------ */

struct urls;
struct urls *urls_new(void);
void urls_free(struct urls *urls);
/* The parsed form of the URL of LEN bytes, kept for the next request to it.
 * Each urls_get and urls_keep is undone by one urls_put. */
enum fault_code urls_get(struct urls *urls, const char *url, size_t len, struct url_entry **out,
                         struct fault *fault);
void urls_keep(struct url_entry *entry);
void urls_put(struct urls *urls, struct url_entry *entry);
CURLU *urls_handle(const struct url_entry *entry);

/* sockets.c --------------------------------------------------------------- */

/* libcurl's descriptors in one epoll descriptor. A descriptor that libcurl no
 * longer asks about stays registered for reading until it says something. */
struct sockets {
    int epoll_fd;
    struct socket_entry *table; /* by descriptor */
    size_t table_len;
    unsigned registered;
    int refused;        /* errno of the last socket that the system did not give, or 0 */
    int registered_xor; /* of the registered descriptors: with one, its number */
};

/* What a descriptor waits for: a set of EPOLLIN and EPOLLOUT. */
struct socket_entry {
    unsigned char want, have;
    unsigned char own; /* opened by sockets_open: its close will be seen */
};

enum fault_code sockets_init(struct sockets *sockets, struct fault *fault);
void sockets_fini(struct sockets *sockets);
/* A new non-blocking socket, or -1. */
int sockets_open(struct sockets *sockets, int family, int type, int protocol);
void sockets_close(struct sockets *sockets, int fd);
/* What libcurl wants of FD: a set of EPOLLIN and EPOLLOUT, 0 for nothing. */
void sockets_want(struct sockets *sockets, int fd, unsigned want);
/* Calls FN(ARG, fd, events) for each descriptor that is ready. */
void
sockets_ready(struct sockets *sockets, void (*fn)(void *arg, int fd, unsigned events), void *arg);

/* roots.c ----------------------------------------------------------------- */

/* Where trusted certificates are; either may be NULL. Borrowed strings. */
struct roots {
    const char *file, *dir;
};

/* CACERT is the only source when it is given; else SSL_CERT_FILE and
 * SSL_CERT_DIR, else the system's hashed directory, else what libcurl was built
 * with. */
void roots_find(struct roots *roots, const char *cacert);
CURLcode roots_apply(const struct roots *roots, CURL *easy);

/* transfer.c -------------------------------------------------------------- */

enum fault_code transfers_new(struct http *http, struct transfers **out, struct fault *fault);
void transfers_free(struct transfers *transfers);
/* The parsed form of what libcurl has to know of the exchange's URL, as the
 * exchange's `parsed`; transfers_put_url undoes it, and works without. */
enum fault_code
transfers_get_url(struct transfers *transfers, struct http_exchange *exchange, struct fault *fault);
void transfers_put_url(struct transfers *transfers, struct http_exchange *exchange);
/* Is a handle free? */
int transfers_room(const struct transfers *transfers);
/* Binds EXCHANGE to a free handle and sends it on its way. */
enum fault_code
transfer_start(struct transfers *transfers, struct http_exchange *exchange, struct fault *fault);
/* Hands every transfer that has ended to http_transfer_ended. */
void transfers_collect(struct transfers *transfers);
/* Has any transfer ended that was not collected? */
int transfers_ended(const struct transfers *transfers);
/* Takes EXCHANGE off its handle at once. */
void transfer_abandon(struct http_exchange *exchange);
/* Bytes of the request's body sent so far. */
uint64_t transfer_uploaded(const struct http_exchange *exchange);
/* How much of the request went out. */
enum http_sent transfer_sent(const struct http_exchange *exchange);

/* inproc.c ---------------------------------------------------------------- */

/* Is there a handler for the exchange's URL? */
int inproc_serves(const struct http_exchange *exchange);
/* Gives the exchange to its handler in the next turn. */
void inproc_start(struct http_exchange *exchange);
/* Takes it back; a late reply has no effect. */
void inproc_abandon(struct http_exchange *exchange);
void inproc_free_routes(struct http *http);

/* http.c ------------------------------------------------------------------ */

/* A transfer ended and is unbound: well when CODE is FAULT_OK, else with the
 * exchange's fault set. */
void http_transfer_ended(struct http_exchange *exchange);
/* The transports call it when the loop called them: collects what has ended,
 * starts what waits, calls done functions. */
void http_settle(struct http *http);

#endif
