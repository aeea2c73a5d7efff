/* digest: SHA-256 of bytes and files. */
#include "digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"

#include <cmocka.h>

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void
test_digest_bytes(void **state)
{
    char out[DIGEST_SIZE];
    struct fault fault;

    (void)state;
    assert_int_equal(digest_bytes("abc", 3, out, &fault), FAULT_OK);
    assert_string_equal(out, ABC);
}

static void
test_digest_file_without_memory(void **state)
{
    char path[] = "/tmp/moontap-digest-XXXXXX", out[DIGEST_SIZE] = "";
    struct fault fault;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(close(fd), 0);
    mem_fail_at(1);
    assert_int_equal(digest_file(path, out, &fault), FAULT_NOMEM);
    mem_fail_at(0);
    assert_string_equal(out, "");
    assert_int_equal(digest_file(path, out, &fault), FAULT_OK);
    assert_string_equal(out, ABC);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(digest_file(path, out, &fault), FAULT_IO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_bytes),
        cmocka_unit_test(test_digest_file_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
