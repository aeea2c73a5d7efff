/*
 * frame: messages cut from a stream of bytes; see frame.h.
 */
#include "frame.h"

#include "buf.h"

#include <string.h>
#include <unistd.h>

void
frame_reader_init(struct frame_reader *r, size_t max, int allows_fds)
{
    memset(r, 0, sizeof *r);
    r->max = max < FRAME_MAX ? max : FRAME_MAX - 1;
    r->allows_fds = allows_fds;
}

void
frame_reader_fini(struct frame_reader *r)
{
    frame_free(r->frame);
    r->frame = NULL;
    r->head_len = 0;
}

void
frame_free(struct frame *frame)
{
    if (frame != NULL && frame->fd >= 0) {
        (void)close(frame->fd);
    }
    mem_free(frame);
}

int
frame_is_partial(const struct frame_reader *r)
{
    return r->head_len > 0 || r->frame != NULL;
}

void
frame_write_head(unsigned char head[FRAME_HEAD], size_t n, int has_fd)
{
    uint32_t word = (uint32_t)n | (has_fd ? FRAME_HAS_FD : 0u);

    for (unsigned i = 0; i < FRAME_HEAD; i++) {
        head[i] = (unsigned char)(word >> (8 * i));
    }
}

/* Moves at most WANTED bytes from *AT to TO; returns how many. */
static size_t
take(void *to, size_t wanted, const char **at, size_t *left)
{
    size_t n = wanted < *left ? wanted : *left;

    if (n > 0) {
        memcpy(to, *at, n);
        *at += n;
        *left -= n;
    }
    return n;
}

/* The head is complete: makes the frame. */
static enum fault_code
begin_frame(struct frame_reader *r, struct fault *fault)
{
    uint32_t word = 0;
    size_t n;

    for (unsigned i = 0; i < FRAME_HEAD; i++) {
        word |= (uint32_t)r->head[i] << (8 * i);
    }
    n = word & ~FRAME_HAS_FD;
    if (n == 0 || n >= FRAME_MAX || ((word & FRAME_HAS_FD) != 0 && !r->allows_fds)) {
        return fault_set(fault, FAULT_PROTOCOL, "malformed frame (head %08lx)",
                         (unsigned long)word);
    }
    if (n > r->max) {
        return fault_set(fault, FAULT_LIMIT, "a frame of %zu bytes (%zu are allowed)", n, r->max);
    }
    r->frame = mem_alloc(sizeof *r->frame + n + 1);
    if (r->frame == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    r->frame->next = NULL;
    r->frame->len = n;
    r->frame->fd = -1;
    r->frame->wants_fd = (word & FRAME_HAS_FD) != 0;
    r->frame->data[n] = '\0';
    r->got = 0;
    r->head_len = 0;
    return FAULT_OK;
}

enum fault_code
frame_read(struct frame_reader *r, const char **at, size_t *left, struct frame **out,
           struct fault *fault)
{
    enum fault_code code;

    *out = NULL;
    if (r->frame == NULL) {
        r->head_len += (unsigned)take(r->head + r->head_len, FRAME_HEAD - r->head_len, at, left);
        if (r->head_len < FRAME_HEAD) {
            return FAULT_OK;
        }
        code = begin_frame(r, fault);
        if (code != FAULT_OK) {
            return code;
        }
    }
    r->got += take(r->frame->data + r->got, r->frame->len - r->got, at, left);
    if (r->got == r->frame->len) {
        *out = r->frame;
        r->frame = NULL;
    }
    return FAULT_OK;
}
