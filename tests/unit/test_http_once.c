/* http: a request that has an effect is written to the wire at most once. */
#include "support/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 200

static struct rig rig;

static int
set_up(void **state)
{
    (void)state;
    rig_open(&rig, 0);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static int
effects(void)
{
    int count, connections, requests;

    rig_counts(&rig, &count, &connections, &requests);
    return count;
}

/* Opens a connection that the next request will reuse. */
static void
warm_up(const char *method)
{
    struct http_request request = rig_request(&rig, method, "/effect");
    struct rig_call call;

    assert_int_equal(rig_run(&rig, &request, &call)->code, FAULT_OK);
    rig_drop(&call);
}

/* The peer executes the second request of a connection and cuts it. */
static void
assert_one_effect(const char *method, const char *body, size_t len)
{
    struct http_request request = rig_request(&rig, method, "/cut-reused");
    struct rig_call call;
    const struct http_result *result;
    int before;

    warm_up(method);
    before = effects();
    request.body = body;
    request.body_len = len;
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_NETWORK);
    assert_int_not_equal(result->sent, HTTP_SENT_NO);
    assert_int_equal(result->status, 0);
    rig_drop(&call);
    assert_int_equal(effects(), before + 1);
}

static void
test_http_once_a_cut_post_has_one_effect(void **state)
{
    (void)state;
    assert_one_effect("POST", "{\"type\":\"simple\"}", 17);
}

static void
test_http_once_a_cut_post_without_a_body_has_one_effect(void **state)
{
    (void)state;
    assert_one_effect("POST", NULL, 0);
    assert_one_effect("POST", "", 0);
}

static void
test_http_once_a_cut_post_with_a_large_body_has_one_effect(void **state)
{
    size_t len = 2u << 20;
    char *body = malloc(len);

    (void)state;
    assert_non_null(body);
    memset(body, 'x', len);
    assert_one_effect("POST", body, len);
    free(body);
}

static void
test_http_once_holds_for_methods_http_does_not_know(void **state)
{
    (void)state;
    assert_one_effect("PATCH", "x", 1);
    assert_one_effect("LAUNCH", NULL, 0);
}

static void
test_http_once_a_cut_get_is_asked_again_where_it_was_asked(void **state)
{
    struct http_request request = rig_request(&rig, "GET", "/cut-reused");
    struct rig_call call;
    const struct http_result *result;
    char number[16];
    int before;

    (void)state;
    warm_up("GET");
    before = effects();
    result = rig_run(&rig, &request, &call);
    assert_int_equal(result->code, FAULT_OK);
    (void)snprintf(number, sizeof number, "%d", before + 2);
    assert_string_equal(buf_cstr(result->body), number);
    rig_drop(&call);
}

static void
test_http_once_a_cut_or_reset_first_request_is_ambiguous(void **state)
{
    static const char *const paths[] = {"/cut", "/reset"};
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct http_request request = rig_request(&rig, "POST", paths[i]);
        struct rig_call call;
        const struct http_result *result;
        int before = effects();

        request.body = "x";
        request.body_len = 1;
        result = rig_run(&rig, &request, &call);
        assert_int_equal(result->code, FAULT_NETWORK);
        assert_int_not_equal(result->sent, HTTP_SENT_NO);
        rig_drop(&call);
        assert_int_equal(effects(), before + 1);
    }
}

static void
test_http_once_holds_while_the_peer_keeps_leaving(void **state)
{
    int ok = 0, unclear = 0, before = effects(), count, i;

    (void)state;
    for (i = 0; i < ROUNDS; i++) {
        struct http_request request = rig_request(&rig, "POST", "/leave");
        struct rig_call call;
        const struct http_result *result;

        request.body = "x";
        request.body_len = 1;
        result = rig_run(&rig, &request, &call);
        ok += result->code == FAULT_OK;
        unclear += result->code != FAULT_OK && result->sent != HTTP_SENT_NO;
        rig_drop(&call);
    }
    count = effects() - before;
    assert_in_range(count, ok, ok + unclear);
    assert_true(ok > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_http_once_a_cut_post_has_one_effect),
        TEST(test_http_once_a_cut_post_without_a_body_has_one_effect),
        TEST(test_http_once_a_cut_post_with_a_large_body_has_one_effect),
        TEST(test_http_once_holds_for_methods_http_does_not_know),
        TEST(test_http_once_a_cut_get_is_asked_again_where_it_was_asked),
        TEST(test_http_once_a_cut_or_reset_first_request_is_ambiguous),
        TEST(test_http_once_holds_while_the_peer_keeps_leaving),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
