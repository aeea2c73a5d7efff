/* arena: blocks keep what is in them, and everything is as it was after a restore. */
#include "arena.h"

#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define REGION ((size_t)64 << 10)
#define OUTSIDE ((size_t)1 << 20)
#define KEPT 100u
#define BLOCKS 300u

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

/* To SIZE, and fills it; what cannot be had leaves the block as it is. */
static void
resize(struct arena *arena, struct block *b, size_t size)
{
    unsigned char *data = arena_resize(arena, b->data, b->size, size);

    if (size != 0 && data == NULL) {
        assert_true(size > b->size);
        assert_filled(b, b->size);
        return;
    }
    b->data = data;
    if (size != 0) {
        assert_int_equal((uintptr_t)data % ARENA_STEP, 0);
        assert_filled(b, b->size < size ? b->size : size);
        memset(data, b->fill, size);
    }
    b->size = size;
}

static void
fill_kept(struct arena *arena, struct block *kept)
{
    for (unsigned i = 0; i < KEPT; i++) {
        kept[i] = (struct block){NULL, 0, (unsigned char)i};
        resize(arena, &kept[i], 8 + 7 * i);
    }
    for (unsigned i = 0; i < KEPT; i += 3) {
        resize(arena, &kept[i], 0);
    }
}

static void
use(struct arena *arena, struct block *blocks, uint32_t *seed)
{
    for (int round = 0; round < 3000; round++) {
        struct block *b = &blocks[next_random(seed) % BLOCKS];
        size_t size = next_random(seed) % (round % 7 == 0 ? 20000 : 300);

        assert_filled(b, b->size);
        resize(arena, b, next_random(seed) % 3 == 0 ? 0 : size);
    }
}

static void
test_arena_is_as_it_was(void **state)
{
    struct arena arena;
    struct block kept[KEPT];
    uint32_t seed = 1;

    (void)state;
    assert_int_equal(arena_init(&arena, REGION, OUTSIDE), 0);
    fill_kept(&arena, kept);
    assert_int_equal(arena_keep(&arena), 0);
    for (int turn = 0; turn < 20; turn++) {
        struct block blocks[BLOCKS] = {{0}};
        uint32_t same = 7;
        void *first;

        arena_restore(&arena);
        assert_int_equal(arena.taken, 0);
        first = arena_resize(&arena, NULL, 0, 40);
        for (unsigned i = 0; i < KEPT; i++) {
            assert_filled(&kept[i], kept[i].size);
            blocks[i] = kept[i];
        }
        for (unsigned i = KEPT; i < BLOCKS; i++) {
            blocks[i].fill = (unsigned char)i;
        }
        use(&arena, blocks, turn % 2 == 0 ? &same : &seed);
        arena_restore(&arena);
        assert_ptr_equal(arena_resize(&arena, NULL, 0, 40), first);
    }
    arena_fini(&arena);
    arena_fini(&arena);
}

static void
test_arena_has_bounds(void **state)
{
    struct arena arena;
    void *block;

    (void)state;
    assert_int_equal(arena_init(&arena, REGION, OUTSIDE), 0);
    assert_null(arena_resize(&arena, NULL, 0, REGION + 1)); /* it would not be kept */
    assert_non_null(arena_resize(&arena, NULL, 0, REGION / 2));
    assert_int_equal(arena_keep(&arena), 0);
    assert_null(arena_resize(&arena, NULL, 0, OUTSIDE + 1));
    block = arena_resize(&arena, NULL, 0, OUTSIDE);
    assert_non_null(block);
    assert_null(arena_resize(&arena, NULL, 0, ARENA_SMALL_MAX + 1));
    assert_non_null(arena_resize(&arena, block, OUTSIDE, 1)); /* shrinking never fails */
    arena_restore(&arena);
    assert_non_null(arena_resize(&arena, NULL, 0, OUTSIDE));
    arena_fini(&arena);
}

static void
test_arena_survives_lack_of_memory(void **state)
{
    struct arena arena;

    (void)state;
    for (long n = 1; n <= 3; n++) {
        mem_fail_at(n);
        if (arena_init(&arena, REGION, OUTSIDE) == 0) {
            assert_non_null(arena_resize(&arena, NULL, 0, 100));
            if (arena_keep(&arena) == 0) {
                assert_null(arena_resize(&arena, NULL, 0, 1000));
            }
        }
        assert_true(mem_fail_hit());
        mem_fail_at(0);
        arena_fini(&arena);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_is_as_it_was),
        cmocka_unit_test(test_arena_has_bounds),
        cmocka_unit_test(test_arena_survives_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
