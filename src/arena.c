/*
 * arena: one region with lists of free blocks; blocks of their own beside it; see
 * arena.h.
 */
#include "arena.h"

#include "buf.h"

#include <stdint.h>
#include <string.h>

/* Lies before a block outside the region. */
struct arena_block {
    struct arena_block *next, **at;
    size_t size; /* of the block, without this */
    size_t padding;
};

static int
is_inside(const struct arena *arena, const void *block)
{
    uintptr_t p = (uintptr_t)block;

    return p >= (uintptr_t)arena->region && p < (uintptr_t)arena->end;
}

static size_t
rounded(size_t size)
{
    return (size + ARENA_STEP - 1) / ARENA_STEP * ARENA_STEP;
}

static void **
list_of(struct arena *arena, size_t size)
{
    return &arena->now.free[(size - 1) / ARENA_STEP];
}

/* Blocks outside the region ------------------------------------------------------ */

static void *
take_outside(struct arena *arena, size_t size)
{
    struct arena_block *block;

    if (arena->copy == NULL || size > arena->max - arena->taken) {
        return NULL;
    }
    block = mem_alloc(sizeof *block + size);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    block->at = &arena->blocks;
    block->next = arena->blocks;
    if (block->next != NULL) {
        block->next->at = &block->next;
    }
    arena->blocks = block;
    arena->taken += size;
    return block + 1;
}

static void
give_outside(struct arena *arena, void *memory)
{
    struct arena_block *block = (struct arena_block *)memory - 1;

    *block->at = block->next;
    if (block->next != NULL) {
        block->next->at = block->at;
    }
    arena->taken -= block->size;
    mem_free(block);
}

/* Any block ------------------------------------------------------------------------ */

/* What was taken for a file is gone with it, so long blocks have no place in the
 * region, where they would not be used again before that. */
static void *
take(struct arena *arena, size_t size)
{
    int is_small = size <= ARENA_SMALL_MAX;
    void *block;

    if (is_small && *list_of(arena, size) != NULL) {
        block = *list_of(arena, size);
        memcpy(list_of(arena, size), block, sizeof(void *));
        return block;
    }
    if ((is_small || arena->copy == NULL)
        && rounded(size) <= (size_t)(arena->end - arena->now.at)) {
        block = arena->now.at;
        arena->now.at += rounded(size);
        return block;
    }
    return take_outside(arena, size);
}

static void
give(struct arena *arena, void *block, size_t size)
{
    if (block == NULL) {
        return;
    }
    if (!is_inside(arena, block)) {
        give_outside(arena, block);
    } else if (size <= ARENA_SMALL_MAX) {
        memcpy(block, list_of(arena, size), sizeof(void *));
        *list_of(arena, size) = block;
    }
}

void *
arena_resize(struct arena *arena, void *block, size_t old_size, size_t new_size)
{
    void *moved;

    if (new_size == 0) {
        give(arena, block, old_size);
        return NULL;
    }
    if (block != NULL && is_inside(arena, block) && rounded(old_size) == rounded(new_size)) {
        return block;
    }
    moved = take(arena, new_size);
    if (moved == NULL) {
        /* Lua relies on shrinking never to fail */
        return block != NULL && new_size <= old_size ? block : NULL;
    }
    if (block != NULL) {
        memcpy(moved, block, old_size < new_size ? old_size : new_size);
        give(arena, block, old_size);
    }
    return moved;
}

/* Life ----------------------------------------------------------------------------- */

int
arena_init(struct arena *arena, size_t region, size_t max)
{
    *arena = (struct arena){.max = max};
    arena->region = mem_alloc(region);
    if (arena->region == NULL) {
        return -1;
    }
    arena->end = arena->region + region;
    arena->now.at = arena->region;
    return 0;
}

static void
forget_blocks(struct arena *arena)
{
    while (arena->blocks != NULL) {
        give_outside(arena, arena->blocks + 1);
    }
}

void
arena_fini(struct arena *arena)
{
    forget_blocks(arena);
    mem_free(arena->copy);
    mem_free(arena->region);
    *arena = (struct arena){0};
}

int
arena_keep(struct arena *arena)
{
    size_t n = (size_t)(arena->now.at - arena->region);

    arena->copy = mem_alloc(n);
    if (arena->copy == NULL) {
        return -1;
    }
    memcpy(arena->copy, arena->region, n);
    arena->kept = arena->now;
    return 0;
}

void
arena_restore(struct arena *arena)
{
    forget_blocks(arena);
    arena->now = arena->kept;
    memcpy(arena->region, arena->copy, (size_t)(arena->kept.at - arena->region));
}
