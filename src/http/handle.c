/*
 * handle: libcurl's easy handles. Each stays configured from one request to the
 * next, and only what differs is set. Their callbacks append to bounded buffers
 * or set flags, nothing else.
 */
#include "transfer_int.h"

#include <string.h>

#define SINK_BUFFER (128L * 1024L) /* receive buffer of a download */
#define PLAIN_BUFFER (16L * 1024L)
#define CONNECT_SLACK_MS 1000L     /* our own deadline comes first */
#define CONNECT_DEFAULT_MS 300000u /* libcurl's own bound */

/* Callbacks of libcurl ----------------------------------------------------- */

static size_t
on_head(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;

    t->exchange->active_ms = t->owner->http->now_ms;
    return answer_head_line(t->exchange, data, size * count) == 0 ? size * count : 0;
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;

    t->exchange->active_ms = t->owner->http->now_ms;
    return answer_body(t->exchange, data, size * count) == 0 ? size * count : CURL_WRITEFUNC_ERROR;
}

/* A connection is ready and the request is about to be written to it. */
static int
before_send(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct transfer *t = arg;
    struct http_exchange *ex = t->exchange;

    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    if (ex->connected && !ex->idempotent) {
        ex->blocked_resend = 1;
        return CURL_PREREQFUNC_ABORT;
    }
    ex->connected = 1;
    ex->active_ms = t->owner->http->now_ms;
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfers *ts = arg;

    (void)purpose;
    return sockets_open(&ts->sockets, address->family, address->socktype, address->protocol);
}

static int
on_close(void *arg, curl_socket_t fd)
{
    struct transfers *ts = arg;

    sockets_close(&ts->sockets, fd);
    return 0;
}

/* Setting up ---------------------------------------------------------------- */

#define SET(option, value)                                   \
    do {                                                     \
        if (code == CURLE_OK) {                              \
            code = curl_easy_setopt(t->easy, option, value); \
        }                                                    \
    } while (0)

/* What stays the same for all requests. */
static CURLcode
set_up_handle(struct transfer *t)
{
    CURLcode code = CURLE_OK;

    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_ERRORBUFFER, t->error);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* else a cancel waits for the name server */
    /* Over HTTP/2 this libcurl loses answers to POSTs (error 92). */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_SHARE, t->owner->share);
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_PREREQFUNCTION, before_send);
    SET(CURLOPT_PREREQDATA, t);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(CURLOPT_OPENSOCKETDATA, t->owner);
    SET(CURLOPT_CLOSESOCKETFUNCTION, on_close);
    SET(CURLOPT_CLOSESOCKETDATA, t->owner);
    if (t->owner->no_proxy) {
        SET(CURLOPT_PROXY, ""); /* spares looking for the variables each time */
        SET(CURLOPT_NOPROXY, "");
    } else {
        SET(CURLOPT_NOPROXY, t->owner->direct);
    }
    return code;
}

static enum shape
shape_of(const struct http_exchange *ex)
{
    if (strcmp(ex->method, "HEAD") == 0) {
        return SHAPE_HEAD;
    }
    return request_has_body(ex) ? SHAPE_POST : SHAPE_GET;
}

static CURLcode
set_method(struct transfer *t, const struct http_exchange *ex)
{
    static const char *const usual[] = {NULL, "GET", "HEAD", "POST"};
    enum shape shape = shape_of(ex);
    CURLcode code = CURLE_OK;

    if (shape == t->shape && strcmp(t->method, ex->method) == 0) {
        return CURLE_OK;
    }
    if (shape == SHAPE_HEAD) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (shape == SHAPE_POST) {
        SET(CURLOPT_POST, 1L);
    } else {
        SET(CURLOPT_HTTPGET, 1L);
    }
    SET(CURLOPT_CUSTOMREQUEST, strcmp(ex->method, usual[shape]) == 0 ? NULL : ex->method);
    t->shape = code == CURLE_OK ? shape : SHAPE_NONE;
    memcpy(t->method, ex->method, sizeof t->method);
    return code;
}

