/*
 * transfer: exchanges on sockets. Owns libcurl's multi handle, a pool of easy
 * handles that stay configured between requests, and what libcurl wants of the
 * loop. Its callbacks append to bounded buffers or set flags, nothing else.
 *
 * Two things libcurl would do by itself are kept from it. It sends a request
 * again when a reused connection breaks before the answer: before_send refuses
 * the second time unless the method is idempotent. And it has timeouts of its
 * own: deadlines are http.c's.
 */
#include "http_int.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SINK_BUFFER (128L * 1024L) /* receive buffer of a download */
#define PLAIN_BUFFER (16L * 1024L)
#define TARGET_KEPT 256u
#define CONNECT_SLACK_MS 1000L     /* our own deadline comes first */
#define CONNECT_DEFAULT_MS 300000u /* libcurl's own bound */

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
    struct loop_timer timer; /* libcurl's next time-out */
    struct loop_job timer_job; /* the same, at once */
    long wanted_ms;          /* as libcurl said last */
    int wanted_changed;
    struct transfer **pool;  /* http->on_wire places */
    unsigned pool_len;
    struct transfer *free_first;
    unsigned bound;          /* handles with an exchange */
    int running;             /* of them, as libcurl said last */
    int recheck;             /* its count may be stale */
    int no_proxy;            /* no proxy variable is set */
    struct roots roots;      /* as of roots_generation; borrows http's strings */
    unsigned roots_generation;
};

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
    return answer_body(t->exchange, data, size * count) == 0
               ? size * count : CURL_WRITEFUNC_ERROR;
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
    return sockets_open(&ts->sockets, address->family, address->socktype,
                        address->protocol);
}

static int
on_close(void *arg, curl_socket_t fd)
{
    struct transfers *ts = arg;

    sockets_close(&ts->sockets, fd);
    return 0;
}

static int
on_want(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct transfers *ts = arg;
    unsigned want = 0;

    (void)easy;
    (void)unused;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) {
        want |= EPOLLIN;
    }
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) {
        want |= EPOLLOUT;
    }
    sockets_want(&ts->sockets, fd, want);
    return 0;
}

static int
on_wanted_time(CURLM *multi, long timeout_ms, void *arg)
{
    struct transfers *ts = arg;

    (void)multi;
    ts->wanted_ms = timeout_ms;
    ts->wanted_changed = 1;
    return 0;
}

/* Driving libcurl ---------------------------------------------------------- */

static void on_timer(void *arg);

/* Makes the loop call back when libcurl said. */
static void
follow_wanted_time(struct transfers *ts)
{
    struct loop *loop = ts->http->loop;

    if (!ts->wanted_changed) {
        return;
    }
    ts->wanted_changed = 0;
    loop_timer_stop(loop, &ts->timer);
    loop_unpost(loop, &ts->timer_job);
    if (ts->wanted_ms < 0) {
        return;
    }
    if (ts->wanted_ms == 0
        || loop_timer_start(loop, &ts->timer, (uint64_t)ts->wanted_ms, on_timer, ts)
               != FAULT_OK) {
        loop_post(loop, &ts->timer_job, on_timer, ts);
    }
}

static void
act(struct transfers *ts, curl_socket_t fd, int mask)
{
    /* A failure here is one of the multi handle itself (no memory): the
     * exchanges then end by their deadlines. */
    (void)curl_multi_socket_action(ts->multi, fd, mask, &ts->running);
    follow_wanted_time(ts);
}

static void
on_timer(void *arg)
{
    struct transfers *ts = arg;

    ts->http->now_ms = loop_boot_ms(ts->http->loop);
    act(ts, CURL_SOCKET_TIMEOUT, 0);
    http_settle(ts->http);
}

static void
on_socket(void *arg, int fd, unsigned events)
{
    int mask = 0;

    /* Not CURL_CSELECT_ERR: libcurl would drop what is still to be read. */
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        mask |= CURL_CSELECT_IN;
    }
    if ((events & (EPOLLOUT | EPOLLERR)) != 0) {
        mask |= CURL_CSELECT_OUT;
    }
    act(arg, fd, mask);
}

static void
on_ready(void *arg, unsigned events)
{
    struct transfers *ts = arg;

    (void)events;
    ts->http->now_ms = loop_boot_ms(ts->http->loop);
    sockets_ready(&ts->sockets, on_socket, ts);
    http_settle(ts->http);
}

/* Life cycle --------------------------------------------------------------- */

static int
any_proxy_variable(void)
{
    static const char *const names[] = {
        "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
    };
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (value != NULL && *value != '\0') {
            return 1;
        }
    }
    return 0;
}

