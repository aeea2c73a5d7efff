/* server: requests over real sockets, answers of every kind, closing at any time. */
#include "buf.h"
#include "loop.h"
#include "server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 5000u
#define TOKENS_MAX 64

/* How the handler answers. */
enum mode { ANSWER_NOW, ANSWER_LATER, ANSWER_BY_PATH };

struct rig {
    struct loop *loop;
    struct server *server;
    struct loop_timer patience;
    int late; /* the test took too long */
    enum mode mode;
    struct wire_reply reply; /* what ANSWER_NOW sends */
    struct wire_token *tokens[TOKENS_MAX];
    int requests;
    int close_in_handler;
    struct buf seen; /* a line per request: what the handler got */
};

/* A client's end of a connection. */
struct client {
    struct rig *rig;
    struct loop_watch *watch;
    int fd;
    int ended; /* end of file, or reset */
    const char *until;
    size_t until_len; /* wanted bytes, instead */
    struct buf in;
};

/* Handlers ------------------------------------------------------------------ */

static void
answer(struct wire_token *token, int status, const char *body)
{
    struct wire_reply reply = {.status = status, .body = body, .body_len = strlen(body), .fd = -1};

    server_reply(token, &reply);
}

static void
handle(void *arg, const struct wire_request *request, struct wire_token *token)
{
    struct rig *rig = arg;

    (void)buf_printf(&rig->seen, "%s %s [%.*s]\n", request->method, request->target,
                     (int)request->body_len, request->body);
    for (size_t i = 0; i < request->header_count; i++)
        if (strncmp(request->headers[i].name, "X-", 2) == 0)
            (void)buf_printf(&rig->seen, "%s=%s\n", request->headers[i].name,
                             request->headers[i].value);
    assert_true(rig->requests < TOKENS_MAX);
    rig->tokens[rig->requests++] = token;
    if (rig->close_in_handler) {
        server_close(rig->server);
        rig->server = NULL;
    }
    if (rig->mode == ANSWER_NOW)
        server_reply(token, &rig->reply);
    else if (rig->mode == ANSWER_BY_PATH)
        answer(token, 200, request->target);
}

/* Rig ----------------------------------------------------------------------- */

static void
open_server(struct rig *rig, struct server_options options)
{
    struct fault fault;

    assert_int_equal(server_open(rig->loop, &options, handle, rig, &rig->server, &fault), FAULT_OK);
}

static int
set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    struct fault fault;

    assert_non_null(rig);
    assert_int_equal(loop_new(&rig->loop, &fault), FAULT_OK);
    buf_init(&rig->seen, 1 << 20);
    rig->reply = (struct wire_reply){.status = 200, .body = "hello", .body_len = 5, .fd = -1};
    *state = rig;
    return 0;
}

static int
tear_down(void **state)
{
    struct rig *rig = *state;

    server_close(rig->server);
    loop_timer_stop(rig->loop, &rig->patience);
    loop_free(rig->loop);
    buf_fini(&rig->seen);
    free(rig);
    return 0;
}

static void
lose_patience(void *arg)
{
    ((struct rig *)arg)->late = 1;
}

/* Client -------------------------------------------------------------------- */

static int
is_done(void *arg)
{
    struct client *c = arg;

    if (c->ended || c->rig->late)
        return 1;
    if (c->until_len != 0)
        return c->in.len >= c->until_len;
    return c->until != NULL && strstr(buf_cstr(&c->in), c->until) != NULL;
}

static void
on_input(void *arg, unsigned events)
{
    struct client *c = arg;
    char block[65536];
    ssize_t n = recv(c->fd, block, sizeof block, MSG_DONTWAIT);

    (void)events;
    if (n > 0)
        (void)buf_append(&c->in, block, (size_t)n);
    else if (n == 0 || errno != EAGAIN) {
        c->ended = 1;
        loop_watch_free(c->watch);
        c->watch = NULL;
    }
}

static void
connect_client(struct rig *rig, struct client *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)server_port(rig->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct fault fault;

    memset(c, 0, sizeof *c);
    c->rig = rig;
    buf_init(&c->in, 64u << 20);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(c->fd, (void *)&to, sizeof to), 0);
    assert_int_equal(loop_watch_new(rig->loop, c->fd, LOOP_READ, on_input, c, &c->watch, &fault),
                     FAULT_OK);
}

