/*
 * transfer_int: what transfer.c (driving libcurl) and handle.c (its easy
 * handles) share.
 */
#ifndef MOONTAP_HTTP_TRANSFER_INT_H
#define MOONTAP_HTTP_TRANSFER_INT_H

#include "http_int.h"

#define TARGET_KEPT 256u

enum shape { SHAPE_NONE, SHAPE_GET, SHAPE_HEAD, SHAPE_POST };

/* An easy handle with what it is configured for, so that only differences are
 * set: most requests differ from the last one in their body alone. */
struct transfer {
    struct transfers *owner;
    CURL *easy;
    struct http_exchange *exchange; /* NULL while it is free */
    struct transfer *next_free;
    struct url_entry *url;
    char target[TARGET_KEPT]; /* as set last; "" when it was longer */
    enum shape shape;
    char method[HTTP_METHOD_MAX];
    long connect_timeout_ms;
    int warm; /* its last exchange left a connection behind */
    long buffer_size;
    int takes_gzip;
    unsigned generation;
    char error[CURL_ERROR_SIZE];
};

struct transfers {
    struct http *http;
    CURLM *multi;
    CURLSH *share; /* TLS sessions */
    struct sockets sockets;
    struct urls *urls;
    struct loop_watch *watch;
    struct loop_timer timer;   /* libcurl's next time-out */
    struct loop_job timer_job; /* the same, at once */
    long wanted_ms;            /* as libcurl said last */
    int wanted_changed;
    struct transfer **pool; /* http->on_wire places */
    unsigned pool_len;
    struct transfer *free_first;
    unsigned bound;     /* handles with an exchange */
    int running;        /* of them, as libcurl said last */
    int recheck;        /* its count may be stale */
    int no_proxy;       /* no proxy variable is set */
    char direct[1024];  /* hosts that no proxy is asked for */
    struct roots roots; /* as of roots_generation; borrows http's strings */
    unsigned roots_generation;
};

/* A handle of OWNER, ready for handle_configure; NULL without memory. */
struct transfer *handle_new(struct transfers *owner);
void handle_free(struct transfer *transfer);
/* Sets what EXCHANGE needs and the handle does not have yet. */
CURLcode handle_configure(struct transfer *transfer, struct http_exchange *exchange);
/* Is the exchange's URL an https one? */
int handle_is_tls(const struct http_exchange *exchange);

#endif
