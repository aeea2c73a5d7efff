/*
 * sockets: libcurl's descriptors nested in one epoll descriptor, which the loop
 * watches. libcurl asks for a descriptor at each request and lets go of it at
 * each answer; a kept-alive connection stays registered in between, so that a
 * sequence of requests needs no epoll_ctl at all.
 */
#include "http_int.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TABLE_FIRST 64u
#define READY_MAX 64

enum fault_code
sockets_init(struct sockets *sockets, struct fault *fault)
{
    memset(sockets, 0, sizeof *sockets);
    sockets->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (sockets->epoll_fd < 0) {
        return fault_set(fault, FAULT_IO, "open an epoll descriptor: %s", strerror(errno));
    }
    return FAULT_OK;
}

void
sockets_fini(struct sockets *sockets)
{
    if (sockets->epoll_fd >= 0) {
        (void)close(sockets->epoll_fd);
    }
    mem_free(sockets->table);
    memset(sockets, 0, sizeof *sockets);
    sockets->epoll_fd = -1;
}

/* The entry of FD; NULL without memory. */
static struct socket_entry *
entry_of(struct sockets *sockets, int fd)
{
    size_t len = sockets->table_len != 0 ? sockets->table_len : TABLE_FIRST;
    struct socket_entry *table;

    if ((size_t)fd < sockets->table_len) {
        return &sockets->table[fd];
    }
    while (len <= (size_t)fd) {
        len *= 2;
    }
    table = mem_realloc(sockets->table, len * sizeof *table);
    if (table == NULL) {
        return NULL;
    }
    memset(table + sockets->table_len, 0, (len - sockets->table_len) * sizeof *table);
    sockets->table = table;
    sockets->table_len = len;
    return &table[fd];
}

/* Makes the kernel wait for EVENTS (0: for nothing) on FD. */
static void
set_events(struct sockets *sockets, int fd, struct socket_entry *entry, unsigned events)
{
    struct epoll_event event;
    int op = events == 0 ? EPOLL_CTL_DEL : entry->have == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (entry->have == events) {
        return;
    }
    memset(&event, 0, sizeof event);
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(sockets->epoll_fd, op, fd, &event) != 0 && op != EPOLL_CTL_DEL) {
        return; /* the exchange then ends by its deadline */
    }
    if ((entry->have == 0) != (events == 0)) {
        sockets->registered += events != 0 ? 1u : -1u;
        sockets->registered_xor ^= fd;
    }
    entry->have = (unsigned char)events;
}

int
sockets_open(struct sockets *sockets, int family, int type, int protocol)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    struct socket_entry *entry;

    if (fd < 0) {
        /* a family that is missing says nothing of the others */
        sockets->refused = errno == EMFILE || errno == ENFILE || errno == ENOBUFS ? errno : 0;
        return -1;
    }
    entry = entry_of(sockets, fd);
    if (entry == NULL) {
        (void)close(fd);
        return -1;
    }
    memset(entry, 0, sizeof *entry);
    entry->own = 1;
    return fd;
}

void
sockets_close(struct sockets *sockets, int fd)
{
    if ((size_t)fd < sockets->table_len) {
        set_events(sockets, fd, &sockets->table[fd], 0);
        memset(&sockets->table[fd], 0, sizeof sockets->table[fd]);
    }
    (void)close(fd);
}

void
sockets_want(struct sockets *sockets, int fd, unsigned want)
{
    struct socket_entry *entry = entry_of(sockets, fd);

    if (entry == NULL) {
        return; /* only a resolver's: libcurl also asks those by its timer */
    }
    entry->want = (unsigned char)want;
    if (want != 0 || !entry->own || (entry->have & EPOLLOUT) != 0) {
        set_events(sockets, fd, entry, want);
    }
}

/* Reports what happened on FD, or stops listening to a connection that nobody
 * waits for (the peer has closed it, or sends what nobody asked). */
static void
report(struct sockets *sockets, int fd, unsigned events,
       void (*fn)(void *arg, int fd, unsigned events), void *arg)
{
    struct socket_entry *entry = &sockets->table[fd];

    if (entry->want == 0) {
        set_events(sockets, fd, entry, 0);
    } else {
        fn(arg, fd, events);
    }
}

void
sockets_ready(struct sockets *sockets, void (*fn)(void *arg, int fd, unsigned events), void *arg)
{
    struct epoll_event ready[READY_MAX];
    int i, count;

    if (sockets->registered == 1 && sockets->table[sockets->registered_xor].have == EPOLLIN) {
        report(sockets, sockets->registered_xor, EPOLLIN, fn, arg);
        return;
    }
    count = epoll_wait(sockets->epoll_fd, ready, READY_MAX, 0);
    for (i = 0; i < count; i++) {
        report(sockets, ready[i].data.fd, ready[i].events, fn, arg);
    }
}
