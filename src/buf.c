/* buf: bounded byte buffers and the memory functions; see buf.h. */
#include "buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_CAP 64u

#ifdef MOONTAP_TESTING
static long mem_countdown; /* allocations until the one that fails; 0: never */
static int mem_hit;

void
mem_fail_at(long n)
{
    mem_countdown = n;
    mem_hit = 0;
}

int
mem_fail_hit(void)
{
    return mem_hit;
}

int
mem_should_fail(void)
{
    if (mem_countdown == 0 || --mem_countdown != 0) {
        return 0;
    }
    mem_hit = 1;
    return 1;
}
#else
void
mem_fail_at(long n)
{
    (void)n;
}

int
mem_fail_hit(void)
{
    return 0;
}

int
mem_should_fail(void)
{
    return 0;
}
#endif

void *
mem_alloc(size_t n)
{
    return mem_should_fail() ? NULL : malloc(n != 0 ? n : 1);
}

void *
mem_zalloc(size_t n)
{
    return mem_should_fail() ? NULL : calloc(1, n != 0 ? n : 1);
}

void *
mem_realloc(void *p, size_t n)
{
    return mem_should_fail() ? NULL : realloc(p, n != 0 ? n : 1);
}

void
mem_free(void *p)
{
    free(p);
}

char *
mem_strdup(const char *s)
{
    size_t n;
    char *copy;

    if (s == NULL) {
        return NULL;
    }
    n = strlen(s) + 1;
    copy = mem_alloc(n);
    if (copy != NULL) {
        memcpy(copy, s, n);
    }
    return copy;
}

void
buf_init(struct buf *b, size_t max)
{
    memset(b, 0, sizeof *b);
    b->max = max;
}

void
buf_fini(struct buf *b)
{
    mem_free(b->data);
    buf_init(b, b->max);
}

void
buf_wipe(struct buf *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    buf_fini(b);
}

void
buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = 0;
    if (b->data != NULL) {
        b->data[0] = '\0';
    }
}

static enum fault_code
fail(struct buf *b, enum fault_code code)
{
    /* Wiped, because growing by copy below relies on nothing being left. */
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    b->len = 0;
    b->failed = code;
    return code;
}

/*
 * Makes room for N more bytes and the NUL. Grows by copy instead of realloc,
 * so that a buffer with a secret leaves no unwiped bytes behind.
 */
static enum fault_code
reserve(struct buf *b, size_t n)
{
    size_t need, cap;
    char *data;

    if (b->failed != 0) {
        return (enum fault_code)b->failed;
    }
    if (n > b->max - b->len || b->max == SIZE_MAX) {
        return fail(b, FAULT_LIMIT);
    }
    need = b->len + n + 1;
    if (need <= b->cap) {
        return FAULT_OK;
    }
    cap = b->cap != 0 ? b->cap : BUF_FIRST_CAP;
    while (cap < need) {
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    }
    if (cap > b->max + 1) {
        cap = b->max + 1;
    }
    data = mem_alloc(cap);
    if (data == NULL) {
        return fail(b, FAULT_NOMEM);
    }
    if (b->data != NULL) {
        memcpy(data, b->data, b->len);
        explicit_bzero(b->data, b->len);
        mem_free(b->data);
    }
    b->data = data;
    b->cap = cap;
    return FAULT_OK;
}

enum fault_code
buf_append(struct buf *b, const void *data, size_t n)
{
    enum fault_code code = reserve(b, n);

    if (code != FAULT_OK) {
        return code;
    }
    if (n != 0) {
        memcpy(b->data + b->len, data, n);
    }
    b->len += n;
    b->data[b->len] = '\0';
    return FAULT_OK;
}

enum fault_code
buf_puts(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

enum fault_code
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;
    enum fault_code code;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return fail(b, FAULT_INVALID);
    }
    code = reserve(b, (size_t)n);
    if (code != FAULT_OK) {
        return code;
    }
    va_start(ap, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return FAULT_OK;
}

/* Length of the valid UTF-8 sequence at S (N bytes are there), or 0. */
static size_t
utf8_length(const unsigned char *s, size_t n)
{
    size_t len, i;

    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        len = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        len = 3;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        len = 4;
    } else {
        return 0;
    }
    if (len > n) {
        return 0;
    }
    for (i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xE0 && s[1] < 0xA0) || /* longer than needed */
        (s[0] == 0xED && s[1] > 0x9F) || /* surrogates */
        (s[0] == 0xF0 && s[1] < 0x90) || /* longer than needed */
        (s[0] == 0xF4 && s[1] > 0x8F)) { /* beyond U+10FFFF */
        return 0;
    }
    return len;
}

/* Appends what stands for the character C that cannot be written as it is. */
static enum fault_code
append_escape(struct buf *b, unsigned char c)
{
    switch (c) {
    case '"': return buf_append(b, "\\\"", 2);
    case '\\': return buf_append(b, "\\\\", 2);
    case '\b': return buf_append(b, "\\b", 2);
    case '\f': return buf_append(b, "\\f", 2);
    case '\n': return buf_append(b, "\\n", 2);
    case '\r': return buf_append(b, "\\r", 2);
    case '\t': return buf_append(b, "\\t", 2);
    default: break;
    }
    if (c < 0x80) {
        return buf_printf(b, "\\u%04x", c);
    }
    return buf_puts(b, "\\ufffd");
}

enum fault_code
buf_json_string(struct buf *b, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0, start = 0;

    (void)buf_append(b, "\"", 1); /* a failure sticks: the last append tells */
    while (i < n) {
        size_t len = utf8_length(p + i, n - i);

        if (len != 0 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7F) {
            i += len;
            continue;
        }
        (void)buf_append(b, s + start, i - start);
        (void)append_escape(b, p[i]);
        start = ++i;
    }
    (void)buf_append(b, s + start, i - start);
    return buf_append(b, "\"", 1);
}

int
buf_utf8_valid(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;

    while (n > 0) {
        size_t len = utf8_length(p, n);

        if (len == 0) {
            return 0;
        }
        p += len;
        n -= len;
    }
    return 1;
}

const char *
buf_cstr(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}
