/*
 * answer_server: answers every request on loopback with the same 600-byte
 * envelope, laid out as the API's documentation prints it, over plain HTTP or
 * TLS. It is the other end of the benchmarks of creates, so it checks nothing.
 *
 * usage: answer_server PORT-FILE [--tls CERT KEY] [--close]
 * Writes its port to PORT-FILE and serves until its standard input ends.
 * --close ends each connection after one answer.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX 8192u
#define EVENTS_MAX 256
#define BODY_LEN 600
#define LITERAL_LEN(s) (sizeof(s) - 1)

static const char body[] =
    "{\n"
    "  \"success\": true,\n"
    "  \"errors\": [],\n"
    "  \"messages\": [],\n"
    "  \"result\": {\n"
    "    \"id\": \"6d1f0aac13cd40e3900d29f5dd0e8a2b\",\n"
    "    \"type\": \"simple\",\n"
    "    \"system\": \"magic-transit\",\n"
    "    \"status\": \"pending\",\n"
    "    \"submitted\": \"2026-11-22T18:22:01.123456Z\",\n"
    "    \"offset_time\": \"2026-11-22T18:22:01.123321Z\",\n"
    "    \"time_limit\": 300,\n"
    "    \"packet_limit\": 10000,\n"
    "    \"packets_captured\": 103,\n"
    "    \"packets_remaining\": 10000,\n"
    "    \"filter_v1\": {\n"
    "      \"source_address\": \"198.51.100.172\",\n"
    "      \"source_port\": 40123,\n"
    "      \"destination_address\": \"203.0.113.110\",\n"
    "      \"destination_port\": 53,\n"
    "      \"protocol\": 17\n"
    "    }\n"
    "  }\n"
    "}\n";
_Static_assert(LITERAL_LEN(body) == BODY_LEN, "the answer is 600 bytes long");

struct connection {
    int fd;
    SSL *ssl; /* NULL without TLS */
    size_t len;
    char data[REQUEST_MAX + 1];
};

struct server {
    int epoll_fd, listen_fd;
    SSL_CTX *tls; /* NULL without TLS */
    int close_after;
    char answer[BODY_LEN + 300];
    size_t answer_len;
};

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static void
make_answer(struct server *server)
{
    int n = snprintf(server->answer, sizeof server->answer,
                     "HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 18:22:01 GMT\r\n"
                     "Content-Type: application/json\r\nContent-Length: %d\r\n"
                     "Connection: %s\r\nCF-Ray: 8e6a1b2c3d4e5f60-ORD\r\n"
                     "Ratelimit: \"default\";r=1199;t=299\r\n"
                     "Ratelimit-Policy: \"burst\";q=1200;w=300\r\n"
                     "Server: cloudflare\r\n\r\n%s",
                     BODY_LEN, server->close_after ? "close" : "keep-alive", body);

    server->answer_len = (size_t)n;
}

static void
drop(struct connection *c)
{
    if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl); /* says so; does not wait for the peer */
        SSL_free(c->ssl);
    }
    (void)close(c->fd);
    free(c);
}

/* The length of the whole request in C's data; 0 while some is missing. */
static size_t
request_len(const struct connection *c)
{
    const char *end = strstr(c->data, "\r\n\r\n");
    const char *line;
    size_t len;

    if (end == NULL) {
        return 0;
    }
    len = (size_t)(end - c->data) + 4;
    for (line = strstr(c->data, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
        static const char name[] = "content-length:";

        if (strncasecmp(line + 2, name, LITERAL_LEN(name)) == 0) {
            len += strtoul(line + 2 + LITERAL_LEN(name), NULL, 10);
        }
    }
    return len <= c->len ? len : 0;
}

static int
answer(const struct server *server, struct connection *c)
{
    if (c->ssl != NULL) {
        return SSL_write(c->ssl, server->answer, (int)server->answer_len) > 0 ? 0 : -1;
    }
    return send(c->fd, server->answer, server->answer_len, MSG_NOSIGNAL)
                   == (ssize_t)server->answer_len ? 0 : -1;
}

/* Reads what is there: bytes, 0 when that was all for now, -1 when it is over. */
static long
take(struct connection *c)
{
    size_t room = REQUEST_MAX - c->len;
    ssize_t n;

    if (room == 0) {
        return -1;
    }
    if (c->ssl != NULL) {
        int got = SSL_read(c->ssl, c->data + c->len, (int)room);

        return got > 0 ? got
                       : SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
    n = recv(c->fd, c->data + c->len, room, 0);
    return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
}

/* Level-triggered: one read answers what it completed. Returns -1 to drop C. */
static int
serve(const struct server *server, struct connection *c)
{
    long n = take(c);
    size_t len;

    if (n <= 0) {
        return (int)n;
    }
    c->len += (size_t)n;
    c->data[c->len] = '\0';
    while ((len = request_len(c)) != 0) {
        if (answer(server, c) != 0 || server->close_after) {
            return -1;
        }
        c->len -= len;
        memmove(c->data, c->data + len, c->len + 1);
    }
    return 0;
}

static void
accept_one(const struct server *server)
{
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int on = 1;
    struct connection *c;
    struct epoll_event event = { .events = EPOLLIN };

    if (fd < 0) {
        return;
    }
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        die("calloc");
    }
    c->fd = fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (server->tls != NULL) {
        c->ssl = SSL_new(server->tls);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
            die("SSL_new");
        }
        SSL_set_accept_state(c->ssl);
    }
    event.data.ptr = c;
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void
add_plain(const struct server *server, int fd, void *mark)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = mark };

    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void
run(struct server *server)
{
    struct epoll_event ready[EVENTS_MAX];
    char ignored[64];

    add_plain(server, server->listen_fd, server);
    add_plain(server, STDIN_FILENO, NULL);
    for (;;) {
        int n = epoll_wait(server->epoll_fd, ready, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            void *mark = ready[i].data.ptr;

            if (mark == NULL) {
                if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) {
                    return;
                }
            } else if (mark == server) {
                accept_one(server);
            } else if (serve(server, mark) != 0) {
                drop(mark);
            }
        }
    }
}

static void
listen_on_loopback(struct server *server, const char *port_file)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof at;
    FILE *out;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listen_fd < 0
        || bind(server->listen_fd, (struct sockaddr *)&at, sizeof at) != 0
        || listen(server->listen_fd, 4096) != 0
        || getsockname(server->listen_fd, (struct sockaddr *)&at, &len) != 0) {
        die("listen");
    }
    out = fopen(port_file, "w");
    if (out == NULL || fprintf(out, "%d\n", ntohs(at.sin_port)) < 0 || fclose(out) != 0) {
        die(port_file);
    }
}

int
main(int argc, char **argv)
{
    struct server server = { 0 };
    struct rlimit files;

    if (argc < 2) {
        (void)fputs("usage: answer_server PORT-FILE [--tls CERT KEY] [--close]\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--close") == 0) {
            server.close_after = 1;
        } else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
            server.tls = SSL_CTX_new(TLS_server_method());
            if (server.tls == NULL
                || SSL_CTX_use_certificate_file(server.tls, argv[i + 1],
                                                SSL_FILETYPE_PEM) != 1
                || SSL_CTX_use_PrivateKey_file(server.tls, argv[i + 2],
                                               SSL_FILETYPE_PEM) != 1) {
                (void)fprintf(stderr, "cannot use %s and %s\n", argv[i + 1], argv[i + 2]);
                return 1;
            }
            i += 2;
        }
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* best effort: 1,000 connections */
    }
    make_answer(&server);
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listen_on_loopback(&server, argv[1]);
    run(&server);
    return 0;
}
