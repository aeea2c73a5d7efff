/*
 * server: an HTTP/1.1 server on the loop (libmicrohttpd, its own epoll
 * descriptor watched by the loop). Knows no Lua.
 *
 * A request is read whole (up to a bound) and then given to the handler; the
 * connection is suspended until server_reply.
 */
#ifndef MOONTAP_SERVER_H
#define MOONTAP_SERVER_H

#include "fault.h"
#include "loop.h"
#include "wire.h"

#include <stddef.h>

struct server;

#define SERVER_BODY_MAX (1u << 20)
#define SERVER_CONNECTIONS_MAX 1024u

struct server_options {
    const char *address;      /* numeric IPv4 or IPv6; NULL: 127.0.0.1 */
    unsigned port;            /* 0: the system picks one */
    size_t body_max;          /* 0: SERVER_BODY_MAX; beyond it: 413 */
    unsigned connections_max; /* 0: SERVER_CONNECTIONS_MAX */
    unsigned idle_timeout_s;  /* 0: 60 */
};

enum fault_code server_open(struct loop *loop, const struct server_options *options,
                            wire_handler_fn handler, void *arg,
                            struct server **out, struct fault *fault);
/* The port in use. */
unsigned server_port(const struct server *server);
/* Stops listening and closes every connection; tokens not yet answered stay
 * valid, and answering them has no effect. */
void server_close(struct server *server);

/* Answers the request of TOKEN (copies). TOKEN is gone afterwards. */
void server_reply(struct wire_token *token, const struct wire_reply *reply);

#endif
