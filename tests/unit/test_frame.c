/* frame: bytes in pieces of any size, and bytes that are no frames. */
#include "buf.h"
#include "frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static size_t
append(char *to, size_t at, const char *text, int has_fd)
{
    frame_write_head((unsigned char *)to + at, strlen(text), has_fd);
    memcpy(to + at + FRAME_HEAD, text, strlen(text));
    return at + FRAME_HEAD + strlen(text);
}

static void
test_frame_in_pieces_of_any_size(void **state)
{
    static const char *const texts[] = {"a", "second", "the third of them"};
    char bytes[200];
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        n = append(bytes, n, texts[i], 0);
    }
    for (size_t step = 1; step <= n; step++) {
        struct frame_reader r;
        size_t found = 0;

        frame_reader_init(&r, 64, 0);
        for (size_t from = 0; from < n; from += step) {
            const char *at = bytes + from;
            size_t left = from + step <= n ? step : n - from;

            while (left > 0) {
                struct frame *frame;
                struct fault fault;

                assert_int_equal(frame_read(&r, &at, &left, &frame, &fault), FAULT_OK);
                if (frame != NULL) {
                    assert_string_equal(frame->data, texts[found++]);
                    frame_free(frame);
                }
            }
        }
        assert_int_equal(found, 3);
        assert_false(frame_is_partial(&r));
        frame_reader_fini(&r);
    }
}

static enum fault_code
read_bytes(const char *bytes, size_t n, size_t max, int allows_fds, char *message)
{
    struct frame_reader r;
    struct frame *frame = NULL;
    struct fault fault;
    const char *at = bytes;
    enum fault_code code;

    fault_clear(&fault);
    frame_reader_init(&r, max, allows_fds);
    code = frame_read(&r, &at, &n, &frame, &fault);
    frame_free(frame);
    frame_reader_fini(&r);
    (void)snprintf(message, FAULT_MSG_MAX, "%s", fault.msg);
    return code;
}

static void
test_frame_refuses_what_is_none(void **state)
{
    char bytes[64], why[FAULT_MSG_MAX];

    (void)state;
    assert_int_equal(read_bytes("\0\0\0\0", 4, 64, 0, why), FAULT_PROTOCOL);
    assert_int_equal(read_bytes("GET / HTTP/1.1", 14, 64, 0, why), FAULT_PROTOCOL);
    assert_int_equal(read_bytes("\1\0\0\100x", 5, 64, 0, why), FAULT_PROTOCOL);
    assert_int_equal(read_bytes("\101\0\0\0", 4, 64, 0, why), FAULT_LIMIT);
    assert_string_equal(why, "a frame of 65 bytes (64 are allowed)");
    (void)append(bytes, 0, "x", 1);
    assert_int_equal(read_bytes(bytes, 5, 64, 0, why), FAULT_PROTOCOL);
    assert_int_equal(read_bytes(bytes, 5, 64, 1, why), FAULT_OK);
}

static void
test_frame_says_when_there_is_no_memory(void **state)
{
    char bytes[64], why[FAULT_MSG_MAX];

    (void)state;
    (void)append(bytes, 0, "x", 0);
    mem_fail_at(1);
    assert_int_equal(read_bytes(bytes, 5, 64, 0, why), FAULT_NOMEM);
    mem_fail_at(0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_in_pieces_of_any_size),
        cmocka_unit_test(test_frame_refuses_what_is_none),
        cmocka_unit_test(test_frame_says_when_there_is_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
