/* buf: bounds, sticking failures, JSON strings, allocations that fail. */
#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void
test_buf_grows_up_to_its_bound(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    assert_string_equal(buf_cstr(&b), "");
    for (int i = 0; i < 250; i++)
        assert_int_equal(buf_puts(&b, "abcd"), FAULT_OK);
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.data[1000], '\0');
    assert_int_equal(buf_puts(&b, "x"), FAULT_LIMIT);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_puts(&b, "y"), FAULT_LIMIT); /* until reset */
    buf_reset(&b);
    assert_int_equal(buf_puts(&b, "y"), FAULT_OK);
    assert_string_equal(buf_cstr(&b), "y");
    buf_fini(&b);
    buf_fini(&b);
    assert_string_equal(buf_cstr(&b), "");
}

static void
test_buf_takes_nothing_when_its_bound_is_zero(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 0);
    assert_int_equal(buf_append(&b, "", 0), FAULT_OK);
    assert_int_equal(buf_append(&b, "x", 1), FAULT_LIMIT);
    buf_fini(&b);
}

static void
test_buf_formats(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    assert_int_equal(buf_printf(&b, "%s=%d", "port", 53), FAULT_OK);
    assert_int_equal(buf_printf(&b, ";%*s", 60, "x"), FAULT_OK);
    assert_int_equal(b.len, 68);
    assert_int_equal(buf_printf(&b, "%*s", 60, "x"), FAULT_LIMIT);
    buf_wipe(&b);
}

static void
check_json(const char *text, size_t n, const char *expected)
{
    struct buf b;

    buf_init(&b, 1000);
    assert_int_equal(buf_json_string(&b, text, n), FAULT_OK);
    assert_string_equal(buf_cstr(&b), expected);
    buf_fini(&b);
}

static void
test_buf_json_is_always_valid(void **state)
{
    (void)state;
    check_json("", 0, "\"\"");
    check_json("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    check_json("\n\t\b\f\r\0\x1f\x7f", 8, "\"\\n\\t\\b\\f\\r\\u0000\\u001f\\u007f\"");
    check_json("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9,
               "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    check_json("\xff", 1, "\"\\ufffd\"");
    check_json("\xc0\xaf", 2, "\"\\ufffd\\ufffd\"");            /* too long a form */
    check_json("\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
    check_json("\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    check_json("ab\xe2\x82", 4, "\"ab\\ufffd\\ufffd\""); /* cut off */
}

static void
test_buf_reports_memory(void **state)
{
    struct buf b;
    char big[200];

    (void)state;
    memset(big, 'x', sizeof big);
    buf_init(&b, 1000);
    assert_int_equal(buf_puts(&b, "first"), FAULT_OK);
    mem_fail_at(1);
    assert_int_equal(buf_append(&b, big, sizeof big), FAULT_NOMEM);
    assert_int_equal(mem_fail_hit(), 1);
    mem_fail_at(0);
    assert_int_equal(b.failed, FAULT_NOMEM);
    buf_reset(&b);
    assert_int_equal(buf_append(&b, big, sizeof big), FAULT_OK);
    buf_fini(&b);
}

static void
test_buf_memory_fails_at_the_nth(void **state)
{
    void *p, *q;

    (void)state;
    mem_fail_at(2);
    p = mem_alloc(10);
    q = mem_zalloc(10);
    assert_non_null(p);
    assert_null(q);
    q = mem_strdup("again"); /* only that one fails */
    assert_string_equal(q, "again");
    mem_free(p);
    mem_free(q);
    mem_fail_at(0);
    assert_null(mem_strdup(NULL));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_grows_up_to_its_bound),
        cmocka_unit_test(test_buf_takes_nothing_when_its_bound_is_zero),
        cmocka_unit_test(test_buf_formats),
        cmocka_unit_test(test_buf_json_is_always_valid),
        cmocka_unit_test(test_buf_reports_memory),
        cmocka_unit_test(test_buf_memory_fails_at_the_nth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
