/* http: whichever allocation fails, a request ends, says so, and leaks nothing. */
#include "support/rig.h"

#include <stdio.h>
#include <string.h>

#define SWEEP_MAX 300

static struct rig rig;
static struct loop *loop;
static int ended;

static void
answer(void *arg, const struct wire_request *request, struct wire_token *token)
{
    static const struct wire_header headers[] = {{"Location", "/"}};
    struct wire_reply reply = {.status = 302,
                               .headers = headers,
                               .header_count = 1,
                               .body = "text",
                               .body_len = 4,
                               .fd = -1};
    int *calls = arg;

    (void)request;
    if (++*calls > 1) {
        reply.status = 200;
    }
    http_inproc_reply(token, &reply);
}

static void
on_done(void *arg)
{
    (void)arg;
    ended = 1;
}

static int
has_ended(void *arg)
{
    (void)arg;
    return ended;
}

/* Everything from http_new to http_free; what it came to. */
static enum fault_code
run_once(const char *url)
{
    struct http_options options = {NULL, "agent", 2};
    struct wire_header header = {"X-A", "b"};
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .headers = &header,
                                   .header_count = 1,
                                   .sink_fd = -1,
                                   .max_redirects = 3};
    struct http *http = NULL;
    struct http_exchange *exchange = NULL;
    struct fault fault = {FAULT_OK, 0, ""};
    int calls = 0;
    enum fault_code code = http_new(loop, &options, &http, &fault);

    ended = 0;
    if (code == FAULT_OK) {
        code = http_set_inproc(http, "http://sim.internal", answer, &calls);
    }
    if (code == FAULT_OK) {
        code = http_start(http, &request, on_done, NULL, &exchange, &fault);
    }
    if (code == FAULT_OK) {
        assert_int_equal(loop_run(loop, has_ended, NULL), 1);
        code = http_result(exchange)->code;
    }
    http_exchange_free(exchange);
    http_free(http);
    return code;
}

static void
sweep(const char *url)
{
    long n;

    assert_int_equal(run_once(url), FAULT_OK);
    for (n = 1; n < SWEEP_MAX; n++) {
        enum fault_code code;

        mem_fail_at(n);
        code = run_once(url);
        if (!mem_fail_hit()) {
            mem_fail_at(0);
            assert_int_equal(code, FAULT_OK);
            assert_true(n > 5);
            return;
        }
        mem_fail_at(0);
        /* Some losses are borne: a descriptor that is asked about by timer. */
        assert_true(code == FAULT_NOMEM || code == FAULT_NETWORK || code == FAULT_OK);
    }
    fail_msg("no end after %d allocations", SWEEP_MAX);
}

static void
test_http_memory_on_sockets(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/to?status=302&url=/echo");

    (void)state;
    sweep(request.url);
}

static void
test_http_memory_in_process(void **state)
{
    (void)state;
    sweep("http://sim.internal/x");
}

static int
set_up(void **state)
{
    (void)state;
    rig_open(&rig, 0);
    loop = rig.loop;
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http_memory_on_sockets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_http_memory_in_process, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