static CURLcode
set_target(struct transfer *t, const struct http_exchange *ex)
{
    size_t size;
    CURLcode code = CURLE_OK;

    if (!t->owner->no_proxy || strcmp(t->target, ex->target) == 0) {
        return CURLE_OK;
    }
    SET(CURLOPT_REQUEST_TARGET, ex->target);
    size = strlen(ex->target) + 1;
    t->target[0] = '\0';
    if (code == CURLE_OK && size <= sizeof t->target) {
        memcpy(t->target, ex->target, size);
    }
    return code;
}

static CURLcode
set_url(struct transfer *t, struct http_exchange *ex)
{
    CURLcode code = set_target(t, ex);

    if (t->url == ex->parsed) {
        return code;
    }
    /* Without this libcurl 7.88 keeps the text of the URL before, and a retry
     * goes there. */
    SET(CURLOPT_URL, NULL);
    SET(CURLOPT_CURLU, urls_handle(ex->parsed));
    if (code == CURLE_OK) {
        urls_put(t->owner->urls, t->url);
        urls_keep(ex->parsed);
        t->url = ex->parsed;
    }
    return code;
}

/*
 * The time libcurl may take to connect: it shares it out among a name's
 * addresses. 0, its default of five minutes and no timer of libcurl's, where a
 * connection is likely to be there already.
 */
static long
connect_time(const struct transfer *t, const struct http_exchange *ex)
{
    return t->warm && t->url == ex->parsed && ex->connect_timeout_ms < CONNECT_DEFAULT_MS
               ? 0
               : (long)ex->connect_timeout_ms + CONNECT_SLACK_MS;
}

int
handle_is_tls(const struct http_exchange *ex)
{
    return (ex->url[4] | 0x20) == 's';
}

static CURLcode
set_roots(struct transfer *t)
{
    struct transfers *ts = t->owner;
    unsigned generation = ts->http->generation;
    CURLcode code;

    if (ts->roots_generation != generation) {
        roots_find(&ts->roots, ts->http->cacert);
        ts->roots_generation = generation;
    }
    code = roots_apply(&ts->roots, t->easy);
    t->generation = code == CURLE_OK ? generation : 0;
    return code;
}

CURLcode
handle_configure(struct transfer *t, struct http_exchange *ex)
{
    struct http *http = t->owner->http;
    long buffer_size = ex->sink_fd >= 0 ? SINK_BUFFER : PLAIN_BUFFER;
    long connect_ms = connect_time(t, ex);
    CURLcode code = set_url(t, ex);

    if (code == CURLE_OK) {
        code = set_method(t, ex);
    }
    if (t->shape == SHAPE_POST) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ex->body_len);
        SET(CURLOPT_POSTFIELDS, ex->body != NULL ? ex->body : "");
    }
    SET(CURLOPT_HTTPHEADER, request_link(ex));
    if (t->connect_timeout_ms != connect_ms) {
        SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
        t->connect_timeout_ms = connect_ms;
    }
    if (t->buffer_size != buffer_size) {
        SET(CURLOPT_BUFFERSIZE, buffer_size);
        t->buffer_size = buffer_size;
    }
    if (t->takes_gzip != ex->takes_gzip) {
        SET(CURLOPT_ACCEPT_ENCODING, ex->takes_gzip ? "gzip" : NULL);
        t->takes_gzip = ex->takes_gzip;
    }
    if (code == CURLE_OK && t->generation != http->generation
        && (handle_is_tls(ex) || !t->owner->no_proxy)) {
        code = set_roots(t);
    }
    return code;
}

struct transfer *
handle_new(struct transfers *owner)
{
    struct transfer *t = mem_zalloc(sizeof *t);

    if (t == NULL) {
        return NULL;
    }
    t->owner = owner;
    t->easy = curl_easy_init();
    if (t->easy == NULL || set_up_handle(t) != CURLE_OK) {
        handle_free(t);
        return NULL;
    }
    return t;
}

void
handle_free(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    urls_put(t->owner->urls, t->url);
    mem_free(t);
}
