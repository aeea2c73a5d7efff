/*
 * peer: an HTTP/1.1 server that misbehaves on request, for tests. Listens on a
 * port of the system's choosing on 127.0.0.1, prints it, and ends when its
 * standard input does. The path says what it does; /counts what it has done.
 *
 *   /effect            counts an effect, answers with the number of effects
 *   /cut-reused        as /effect, but closes instead of answering when the
 *                      connection had carried a request before
 *   /cut               counts an effect, closes without an answer
 *   /reset             as /cut, with a reset
 *   /part              half of the announced body, then closes
 *   /leave             answers, then closes although the connection could stay
 *   /silent            counts an effect, never answers
 *   /drip?n=N&ms=MS    N bytes of body, one each MS milliseconds
 *   /big?n=N           N bytes of body
 *   /chunked           a chunked body with a trailer
 *   /gzip?n=N          N zero bytes, compressed
 *   /heads?n=N         about N bytes of header lines
 *   /status?n=N        status N with a short body
 *   /to?status=N&url=U a redirect to U (rest of the target, as it is)
 *   /noise             bytes that are not HTTP
 *   /echo              the request as it came, as text
 *   /counts            "effects connections requests"
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX (4u << 20)
#define CHUNK 65536

static atomic_int effects, connections, requests;

/* One connection and the request it carries. */
struct conn {
    int fd;
    int served; /* requests answered before this one */
    char *data; /* what was received */
    size_t len;
    char method[16];
    char target[4096];
    const char *head; /* header lines */
    size_t head_len;
    const char *body;
    size_t body_len;
};

static void
pause_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

    (void)nanosleep(&ts, NULL);
}

static int
send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return -1;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static long
number(const struct conn *c, const char *name)
{
    char key[32];
    const char *at;

    (void)snprintf(key, sizeof key, "%s=", name);
    at = strstr(c->target, key);
    return at != NULL ? strtol(at + strlen(key), NULL, 10) : 0;
}

/* Answers with STATUS; HEADERS are whole lines. 0 when the connection stays. */
static int
answer(struct conn *c, int status, const char *headers, const char *body, size_t len)
{
    char head[1024];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d Fine\r\nContent-Length: %zu\r\n%s\r\n", status,
                     len, headers);

    if (send_all(c->fd, head, (size_t)n) != 0) {
        return -1;
    }
    return strcmp(c->method, "HEAD") == 0 ? 0 : send_all(c->fd, body, len);
}

static int
answer_number(struct conn *c, int value)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", value);

    return answer(c, 200, "Content-Type: text/plain\r\n", text, (size_t)n);
}

static int
answer_counts(struct conn *c)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%d %d %d", effects, connections, requests);

    return answer(c, 200, "", text, (size_t)n);
}

static int
drip(struct conn *c)
{
    long i, n = number(c, "n"), ms = number(c, "ms");
    char head[128];
    int len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", n);

    if (send_all(c->fd, head, (size_t)len) != 0) {
        return -1;
    }
    for (i = 0; i < n; i++) {
        pause_ms(ms);
        if (send_all(c->fd, "x", 1) != 0) {
            return -1;
        }
    }
    return 0;
}

static int
big(struct conn *c)
{
    static char chunk[CHUNK];
    long n = number(c, "n");
    char head[128];
    int len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", n);

    memset(chunk, 'b', sizeof chunk);
    if (send_all(c->fd, head, (size_t)len) != 0) {
        return -1;
    }
    while (n > 0) {
        size_t part = n < CHUNK ? (size_t)n : CHUNK;

        if (send_all(c->fd, chunk, part) != 0) {
            return -1;
        }
        n -= (long)part;
    }
    return 0;
}

static int
heads(struct conn *c)
{
    long n = number(c, "n"), i;

    if (send_all(c->fd, "HTTP/1.1 200 OK\r\n", 17) != 0) {
        return -1;
    }
    for (i = 0; i < n; i += 100) {
        char line[128];
        int len = snprintf(line, sizeof line, "X-Filler-%06ld: %080d\r\n", i, 1);

        if (send_all(c->fd, line, (size_t)len) != 0) {
            return -1;
        }
    }
    return send_all(c->fd, "Content-Length: 0\r\n\r\n", 21);
}

