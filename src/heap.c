/*
 * heap: blocks by size, cut from chunks; see heap.h.
 */
#include "heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Under the address sanitizer each block is one of malloc's: it sees misuse. */
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_PLAIN 1
#endif
#endif
#ifndef HEAP_PLAIN
#define HEAP_PLAIN 0
#endif

#define CHUNK_FIRST ((size_t)64 << 10)
#define CHUNK_MAX ((size_t)256 << 10) /* at most so much lies idle */

struct heap_chunk {
    struct heap_chunk *next;
    size_t size;
};

static int
is_small(size_t size)
{
    return !HEAP_PLAIN && size <= HEAP_SMALL_MAX;
}

/* Which list keeps blocks of SIZE bytes, which is not 0. */
static size_t
class_of(size_t size)
{
    return (size - 1) / HEAP_STEP;
}

static size_t
rounded(size_t size)
{
    return (class_of(size) + 1) * HEAP_STEP;
}

static void
give(struct heap *heap, void *block, size_t size)
{
    void **list = &heap->free[class_of(size)];

    memcpy(block, list, sizeof *list);
    *list = block;
}

/* Starts a new chunk; its pages are made at once, which costs a tenth of a
 * fault for each. */
static int
grow(struct heap *heap)
{
    size_t rest = (size_t)(heap->end - heap->at);
    size_t size = heap->taken < 4 * CHUNK_MAX ? CHUNK_FIRST : CHUNK_MAX;
    struct heap_chunk *chunk;

    chunk = mmap(NULL, size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (chunk == MAP_FAILED) {
        return -1;
    }
    if (rest != 0) {
        give(heap, heap->at, rest);
    }
    chunk->next = heap->chunks;
    chunk->size = size;
    heap->chunks = chunk;
    heap->taken += size;
    heap->at = (char *)(chunk + 1);
    heap->end = (char *)chunk + size;
    return 0;
}

static void *
take(struct heap *heap, size_t size)
{
    void **list = &heap->free[class_of(size)];
    void *block = *list;

    if (block != NULL) {
        memcpy(list, block, sizeof *list);
        return block;
    }
    size = rounded(size);
    if ((size_t)(heap->end - heap->at) < size && grow(heap) != 0) {
        return NULL;
    }
    block = heap->at;
    heap->at += size;
    return block;
}

static void *
move(struct heap *heap, void *block, size_t old_size, size_t new_size)
{
    void *moved = is_small(new_size) ? take(heap, new_size) : malloc(new_size);

    if (moved == NULL) {
        return NULL;
    }
    if (block != NULL) {
        memcpy(moved, block, old_size < new_size ? old_size : new_size);
        (void)heap_resize(heap, block, old_size, 0);
    }
    return moved;
}

void *
heap_resize(struct heap *heap, void *block, size_t old_size, size_t new_size)
{
    if (new_size == 0) {
        if (block != NULL && is_small(old_size)) {
            give(heap, block, old_size);
        } else {
            free(block);
        }
        return NULL;
    }
    if (block == NULL) {
        return move(heap, NULL, 0, new_size);
    }
    if (!is_small(old_size) && !is_small(new_size)) {
        return realloc(block, new_size);
    }
    if (is_small(old_size) && is_small(new_size) && class_of(old_size) == class_of(new_size)) {
        return block;
    }
    return move(heap, block, old_size, new_size);
}

void
heap_fini(struct heap *heap)
{
    while (heap->chunks != NULL) {
        struct heap_chunk *chunk = heap->chunks;

        heap->chunks = chunk->next;
        (void)munmap(chunk, chunk->size);
    }
    *heap = (struct heap){0};
}
