/*
 * transfer: exchanges on sockets. Owns libcurl's multi handle, the pool of easy
 * handles (handle.c sets them up), and what libcurl wants of the loop.
 *
 * Two things libcurl would do by itself are kept from it. It sends a request
 * again when a reused connection breaks before the answer: before_send in
 * handle.c refuses the second time unless the method is idempotent. And it has
 * timeouts of its own: deadlines are http.c's.
 */
#include "transfer_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Callbacks of libcurl ----------------------------------------------------- */

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
        || loop_timer_start(loop, &ts->timer, (uint64_t)ts->wanted_ms, on_timer, ts) != FAULT_OK) {
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

/* Whatever the variables say, what is for this machine stays on it. */
static void
name_direct_hosts(struct transfers *ts)
{
    const char *more = getenv("no_proxy") != NULL ? getenv("no_proxy") : getenv("NO_PROXY");

    if (more != NULL && strcmp(more, "*") == 0) {
        (void)snprintf(ts->direct, sizeof ts->direct, "*");
    } else {
        (void)snprintf(ts->direct, sizeof ts->direct, "localhost,127.0.0.0/8,::1%s%s",
                       more != NULL ? "," : "", more != NULL ? more : "");
    }
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

    return curl_share_setopt(ts->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_SOCKETFUNCTION, on_want) == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_SOCKETDATA, ts) == CURLM_OK
           && curl_multi_setopt(ts->multi, CURLMOPT_TIMERFUNCTION, on_wanted_time) == CURLM_OK
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
    name_direct_hosts(ts);
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
        code = loop_watch_new(http->loop, ts->sockets.epoll_fd, LOOP_READ, on_ready, ts, &ts->watch,
                              fault);
    }
    if (code != FAULT_OK) {
        transfers_free(ts);
        return code;
    }
    loop_watch_unref(ts->watch); /* an exchange under way holds the loop */
    *out = ts;
    return FAULT_OK;
}

void
transfers_free(struct transfers *ts)
{
    unsigned i;

    if (ts == NULL) {
        return;
    }
    for (i = 0; ts->pool != NULL && i < ts->pool_len; i++) {
        handle_free(ts->pool[i]);
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

/* A free handle, made when all others are in use; NULL without memory. */
static struct transfer *
take_handle(struct transfers *ts)
{
    struct transfer *t = ts->free_first;

    if (t != NULL) {
        ts->free_first = t->next_free;
        return t;
    }
    t = handle_new(ts);
    if (t == NULL) {
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
    if (handle_configure(t, ex) != CURLE_OK
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
        return handle_is_tls(ex) ? HTTP_SENT_MAYBE : HTTP_SENT_NO;
    }
    return transfer_uploaded(ex) >= ex->body_len ? HTTP_SENT_YES : HTTP_SENT_MAYBE;
}

static enum fault_code
fault_of(CURLcode code, const struct http_exchange *ex)
{
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        /* libcurl says so too of a header line above its own bound */
        return ex->connected ? FAULT_LIMIT : FAULT_NOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_USE_SSL_FAILED: return FAULT_TLS;
    case CURLE_OPERATION_TIMEDOUT: return FAULT_TIMEOUT;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_TOO_MANY_REDIRECTS: return FAULT_PROTOCOL;
    case CURLE_URL_MALFORMAT: return FAULT_INVALID;
    default: return FAULT_NETWORK;
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
    } else if (code == CURLE_COULDNT_RESOLVE_PROXY) {
        /* libcurl's text may quote the variable, which may hold a password */
        (void)answer_refuse(ex, FAULT_NETWORK, "the proxy that http_proxy, https_proxy or"
                                               " all_proxy names cannot be used");
    } else if (code == CURLE_OUT_OF_MEMORY && ex->connected) {
        (void)answer_refuse(ex, fault_of(code, ex), "a header line of the answer is too long");
    } else if (code == CURLE_COULDNT_CONNECT && t->owner->sockets.refused != 0) {
        (void)answer_refuse(ex, FAULT_IO, strerror(t->owner->sockets.refused));
        t->owner->sockets.refused = 0;
    } else {
        (void)answer_refuse(ex, fault_of(code, ex),
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
