/* http: redirects, and the headers that do not follow them. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct rig rig;
static struct rig other; /* only its peer is used: another port */

static int
set_up(void **state)
{
    char path[4096];
    const char *bin = getenv("MOONTAP_TEST_BIN");

    (void)state;
    rig_open(&rig, 0);
    memset(&other, 0, sizeof other);
    (void)snprintf(path, sizeof path, "%s/peer", bin != NULL ? bin : ".");
    rig_start_peer(&other, path);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&other);
    rig_close(&rig);
    return 0;
}

static const struct wire_header headers[] = {
    {"Accept", "text/plain"},
    {"Authorization", "Bearer hidden"},
    {"X-Auth-Key", "hidden"},
};

/* A request that is sent from PATH of the peer to TARGET with STATUS. */
static struct http_request
redirected(const char *method, int status, const char *target)
{
    char path[400];
    struct http_request request;

    (void)snprintf(path, sizeof path, "/to?status=%d&url=%s", status, target);
    request = rig_request(&rig, method, path);
    request.headers = headers;
    request.header_count = 3;
    request.secret_headers = 1;
    request.max_redirects = 3;
    return request;
}

static void
test_http_redirect_keeps_secrets_on_the_same_host(void **state)
{
    static const int statuses[] = {301, 302, 303, 307, 308};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct http_request request = redirected("GET", statuses[i], "echo?x=1");
        struct rig_call call;
        const struct http_result *result = rig_run(&rig, &request, &call);

        assert_int_equal(result->code, FAULT_OK);
        assert_int_equal(result->status, 200);
        assert_memory_equal(buf_cstr(result->body), "GET /echo?x=1\n", 14);
        assert_non_null(strstr(buf_cstr(result->body), "Authorization: Bearer hidden\r\n"));
        assert_non_null(strstr(result->url, "/echo?x=1"));
        rig_drop(&call);
    }
}

/* Leads a request to TARGET and expects that no secret went along. */
static void
assert_no_secret_at(const char *target)
{
    struct http_request request = redirected("GET", 302, target);
    struct rig_call call;
    const struct http_result *result = rig_run(&rig, &request, &call);

    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->status, 200);
    assert_non_null(strstr(buf_cstr(result->body), "Accept: text/plain\r\n"));
    assert_null(strstr(buf_cstr(result->body), "hidden"));
    rig_drop(&call);
}

static void
test_http_redirect_drops_secrets_for_another_port_or_host(void **state)
{
    char target[300];

    (void)state;
    (void)snprintf(target, sizeof target, "http://127.0.0.1:%d/echo", other.port);
    assert_no_secret_at(target);
    (void)snprintf(target, sizeof target, "//127.0.0.1:%d/echo", other.port);
    assert_no_secret_at(target);
    (void)snprintf(target, sizeof target, "http://localhost:%d/echo", rig.port);
    assert_no_secret_at(target);
    /* there and back: what was dropped stays dropped */
    (void)snprintf(target, sizeof target,
                   "http://127.0.0.1:%d/to?status=302&url=http://127.0.0.1:%d/echo", other.port,
                   rig.port);
    assert_no_secret_at(target);
}

static void
test_http_redirect_is_an_answer_to_anything_but_get_and_head(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct http_request request = redirected(methods[i], 307, "/effect");
        struct rig_call call;
        const struct http_result *result = rig_run(&rig, &request, &call);

        assert_int_equal(result->code, FAULT_OK);
        assert_int_equal(result->status, 307);
        rig_drop(&call);
    }
}

static void
test_http_redirect_is_an_answer_when_none_is_allowed(void **state)
{
    struct http_request request = redirected("GET", 302, "/echo");
    struct rig_call call;

    (void)state;
    request.max_redirects = 0;
    assert_int_equal(rig_run(&rig, &request, &call)->status, 302);
    rig_drop(&call);
}

static void
test_http_redirect_ends_a_circle(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/to?status=302&url=");
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    request.max_redirects = 5; /* an empty Location is no redirect */
    assert_int_equal(rig_run(&rig, &request, &call)->status, 302);
    rig_drop(&call);
    request = redirected("GET", 302,
                         "/to?status=302&url=/to?status=302&url=/to?status=302"
                         "&url=/to?status=302&url=/echo");
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_PROTOCOL);
    assert_non_null(strstr(result->fault.msg, "redirected too often"));
    rig_drop(&call);
}

static void
test_http_redirect_refuses_other_protocols_and_credentials(void **state)
{
    static const char *const targets[] = {
        "file:///etc/passwd",   "ftp://127.0.0.1/", "http://user:pass@127.0.0.1/", "http://",
        "gopher://127.0.0.1/x",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof targets / sizeof *targets; i++) {
        struct http_request request = redirected("GET", 302, targets[i]);
        struct rig_call call;
        const struct http_result *result = rig_run(&rig, &request, &call);

        assert_int_equal(result->code, FAULT_PROTOCOL);
        assert_null(strstr(result->fault.msg, "pass@"));
        rig_drop(&call);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_http_redirect_keeps_secrets_on_the_same_host),
        TEST(test_http_redirect_drops_secrets_for_another_port_or_host),
        TEST(test_http_redirect_is_an_answer_to_anything_but_get_and_head),
        TEST(test_http_redirect_is_an_answer_when_none_is_allowed),
        TEST(test_http_redirect_ends_a_circle),
        TEST(test_http_redirect_refuses_other_protocols_and_credentials),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
