/* http on sockets: answers, bounds, deadlines, the queue. */
#include "support/rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rig rig;

static int
set_up(void **state)
{
    (void)state;
    rig_open(&rig, 4);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void
test_http_returns_status_head_and_body(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/echo?x=1");
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);
    char value[32];

    (void)state;
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_string_equal(result->url, request.url);
    assert_int_equal(result->body_bytes, result->body->len);
    assert_memory_equal(result->body->data, "GET /echo?x=1\n", 14);
    assert_non_null(strstr(result->body->data, "User-Agent: moontap\r\n"));
    assert_string_equal(http_header(call.exchange, "content-TYPE", value, sizeof value),
                        "text/plain");
    assert_string_equal(http_header(call.exchange, "X-Twice", value, sizeof value), "a");
    assert_string_equal(http_header(call.exchange, "content-type", value, 5), "text");
    assert_null(http_header(call.exchange, "Content", value, sizeof value));
    assert_non_null(strstr(buf_cstr(result->head), "X-Twice: a\nx-twice: b\n"));
    rig_drop(&call);
}

static void
test_http_sends_exactly_the_headers_it_was_given(void **state)
{
    static const struct wire_header headers[] = {
        {"Content-Type", "application/json"},
        {"X-Empty", ""},
        {"User-Agent", "me/1"},
    };
    struct http_request request = rig_request(&rig, "POST", "/echo");
    struct rig_call call;
    const char *text;

    (void)state;
    request.headers = headers;
    request.header_count = 3;
    request.body = "{\"a\":1}";
    request.body_len = 7;
    text = buf_cstr(rig_run(&rig, &request, &call)->body);
    assert_non_null(strstr(text, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(text, "X-Empty:\r\n"));
    assert_non_null(strstr(text, "User-Agent: me/1\r\n"));
    assert_non_null(strstr(text, "Content-Length: 7\r\n"));
    assert_non_null(strstr(text, "\n{\"a\":1}"));
    assert_null(strstr(text, "Expect"));
    rig_drop(&call);

    request = rig_request(&rig, "POST", "/echo");
    text = buf_cstr(rig_run(&rig, &request, &call)->body);
    assert_non_null(strstr(text, "Content-Length: 0\r\n"));
    assert_null(strstr(text, "Content-Type"));
    rig_drop(&call);
}

static void
test_http_methods_do_not_leak_into_the_next_request(void **state)
{
    static const char *const methods[] = {"POST", "GET",  "HEAD", "PUT",   "GET", "DELETE",
                                          "PUT",  "HEAD", "POST", "PATCH", "GET", "DELETE"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct http_request request = rig_request(&rig, methods[i], "/echo");
        struct rig_call call;
        const struct http_result *result;
        char line[32];

        if (strcmp(methods[i], "POST") == 0) {
            request.body = "old body";
            request.body_len = 8;
        }
        result = rig_run(&rig, &request, &call);
        assert_int_equal(result->code, FAULT_OK);
        if (strcmp(methods[i], "HEAD") == 0) {
            assert_int_equal(result->body->len, 0);
        } else {
            int n = snprintf(line, sizeof line, "%s /echo\n", methods[i]);

            assert_memory_equal(buf_cstr(result->body), line, (size_t)n);
            assert_int_equal(strstr(buf_cstr(result->body), "old body") != NULL,
                             request.body != NULL);
        }
        rig_drop(&call);
    }
}

static void
test_http_sends_a_large_body_whole(void **state)
{
    struct http_request request = rig_request(&rig, "POST", "/echo");
    size_t size = 3u << 20;
    char *body = malloc(size);
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    assert_non_null(body);
    memset(body, 'q', size);
    request.body = body;
    request.body_len = size;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_null(strstr(result->body->data, "Expect"));
    assert_memory_equal(result->body->data + result->body->len - size, body, size);
    rig_drop(&call);
    free(body);
}

static void
test_http_reads_chunked_answers_and_drops_trailers(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/chunked");
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);
    char value[8];

    (void)state;
    assert_string_equal(buf_cstr(result->body), "hello world");
    assert_null(http_header(call.exchange, "X-Late", value, sizeof value));
    rig_drop(&call);
}