static void
say(struct client *c, const char *text)
{
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the loop until the client has read UNTIL (NULL: to the end). */
static void
listen_to(struct client *c, const char *until)
{
    c->until = until;
    assert_int_equal(
        loop_timer_start(c->rig->loop, &c->rig->patience, PATIENCE_MS, lose_patience, c->rig),
        FAULT_OK);
    (void)loop_run(c->rig->loop, is_done, c);
    loop_timer_stop(c->rig->loop, &c->rig->patience);
    assert_false(c->rig->late);
}

static void
hang_up(struct client *c)
{
    if (c->watch != NULL)
        loop_watch_free(c->watch);
    close(c->fd);
    buf_fini(&c->in);
}

static int
requests_are(void *arg)
{
    struct rig *rig = arg;

    return rig->late || rig->requests >= 1;
}

/* Turns the loop until the handler was called. */
static void
await_request(struct rig *rig)
{
    assert_int_equal(loop_timer_start(rig->loop, &rig->patience, PATIENCE_MS, lose_patience, rig),
                     FAULT_OK);
    (void)loop_run(rig->loop, requests_are, rig);
    loop_timer_stop(rig->loop, &rig->patience);
    assert_false(rig->late);
}

static int
turn_over(void *arg)
{
    return !loop_timer_active(arg);
}

static void
no_op(void *arg)
{
    (void)arg;
}

/* Turns the loop for MS milliseconds, while the FAIL_AT-th allocation fails. */
static int
turn_failing(struct rig *rig, uint64_t ms, long fail_at)
{
    struct loop_timer timer = {0};
    int hit;

    assert_int_equal(loop_timer_start(rig->loop, &timer, ms, no_op, NULL), FAULT_OK);
    mem_fail_at(fail_at);
    (void)loop_run(rig->loop, turn_over, &timer);
    hit = mem_fail_hit();
    mem_fail_at(0);
    return hit;
}

/* Turns the loop for MS milliseconds. */
static void
turn_for(struct rig *rig, uint64_t ms)
{
    (void)turn_failing(rig, ms, 0);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define LAST_GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/* Tests --------------------------------------------------------------------- */

static void
test_server_hands_the_request_over_as_sent(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    connect_client(rig, &c);
    say(&c, "POST /a%20b/c?x=%2F&y HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nX-Empty:\r\n"
            "Content-Length: 4\r\nConnection: close\r\n\r\nbody");
    listen_to(&c, NULL);
    assert_string_equal(buf_cstr(&rig->seen), "POST /a%20b/c?x=%2F&y [body]\nX-One=1\nX-Empty=\n");
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Length: 5\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "\r\n\r\nhello"));
    hang_up(&c);
}

static void
test_server_sends_headers(void **state)
{
    static const struct wire_header headers[] = {
        {"Content-Type", "text/plain"}, {"X-A", "1"}, {"X-A", "2"}, {"Content-Length", "99"}};
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->reply.status = 429;
    rig->reply.headers = headers;
    rig->reply.header_count = 4;
    connect_client(rig, &c);
    say(&c, LAST_GET("/"));
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 429 "));
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Type: text/plain\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "X-A: 1\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "X-A: 2\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Length: 5\r\n"));
    assert_null(strstr(buf_cstr(&c.in), "Content-Length: 99"));
    hang_up(&c);
}

static void
test_server_refuses_to_send_injected_headers(void **state)
{
    static const struct wire_header bad[] = {
        {"X-A", "1\r\nX-B: 2"}, {"X-A", "a\x01"}, {"X A", "1"}, {"", "1"}, {"X:A", "1"}};
    struct rig *rig = *state;

    open_server(rig, (struct server_options){0});
    rig->reply.header_count = 1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct client c;

        rig->reply.headers = &bad[i];
        connect_client(rig, &c);
        say(&c, LAST_GET("/"));
        listen_to(&c, NULL);
        assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 500 "));
        assert_null(strstr(buf_cstr(&c.in), "X-B"));
        hang_up(&c);
    }
}

