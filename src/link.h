/*
 * link: frames over a stream socket on the loop, both ways. Each end bounds what
 * it takes in and what it holds: a sender is told to wait, a reader that does not
 * keep up lets the socket fill, and who floods is cut off.
 *
 * Knows no Lua. All calls back come from the loop.
 */
#ifndef MOONTAP_LINK_H
#define MOONTAP_LINK_H

#include "frame.h"
#include "loop.h"

struct link;

struct link_options {
    size_t frame_max;    /* longest frame, either way */
    size_t send_max;     /* bytes that wait to be sent before link_has_room says no */
    unsigned per_second; /* frames taken in a second before it is a flood; 0: any. A long one
                          * counts as several */
    int takes_fds;       /* descriptors may come with frames */
};

struct link_calls {
    loop_fn received; /* there is a frame to take, or the link has ended */
    loop_fn has_room; /* there is room to send again */
    void *arg;
};

/* Takes FD, also when it fails, and makes it non-blocking. */
enum fault_code link_open(struct loop *loop, int fd, const struct link_options *options,
                          const struct link_calls *calls, struct link **out, struct fault *fault);
/* Works on NULL. What waits to be sent is dropped. */
void link_close(struct link *link);

/* May more be sent now? */
int link_has_room(const struct link *link);

/*
 * Queues a frame (copies), and sends what the socket takes. FD is taken, -1 for
 * none; closed when this fails. Room or not, one frame is accepted.
 * FAULT_INVALID: empty, FAULT_LIMIT: too long, FAULT_IO: the link has ended.
 */
enum fault_code
link_send(struct link *link, const char *data, size_t n, int fd, struct fault *fault);

/* Blocks until all that was queued is sent or the other end is gone. For who is
 * about to leave. */
void link_flush(struct link *link);

/* The next frame (frame_free it), or NULL when there is none now. */
struct frame *link_receive(struct link *link);

/* Has the link ended, with all frames taken? FAULT says why: FAULT_OK when the
 * other end closed it between two frames. */
int link_has_ended(const struct link *link, struct fault *fault);

/* Takes in what has arrived already, beyond what a reader that keeps up would
 * hold: the other end is gone and no more can come. */
void link_drain(struct link *link);

#endif