/*
 * A multi handle whose own pair of sockets no child process inherits. libcurl
 * opens them without FD_CLOEXEC and does not tell which they are; they are the
 * two lowest numbers that are free.
 */
static CURLM *
new_multi(void)
{
    int fds[2], i;
    CURLM *multi;

    fds[0] = dup(STDERR_FILENO);
    fds[1] = dup(STDERR_FILENO);
    for (i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    multi = curl_multi_init();
    for (i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            (void)fcntl(fds[i], F_SETFD, FD_CLOEXEC); /* fails if it is not open */
        }
    }
    return multi;
}

static int
set_up_multi(struct transfers *ts)
{
    long on_wire = (long)ts->http->on_wire;

    return curl_share_setopt(ts->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION)
               == CURLSHE_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_SOCKETFUNCTION, on_want) == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_SOCKETDATA, ts) == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_TIMERFUNCTION, on_wanted_time)
                  == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_TIMERDATA, ts) == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_MAXCONNECTS, on_wire) == CURLM_OK;
}

enum fault_code
transfers_new(struct http *http, struct transfers **out, struct fault *fault)
{
    struct transfers *ts = mem_zalloc(sizeof *ts);
    enum fault_code code;

    if (ts == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    ts->http = http;
    ts->sockets.epoll_fd = -1;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        mem_free(ts);
        return fault_set(fault, FAULT_NOMEM, "libcurl cannot be started");
    }
    ts->no_proxy = !any_proxy_variable();
    ts->multi = new_multi();
    ts->share = curl_share_init();
    ts->urls = urls_new();
    ts->pool = mem_zalloc(http->on_wire * sizeof(struct transfer *));
    if (ts->multi == NULL || ts->share == NULL || ts->urls == NULL || ts->pool == NULL
        || !set_up_multi(ts)) {
        transfers_free(ts);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    code = sockets_init(&ts->sockets, fault);
    if (code == FAULT_OK) {
        code = loop_watch_new(http->loop, ts->sockets.epoll_fd, LOOP_READ, on_ready, ts,
                              &ts->watch, fault);
    }
    if (code != FAULT_OK) {
        transfers_free(ts);
        return code;
    }
    loop_watch_unref(ts->watch); /* an exchange under way holds the loop */
    *out = ts;
    return FAULT_OK;
}

static void
free_transfer(struct transfers *ts, struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    urls_put(ts->urls, t->url);
    mem_free(t);
}

void
transfers_free(struct transfers *ts)
{
    unsigned i;

    if (ts == NULL) {
        return;
    }
    for (i = 0; i < ts->pool_len; i++) {
        free_transfer(ts, ts->pool[i]);
    }
    if (ts->multi != NULL) {
        (void)curl_multi_cleanup(ts->multi); /* closes the kept connections */
    }
    if (ts->share != NULL) {
        (void)curl_share_cleanup(ts->share);
    }
    loop_timer_stop(ts->http->loop, &ts->timer);
    loop_unpost(ts->http->loop, &ts->timer_job);
    loop_watch_free(ts->watch);
    sockets_fini(&ts->sockets);
    urls_free(ts->urls);
    mem_free(ts->pool);
    mem_free(ts);
    curl_global_cleanup();
}

const char *
http_library_version(void)
{
    return curl_version_info(CURLVERSION_NOW)->version;
}

enum fault_code
transfers_get_url(struct transfers *ts, struct http_exchange *ex, struct fault *fault)
{
    /* The origin is enough where the target can be given apart; a proxy has to
     * be given the whole URL. */
    size_t len = ts->no_proxy ? request_origin_len(ex->url) : strcspn(ex->url, "#");

    return urls_get(ts->urls, ex->url, len, &ex->parsed, fault);
}

void
transfers_put_url(struct transfers *ts, struct http_exchange *ex)
{
    if (ex->parsed != NULL) {
        urls_put(ts->urls, ex->parsed);
        ex->parsed = NULL;
    }
}

/* Handles ------------------------------------------------------------------ */

#define SET(option, value)                                                            \
    do {                                                                              \
        if (code == CURLE_OK) {                                                       \
            code = curl_easy_setopt(t->easy, option, value);                          \
        }                                                                             \
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
    static const char *const usual[] = { NULL, "GET", "HEAD", "POST" };
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
               ? 0 : (long)ex->connect_timeout_ms + CONNECT_SLACK_MS;
}

static int
is_tls(const struct http_exchange *ex)
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

/* Sets what the exchange needs and the handle does not have yet. */
static CURLcode
configure(struct transfer *t, struct http_exchange *ex)
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
    if (code == CURLE_OK && t->generation != http->generation && is_tls(ex)) {
        code = set_roots(t);
    }
    return code;
}