static void
test_server_answers_pipelined_requests(void **state)
{
    struct rig *rig = *state;
    struct client c;
    const char *at;
    int i;

    open_server(rig, (struct server_options){0});
    rig->mode = ANSWER_BY_PATH;
    connect_client(rig, &c);
    say(&c, GET("/1") GET("/2") GET("/3") GET("/4") LAST_GET("/5"));
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 5);
    for (i = 1, at = buf_cstr(&c.in); i <= 5; i++) {
        char wanted[24];

        (void)snprintf(wanted, sizeof wanted, "\r\n\r\n/%d", i);
        at = strstr(at, wanted);
        assert_non_null(at);
    }
    hang_up(&c);
}

static void
test_server_waits_for_late_answers(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->mode = ANSWER_LATER;
    connect_client(rig, &c);
    say(&c, LAST_GET("/"));
    await_request(rig);
    turn_for(rig, 20);
    assert_int_equal(c.in.len, 0);
    answer(rig->tokens[0], 201, "made");
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 201 Created\r\n"));
    assert_non_null(strstr(buf_cstr(&c.in), "\r\n\r\nmade"));
    hang_up(&c);
}

static void
test_server_bounds_bodies(void **state)
{
    struct rig *rig = *state;
    struct client c;
    char block[512];

    open_server(rig, (struct server_options){.body_max = 1000});
    connect_client(rig, &c); /* announced */
    say(&c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    listen_to(&c, "\r\n\r\n");
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 413 "));
    hang_up(&c);
    connect_client(rig, &c); /* in chunks */
    say(&c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 3; i++) {
        say(&c, "200\r\n");
        assert_int_equal(send(c.fd, block, sizeof block, MSG_NOSIGNAL), (ssize_t)sizeof block);
        say(&c, "\r\n");
    }
    say(&c, "0\r\n\r\n");
    listen_to(&c, "\r\n\r\n");
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 413 "));
    hang_up(&c);
    assert_int_equal(rig->requests, 0);
    connect_client(rig, &c); /* just fits */
    say(&c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n");
    memset(block, 'y', sizeof block);
    assert_int_equal(send(c.fd, block, 500, MSG_NOSIGNAL), 500);
    assert_int_equal(send(c.fd, block, 500, MSG_NOSIGNAL), 500);
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 200 "));
    hang_up(&c);
}

static void
test_server_gives_an_endless_body_up(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){.body_max = 10});
    connect_client(rig, &c);
    say(&c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100 && !c.ended; i++) {
        (void)send(c.fd, "a\r\n0123456789\r\n", 15, MSG_NOSIGNAL);
        turn_for(rig, 1);
    }
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 0);
    hang_up(&c);
}

static int
make_file(size_t size)
{
    char path[] = "/tmp/moontap-test-XXXXXX";
    int fd = mkstemp(path);
    char *data = malloc(size);

    assert_true(fd >= 0);
    assert_non_null(data);
    unlink(path);
    for (size_t i = 0; i < size; i++)
        data[i] = (char)('a' + i % 26);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    free(data);
    return fd;
}

static void
test_server_sends_files(void **state)
{
    struct rig *rig = *state;
    struct client c;
    size_t size = 3u << 20;
    const char *body;

    open_server(rig, (struct server_options){0});
    rig->reply = (struct wire_reply){.status = 200, .fd = make_file(size), .fd_size = size};
    connect_client(rig, &c);
    say(&c, LAST_GET("/file"));
    listen_to(&c, NULL);
    body = strstr(buf_cstr(&c.in), "\r\n\r\n");
    assert_non_null(body);
    body += 4;
    assert_int_equal(c.in.len - (size_t)(body - c.in.data), size);
    for (size_t i = 0; i < size; i++)
        assert_true(body[i] == (char)('a' + i % 26));
    hang_up(&c);
}

static void
test_server_cuts_in_the_middle(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->reply.cut = WIRE_CUT_MIDDLE;
    rig->reply.body = "0123456789";
    rig->reply.body_len = 10;
    connect_client(rig, &c);
    say(&c, GET("/"));
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Length: 10\r\n"));
    assert_string_equal(strstr(buf_cstr(&c.in), "\r\n\r\n"), "\r\n\r\n01234");
    hang_up(&c);
    rig->reply.body = NULL;
    rig->reply.body_len = 0;
    rig->reply.fd = make_file(100000);
    rig->reply.fd_size = 100000;
    connect_client(rig, &c);
    say(&c, GET("/"));
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Length: 100000\r\n"));
    assert_int_equal(strlen(strstr(buf_cstr(&c.in), "\r\n\r\n") + 4), 50000);
    hang_up(&c);
}

