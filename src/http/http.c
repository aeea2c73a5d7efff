/*
 * http: exchanges from their start to their done function: the queue before the
 * connections, the deadlines, the choice of transport; see http.h.
 */
#include "http_int.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_AGENT "moontap"
#define TEXT_MAX 32u
#define SPARE_MAX 8192u /* bytes of a buffer kept for the next answer */

static void on_deadline(void *arg);
static void on_settle(void *arg);

/* Life cycle --------------------------------------------------------------- */

static enum fault_code
copy_options(struct http *http, const struct http_options *options, struct fault *fault)
{
    const char *agent = options != NULL ? options->user_agent : NULL;
    const char *cacert = options != NULL ? options->cacert : NULL;
    char *new_agent = mem_strdup(agent != NULL ? agent : DEFAULT_AGENT);
    char *new_cacert = mem_strdup(cacert);

    if (new_agent == NULL || (cacert != NULL && new_cacert == NULL)) {
        mem_free(new_agent);
        mem_free(new_cacert);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    mem_free(http->user_agent);
    mem_free(http->cacert);
    http->user_agent = new_agent;
    http->cacert = new_cacert;
    http->generation++;
    return FAULT_OK;
}

enum fault_code
http_new(struct loop *loop, const struct http_options *options, struct http **out,
         struct fault *fault)
{
    struct http *http = mem_zalloc(sizeof *http);
    enum fault_code code;

    *out = NULL;
    if (http == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    http->loop = loop;
    http->on_wire = options != NULL && options->on_wire != 0 ? options->on_wire : HTTP_ON_WIRE;
    code = copy_options(http, options, fault);
    if (code != FAULT_OK) {
        mem_free(http);
        return code;
    }
    *out = http;
    return FAULT_OK;
}

enum fault_code
http_configure(struct http *http, const struct http_options *options, struct fault *fault)
{
    return copy_options(http, options, fault);
}

static void
destroy(struct http *http)
{
    loop_unpost(http->loop, &http->settle_job);
    transfers_free(http->transfers);
    inproc_free_routes(http);
    buf_fini(&http->spare_head);
    buf_fini(&http->spare_body);
    mem_free(http->user_agent);
    mem_free(http->cacert);
    mem_free(http);
}

void
http_free(struct http *http)
{
    if (http == NULL) {
        return;
    }
    http->doomed = 1;
    if (http->live == 0) {
        destroy(http);
    }
}

/* Lists -------------------------------------------------------------------- */

static void
append(struct http_exchange **first, struct http_exchange **last, struct http_exchange *ex)
{
    ex->next = NULL;
    ex->prev = *last;
    if (*last != NULL) {
        (*last)->next = ex;
    } else {
        *first = ex;
    }
    *last = ex;
}

static void
unlink_from(struct http_exchange **first, struct http_exchange **last, struct http_exchange *ex)
{
    if (ex->prev != NULL) {
        ex->prev->next = ex->next;
    } else {
        *first = ex->next;
    }
    if (ex->next != NULL) {
        ex->next->prev = ex->prev;
    } else {
        *last = ex->prev;
    }
    ex->next = ex->prev = NULL;
}

static void
settle_soon(struct http *http)
{
    loop_post(http->loop, &http->settle_job, on_settle, http);
}

/* Deadlines ---------------------------------------------------------------- */

static uint64_t
earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the exchange is too late if nothing happens, and the words for it. */
static uint64_t
next_deadline(const struct http_exchange *ex, const char **what, uint32_t *bound_ms)
{
    uint64_t total = ex->started_ms + ex->total_timeout_ms;
    uint64_t phase = UINT64_MAX;

    *what = "not done within";
    *bound_ms = ex->total_timeout_ms;
    if (ex->state == EXCHANGE_WIRE && !ex->connected) {
        phase = ex->wire_ms + ex->connect_timeout_ms;
    } else if (ex->state == EXCHANGE_WIRE || ex->state == EXCHANGE_INPROC) {
        phase = ex->active_ms + ex->idle_timeout_ms;
    }
    if (phase < total) {
        *what = ex->state == EXCHANGE_WIRE && !ex->connected ? "no connection within"
                                                             : "no byte came or went for";
        *bound_ms = ex->state == EXCHANGE_WIRE && !ex->connected ? ex->connect_timeout_ms
                                                                 : ex->idle_timeout_ms;
    }
    return earlier(phase, total);
}

/* One timer serves all deadlines: it is set to the earliest that can come, and
 * looks again when it fires. Bytes that arrive touch no timer. */
static enum fault_code
arm(struct http_exchange *ex, uint64_t now)
{
    uint64_t due = ex->started_ms + ex->total_timeout_ms;

    if (ex->state != EXCHANGE_QUEUED) {
        due = earlier(due, ex->active_ms + ex->idle_timeout_ms);
    }
    if (ex->state == EXCHANGE_WIRE && !ex->connected) {
        due = earlier(due, ex->wire_ms + ex->connect_timeout_ms);
    }
    return loop_timer_start(ex->http->loop, &ex->timer, due > now ? due - now : 1, on_deadline, ex);
}

/* Ending ------------------------------------------------------------------- */

/* Puts EX among those whose done function is to be called. */
static void
end(struct http_exchange *ex)
{
    struct http *http = ex->http;
    struct http_result *result = &ex->result;

    loop_timer_stop(http->loop, &ex->timer);
    loop_unpost(http->loop, &ex->job);
    if (ex->held) {
        loop_release(http->loop);
        ex->held = 0;
    }
    result->code = result->fault.code;
    result->fault.status = result->status;
    result->head = &ex->head;
    result->body = &ex->body_buf;
    result->url = ex->url;
    result->elapsed_ms = loop_boot_ms(http->loop) - ex->started_ms;
    ex->state = EXCHANGE_ENDED;
    append(&http->ended_first, &http->ended_last, ex);
}

/* Takes EX off its transport or out of the queue. */
static void
withdraw(struct http_exchange *ex)
{
    struct http *http = ex->http;

    if (ex->state == EXCHANGE_QUEUED) {
        unlink_from(&http->queue_first, &http->queue_last, ex);
    } else if (ex->state == EXCHANGE_WIRE) {
        transfer_abandon(ex);
        settle_soon(http); /* its handle is free for one that waits */
    } else if (ex->state == EXCHANGE_INPROC) {
        inproc_abandon(ex);
    }
    transfers_put_url(http->transfers, ex);
}

/* Writes MS as people say it. */
static const char *
in_words(uint32_t ms, char *out, size_t size)
{
    if (ms % 1000u == 0) {
        (void)snprintf(out, size, "%us", ms / 1000u);
    } else {
        (void)snprintf(out, size, "%ums", ms);
    }
    return out;
}

/* Did more of the body go out since the last look? */
static int
has_uploaded(struct http_exchange *ex)
{
    uint64_t bytes;

    if (ex->state != EXCHANGE_WIRE || ex->body_len == 0) {
        return 0;
    }
    bytes = transfer_uploaded(ex);
    if (bytes == ex->uploaded) {
        return 0;
    }
    ex->uploaded = bytes;
    return 1;
}

static void
on_deadline(void *arg)
{
    struct http_exchange *ex = arg;
    struct http *http = ex->http;
    const char *what;
    uint32_t bound_ms;
    char label[HTTP_LABEL_MAX], text[TEXT_MAX];

    http->now_ms = loop_boot_ms(http->loop);
    if (next_deadline(ex, &what, &bound_ms) <= http->now_ms && has_uploaded(ex)) {
        ex->active_ms = http->now_ms;
    }
    if (next_deadline(ex, &what, &bound_ms) > http->now_ms && arm(ex, http->now_ms) == FAULT_OK) {
        return;
    }
    if (ex->state == EXCHANGE_WIRE) {
        ex->result.sent = transfer_sent(ex);
    }
    (void)fault_set(&ex->result.fault, FAULT_TIMEOUT, "%s: %s %s",
                    request_label(ex, label, sizeof label), what,
                    in_words(bound_ms, text, sizeof text));
    withdraw(ex);
    end(ex);
    http_settle(http);
}

/* Memory for the next answer -------------------------------------------------
 * Answers of one kind are of one size, and a buffer grows in steps. */

static void
take_spare(struct buf *buf, struct buf *spare)
{
    size_t max = buf->max;

    *buf = *spare;
    buf->max = max;
    buf_init(spare, 0);
}

static void
keep_spare(struct buf *buf, struct buf *spare)
{
    if (spare->data == NULL && buf->cap <= SPARE_MAX) {
        buf_reset(buf);
        *spare = *buf;
        buf_init(buf, 0);
    }
}

/* Starting ----------------------------------------------------------------- */

/* Chooses the transport for the exchange's URL and puts it in line. */
static enum fault_code
dispatch(struct http_exchange *ex, struct fault *fault)
{
    struct http *http = ex->http;
    enum fault_code code;

    if (inproc_serves(ex)) {
        ex->state = EXCHANGE_INPROC;
        ex->active_ms = http->now_ms;
        inproc_start(ex);
        return FAULT_OK;
    }
    if (http->transfers == NULL) {
        code = transfers_new(http, &http->transfers, fault);
        if (code != FAULT_OK) {
            return code;
        }
    }
    code = transfers_get_url(http->transfers, ex, fault);
    if (code != FAULT_OK) {
        return code;
    }
    if (!ex->held) {
        loop_hold(http->loop);
        ex->held = 1;
    }
    ex->state = EXCHANGE_QUEUED;
    append(&http->queue_first, &http->queue_last, ex);
    return FAULT_OK;
}

/* Moves exchanges from the queue to free handles; how many. */
static unsigned
fill_wire(struct http *http)
{
    unsigned started = 0;

    while (http->queue_first != NULL && transfers_room(http->transfers)) {
        struct http_exchange *ex = http->queue_first;

        unlink_from(&http->queue_first, &http->queue_last, ex);
        ex->state = EXCHANGE_WIRE;
        ex->wire_ms = ex->active_ms = http->now_ms;
        if (arm(ex, http->now_ms) != FAULT_OK
            || transfer_start(http->transfers, ex, &ex->result.fault) != FAULT_OK) {
            (void)answer_refuse(ex, FAULT_NOMEM, "not enough memory");
            transfers_put_url(http->transfers, ex);
            end(ex);
        }
        started++;
    }
    return started;
}

void
http_transfer_ended(struct http_exchange *ex)
{
    struct http *http = ex->http;
    int moved = ex->result.fault.code == FAULT_OK ? redirect_follow(ex) : 0;

    transfers_put_url(http->transfers, ex);
    if (moved == 1 && dispatch(ex, &ex->result.fault) == FAULT_OK) {
        return;
    }
    end(ex);
}

/* Calls the done functions; one may free other exchanges and start new ones. */
static void
deliver(struct http *http)
{
    while (http->ended_first != NULL) {
        struct http_exchange *ex = http->ended_first;

        unlink_from(&http->ended_first, &http->ended_last, ex);
        ex->state = EXCHANGE_OVER;
        ex->done(ex->arg);
    }
}

void
http_settle(struct http *http)
{
    if (http->transfers != NULL) {
        do {
            transfers_collect(http->transfers);
        } while (fill_wire(http) > 0 && transfers_ended(http->transfers));
    }
    deliver(http);
}

static void
on_settle(void *arg)
{
    struct http *http = arg;

    http->now_ms = loop_boot_ms(http->loop);
    http_settle(http);
}

enum fault_code
http_start(struct http *http, const struct http_request *request, http_done_fn done, void *arg,
           struct http_exchange **out, struct fault *fault)
{
    struct http_exchange *ex;
    enum fault_code code;

    *out = NULL;
    code = request_copy(request, http->user_agent, &ex, fault);
    if (code != FAULT_OK) {
        return code;
    }
    ex->http = http;
    ex->done = done;
    ex->arg = arg;
    ex->started_ms = http->now_ms = loop_boot_ms(http->loop);
    take_spare(&ex->head, &http->spare_head);
    take_spare(&ex->body_buf, &http->spare_body);
    code = dispatch(ex, fault);
    if (code != FAULT_OK) {
        request_free(ex);
        return code;
    }
    http->live++;
    if (ex->state == EXCHANGE_QUEUED && http->queue_first == ex) {
        (void)fill_wire(http);
    }
    if (ex->state != EXCHANGE_ENDED && !loop_timer_active(&ex->timer)
        && arm(ex, http->now_ms) != FAULT_OK) {
        http_exchange_free(ex);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    if (http->ended_first != NULL
        || (http->transfers != NULL && transfers_ended(http->transfers))) {
        settle_soon(http);
    }
    *out = ex;
    return FAULT_OK;
}

/* Results ------------------------------------------------------------------ */

const struct http_result *
http_result(const struct http_exchange *ex)
{
    return &ex->result;
}

const char *
http_header(const struct http_exchange *ex, const char *name, char *out, size_t size)
{
    size_t len;
    const char *value = answer_find(&ex->head, name, &len);

    if (value == NULL || size == 0) {
        return NULL;
    }
    if (len >= size) {
        len = size - 1;
    }
    memcpy(out, value, len);
    out[len] = '\0';
    return out;
}

void
http_exchange_free(struct http_exchange *ex)
{
    struct http *http;

    if (ex == NULL) {
        return;
    }
    http = ex->http;
    if (ex->state == EXCHANGE_ENDED) {
        unlink_from(&http->ended_first, &http->ended_last, ex);
    } else if (ex->state != EXCHANGE_OVER) {
        withdraw(ex);
    }
    loop_timer_stop(http->loop, &ex->timer);
    loop_unpost(http->loop, &ex->job);
    if (ex->held) {
        loop_release(http->loop);
    }
    keep_spare(&ex->head, &http->spare_head);
    keep_spare(&ex->body_buf, &http->spare_body);
    request_free(ex);
    if (--http->live == 0 && http->doomed) {
        destroy(http);
    }
}