static int
redirect(struct conn *c)
{
    const char *url = strstr(c->target, "url=");
    char line[4200];

    (void)snprintf(line, sizeof line, "Location: %s\r\n", url != NULL ? url + 4 : "/echo");
    return answer(c, (int)number(c, "status"), line, "moved", 5);
}

/* Bits of a deflate stream, least significant first. */
struct bits {
    unsigned char *at;
    unsigned pending, count;
};

static void
put_bits(struct bits *b, unsigned value, unsigned count)
{
    b->pending |= value << b->count;
    b->count += count;
    while (b->count >= 8) {
        *b->at++ = (unsigned char)b->pending;
        b->pending >>= 8;
        b->count -= 8;
    }
}

static uint32_t
crc_of_zeros(size_t n)
{
    uint32_t crc = 0xffffffffu;
    int bit;

    while (n-- > 0) {
        for (bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

/* N zeros as one fixed-code block: a literal, then copies of 258 bytes. */
static int
gzip(struct conn *c)
{
    size_t n = (size_t)number(c, "n"), i;
    uint32_t tail[2] = {crc_of_zeros(n), (uint32_t)n};
    unsigned char *data = malloc(n / 100 + 8192);
    struct bits bits = {data, 0, 0};
    int rc;

    if (data == NULL) {
        return -1;
    }
    memcpy(bits.at, "\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
    bits.at += 10;
    put_bits(&bits, 3, 3); /* the last block, fixed codes */
    for (i = 0; i < n % 258; i++) {
        put_bits(&bits, 0x0c, 8); /* literal 0: 00110000, from the top bit */
    }
    if (n % 258 == 0) {
        put_bits(&bits, 0x0c, 8);
        for (i = 0; i < 257; i++) {
            put_bits(&bits, 0x0c, 8);
        }
        n -= 258;
    }
    for (i = 0; i < n / 258; i++) {
        put_bits(&bits, 0xa3, 8); /* length 258: 11000101, from the top bit */
        put_bits(&bits, 0, 5);    /* distance 1 */
    }
    put_bits(&bits, 0, 7);              /* end of block */
    put_bits(&bits, 0, 7);              /* to the byte */
    memcpy(bits.at, tail, sizeof tail); /* little-endian, as the machine is */
    bits.at += sizeof tail;
    rc = answer(c, 200, "Content-Encoding: gzip\r\n", (char *)data, (size_t)(bits.at - data));
    free(data);
    return rc;
}

static int
echo(struct conn *c)
{
    size_t size = c->len + 8192;
    char *text = malloc(size);
    int n, rc;

    if (text == NULL) {
        return -1;
    }
    n = snprintf(text, size, "%s %s\n%.*s\n", c->method, c->target, (int)c->head_len, c->head);
    memcpy(text + n, c->body, c->body_len);
    rc = answer(c, 200, "Content-Type: text/plain\r\nX-Twice: a\r\nx-twice: b\r\n", text,
                (size_t)n + c->body_len);
    free(text);
    return rc;
}

static int
chunked(struct conn *c)
{
    static const char text[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"
        "5\r\nhello\r\n6\r\n world\r\n0\r\nX-Late: yes\r\n\r\n";

    return send_all(c->fd, text, sizeof text - 1);
}

static int
reset(struct conn *c)
{
    struct linger linger = {1, 0};

    atomic_fetch_add(&effects, 1);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    return -1;
}

static int
silent(struct conn *c)
{
    char byte;

    atomic_fetch_add(&effects, 1);
    while (recv(c->fd, &byte, 1, 0) > 0) {
    }
    return -1;
}

static int
effect(struct conn *c)
{
    return answer_number(c, atomic_fetch_add(&effects, 1) + 1);
}

static int
cut(struct conn *c)
{
    (void)c;
    atomic_fetch_add(&effects, 1);
    return -1;
}

static int
cut_reused(struct conn *c)
{
    return c->served > 0 ? cut(c) : effect(c);
}

static int
part(struct conn *c)
{
    (void)send_all(c->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", 44);
    return -1;
}

static int
leave(struct conn *c)
{
    (void)effect(c);
    return -1;
}

static int
status(struct conn *c)
{
    return answer(c, (int)number(c, "n"), "CF-Ray: 1234-TST\r\n", "short", 5);
}

static int
noise(struct conn *c)
{
    (void)send_all(c->fd, "\x16\x03\x01\x02not http at all\r\n\r\n", 22);
    return -1;
}

static const struct {
    const char *path;
    int (*fn)(struct conn *c);
} routes[] = {
    {"/effect", effect},
    {"/cut-reused", cut_reused},
    {"/cut", cut},
    {"/reset", reset},
    {"/part", part},
    {"/leave", leave},
    {"/silent", silent},
    {"/drip", drip},
    {"/big", big},
    {"/chunked", chunked},
    {"/gzip", gzip},
    {"/heads", heads},
    {"/status", status},
    {"/to", redirect},
    {"/noise", noise},
    {"/echo", echo},
    {"/counts", answer_counts},
};

static int
serve(struct conn *c)
{
    const char *path = strstr(c->target, "://"); /* as a proxy is asked */
    size_t i, len;

    path = path != NULL && c->target[0] != '/' ? strchr(path + 3, '/') : c->target;
    len = strcspn(path, "?");
    atomic_fetch_add(&requests, 1);
    for (i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (strlen(routes[i].path) == len && strncmp(path, routes[i].path, len) == 0) {
            return routes[i].fn(c);
        }
    }
    return answer(c, 404, "", "no such path", 12);
}

static size_t
body_length(const struct conn *c)
{
    const char *line = c->head;

    while (line < c->head + c->head_len) {
        if (strncasecmp(line, "content-length:", 15) == 0) {
            return (size_t)strtoul(line + 15, NULL, 10);
        }
        line = strchr(line, '\n') + 1;
    }
    return 0;
}

/* Reads one request whole; 0 when one came. */
static int
receive(struct conn *c)
{
    c->len = 0;
    for (;;) {
        ssize_t n;
        char *end;

        c->data[c->len] = '\0';
        end = strstr(c->data, "\r\n\r\n");
        if (end != NULL && sscanf(c->data, "%15s %4095s", c->method, c->target) == 2) {
            c->head = strchr(c->data, '\n') + 1;
            c->head_len = (size_t)(end + 2 - c->head);
            c->body = end + 4;
            c->body_len = body_length(c);
            if (c->len >= (size_t)(c->body - c->data) + c->body_len) {
                return 0;
            }
        }
        n = recv(c->fd, c->data + c->len, REQUEST_MAX - 1 - c->len, 0);
        if (n <= 0) {
            return -1;
        }
        c->len += (size_t)n;
    }
}

static void *
handle(void *arg)
{
    struct conn c;
    int on = 1;

    memset(&c, 0, sizeof c);
    c.fd = (int)(intptr_t)arg;
    (void)setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c.data = malloc(REQUEST_MAX);
    atomic_fetch_add(&connections, 1);
    while (c.data != NULL && receive(&c) == 0 && serve(&c) == 0) {
        c.served++;
    }
    (void)close(c.fd);
    free(c.data);
    return NULL;
}

static void *
end_with_input(void *arg)
{
    char byte;

    (void)arg;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    exit(0);
}

int
main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t thread;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0
        || listen(listener, 1024) != 0
        || getsockname(listener, (struct sockaddr *)&address, &len) != 0
        || pthread_create(&thread, NULL, end_with_input, NULL) != 0) {
        perror("peer");
        return 1;
    }
    (void)printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0 && pthread_create(&thread, NULL, handle, (void *)(intptr_t)fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
}
