/*
 * frame: messages cut from a stream of bytes. Pure: knows no socket.
 *
 * A frame is a head of four bytes, the length as a little-endian number, and so
 * many bytes. The top bit of the head says that a descriptor comes with it; the
 * other high bits are zero, and no frame is empty. Whoever sends anything else
 * is not understood from then on.
 */
#ifndef MOONTAP_FRAME_H
#define MOONTAP_FRAME_H

#include "fault.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 4u
#define FRAME_MAX ((size_t)16 << 20) /* no reader may allow more */
#define FRAME_HAS_FD 0x80000000u

struct frame {
    struct frame *next; /* for whoever keeps a list */
    size_t len;
    int fd;       /* owned; -1: none */
    int wants_fd; /* its head announced one */
    char data[];
};

struct frame_reader {
    size_t max; /* longest frame that is allowed */
    int allows_fds;
    unsigned head_len; /* bytes of the head that are there */
    unsigned char head[FRAME_HEAD];
    size_t got;          /* bytes of the frame under way */
    struct frame *frame; /* NULL between frames */
};

/* Prepares R for frames of at most MAX bytes (itself at most FRAME_MAX). */
void frame_reader_init(struct frame_reader *r, size_t max, int allows_fds);
void frame_reader_fini(struct frame_reader *r);

/*
 * Takes bytes from *AT, of which there are *LEFT, and moves both on. *OUT is the
 * frame that they complete (frame_free it), or NULL when they are used up before
 * one is complete. FAULT_LIMIT: a frame is too long, FAULT_PROTOCOL: this is no
 * frame, FAULT_NOMEM; the reader is of no use then.
 */
enum fault_code frame_read(struct frame_reader *r, const char **at, size_t *left,
                           struct frame **out, struct fault *fault);

/* Is a frame begun and not complete? */
int frame_is_partial(const struct frame_reader *r);

/* Writes the head of a frame of N bytes. */
void frame_write_head(unsigned char head[FRAME_HEAD], size_t n, int has_fd);

/* Frees FRAME (may be NULL) and closes its descriptor. */
void frame_free(struct frame *frame);

#endif
