/*
 * link: frames over a stream socket; see link.h.
 */
#include "link.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536u        /* read at once; then others have their turn */
#define HELD_FRAMES_MAX 64u /* taken in and not received yet */
#define FDS_AT_ONCE 4u
#define SECOND_MS 1000u
#define LONG_FRAME 8192u /* a frame counts as one more for each so many bytes */

/* A frame that waits to be sent, head included. */
struct outgoing {
    struct outgoing *next;
    size_t len, sent;
    int fd; /* owned, sent with the first byte; -1: none */
    char data[];
};

struct link {
    struct loop *loop;
    struct loop_watch *watch;
    struct link_options options;
    struct link_calls calls;
    int fd;
    unsigned events; /* what is watched */
    struct frame_reader reader;
    struct frame *first, *last; /* taken in, not received yet */
    size_t held, held_bytes;
    struct outgoing *out_first, *out_last;
    size_t out_bytes;
    int was_full;         /* has_room is to be called */
    int fds[FDS_AT_ONCE]; /* came with bytes, not with a frame yet */
    unsigned fd_count;
    uint64_t second_ms; /* when the second under way began */
    unsigned in_second; /* frames in it */
    int ended;
    struct fault fault; /* why */
};

static void on_events(void *arg, unsigned events);

/* Reading -------------------------------------------------------------------- */

static void
end_link(struct link *link)
{
    link->ended = 1;
    loop_watch_events(link->watch, 0);
    link->events = 0;
}

static int
is_crowded(const struct link *link)
{
    return link->held >= HELD_FRAMES_MAX || link->held_bytes >= 2 * link->options.frame_max;
}

/* Watches for what can be done now. */
static void
watch(struct link *link)
{
    unsigned events = 0;

    if (link->ended) {
        return;
    }
    events |= is_crowded(link) ? 0u : LOOP_READ;
    events |= link->out_first != NULL ? LOOP_WRITE : 0u;
    if (events != link->events) {
        link->events = events;
        loop_watch_events(link->watch, events);
    }
}

/* Is a frame of N bytes one too many? */
static int
is_flood(struct link *link, size_t n)
{
    struct timespec ts;
    uint64_t now;

    if (link->options.per_second == 0) {
        return 0;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* real time, whatever the loop's clock is */
    now = (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
    if (now - link->second_ms >= SECOND_MS) {
        link->second_ms = now;
        link->in_second = 0;
    }
    link->in_second += 1u + (unsigned)(n / LONG_FRAME);
    return link->in_second > link->options.per_second;
}

/* The descriptor that came first goes with FRAME. */
static enum fault_code
hand_fd(struct link *link, struct frame *frame)
{
    if (!frame->wants_fd) {
        return FAULT_OK;
    }
    if (link->fd_count == 0) {
        return fault_set(&link->fault, FAULT_PROTOCOL, "a frame without its descriptor");
    }
    frame->fd = link->fds[0];
    link->fd_count--;
    memmove(link->fds, link->fds + 1, link->fd_count * sizeof *link->fds);
    return FAULT_OK;
}

static enum fault_code
keep_frame(struct link *link, struct frame *frame)
{
    if (is_flood(link, frame->len)) {
        frame_free(frame);
        return fault_set(&link->fault, FAULT_LIMIT, "more than %u frames in a second",
                         link->options.per_second);
    }
    if (hand_fd(link, frame) != FAULT_OK) {
        frame_free(frame);
        return FAULT_PROTOCOL;
    }
    if (link->last != NULL) {
        link->last->next = frame;
    } else {
        link->first = frame;
    }
    link->last = frame;
    link->held++;
    link->held_bytes += frame->len;
    return FAULT_OK;
}

static enum fault_code
take_bytes(struct link *link, const char *at, size_t left)
{
    struct frame *frame;
    enum fault_code code = FAULT_OK;

    while (code == FAULT_OK && left > 0) {
        code = frame_read(&link->reader, &at, &left, &frame, &link->fault);
        if (code == FAULT_OK && frame != NULL) {
            code = keep_frame(link, frame);
        }
    }
    return code;
}

/* Keeps the descriptors that came with a message. */
static enum fault_code
take_fds(struct link *link, struct msghdr *msg)
{
    int is_bad = (msg->msg_flags & MSG_CTRUNC) != 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        size_t n = c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (link->fd_count < FDS_AT_ONCE) {
                link->fds[link->fd_count++] = fd;
            } else {
                (void)close(fd);
                is_bad = 1;
            }
        }
    }
    return is_bad ? fault_set(&link->fault, FAULT_PROTOCOL, "descriptors nobody asked for")
                  : FAULT_OK;
}

/* Reads once. Returns 0 when there was nothing, or the link has ended. */
static int
read_once(struct link *link)
{
    char block[BLOCK];
    struct iovec part = {block, sizeof block};
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FDS_AT_ONCE)];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t got;

    if (link->options.takes_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
    }
    got = recvmsg(link->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (got < 0 && errno != ECONNRESET) {
        (void)fault_set(&link->fault, FAULT_IO, "receive: %s", strerror(errno));
        end_link(link);
        return 0;
    }
    if (got <= 0) {
        if (frame_is_partial(&link->reader)) {
            (void)fault_set(&link->fault, FAULT_PROTOCOL, "a frame is cut short");
        }
        end_link(link);
        return 0;
    }
    if (take_fds(link, &msg) != FAULT_OK || take_bytes(link, block, (size_t)got) != FAULT_OK) {
        end_link(link);
        return 0;
    }
    return 1;
}

