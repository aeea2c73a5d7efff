/* http in process: answers, faults and deadlines in virtual time, no socket. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define BASE "http://sim.internal"

/* What the handler saw last, and how it answers. */
struct side {
    struct wire_reply reply;
    struct wire_token *token; /* kept instead of answered when late */
    int late;
    int calls;
    char method[16];
    char target[128];
    char host[64], length[16], secret[64], agent[32], peer[32];
    char body[64];
};

static struct rig rig; /* without a peer */
static struct side side;
static struct side away; /* of another prefix */

static void
keep(char *out, size_t size, const struct wire_request *request, const char *name)
{
    size_t i;

    out[0] = '\0';
    for (i = 0; i < request->header_count; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            (void)snprintf(out, size, "%s", request->headers[i].value);
        }
    }
}

static void
handle(void *arg, const struct wire_request *request, struct wire_token *token)
{
    struct side *s = arg;

    s->calls++;
    (void)snprintf(s->method, sizeof s->method, "%s", request->method);
    (void)snprintf(s->target, sizeof s->target, "%s", request->target);
    (void)snprintf(s->peer, sizeof s->peer, "%s", request->peer);
    (void)snprintf(s->body, sizeof s->body, "%.*s", (int)request->body_len, request->body);
    keep(s->host, sizeof s->host, request, "host");
    keep(s->length, sizeof s->length, request, "content-length");
    keep(s->secret, sizeof s->secret, request, "authorization");
    keep(s->agent, sizeof s->agent, request, "user-agent");
    if (s->late) {
        s->token = token;
    } else {
        http_inproc_reply(token, &s->reply);
    }
}

static void
reset_side(struct side *s)
{
    static const struct wire_header headers[] = {{"Content-Type", "text/plain"},
                                                 {"CF-Ray", "1-TST"}};

    memset(s, 0, sizeof *s);
    s->reply = (struct wire_reply){.status = 200,
                                   .headers = headers,
                                   .header_count = 2,
                                   .body = "hello",
                                   .body_len = 5,
                                   .fd = -1};
}

static int
set_up(void **state)
{
    struct fault fault;

    (void)state;
    memset(&rig, 0, sizeof rig);
    rig.peer_in = -1;
    assert_int_equal(loop_new(&rig.loop, &fault), FAULT_OK);
    loop_set_virtual(rig.loop, 0);
    assert_int_equal(http_new(rig.loop, NULL, &rig.http, &fault), FAULT_OK);
    reset_side(&side);
    reset_side(&away);
    assert_int_equal(http_set_inproc(rig.http, BASE, handle, &side), FAULT_OK);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static struct http_request
ask_for(const char *method, const char *url)
{
    struct http_request request = {.method = method, .url = url, .sink_fd = -1};

    return request;
}

static void
test_http_inproc_shows_the_request_and_returns_the_reply(void **state)
{
    static const struct wire_header headers[] = {{"Authorization", "Bearer t"}};
    struct http_request request = ask_for("POST", BASE "/a%20b?x=1#part");
    struct rig_call call;
    const struct http_result *result;
    char value[32];

    (void)state;
    request.headers = headers;
    request.header_count = 1;
    request.body = "body";
    request.body_len = 4;
    result = rig_run(&rig, &request, &call);
    assert_string_equal(side.method, "POST");
    assert_string_equal(side.target, "/a%20b?x=1");
    assert_string_equal(side.host, "sim.internal");
    assert_string_equal(side.length, "4");
    assert_string_equal(side.secret, "Bearer t");
    assert_string_equal(side.agent, "moontap");
    assert_string_equal(side.peer, "in-process");
    assert_string_equal(side.body, "body");
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->status, 200);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_string_equal(buf_cstr(result->body), "hello");
    assert_string_equal(http_header(call.exchange, "cf-ray", value, sizeof value), "1-TST");
    assert_int_equal(result->elapsed_ms, 0);
    rig_drop(&call);
}

static void
test_http_inproc_serves_whole_prefixes_only(void **state)
{
    static const struct {
        const char *url, *target;
    } cases[] = {
        {BASE, "/"},
        {BASE "/", "/"},
        {BASE "?x", "/?x"},
        {BASE "/v4/x", "/v4/x"},
    };
    struct http_request request;
    struct rig_call call;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        request = ask_for("GET", cases[i].url);
        assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
        assert_string_equal(side.target, cases[i].target);
        rig_drop(&call);
    }
    side.calls = 0;
    request = ask_for("GET", "http://127.0.0.1:9/sim.internal");
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_NETWORK);
    rig_drop(&call);
    assert_int_equal(side.calls, 0);
}

static void
test_http_inproc_needs_no_descriptor(void **state)
{
    int before = rig_open_descriptors();
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;

    (void)state;
    side.late = 1;
    rig_start(&rig, &request, &call);
    assert_int_equal(rig_open_descriptors(), before);
    assert_int_equal(side.calls, 0); /* asked in the next turn, not at once */
    rig_drop(&call);
}

static void
assert_cut(enum wire_cut cut, enum fault_code code, int status, const char *body)
{
    struct http_request request = ask_for("POST", BASE "/");
    struct rig_call call;
    const struct http_result *result;

    side.reply.cut = cut;
    request.body = "x";
    request.body_len = 1;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, code);
    assert_int_equal(result->sent, HTTP_SENT_YES);
    assert_int_equal(result->status, status);
    assert_string_equal(buf_cstr(result->body), body);
    rig_drop(&call);
}