static void
test_http_decodes_gzip_within_the_bound(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/gzip?n=1000000");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.body_max = 1000000;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->body->len, 1000000);
    rig_drop(&call);
    request.body_max = 999999;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_LIMIT);
    assert_non_null(strstr(result->fault.msg, "999999 bytes"));
    rig_drop(&call);
}

static void
test_http_names_the_bound_that_a_body_exceeds(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/big?n=100001");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.body_max = 100000;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_LIMIT);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_non_null(strstr(result->fault.msg, "larger than 100000 bytes"));
    rig_drop(&call);
}

static void
test_http_bounds_the_header_lines(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/heads?n=80000");
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);

    (void)state;
    assert_int_equal(result->code, FAULT_LIMIT);
    assert_non_null(strstr(result->fault.msg, "65536"));
    rig_drop(&call);
    request = rig_request(&rig, "GET", "/heads?n=50000");
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
}

static void
test_http_streams_2xx_to_a_file_and_errors_to_memory(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/big?n=300000");
    struct rig_call call;
    const struct http_result *result;
    FILE *file = tmpfile();
    struct stat st;

    (void)state;
    assert_non_null(file);
    request.sink_fd = fileno(file);
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->body_bytes, 300000);
    assert_int_equal(result->body->len, 0);
    rig_drop(&call);
    request = rig_request(&rig, "GET", "/status?n=404");
    request.sink_fd = fileno(file);
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->status, 404);
    assert_string_equal(buf_cstr(result->body), "short");
    rig_drop(&call);
    assert_int_equal(fstat(fileno(file), &st), 0);
    assert_int_equal(st.st_size, 300000);
    (void)fclose(file);
}

static void
test_http_reports_a_sink_that_cannot_be_written(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/big?n=300000");
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.sink_fd = full;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_IO);
    assert_non_null(strstr(result->fault.msg, "No space"));
    rig_drop(&call);
    (void)close(full);
}

static void
test_http_reports_an_answer_that_breaks_off(void **state)
{
    struct http_request request = rig_request(&rig, "POST", "/part");
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);

    (void)state;
    assert_int_equal(result->code, FAULT_NETWORK);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->fault.status, 200);
    rig_drop(&call);
}

static void
test_http_refuses_what_is_not_http(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/noise");
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);

    (void)state;
    assert_int_equal(result->code, FAULT_PROTOCOL);
    rig_drop(&call);
}

static void
assert_refused(const struct http_request *request)
{
    struct http_exchange *exchange;
    struct fault fault = {FAULT_OK, 0, ""};

    assert_int_equal(http_start(rig.http, request, NULL, NULL, &exchange, &fault), FAULT_INVALID);
    assert_null(exchange);
    assert_true(fault.msg[0] != '\0');
}

static void
test_http_refuses_requests_that_would_break_framing(void **state)
{
    static const struct wire_header bad[] = {
        {"X-A", "a\r\nX-B: b"},
        {"X-A", "a\nb"},
        {"X-A", "a\x7f"},
        {"X-A", "a\tb"},
        {"X A", "a"},
        {"", "a"},
        {"X-A:", "a"},
        {"Content-Length", "5"},
        {"transfer-encoding", "chunked"},
        {"Connection", "close"},
        {"X\r\nY", "a"},
        {"Expect", "100-continue"},
    };
    static const char *const urls[] = {
        "ftp://127.0.0.1/",
        "http://",
        "http:///x",
        "127.0.0.1/x",
        "http://u:p@127.0.0.1/",
        "http://u@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://127.0.0.1/\xc3\xa9",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "",
        "http://evil\\@127.0.0.1/",
    };
    static const char *const methods[] = {"", "GET /", "G\r\n", "CONNECT", "TRACE"};
    struct http_request request;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        request = rig_request(&rig, "GET", "/echo");
        request.headers = &bad[i];
        request.header_count = 1;
        assert_refused(&request);
    }
    for (i = 0; i < sizeof urls / sizeof *urls; i++) {
        request = rig_request(&rig, "GET", "/echo");
        request.url = urls[i];
        assert_refused(&request);
    }
    for (i = 0; i < sizeof methods / sizeof *methods; i++) {
        request = rig_request(&rig, methods[i], "/echo");
        assert_refused(&request);
    }
}

