/*
 * bare_multi: many of the same POST at once with libcurl's socket interface,
 * one connection each, and no Lua: the peer of creates in flight together.
 * epoll is told only what really changed, at the latest moment.
 *
 * usage: bare_multi URL COUNT IN-FLIGHT
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define FD_MAX 4096
#define ANSWER_MAX 4096

static const char request_body[] =
    "{\"filter_v1\":{\"destination_address\":\"203.0.113.10\",\"destination_port\":53,"
    "\"protocol\":17},\"packet_limit\":10000,\"system\":\"magic-transit\","
    "\"time_limit\":300,\"type\":\"simple\"}";

struct slot {
    CURL *easy;
    size_t len;
    char data[ANSWER_MAX];
};

static CURLM *multi;
static int epoll_fd;
static long due_ms = -1; /* on CLOCK_MONOTONIC; -1: none */
static struct {
    unsigned char want, have, listed;
} sockets[FD_MAX];
static int changed[FD_MAX];
static int changed_len;

static long
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
die(const char *what)
{
    (void)fprintf(stderr, "bare_multi: %s\n", what);
    exit(1);
}

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;
    size_t n = size * count;

    if (n > ANSWER_MAX - slot->len) {
        return 0;
    }
    memcpy(slot->data + slot->len, data, n);
    slot->len += n;
    return n;
}

static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
    (void)data;
    (void)arg;
    return size * count;
}

static int
on_want(CURL *easy, curl_socket_t fd, int what, void *arg, void *mark)
{
    (void)easy;
    (void)arg;
    (void)mark;
    if (fd >= FD_MAX) {
        die("too many descriptors");
    }
    sockets[fd].want = (unsigned char)((what & CURL_POLL_IN ? EPOLLIN : 0)
                                       | (what & CURL_POLL_OUT ? EPOLLOUT : 0));
    if (what == CURL_POLL_REMOVE) {
        sockets[fd].want = 0;
    }
    if (!sockets[fd].listed) {
        sockets[fd].listed = 1;
        changed[changed_len++] = fd;
    }
    return 0;
}

static int
on_close(void *arg, curl_socket_t fd)
{
    (void)arg;
    if (fd < FD_MAX) {
        sockets[fd].have = sockets[fd].want = 0; /* the kernel forgets it */
    }
    return close(fd);
}

static int
on_time(CURLM *m, long timeout_ms, void *arg)
{
    (void)m;
    (void)arg;
    due_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    return 0;
}

/* Tells epoll what changed; a descriptor nobody asks about stays registered
 * for reading, because the next request usually asks the same again. */
static void
apply_changes(void)
{
    for (int i = 0; i < changed_len; i++) {
        int fd = changed[i];
        struct epoll_event event = { .events = sockets[fd].want, .data.fd = fd };

        sockets[fd].listed = 0;
        if (sockets[fd].want == 0 || sockets[fd].want == sockets[fd].have) {
            continue;
        }
        if (epoll_ctl(epoll_fd, sockets[fd].have != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
                      &event) != 0) {
            die("epoll_ctl");
        }
        sockets[fd].have = sockets[fd].want;
    }
    changed_len = 0;
}

static void
set_up(struct slot *slot, const char *url, struct curl_slist *list)
{
    CURL *easy = curl_easy_init();

    if (easy == NULL) {
        die("not enough memory");
    }
    slot->easy = easy;
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request_body);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)(sizeof request_body - 1));
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
}

/* Counts what has ended and starts as many again while LEFT lasts. */
static long
collect(long *left)
{
    CURLMsg *message;
    int queued;
    long ended = 0;

    while ((message = curl_multi_info_read(multi, &queued)) != NULL) {
        struct slot *slot = NULL;
        long status = 0;
        CURL *easy = message->easy_handle;

        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (message->data.result != CURLE_OK || status != 200 || slot->len != 600) {
            die(curl_easy_strerror(message->data.result));
        }
        (void)curl_multi_remove_handle(multi, easy);
        ended++;
        if (*left > 0) {
            --*left;
            slot->len = 0;
            (void)curl_multi_add_handle(multi, easy);
        }
    }
    return ended;
}

static void
run(long count, struct slot *slots, long in_flight)
{
    struct epoll_event ready[EVENTS_MAX];
    long left = count, ended = 0;
    int running;

    for (long i = 0; i < in_flight && left > 0; i++, left--) {
        (void)curl_multi_add_handle(multi, slots[i].easy);
    }
    while (ended < count) {
        long wait = due_ms < 0 ? 1000 : due_ms - now_ms();
        int n;

        apply_changes();
        n = epoll_wait(epoll_fd, ready, EVENTS_MAX, wait < 0 ? 0 : (int)wait);
        for (int i = 0; i < n; i++) {
            int mask = (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0)
                       | (ready[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);

            (void)curl_multi_socket_action(multi, ready[i].data.fd, mask, &running);
        }
        if (due_ms >= 0 && due_ms <= now_ms()) {
            due_ms = -1;
            (void)curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        ended += collect(&left);
    }
}

int
main(int argc, char **argv)
{
    static const char *const lines[] = {
        "Accept: application/json", "Content-Type: application/json",
        "Authorization: Bearer 0123456789abcdef0123456789abcdef01234567",
        "User-Agent: bare",
    };
    struct curl_slist *list = NULL;
    struct rlimit files;
    struct slot *slots;
    long in_flight;

    if (argc < 4 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)fputs("usage: bare_multi URL COUNT IN-FLIGHT\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* best effort: 1,000 connections */
    }
    in_flight = strtol(argv[3], NULL, 10);
    slots = calloc((size_t)in_flight, sizeof *slots);
    multi = curl_multi_init();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (slots == NULL || multi == NULL || epoll_fd < 0) {
        die("not enough memory");
    }
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        list = curl_slist_append(list, lines[i]);
    }
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_want);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_time);
    (void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, in_flight);
    for (long i = 0; i < in_flight; i++) {
        set_up(&slots[i], argv[1], list);
    }
    run(strtol(argv[2], NULL, 10), slots, in_flight);
    for (long i = 0; i < in_flight; i++) {
        curl_easy_cleanup(slots[i].easy);
    }
    (void)curl_multi_cleanup(multi);
    curl_slist_free_all(list);
    free(slots);
    curl_global_cleanup();
    return 0;
}