static void
test_http_inproc_cuts_give_the_faults_of_a_socket(void **state)
{
    (void)state;
    side.reply.body = "123456";
    side.reply.body_len = 6;
    assert_cut(WIRE_CUT_BEFORE, FAULT_NETWORK, 0, "");
    assert_cut(WIRE_CUT_MIDDLE, FAULT_NETWORK, 200, "123");
    assert_cut(WIRE_SILENT, FAULT_TIMEOUT, 0, "");
    assert_cut(WIRE_WHOLE, FAULT_OK, 200, "123456");
}

static void
test_http_inproc_deadlines_are_virtual(void **state)
{
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;
    const struct http_result *result;
    uint64_t start = loop_boot_ms(rig.loop);

    (void)state;
    side.reply.cut = WIRE_SILENT;
    request.total_timeout_ms = 3600 * 1000;
    request.idle_timeout_ms = 1800 * 1000;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_TIMEOUT);
    assert_int_equal(result->elapsed_ms, 1800 * 1000);
    assert_int_equal(loop_boot_ms(rig.loop) - start, 1800 * 1000);
    rig_drop(&call);
    request.idle_timeout_ms = 7200 * 1000;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->elapsed_ms, 3600 * 1000);
    assert_non_null(strstr(result->fault.msg, "not done within 3600s"));
    rig_drop(&call);
}

static void
test_http_inproc_bounds_the_body(void **state)
{
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.body_max = 4;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_LIMIT);
    assert_non_null(strstr(result->fault.msg, "larger than 4 bytes"));
    rig_drop(&call);
}

static void
test_http_inproc_copies_files_to_files(void **state)
{
    struct http_request request = ask_for("GET", BASE "/");
    FILE *from = tmpfile(), *to = tmpfile();
    struct rig_call call;
    const struct http_result *result;
    char read_back[8] = "";

    (void)state;
    assert_int_equal(fwrite("filetext", 1, 8, from), 8);
    assert_int_equal(fflush(from), 0);
    side.reply.body = NULL;
    side.reply.body_len = 0;
    side.reply.fd = dup(fileno(from));
    side.reply.fd_size = 8;
    assert_int_equal(lseek(side.reply.fd, 0, SEEK_SET), 0);
    request.sink_fd = fileno(to);
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->body_bytes, 8);
    assert_int_equal(pread(fileno(to), read_back, 8, 0), 8);
    assert_memory_equal(read_back, "filetext", 8);
    rig_drop(&call);
    (void)fclose(from);
    (void)fclose(to);
}

static void
test_http_inproc_gives_no_body_to_head(void **state)
{
    struct http_request request = ask_for("HEAD", BASE "/");
    struct rig_call call;

    (void)state;
    assert_int_equal(rig_run(&rig, &request, &call)->body->len, 0);
    rig_drop(&call);
}

static void
test_http_inproc_a_late_reply_to_a_cancelled_request_is_dropped(void **state)
{
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;

    (void)state;
    side.late = 1;
    request.total_timeout_ms = 10;
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_TIMEOUT);
    http_inproc_reply(side.token, &side.reply);
    rig_drop(&call);
    rig_start(&rig, &request, &call);
    rig_drop(&call); /* before the handler was asked */
    assert_int_equal(side.calls, 1);
}

static void
test_http_inproc_a_removed_handler_refuses(void **state)
{
    struct http_request request = ask_for("POST", BASE "/");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    rig_start(&rig, &request, &call);
    assert_int_equal(http_set_inproc(rig.http, BASE, NULL, NULL), FAULT_OK);
    result = rig_finish(&rig, &call);
    assert_int_equal(result->code, FAULT_NETWORK);
    assert_int_equal(result->sent, HTTP_SENT_NO);
    rig_drop(&call);
}

static void
test_http_inproc_redirects_without_secrets(void **state)
{
    static const struct wire_header headers[] = {{"Authorization", "Bearer t"}};
    static const struct wire_header here[] = {{"Location", "/again"}};
    static const struct wire_header there[] = {{"Location", "http://away.internal/x"}};
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    assert_int_equal(http_set_inproc(rig.http, "http://away.internal", handle, &away), FAULT_OK);
    request.headers = headers;
    request.header_count = 1;
    request.max_redirects = 1;
    side.reply.status = 302;
    side.reply.header_count = 1;
    side.reply.headers = there;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_string_equal(result->url, "http://away.internal/x");
    assert_string_equal(away.secret, "");
    assert_string_equal(side.secret, "Bearer t");
    rig_drop(&call);
    side.reply.headers = here;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_PROTOCOL);
    assert_string_equal(side.target, "/again");
    assert_string_equal(side.secret, "Bearer t");
    rig_drop(&call);
}

static void
test_http_inproc_refuses_replies_that_make_no_sense(void **state)
{
    static const struct wire_header broken[] = {{"X-A", "a\r\nX-B: b"}};
    struct http_request request = ask_for("GET", BASE "/");
    struct rig_call call;

    (void)state;
    side.reply.headers = broken;
    side.reply.header_count = 1;
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_PROTOCOL);
    rig_drop(&call);
    side.reply.header_count = 0;
    side.reply.status = 0;
    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_PROTOCOL);
    rig_drop(&call);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_http_inproc_shows_the_request_and_returns_the_reply),
        TEST(test_http_inproc_serves_whole_prefixes_only),
        TEST(test_http_inproc_needs_no_descriptor),
        TEST(test_http_inproc_cuts_give_the_faults_of_a_socket),
        TEST(test_http_inproc_deadlines_are_virtual),
        TEST(test_http_inproc_bounds_the_body),
        TEST(test_http_inproc_copies_files_to_files),
        TEST(test_http_inproc_gives_no_body_to_head),
        TEST(test_http_inproc_a_late_reply_to_a_cancelled_request_is_dropped),
        TEST(test_http_inproc_a_removed_handler_refuses),
        TEST(test_http_inproc_redirects_without_secrets),
        TEST(test_http_inproc_refuses_replies_that_make_no_sense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