static void
test_http_says_nothing_was_sent_when_nobody_listens(void **state)
{
    struct http_request request = rig_request(&rig, "POST", "/");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.url = "http://127.0.0.1:9/";
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_NETWORK);
    assert_int_equal(result->sent, HTTP_SENT_NO);
    assert_non_null(strstr(result->fault.msg, "POST http://127.0.0.1:9: "));
    rig_drop(&call);
}

static void
test_http_ends_by_the_idle_deadline(void **state)
{
    struct http_request request = rig_request(&rig, "POST", "/silent");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.idle_timeout_ms = 500;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_TIMEOUT);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_non_null(strstr(result->fault.msg, "no byte came or went for 500ms"));
    rig_drop(&call);
}

static void
test_http_bytes_put_the_idle_deadline_off(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/drip?n=60&ms=20");
    struct rig_call call;

    (void)state;
    request.idle_timeout_ms = 1000;
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
}

static void
test_http_ends_by_the_total_deadline(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/drip?n=1000&ms=10");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.total_timeout_ms = 900;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_TIMEOUT);
    assert_int_equal(result->status, 200);
    assert_non_null(strstr(result->fault.msg, "not done within 900ms"));
    rig_drop(&call);
}

/* A listener whose queue is full: the next connect hangs. */
static int
open_full_listener(int *fillers, size_t count, struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t i;

    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)address, &len), 0);
    for (i = 0; i < count; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)address, sizeof *address);
    }
    return listener;
}

static void
test_http_ends_by_the_connect_deadline(void **state)
{
    struct sockaddr_in address;
    int fillers[4];
    int listener = open_full_listener(fillers, 4, &address);
    struct http_request request = rig_request(&rig, "POST", "/");
    struct rig_call call;
    const struct http_result *result;
    char url[64];
    size_t i;

    (void)state;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    request.url = url;
    request.connect_timeout_ms = 80;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_TIMEOUT);
    assert_int_equal(result->sent, HTTP_SENT_NO);
    assert_non_null(strstr(result->fault.msg, "no connection within 80ms"));
    rig_drop(&call);
    for (i = 0; i < 4; i++) {
        (void)close(fillers[i]);
    }
    (void)close(listener);
}

static int
all_ended(void *arg)
{
    struct rig_call *calls = arg;
    size_t i;

    for (i = 0; i < 100; i++) {
        if (calls[i].exchange != NULL && !calls[i].ended) {
            return 0;
        }
    }
    return 1;
}

static void
test_http_keeps_connections_within_the_bound(void **state)
{
    struct rig_call calls[100];
    int effects, connections, requests;
    size_t i;

    (void)state;
    for (i = 0; i < 100; i++) {
        struct http_request request = rig_request(&rig, "POST", "/effect");

        rig_start(&rig, &request, &calls[i]);
    }
    for (i = 0; i < 100; i += 3) {
        rig_drop(&calls[i]); /* some queued, some on the wire */
    }
    assert_int_equal(loop_run(rig.loop, all_ended, calls), 1);
    for (i = 0; i < 100; i++) {
        if (calls[i].exchange != NULL) {
            assert_int_equal(http_result(calls[i].exchange)->code, FAULT_OK);
            rig_drop(&calls[i]);
        }
    }
    rig_counts(&rig, &effects, &connections, &requests);
    assert_in_range(effects, 66, 100);
    assert_in_range(connections, 1, 4 + 2); /* two were cancelled on the wire */
}

