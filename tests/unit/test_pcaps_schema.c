/* pcaps_schema: every rule of the table, on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pcaps_schema.h"

#define NOW_US INT64_C(1790000000000000) /* 2026-09-21T14:13:20Z */

static struct schema_record record;
static struct schema_problems problems;

static struct schema_value *
field(const char *object, const char *name)
{
    int parent =
        object == NULL ? SCHEMA_TOP : schema_find(record.op, SCHEMA_TOP, object, strlen(object));
    int i = schema_find(record.op, parent, name, strlen(name));

    assert_true(i >= 0);
    if (object != NULL) {
        record.values[parent].kind = SCHEMA_IS_TABLE;
        record.members++;
    }
    return &record.values[i];
}

static void
set_text(const char *object, const char *name, const char *text)
{
    struct schema_value *v = field(object, name);

    v->kind = SCHEMA_IS_STRING;
    v->as.text = text;
    v->len = strlen(text);
}

static void
set_int(const char *object, const char *name, int64_t integer)
{
    struct schema_value *v = field(object, name);

    v->kind = SCHEMA_IS_INTEGER;
    v->as.integer = integer;
}

static void
start_simple(void)
{
    schema_record_init(&record, SCHEMA_CREATE);
    set_text(NULL, "type", "simple");
    set_int(NULL, "time_limit", 300);
    set_int(NULL, "packet_limit", 10000);
}

static void
start_full(void)
{
    schema_record_init(&record, SCHEMA_CREATE);
    set_text(NULL, "type", "full");
    set_text(NULL, "system", "magic-transit");
    set_int(NULL, "time_limit", 86400);
    set_text(NULL, "colo_name", "ORD");
    set_text(NULL, "destination_conf", "s3://bucket?region=us-east-1");
}

static unsigned
check(enum schema_side side)
{
    const struct schema_rules rules = {.side = side, .has_now = 1, .now_us = NOW_US};

    return schema_check(&record, &rules, &problems);
}

/* Exactly one problem, at PATH, whose message holds PART. */
static void
expect_one(enum schema_side side, const char *path, const char *part)
{
    assert_int_equal(check(side), 1);
    assert_string_equal(problems.items[0].path, path);
    if (strstr(problems.items[0].message, part) == NULL)
        fail_msg("%s: no \"%s\" in \"%s\"", path, part, problems.items[0].message);
}

static void
expect_body(const char *json)
{
    struct buf out;

    buf_init(&out, 4096);
    assert_int_equal(schema_write(&record, &out), FAULT_OK);
    assert_string_equal(buf_cstr(&out), json);
    buf_fini(&out);
}

static void
test_schema_writes_fields_in_table_order(void **state)
{
    (void)state;
    start_simple();
    set_text("filter_v1", "destination_address", "203.0.113.10");
    set_int("filter_v1", "destination_port", 53);
    set_text("filter_v1", "protocol", "UDP");
    assert_int_equal(check(SCHEMA_CLIENT), 0);
    expect_body("{\"type\":\"simple\",\"system\":\"magic-transit\",\"time_limit\":300,"
                "\"packet_limit\":10000,\"filter_v1\":{\"destination_address\":"
                "\"203.0.113.10\",\"destination_port\":53,\"protocol\":17}}");
}

static void
test_schema_collects_all_problems(void **state)
{
    (void)state;
    start_simple();
    set_int(NULL, "time_limit", 301);
    set_int(NULL, "packet_limit", 0);
    set_text("filter_v1", "destination_port", "http");
    schema_record_unknown(&record, SCHEMA_TOP, "filter_v2", 9);
    schema_record_unknown(&record, SCHEMA_TOP, "colo", 4);
    assert_int_equal(check(SCHEMA_CLIENT), 5);
    assert_string_equal(problems.items[0].path, "time_limit");
    assert_string_equal(problems.items[1].path, "packet_limit");
    assert_string_equal(problems.items[2].path, "filter_v1.destination_port");
    assert_string_equal(problems.items[2].pointer, "/filter_v1/destination_port");
    assert_string_equal(problems.items[2].message,
                        "expected integer 0..65535, got string \"http\"");
    assert_string_equal(problems.items[3].path, "colo");
    assert_string_equal(problems.items[4].message, "unknown field; did you mean filter_v1?");
}

static void
test_schema_bounds_depend_on_the_type(void **state)
{
    (void)state;
    start_full();
    assert_int_equal(check(SCHEMA_CLIENT), 0);
    set_int(NULL, "time_limit", 86401);
    expect_one(SCHEMA_CLIENT, "time_limit", "1..86400 for a full capture, got 86401");
    start_simple();
    set_int(NULL, "time_limit", 301);
    set_text(NULL, "system", "magic-transit");
    expect_one(SCHEMA_SERVER, "time_limit", "1..300 for a simple capture, got 301");
}