/* A free handle, made when all others are in use; NULL without memory. */
static struct transfer *
take_handle(struct transfers *ts)
{
    struct transfer *t = ts->free_first;

    if (t != NULL) {
        ts->free_first = t->next_free;
        return t;
    }
    t = mem_zalloc(sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->owner = ts;
    t->easy = curl_easy_init();
    if (t->easy == NULL || set_up_handle(t) != CURLE_OK) {
        free_transfer(ts, t);
        return NULL;
    }
    ts->pool[ts->pool_len++] = t;
    return t;
}

static void
put_handle(struct transfers *ts, struct transfer *t)
{
    t->exchange = NULL;
    t->next_free = ts->free_first;
    ts->free_first = t;
}

int
transfers_room(const struct transfers *ts)
{
    return ts->bound < ts->http->on_wire;
}

enum fault_code
transfer_start(struct transfers *ts, struct http_exchange *ex, struct fault *fault)
{
    struct transfer *t = take_handle(ts);

    if (t == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    t->exchange = ex;
    t->error[0] = '\0';
    ex->connected = 0;
    if (configure(t, ex) != CURLE_OK
        || curl_multi_add_handle(ts->multi, t->easy) != CURLM_OK) {
        put_handle(ts, t);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    ex->transfer = t;
    ts->bound++;
    act(ts, CURL_SOCKET_TIMEOUT, 0); /* on its way now, not in the next turn */
    return FAULT_OK;
}

static void
unbind(struct transfers *ts, struct transfer *t)
{
    (void)curl_multi_remove_handle(ts->multi, t->easy); /* fails only on bad handles */
    t->exchange->transfer = NULL;
    put_handle(ts, t);
    ts->bound--;
    follow_wanted_time(ts);
}

void
transfer_abandon(struct http_exchange *ex)
{
    struct transfers *ts = ex->transfer->owner;

    ex->transfer->warm = 0;
    unbind(ts, ex->transfer);
    ts->recheck = 1;
}

/* How it ended ------------------------------------------------------------- */

uint64_t
transfer_uploaded(const struct http_exchange *ex)
{
    curl_off_t bytes = 0;

    (void)curl_easy_getinfo(ex->transfer->easy, CURLINFO_SIZE_UPLOAD_T, &bytes);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

enum http_sent
transfer_sent(const struct http_exchange *ex)
{
    long bytes = 0;

    if (ex->result.status != 0 || ex->redirects_left != ex->redirects_max) {
        return HTTP_SENT_YES;
    }
    if (!ex->connected) {
        return HTTP_SENT_NO;
    }
    (void)curl_easy_getinfo(ex->transfer->easy, CURLINFO_REQUEST_SIZE, &bytes);
    if (bytes <= 0) {
        /* Plain sockets say how much they took; a TLS record may be half out. */
        return is_tls(ex) ? HTTP_SENT_MAYBE : HTTP_SENT_NO;
    }
    return transfer_uploaded(ex) >= ex->body_len ? HTTP_SENT_YES : HTTP_SENT_MAYBE;
}

static enum fault_code
fault_of(CURLcode code)
{
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return FAULT_NOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_USE_SSL_FAILED:
        return FAULT_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return FAULT_TIMEOUT;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_TOO_MANY_REDIRECTS:
        return FAULT_PROTOCOL;
    case CURLE_URL_MALFORMAT:
        return FAULT_INVALID;
    default:
        return FAULT_NETWORK;
    }
}

/* Puts CODE into words, unless a callback has already said what was wrong. */
static void
explain(struct transfer *t, CURLcode code)
{
    struct http_exchange *ex = t->exchange;

    if (ex->result.fault.code != FAULT_OK) {
        return;
    }
    if (code == CURLE_OK) {
        if (ex->result.status == 0) {
            (void)answer_refuse(ex, FAULT_PROTOCOL, "the answer is not HTTP");
        }
    } else if (ex->blocked_resend) {
        (void)answer_refuse(ex, FAULT_NETWORK, "the connection broke before the answer");
    } else {
        (void)answer_refuse(ex, fault_of(code),
                            t->error[0] != '\0' ? t->error : curl_easy_strerror(code));
    }
}

int
transfers_ended(const struct transfers *ts)
{
    return ts->recheck || ts->running < (int)ts->bound;
}

void
transfers_collect(struct transfers *ts)
{
    CURLMsg *message;
    int left;

    if (!transfers_ended(ts)) {
        return;
    }
    ts->recheck = 0;
    while ((message = curl_multi_info_read(ts->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        struct transfer *t = NULL;
        struct http_exchange *ex;

        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        ex = t->exchange;
        t->warm = code == CURLE_OK;
        explain(t, code);
        ex->result.sent = transfer_sent(ex);
        unbind(ts, t);
        http_transfer_ended(ex);
    }
}