static void
test_http_a_queued_request_times_out_unsent(void **state)
{
    struct rig_call silent[4], call;
    struct http_request request = rig_request(&rig, "POST", "/silent");
    const struct http_result *result;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        rig_start(&rig, &request, &silent[i]);
    }
    request.total_timeout_ms = 60;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_TIMEOUT);
    assert_int_equal(result->sent, HTTP_SENT_NO);
    rig_drop(&call);
    for (i = 0; i < 4; i++) {
        rig_drop(&silent[i]);
    }
    request = rig_request(&rig, "GET", "/echo");
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
}

struct chain {
    struct rig_call first, second;
};

static void
free_the_other(void *arg)
{
    struct chain *chain = arg;

    chain->first.ended = 1;
    rig_drop(&chain->second);
}

static void
must_not_end(void *arg)
{
    (void)arg;
    fail_msg("a cancelled exchange called its done function");
}

static int
chain_ended(void *arg)
{
    return ((struct chain *)arg)->first.ended;
}

static void
test_http_done_may_free_other_exchanges(void **state)
{
    static const char *const paths[] = {"/silent", "/echo"};
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct http_request first = rig_request(&rig, "GET", "/echo");
        struct http_request second = rig_request(&rig, "GET", paths[i]);
        struct chain chain;
        struct fault fault;

        chain.first.ended = 0;
        assert_int_equal(
            http_start(rig.http, &first, free_the_other, &chain, &chain.first.exchange, &fault),
            FAULT_OK);
        assert_int_equal(
            http_start(rig.http, &second, must_not_end, NULL, &chain.second.exchange, &fault),
            FAULT_OK);
        usleep(20000); /* so that both answers are there at once */
        assert_int_equal(loop_run(rig.loop, chain_ended, &chain), 1);
        rig_drop(&chain.first);
    }
}

static void
test_http_asks_the_proxy_of_the_environment(void **state)
{
    static const char *const targets[] = {"http://far.test/echo?a", "http://far.test/echo?b"};
    struct http *kept = rig.http;
    struct http_request request = rig_request(&rig, "GET", "/");
    struct fault fault;
    struct rig_call last;
    char proxy[64], line[64];
    size_t i;

    (void)state;
    (void)snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", rig.port);
    (void)setenv("http_proxy", proxy, 1);
    (void)setenv("no_proxy", "localhost", 1);
    assert_int_equal(http_new(rig.loop, NULL, &rig.http, &fault), FAULT_OK);
    for (i = 0; i < 4; i++) {
        struct rig_call call;
        int n = snprintf(line, sizeof line, "GET %s\n", targets[i % 2]);

        request.url = targets[i % 2];
        assert_memory_equal(buf_cstr(rig_run(&rig, &request, &call)->body), line, (size_t)n);
        rig_drop(&call);
    }
    request.url = "http://localhost:9/"; /* not through the proxy: nobody listens */
    assert_int_equal(rig_run(&rig, &request, &last)->code, FAULT_NETWORK);
    rig_drop(&last);
    http_free(rig.http);
    rig.http = kept;
    (void)unsetenv("http_proxy");
    (void)unsetenv("no_proxy");
}

static void
test_http_sends_the_target_as_it_was_given(void **state)
{
    static const char *const paths[] = {
        "/echo?x=%2F..#part", "/echo?", "/echo?a=/../b", "/echo#x", "/echo?x",
    };
    static const char *const targets[] = {
        "/echo?x=%2F..", "/echo?", "/echo?a=/../b", "/echo", "/echo?x",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct http_request request = rig_request(&rig, "GET", paths[i]);
        struct rig_call call;
        char line[64];
        int n = snprintf(line, sizeof line, "GET %s\n", targets[i]);

        assert_memory_equal(buf_cstr(rig_run(&rig, &request, &call)->body), line, (size_t)n);
        rig_drop(&call);
    }
}