static void
test_schema_names_the_other_type(void **state)
{
    (void)state;
    start_simple();
    set_int(NULL, "byte_limit", 5);
    expect_one(SCHEMA_CLIENT, "byte_limit", "belongs to full captures");
    set_text(NULL, "system", "magic-transit");
    assert_int_equal(check(SCHEMA_SERVER), 0);
    start_full();
    set_text(NULL, "offset_time", "2026-09-21T14:00:00Z");
    expect_one(SCHEMA_CLIENT, "offset_time", "belongs to simple captures");
}

static void
test_schema_requires_what_the_type_requires(void **state)
{
    (void)state;
    schema_record_init(&record, SCHEMA_CREATE);
    set_int(NULL, "time_limit", 60);
    expect_one(SCHEMA_CLIENT, "type", "\"simple\" or \"full\"");
    schema_record_init(&record, SCHEMA_CREATE);
    set_int(NULL, "time_limit", 60);
    assert_int_equal(check(SCHEMA_SERVER), 2);
    assert_string_equal(problems.items[1].path, "system");
}

static void
test_schema_requires_by_type(void **state)
{
    (void)state;
    schema_record_init(&record, SCHEMA_CREATE);
    set_text(NULL, "type", "full");
    set_int(NULL, "time_limit", 60);
    assert_int_equal(check(SCHEMA_CLIENT), 2);
    assert_string_equal(problems.items[0].path, "colo_name");
    assert_string_equal(problems.items[1].path, "destination_conf");
    schema_record_init(&record, SCHEMA_CREATE);
    set_text(NULL, "type", "simple");
    set_int(NULL, "time_limit", 60);
    expect_one(SCHEMA_CLIENT, "packet_limit", "required for a simple capture");
}

static void
test_schema_refuses_an_empty_filter_on_the_client_only(void **state)
{
    int i;

    (void)state;
    start_simple();
    set_text(NULL, "system", "magic-transit");
    i = schema_find(SCHEMA_CREATE, SCHEMA_TOP, "filter_v1", 9);
    record.values[i].kind = SCHEMA_IS_TABLE;
    expect_one(SCHEMA_CLIENT, "filter_v1", "leave filter_v1 out");
    assert_int_equal(check(SCHEMA_SERVER), 0);
}

static void
test_schema_addresses(void **state)
{
    static const struct {
        const char *address, *part;
    } bad[] = {
        {"example.com", "host names"}, {"10.0.0.0/8", "no networks"},
        {"::1", "allow_ipv6"},         {"1.2.3", "IPv4"},
        {"1.2.3.4 ", "IPv4"},          {"", "IPv4"},
        {"256.1.1.1", "IPv4"},
    };
    const struct schema_rules ipv6 = {.side = SCHEMA_CLIENT, .allow_ipv6 = 1};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        start_simple();
        set_text("filter_v1", "source_address", bad[i].address);
        expect_one(SCHEMA_CLIENT, "filter_v1.source_address", bad[i].part);
        set_text(NULL, "system", "magic-transit");
        assert_int_equal(check(SCHEMA_SERVER), 0);
    }
    start_simple();
    set_text("filter_v1", "source_address", "2001:db8::1");
    assert_int_equal(schema_check(&record, &ipv6, &problems), 0);
}

static void
test_schema_offset_time(void **state)
{
    (void)state;
    start_simple();
    set_text(NULL, "offset_time", "-10m");
    assert_int_equal(check(SCHEMA_CLIENT), 0);
    assert_string_equal(schema_record_get(&record, "offset_time")->as.text, "2026-09-21T14:03:20Z");
    set_text(NULL, "offset_time", "-25h");
    expect_one(SCHEMA_CLIENT, "offset_time", "older than 24 hours");
    set_text(NULL, "offset_time", "2026-09-21T16:00:00Z");
    expect_one(SCHEMA_CLIENT, "offset_time", "future");
    set_text(NULL, "offset_time", "yesterday");
    expect_one(SCHEMA_CLIENT, "offset_time", "RFC 3339");
    set_text(NULL, "offset_time", "-10m");
    set_text(NULL, "system", "magic-transit");
    expect_one(SCHEMA_SERVER, "offset_time", "RFC 3339");
}

static void
test_schema_conveniences(void **state)
{
    (void)state;
    start_simple();
    set_text(NULL, "time_limit", "5m");
    assert_int_equal(check(SCHEMA_CLIENT), 0);
    assert_int_equal(schema_record_get(&record, "time_limit")->as.integer, 300);
    set_text(NULL, "time_limit", "1500ms");
    expect_one(SCHEMA_CLIENT, "time_limit", "whole seconds");
    set_text(NULL, "time_limit", "300");
    expect_one(SCHEMA_CLIENT, "time_limit", "got string \"300\"");
    set_text(NULL, "time_limit", "5m");
    set_text(NULL, "system", "magic-transit");
    expect_one(SCHEMA_SERVER, "time_limit", "got string \"5m\"");
    start_simple();
    set_text("filter_v1", "protocol", "upd");
    expect_one(SCHEMA_CLIENT, "filter_v1.protocol", "unknown protocol \"upd\"");
    assert_int_equal(schema_protocol("GRE", 3), 47);
    assert_int_equal(schema_protocol("gr", 2), -1);
}

