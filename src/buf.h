/*
 * buf: a byte buffer whose largest size is named when it is made.
 *
 * An append beyond the bound fails, empties the buffer and leaves it unusable
 * until buf_reset: a half-written message is never sent. The memory functions
 * below are the only allocator of the C rooms, so a test can make the n-th
 * allocation fail.
 */
#ifndef MOONTAP_BUF_H
#define MOONTAP_BUF_H

#include "fault.h"

#include <stddef.h>

struct buf {
    char *data;  /* always NUL-terminated once something was appended */
    size_t len;  /* bytes in use, without the NUL */
    size_t cap;  /* bytes allocated */
    size_t max;  /* largest len that is allowed */
    int failed;  /* an append failed: FAULT_LIMIT or FAULT_NOMEM, else 0 */
};

/* Prepares B for at most MAX bytes; allocates nothing. */
void buf_init(struct buf *b, size_t max);

/* Frees what B holds; B may be used again as after buf_init. Works twice. */
void buf_fini(struct buf *b);

/* As buf_fini, but wipes the bytes first: for buffers that held a secret. */
void buf_wipe(struct buf *b);

/* Forgets the content and a failure, keeps the memory. */
void buf_reset(struct buf *b);

/* Appends N bytes (copies). FAULT_LIMIT beyond the bound, FAULT_NOMEM. */
enum fault_code buf_append(struct buf *b, const void *data, size_t n);

/* Appends a C string (copies). */
enum fault_code buf_puts(struct buf *b, const char *s);

/* Appends formatted text. */
enum fault_code buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends N bytes as a JSON string with its quotes; control characters and
 * invalid UTF-8 become \u escapes, so that the result is always valid JSON. */
enum fault_code buf_json_string(struct buf *b, const char *s, size_t n);

/* True when the N bytes at S are UTF-8. */
int buf_utf8_valid(const char *s, size_t n);

/* The content as a C string; "" when empty. Borrowed until the next change. */
const char *buf_cstr(const struct buf *b);

/* malloc, calloc-like zeroing and realloc of the C rooms; NULL when out of
 * memory. mem_free(NULL) is allowed. */
void *mem_alloc(size_t n);
void *mem_zalloc(size_t n);
void *mem_realloc(void *p, size_t n);
void mem_free(void *p);
/* A copy of S on the heap (mem_free it); NULL when out of memory or S is NULL. */
char *mem_strdup(const char *s);

/*
 * For tests: the N-th allocation from now fails (1 is the next one), 0 never.
 * Counts the allocations of the C rooms and of Lua's allocator together.
 * mem_fail_hit tells whether that allocation was reached.
 */
void mem_fail_at(long n);
int mem_fail_hit(void);
/* Counts one allocation against mem_fail_at; nonzero when it has to fail. */
int mem_should_fail(void);

#endif