static void
test_http_descriptors_are_closed_and_not_inherited(void **state)
{
    int before, fd;
    char known[64];
    struct rig_call call;
    struct http *kept = rig.http;
    struct http_request request = rig_request(&rig, "GET", "/echo");
    struct fault fault;

    (void)state;
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
    before = rig_open_descriptors();
    for (fd = 0; fd < 64; fd++) {
        known[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    assert_int_equal(http_new(rig.loop, NULL, &rig.http, &fault), FAULT_OK);
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
    for (fd = 3; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFD);

        assert_true(known[fd] || flags < 0 || (flags & FD_CLOEXEC) != 0);
    }
    http_free(rig.http);
    rig.http = kept;
    assert_int_equal(rig_open_descriptors(), before);
}

static void
test_http_may_be_freed_before_its_exchanges(void **state)
{
    static const char *const paths[] = {"/silent", "/echo"};
    struct http *kept = rig.http;
    struct rig_call calls[8];
    struct fault fault;
    size_t i;

    (void)state;
    assert_int_equal(http_new(rig.loop, NULL, &rig.http, &fault), FAULT_OK);
    for (i = 0; i < 8; i++) {
        struct http_request request = rig_request(&rig, "GET", paths[i % 2]);

        rig_start(&rig, &request, &calls[i]);
    }
    http_free(rig.http);
    for (i = 0; i < 8; i++) {
        rig_drop(&calls[i]);
    }
    rig.http = kept;
}

static void
test_http_a_file_gets_its_name_only_when_it_is_whole(void **state)
{
    char dir[] = "/tmp/moontap-test-XXXXXX";
    char path[64];
    struct http_file file;
    struct fault fault;
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/out", dir);
    assert_int_equal(http_file_open(&file, path, &fault), FAULT_OK);
    assert_int_equal(write(file.fd, "abc", 3), 3);
    assert_int_not_equal(stat(path, &st), 0);
    http_file_drop(&file);
    http_file_drop(&file);
    assert_int_equal(http_file_open(&file, path, &fault), FAULT_OK);
    assert_int_equal(write(file.fd, "abc", 3), 3);
    assert_int_equal(http_file_commit(&file, path, &fault), FAULT_OK);
    http_file_drop(&file);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(http_file_open(&file, dir, &fault), FAULT_IO);
    http_file_drop(&file);
    (void)snprintf(path, sizeof path, "%s/no/out", dir);
    assert_int_equal(http_file_open(&file, path, &fault), FAULT_IO);
    http_file_drop(&file);
    (void)snprintf(path, sizeof path, "%s/out", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* no temporary file is left in it */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_http_returns_status_head_and_body),
        TEST(test_http_sends_exactly_the_headers_it_was_given),
        TEST(test_http_methods_do_not_leak_into_the_next_request),
        TEST(test_http_sends_a_large_body_whole),
        TEST(test_http_reads_chunked_answers_and_drops_trailers),
        TEST(test_http_decodes_gzip_within_the_bound),
        TEST(test_http_names_the_bound_that_a_body_exceeds),
        TEST(test_http_bounds_the_header_lines),
        TEST(test_http_streams_2xx_to_a_file_and_errors_to_memory),
        TEST(test_http_reports_a_sink_that_cannot_be_written),
        TEST(test_http_reports_an_answer_that_breaks_off),
        TEST(test_http_refuses_what_is_not_http),
        TEST(test_http_refuses_requests_that_would_break_framing),
        TEST(test_http_says_nothing_was_sent_when_nobody_listens),
        TEST(test_http_ends_by_the_idle_deadline),
        TEST(test_http_bytes_put_the_idle_deadline_off),
        TEST(test_http_ends_by_the_total_deadline),
        TEST(test_http_ends_by_the_connect_deadline),
        TEST(test_http_keeps_connections_within_the_bound),
        TEST(test_http_a_queued_request_times_out_unsent),
        TEST(test_http_done_may_free_other_exchanges),
        TEST(test_http_asks_the_proxy_of_the_environment),
        TEST(test_http_sends_the_target_as_it_was_given),
        TEST(test_http_descriptors_are_closed_and_not_inherited),
        TEST(test_http_may_be_freed_before_its_exchanges),
        TEST(test_http_a_file_gets_its_name_only_when_it_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
