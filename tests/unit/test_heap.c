/* heap: blocks keep what is in them, whatever is resized around them. */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define BLOCKS 500u

struct block {
    unsigned char *data;
    size_t size;
    unsigned char fill;
};

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void
assert_filled(const struct block *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(b->data[i], b->fill);
    }
}

static void
resize(struct heap *heap, struct block *b, size_t size)
{
    b->data = heap_resize(heap, b->data, b->size, size);
    if (size == 0) {
        assert_null(b->data);
    } else {
        assert_non_null(b->data);
        assert_int_equal((uintptr_t)b->data % HEAP_STEP, 0);
        assert_filled(b, b->size < size ? b->size : size);
        memset(b->data, b->fill, size);
    }
    b->size = size;
}

static void
test_heap_keeps_blocks_apart(void **state)
{
    struct heap heap = {0};
    struct block blocks[BLOCKS] = {{0}};
    uint32_t seed = 1;

    (void)state;
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i].fill = (unsigned char)i;
    }
    for (int round = 0; round < 50000; round++) {
        struct block *b = &blocks[next_random(&seed) % BLOCKS];
        size_t size = next_random(&seed) % (round % 7 == 0 ? 4000 : 300);

        assert_filled(b, b->size);
        resize(&heap, b, next_random(&seed) % 3 == 0 ? 0 : size);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_filled(&blocks[i], blocks[i].size);
        resize(&heap, &blocks[i], 0);
    }
    heap_fini(&heap);
    heap_fini(&heap);
}

static void
test_heap_uses_free_blocks_again(void **state)
{
    struct heap heap = {0};
    size_t taken = 0;

    (void)state;
    for (int round = 0; round < 1000; round++) {
        void *blocks[100];

        for (unsigned i = 0; i < 100; i++) {
            blocks[i] = heap_resize(&heap, NULL, 0, 8 * i + 1);
            assert_non_null(blocks[i]);
        }
        for (unsigned i = 0; i < 100; i++) {
            (void)heap_resize(&heap, blocks[i], 8 * i + 1, 0);
        }
        assert_true(taken == 0 || taken == heap.taken);
        taken = heap.taken;
    }
    heap_fini(&heap);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_keeps_blocks_apart),
        cmocka_unit_test(test_heap_uses_free_blocks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