static void
test_server_cuts_before_the_first_byte(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->reply.cut = WIRE_CUT_BEFORE;
    connect_client(rig, &c);
    say(&c, GET("/"));
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 1);
    assert_int_equal(c.in.len, 0);
    hang_up(&c);
}

static void
test_server_cuts_the_second_request_of_a_connection(void **state)
{
    struct rig *rig = *state;
    struct client c;
    size_t first;

    open_server(rig, (struct server_options){0});
    connect_client(rig, &c);
    say(&c, GET("/1"));
    listen_to(&c, "hello");
    first = c.in.len;
    rig->reply.cut = WIRE_CUT_BEFORE;
    say(&c, GET("/2"));
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 2);
    assert_int_equal(c.in.len, first);
    hang_up(&c);
}

static void
test_server_stays_silent(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){.idle_timeout_s = 1});
    rig->reply.cut = WIRE_SILENT;
    connect_client(rig, &c);
    say(&c, GET("/"));
    await_request(rig);
    turn_for(rig, 50);
    assert_false(c.ended);
    listen_to(&c, NULL); /* the idle timeout ends it */
    assert_int_equal(c.in.len, 0);
    hang_up(&c);
    connect_client(rig, &c); /* and one that closing the server ends */
    say(&c, GET("/"));
    turn_for(rig, 50);
    assert_int_equal(rig->requests, 2);
    server_close(rig->server);
    rig->server = NULL;
    listen_to(&c, NULL);
    assert_int_equal(c.in.len, 0);
    hang_up(&c);
}

static void
test_server_ends_idle_connections(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){.idle_timeout_s = 1});
    connect_client(rig, &c);
    say(&c, "GET / HT");
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 0);
    hang_up(&c);
}

static void
test_server_sends_no_body_with_204_and_head(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->reply.status = 204;
    connect_client(rig, &c);
    say(&c, "DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "HTTP/1.1 204 "));
    assert_string_equal(strstr(buf_cstr(&c.in), "\r\n\r\n"), "\r\n\r\n");
    hang_up(&c);
    rig->reply.status = 200;
    connect_client(rig, &c);
    say(&c, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "Content-Length: 5\r\n"));
    assert_string_equal(strstr(buf_cstr(&c.in), "\r\n\r\n"), "\r\n\r\n");
    hang_up(&c);
}

static void
test_server_forgets_clients_that_go_away(void **state)
{
    struct rig *rig = *state;
    struct client c;
    struct wire_reply big = {.status = 200, .fd = -1};
    char *body = calloc(1, 4u << 20);

    assert_non_null(body);
    open_server(rig, (struct server_options){0});
    rig->mode = ANSWER_LATER;
    connect_client(rig, &c);
    say(&c, GET("/"));
    await_request(rig);
    hang_up(&c);
    turn_for(rig, 20);
    big.body = body;
    big.body_len = 4u << 20;
    server_reply(rig->tokens[0], &big);
    turn_for(rig, 20);
    free(body);
    rig->mode = ANSWER_NOW; /* the server lives on */
    connect_client(rig, &c);
    say(&c, LAST_GET("/"));
    listen_to(&c, NULL);
    assert_non_null(strstr(buf_cstr(&c.in), "hello"));
    hang_up(&c);
}