struct frame *
link_receive(struct link *link)
{
    struct frame *frame = link->first;

    if (frame == NULL) {
        return NULL;
    }
    link->first = frame->next;
    link->last = link->first != NULL ? link->last : NULL;
    link->held--;
    link->held_bytes -= frame->len;
    frame->next = NULL;
    watch(link);
    return frame;
}

int
link_has_ended(const struct link *link, struct fault *fault)
{
    if (!link->ended || link->first != NULL) {
        return 0;
    }
    *fault = link->fault;
    return 1;
}

void
link_drain(struct link *link)
{
    while (!link->ended && read_once(link)) {
    }
    if (!link->ended) {
        end_link(link);
    }
}

/* Sending -------------------------------------------------------------------- */

static ssize_t
send_part(struct link *link, struct outgoing *out)
{
    struct iovec part = {out->data + out->sent, out->len - out->sent};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};

    if (out->fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof control);
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &out->fd, sizeof(int));
    }
    return sendmsg(link->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void
drop_first(struct link *link)
{
    struct outgoing *out = link->out_first;

    link->out_first = out->next;
    link->out_last = link->out_first != NULL ? link->out_last : NULL;
    link->out_bytes -= out->len;
    close_fd(&out->fd);
    mem_free(out);
}

/* Sends what the socket takes. Returns -1 when the other end is gone: what it has
 * sent before can still be read. */
static int
send_queued(struct link *link)
{
    while (link->out_first != NULL) {
        struct outgoing *out = link->out_first;
        ssize_t n = send_part(link, out);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        }
        close_fd(&out->fd);
        out->sent += (size_t)n;
        if (out->sent == out->len) {
            drop_first(link);
        }
    }
    return 0;
}

static void
drop_queued(struct link *link)
{
    while (link->out_first != NULL) {
        drop_first(link);
    }
}

int
link_has_room(const struct link *link)
{
    return link->out_bytes <= link->options.send_max;
}

enum fault_code
link_send(struct link *link, const char *data, size_t n, int fd, struct fault *fault)
{
    struct outgoing *out;
    enum fault_code code = FAULT_OK;

    if (n == 0) {
        code = fault_set(fault, FAULT_INVALID, "a frame cannot be empty");
    } else if (n > link->reader.max) {
        code = fault_set(fault, FAULT_LIMIT, "a frame of %zu bytes (%zu are allowed)", n,
                         link->reader.max);
    } else if (link->ended) {
        code = fault_set(fault, FAULT_IO, "the other end is gone");
    }
    out = code == FAULT_OK ? mem_alloc(sizeof *out + FRAME_HEAD + n) : NULL;
    if (out == NULL) {
        close_fd(&fd);
        return code != FAULT_OK ? code : fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    *out = (struct outgoing){.len = FRAME_HEAD + n, .fd = fd};
    frame_write_head((unsigned char *)out->data, n, fd >= 0);
    memcpy(out->data + FRAME_HEAD, data, n);
    if (link->out_last != NULL) {
        link->out_last->next = out;
    } else {
        link->out_first = out;
    }
    link->out_last = out;
    link->out_bytes += out->len;
    if (send_queued(link) != 0) {
        drop_queued(link); /* reading says why it is gone */
    }
    link->was_full = link->was_full || !link_has_room(link);
    watch(link);
    return FAULT_OK;
}

void
link_flush(struct link *link)
{
    while (link->out_first != NULL && send_queued(link) == 0) {
        struct pollfd fd = {.fd = link->fd, .events = POLLOUT};

        if (link->out_first != NULL) {
            (void)poll(&fd, 1, -1);
        }
    }
}

/* Life ------------------------------------------------------------------------ */

static void
on_events(void *arg, unsigned events)
{
    struct link *link = arg;
    struct link_calls calls = link->calls;
    int had_room = 0, has_news = 0;

    if ((events & LOOP_WRITE) != 0) {
        if (send_queued(link) != 0) {
            drop_queued(link);
        }
        had_room = link->was_full && link_has_room(link);
        link->was_full = link->was_full && !had_room;
    }
    if ((events & LOOP_READ) != 0 && !is_crowded(link)) {
        (void)read_once(link);
        has_news = link->first != NULL || link->ended;
    }
    watch(link);
    if (had_room) {
        calls.has_room(calls.arg); /* may close the link */
    }
    if (has_news) {
        calls.received(calls.arg);
    }
}

enum fault_code
link_open(struct loop *loop, int fd, const struct link_options *options,
          const struct link_calls *calls, struct link **out, struct fault *fault)
{
    struct link *link = mem_zalloc(sizeof *link);

    *out = NULL;
    if (link == NULL) {
        (void)close(fd);
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    link->loop = loop;
    link->options = *options;
    link->calls = *calls;
    link->fd = fd;
    link->events = LOOP_READ;
    frame_reader_init(&link->reader, options->frame_max, options->takes_fds);
    if (loop_watch_new(loop, fd, LOOP_READ, on_events, link, &link->watch, fault) != FAULT_OK) {
        enum fault_code code = fault->code;

        link_close(link);
        return code;
    }
    *out = link;
    return FAULT_OK;
}

void
link_close(struct link *link)
{
    struct frame *frame;

    if (link == NULL) {
        return;
    }
    loop_watch_free(link->watch);
    drop_queued(link);
    while ((frame = link->first) != NULL) {
        link->first = frame->next;
        frame_free(frame);
    }
    for (unsigned i = 0; i < link->fd_count; i++) {
        (void)close(link->fds[i]);
    }
    frame_reader_fini(&link->reader);
    (void)close(link->fd);
    mem_free(link);
}
