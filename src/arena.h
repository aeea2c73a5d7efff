/*
 * arena: memory for one lua_State that can be set back to how it was. What was
 * taken before arena_keep lies in one region, of which a copy is kept; arena_restore
 * puts the copy back and forgets what was taken since. So a state with its
 * libraries is made once, and is fresh again for the price of a memcpy: nothing of
 * what ran in it is left, and none of its finalizers is called.
 */
#ifndef MOONTAP_ARENA_H
#define MOONTAP_ARENA_H

#include <stddef.h>

#define ARENA_STEP 16u
#define ARENA_SMALL_MAX 512u

struct arena_block;

/* Lists of free blocks by size, and what no block was cut from yet. */
struct arena_mark {
    void *free[ARENA_SMALL_MAX / ARENA_STEP];
    char *at;
};

struct arena {
    char *region, *end;
    struct arena_mark now, kept;
    char *copy;                 /* of what lay in the region; NULL before arena_keep */
    struct arena_block *blocks; /* taken since arena_keep, outside the region */
    size_t taken, max;          /* bytes of those; how many there may be */
};

/* REGION bytes for what is kept and small blocks after it. MAX: bytes outside it.
 * 0, or -1 when there is no memory. */
int arena_init(struct arena *arena, size_t region, size_t max);
/* Frees all. Works twice, and on zeroes. */
void arena_fini(struct arena *arena);
/* From now on arena_restore leads back to here. 0, or -1 when there is no memory. */
int arena_keep(struct arena *arena);
/* Back to arena_keep, which was called. */
void arena_restore(struct arena *arena);
/* As realloc, and free when NEW_SIZE is 0. OLD_SIZE is the size that BLOCK was
 * given last, ignored when BLOCK is NULL. Before arena_keep it fails when the
 * region is full. NULL when there is no memory; BLOCK is intact then. */
void *arena_resize(struct arena *arena, void *block, size_t old_size, size_t new_size);

#endif