static void
test_server_closes_with_requests_under_way(void **state)
{
    struct rig *rig = *state;
    struct client c, half;
    struct wire_reply reply = {.status = 200, .fd = make_file(10), .fd_size = 10};

    open_server(rig, (struct server_options){0});
    rig->mode = ANSWER_LATER;
    connect_client(rig, &c);
    say(&c, GET("/"));
    await_request(rig);
    connect_client(rig, &half);
    say(&half, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
    turn_for(rig, 20);
    server_close(rig->server);
    rig->server = NULL;
    listen_to(&c, NULL);
    listen_to(&half, NULL);
    server_reply(rig->tokens[0], &reply); /* without effect; takes the file */
    assert_int_equal(fcntl(reply.fd, F_GETFD), -1);
    hang_up(&c);
    hang_up(&half);
}

static void
test_server_closes_with_an_answer_not_sent_yet(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->mode = ANSWER_LATER;
    connect_client(rig, &c);
    say(&c, GET("/"));
    await_request(rig);
    answer(rig->tokens[0], 200, "late");
    server_close(rig->server);
    rig->server = NULL;
    listen_to(&c, NULL);
    hang_up(&c);
}

static void
test_server_can_be_closed_by_its_handler(void **state)
{
    struct rig *rig = *state;
    struct client c;

    open_server(rig, (struct server_options){0});
    rig->close_in_handler = 1;
    connect_client(rig, &c);
    say(&c, GET("/1") GET("/2"));
    listen_to(&c, NULL);
    assert_int_equal(rig->requests, 1);
    hang_up(&c);
}

static void
test_server_says_why_it_cannot_listen(void **state)
{
    struct rig *rig = *state;
    struct server *other = NULL;
    struct server_options options = {.address = "127.0.0.1"};
    struct fault fault;

    open_server(rig, (struct server_options){0});
    options.port = server_port(rig->server);
    assert_int_equal(server_open(rig->loop, &options, handle, rig, &other, &fault), FAULT_IO);
    assert_non_null(strstr(fault.msg, "127.0.0.1 port"));
    assert_non_null(strstr(fault.msg, "Address already in use"));
    options.address = "localhost";
    assert_int_equal(server_open(rig->loop, &options, handle, rig, &other, &fault), FAULT_INVALID);
    assert_non_null(strstr(fault.msg, "localhost"));
    assert_null(other);
}

static void
test_server_listens_on_ipv6(void **state)
{
    struct rig *rig = *state;
    struct server_options options = {.address = "::1"};
    struct fault fault;

    if (server_open(rig->loop, &options, handle, rig, &rig->server, &fault) != FAULT_OK) {
        assert_non_null(strstr(fault.msg, "[::1]")); /* a machine without IPv6 */
        return;
    }
    assert_true(server_port(rig->server) != 0);
}

static void
test_server_survives_allocations_that_fail(void **state)
{
    struct rig *rig = *state;
    int n, hit = 1;

    open_server(rig, (struct server_options){0});
    for (n = 1; hit && n < 100; n++) {
        struct client c;
        struct server *other = NULL;
        struct server_options options = {0};
        struct fault fault;

        mem_fail_at(n);
        if (server_open(rig->loop, &options, handle, rig, &other, &fault) == FAULT_OK)
            server_close(other);
        else
            assert_int_equal(fault.code, FAULT_NOMEM);
        hit = mem_fail_hit();
        mem_fail_at(0);
        connect_client(rig, &c);
        say(&c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
        hit = turn_failing(rig, 5, n) || hit;
        listen_to(&c, NULL);
        hang_up(&c);
    }
    assert_true(n > 3 && n < 100);
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_server_hands_the_request_over_as_sent),
        SERVER_TEST(test_server_sends_headers),
        SERVER_TEST(test_server_refuses_to_send_injected_headers),
        SERVER_TEST(test_server_answers_pipelined_requests),
        SERVER_TEST(test_server_waits_for_late_answers),
        SERVER_TEST(test_server_bounds_bodies),
        SERVER_TEST(test_server_gives_an_endless_body_up),
        SERVER_TEST(test_server_sends_files),
        SERVER_TEST(test_server_cuts_in_the_middle),
        SERVER_TEST(test_server_cuts_before_the_first_byte),
        SERVER_TEST(test_server_cuts_the_second_request_of_a_connection),
        SERVER_TEST(test_server_stays_silent),
        SERVER_TEST(test_server_ends_idle_connections),
        SERVER_TEST(test_server_sends_no_body_with_204_and_head),
        SERVER_TEST(test_server_forgets_clients_that_go_away),
        SERVER_TEST(test_server_closes_with_requests_under_way),
        SERVER_TEST(test_server_closes_with_an_answer_not_sent_yet),
        SERVER_TEST(test_server_can_be_closed_by_its_handler),
        SERVER_TEST(test_server_says_why_it_cannot_listen),
        SERVER_TEST(test_server_listens_on_ipv6),
        SERVER_TEST(test_server_survives_allocations_that_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