static void
test_schema_misplaced_fields(void **state)
{
    (void)state;
    start_simple();
    schema_record_unknown(&record, SCHEMA_TOP, "protocol", 8);
    expect_one(SCHEMA_CLIENT, "protocol", "belongs into filter_v1");
    start_simple();
    set_int("filter_v1", "protocol", 6);
    schema_record_unknown(&record, schema_find(SCHEMA_CREATE, SCHEMA_TOP, "filter_v1", 9),
                          "packet_limit", 12);
    expect_one(SCHEMA_CLIENT, "filter_v1.packet_limit", "belongs outside of filter_v1");
    start_simple();
    schema_record_unknown(&record, SCHEMA_TOP, "account_id", 10);
    expect_one(SCHEMA_CLIENT, "account_id", "belongs to the client");
    set_text(NULL, "system", "magic-transit");
    assert_int_equal(check(SCHEMA_SERVER), 0);
}

static void
test_schema_never_shows_a_bucket(void **state)
{
    (void)state;
    schema_record_init(&record, SCHEMA_OWNERSHIP_CREATE);
    set_text(NULL, "destination_conf", "http://x?secret-access-key=hunter2");
    expect_one(SCHEMA_CLIENT, "destination_conf", "expected a bucket");
    assert_null(strstr(problems.items[0].message, "hunter2"));
}

static void
test_schema_counts_beyond_its_room(void **state)
{
    (void)state;
    start_simple();
    for (int i = 0; i < 100; i++)
        schema_record_unknown(&record, SCHEMA_TOP, "a_name_that_is_far_longer_than_the_room_for_it",
                              46);
    assert_int_equal(check(SCHEMA_CLIENT), SCHEMA_UNKNOWN_MAX);
}

static void
test_schema_ids(void **state)
{
    static const struct {
        const char *id, *part;
    } bad[] = {
        {"", "empty"},
        {".", "cannot be"},
        {"..", "cannot be"},
        {"a\nb", "control"},
        {"123456789012345678901234567890123", "longer than 32"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        schema_record_init(&record, SCHEMA_ID);
        set_text(NULL, "id", bad[i].id);
        expect_one(SCHEMA_CLIENT, "id", bad[i].part);
    }
    schema_record_init(&record, SCHEMA_ID);
    set_text(NULL, "id", "a/b");
    assert_int_equal(check(SCHEMA_CLIENT), 0);
}

static void
test_schema_redacts_buckets(void **state)
{
    static const struct {
        const char *text, *redacted;
    } cases[] = {
        {"r2://b?account-id=1&secret=2 x", "r2://b?*** x"},
        {"\"r2://b?a=1\\u0026secret=2\",", "\"r2://b?***\","},
        {"\"r2:\\/\\/b?a=1&s=2\\\" end", "\"r2:\\/\\/b?***\\\" end"},
        {"s3://b/dir gs://c?", "s3://b/dir gs://c?"},
        {"r2://q?a", "r2://q?*"},
        {"https://x?a=b", "https://x?a=b"},
        {"", ""},
    };
    char text[80];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].text);

        memcpy(text, cases[i].text, n);
        n = schema_redact(text, n);
        text[n] = '\0';
        assert_string_equal(text, cases[i].redacted);
    }
}

static void
test_schema_near(void **state)
{
    static const char *const names[] = {"timeout", "max_retries", "deadline"};

    (void)state;
    assert_string_equal(schema_near("timeuot", names, 3), "timeout");
    assert_string_equal(schema_near("retries", names, 3) == NULL ? "none" : "some", "none");
    assert_null(schema_near("x", names, 3));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_writes_fields_in_table_order),
        cmocka_unit_test(test_schema_collects_all_problems),
        cmocka_unit_test(test_schema_bounds_depend_on_the_type),
        cmocka_unit_test(test_schema_names_the_other_type),
        cmocka_unit_test(test_schema_requires_what_the_type_requires),
        cmocka_unit_test(test_schema_requires_by_type),
        cmocka_unit_test(test_schema_refuses_an_empty_filter_on_the_client_only),
        cmocka_unit_test(test_schema_addresses),
        cmocka_unit_test(test_schema_offset_time),
        cmocka_unit_test(test_schema_conveniences),
        cmocka_unit_test(test_schema_misplaced_fields),
        cmocka_unit_test(test_schema_never_shows_a_bucket),
        cmocka_unit_test(test_schema_counts_beyond_its_room),
        cmocka_unit_test(test_schema_ids),
        cmocka_unit_test(test_schema_redacts_buckets),
        cmocka_unit_test(test_schema_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
