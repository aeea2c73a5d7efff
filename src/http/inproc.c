/*
 * inproc: the transport without a socket. A handler of this process answers,
 * so under the virtual clock the order of events depends on nothing outside.
 * What a peer can do to a connection it can do here too.
 */
#include "http_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define COPY_CHUNK 65536u
#define NUMBER_MAX 24u
#define OWN_HEADERS 2u /* Host, Content-Length */

struct inproc_route {
    struct inproc_route *next;
    wire_handler_fn handler;
    void *arg;
    size_t prefix_len;
    char prefix[];
};

/* What a handler answers with; outlives its exchange when that is cancelled. */
struct wire_token {
    struct http_exchange *exchange; /* NULL: nobody waits any more */
};

/* Routes ------------------------------------------------------------------- */

static struct inproc_route **
find_route(struct http *http, const char *prefix)
{
    struct inproc_route **link = &http->routes;

    while (*link != NULL && strcmp((*link)->prefix, prefix) != 0) {
        link = &(*link)->next;
    }
    return link;
}

/* The route for URL: its prefix ends where a part of the URL ends. */
static const struct inproc_route *
route_of(const struct http *http, const char *url)
{
    const struct inproc_route *route;

    for (route = http->routes; route != NULL; route = route->next) {
        if (strncmp(url, route->prefix, route->prefix_len) == 0
            && strchr("/?#", url[route->prefix_len]) != NULL) {
            return route;
        }
    }
    return NULL;
}

static void
remove_route(struct inproc_route **link)
{
    struct inproc_route *route = *link;

    if (route != NULL) {
        *link = route->next;
        mem_free(route);
    }
}

enum fault_code
http_set_inproc(struct http *http, const char *url_prefix, wire_handler_fn handler, void *arg)
{
    struct inproc_route **link = find_route(http, url_prefix);
    struct inproc_route *route = *link;
    size_t len = strlen(url_prefix);

    if (handler == NULL) {
        remove_route(link);
        return FAULT_OK;
    }
    if (route == NULL) {
        route = mem_zalloc(sizeof *route + len + 1);
        if (route == NULL) {
            return FAULT_NOMEM;
        }
        memcpy(route->prefix, url_prefix, len + 1);
        route->prefix_len = len;
        *link = route;
    }
    route->handler = handler;
    route->arg = arg;
    return FAULT_OK;
}

void
inproc_free_routes(struct http *http)
{
    while (http->routes != NULL) {
        remove_route(&http->routes);
    }
}

int
inproc_serves(const struct http_exchange *ex)
{
    return route_of(ex->http, ex->url) != NULL;
}

/* Asking ------------------------------------------------------------------- */

/* Everything a handler is shown, in one block. */
struct shown {
    struct wire_request request;
    char number[NUMBER_MAX];
    char *host;
    struct wire_header headers[];
};

static char *
put(char **at, const char *text, size_t len)
{
    char *start = *at;

    memcpy(start, text, len);
    start[len] = '\0';
    *at += len + 1;
    return start;
}

static void
show_headers(struct shown *shown, const struct http_exchange *ex, char **at)
{
    struct wire_header *header = shown->headers;
    size_t i;

    header->name = "Host";
    (header++)->value = shown->host;
    for (i = 0; i < ex->header_count; i++) {
        const struct request_header *h = &ex->headers[i];

        header->name = put(at, h->node.data, h->name_len);
        (header++)->value = h->value;
    }
    if (request_has_body(ex)) {
        (void)snprintf(shown->number, sizeof shown->number, "%zu", ex->body_len);
        header->name = "Content-Length";
        (header++)->value = shown->number;
    }
    shown->request.headers = shown->headers;
    shown->request.header_count = (size_t)(header - shown->headers);
}

/* Makes the request as a handler sees it; NULL without memory. */
static struct shown *
show(const struct http_exchange *ex)
{
    size_t origin = request_origin_len(ex->url);
    const char *host = strstr(ex->url, "//") + 2;
    size_t names = 0, i, size;
    struct shown *shown;
    char *at;

    for (i = 0; i < ex->header_count; i++) {
        names += ex->headers[i].name_len + 1;
    }
    size = sizeof *shown + (ex->header_count + OWN_HEADERS) * sizeof *shown->headers + names
           + origin + 1;
    shown = mem_zalloc(size);
    if (shown == NULL) {
        return NULL;
    }
    at = (char *)&shown->headers[ex->header_count + OWN_HEADERS];
    shown->host = put(&at, host, (size_t)(ex->url + origin - host));
    show_headers(shown, ex, &at);
    shown->request.method = ex->method;
    shown->request.target = ex->target;
    shown->request.peer = "in-process";
    shown->request.body = ex->body != NULL ? ex->body : "";
    shown->request.body_len = ex->body_len;
    return shown;
}

static void
give_up(struct http_exchange *ex, enum fault_code code, const char *why)
{
    (void)answer_refuse(ex, code, why);
    http_transfer_ended(ex);
    http_settle(ex->http);
}

static void
ask(void *arg)
{
    struct http_exchange *ex = arg;
    const struct inproc_route *route = route_of(ex->http, ex->url);
    struct wire_token *token;
    struct shown *shown;

    ex->http->now_ms = loop_boot_ms(ex->http->loop);
    if (route == NULL) {
        give_up(ex, FAULT_NETWORK, "nobody answers there any more");
        return;
    }
    shown = show(ex);
    token = mem_zalloc(sizeof *token);
    if (shown == NULL || token == NULL) {
        mem_free(shown);
        mem_free(token);
        give_up(ex, FAULT_NOMEM, "not enough memory");
        return;
    }
    token->exchange = ex;
    ex->token = token;
    ex->result.sent = HTTP_SENT_YES;
    ex->active_ms = ex->http->now_ms;
    route->handler(route->arg, &shown->request, token);
    mem_free(shown);
}

void
inproc_start(struct http_exchange *ex)
{
    loop_post(ex->http->loop, &ex->job, ask, ex);
}

void
inproc_abandon(struct http_exchange *ex)
{
    loop_unpost(ex->http->loop, &ex->job);
    if (ex->token != NULL) {
        ex->token->exchange = NULL;
        ex->token = NULL;
    }
}

/* Answering ---------------------------------------------------------------- */

static int
has_line_break(const char *s)
{
    return strpbrk(s, "\r\n") != NULL;
}

static int
take_head(struct http_exchange *ex, const struct wire_reply *reply)
{
    char status[NUMBER_MAX];
    size_t i;
    int rc;

    if (reply->status < 200 || reply->status > 599) {
        return answer_refuse(ex, FAULT_PROTOCOL, "the answer has no status");
    }
    (void)snprintf(status, sizeof status, "HTTP/1.1 %d", reply->status);
    rc = answer_head_line(ex, status, strlen(status));
    for (i = 0; rc == 0 && i < reply->header_count; i++) {
        const struct wire_header *h = &reply->headers[i];
        struct buf line;

        if (has_line_break(h->name) || has_line_break(h->value)) {
            return answer_refuse(ex, FAULT_PROTOCOL, "an answer's header breaks its line");
        }
        buf_init(&line, HTTP_HEADERS_MAX);
        (void)buf_printf(&line, "%s: %s", h->name, h->value); /* failed says it */
        rc = line.failed != 0 ? answer_refuse(ex, (enum fault_code)line.failed,
                                              line.failed == FAULT_NOMEM ? "not enough memory"
                                                                         : "a header is too long")
                              : answer_head_line(ex, line.data, line.len);
        buf_fini(&line);
    }
    return rc == 0 ? answer_head_line(ex, "", 0) : rc;
}

static int
take_file(struct http_exchange *ex, int fd, uint64_t size)
{
    char *chunk = mem_alloc(COPY_CHUNK);
    int rc = 0;

    if (chunk == NULL) {
        return answer_refuse(ex, FAULT_NOMEM, "not enough memory");
    }
    while (rc == 0 && size > 0) {
        size_t want = size < COPY_CHUNK ? (size_t)size : COPY_CHUNK;
        ssize_t got = read(fd, chunk, want);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            rc = answer_refuse(ex, FAULT_NETWORK, "the answer broke off");
            break;
        }
        rc = answer_body(ex, chunk, (size_t)got);
        size -= (uint64_t)got;
    }
    mem_free(chunk);
    return rc;
}

static int
take_body(struct http_exchange *ex, const struct wire_reply *reply)
{
    int cut = reply->cut == WIRE_CUT_MIDDLE;
    int rc = 0;

    if (strcmp(ex->method, "HEAD") != 0) {
        if (reply->fd >= 0) {
            rc = take_file(ex, reply->fd, cut ? reply->fd_size / 2 : reply->fd_size);
        } else if (reply->body_len > 0) {
            rc = answer_body(ex, reply->body, cut ? reply->body_len / 2 : reply->body_len);
        }
    }
    return rc == 0 && cut
               ? answer_refuse(ex, FAULT_NETWORK, "the connection broke within the answer")
               : rc;
}

static void
finish(void *arg)
{
    struct http_exchange *ex = arg;
    struct http *http = ex->http;

    http->now_ms = loop_boot_ms(http->loop);
    http_transfer_ended(ex);
    http_settle(http);
}

static void
take_reply(struct http_exchange *ex, const struct wire_reply *reply)
{
    if (reply->cut == WIRE_SILENT) {
        return; /* a deadline ends the exchange */
    }
    if (reply->cut == WIRE_CUT_BEFORE) {
        (void)answer_refuse(ex, FAULT_NETWORK, "the connection broke before the answer");
    } else if (take_head(ex, reply) == 0) {
        (void)take_body(ex, reply); /* the fault says it */
    }
    ex->active_ms = loop_boot_ms(ex->http->loop);
    loop_post(ex->http->loop, &ex->job, finish, ex);
}

void
http_inproc_reply(struct wire_token *token, const struct wire_reply *reply)
{
    struct http_exchange *ex = token->exchange;

    mem_free(token);
    if (ex != NULL) {
        ex->token = NULL;
        take_reply(ex, reply);
    }
    if (reply->fd >= 0) {
        (void)close(reply->fd);
    }
}
