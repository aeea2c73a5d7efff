/* server_answer: from a reply to libmicrohttpd's response; see server_int.h. */
#include "server_int.h"

#include "buf.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#define READ_BLOCK (64u << 10)

/* A body that ends after its first half. */
struct half_body {
    int fd;        /* -1: from data */
    uint64_t stop; /* where the connection is cut */
    char data[];
};

static ssize_t
read_half(void *arg, uint64_t at, char *out, size_t max)
{
    struct half_body *half = arg;
    size_t n = max;
    ssize_t got;

    if (at >= half->stop) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (n > half->stop - at) {
        n = (size_t)(half->stop - at);
    }
    if (half->fd < 0) {
        memcpy(out, half->data + at, n);
        return (ssize_t)n;
    }
    got = pread(half->fd, out, n, (off_t)at);
    return got > 0 ? got : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void
free_half(void *arg)
{
    struct half_body *half = arg;

    if (half->fd >= 0) {
        close(half->fd);
    }
    mem_free(half);
}

/* Takes over REPLY's descriptor. */
static struct MHD_Response *
make_half(const struct wire_reply *reply)
{
    uint64_t size = reply->fd >= 0 ? reply->fd_size : reply->body_len;
    size_t kept = reply->fd >= 0 ? 0 : reply->body_len / 2;
    struct half_body *half = mem_alloc(sizeof *half + kept);
    struct MHD_Response *response;

    if (half == NULL) {
        if (reply->fd >= 0) {
            close(reply->fd);
        }
        return NULL;
    }
    half->fd = reply->fd;
    half->stop = size / 2;
    if (kept != 0) {
        memcpy(half->data, reply->body, kept);
    }
    response = MHD_create_response_from_callback(size, READ_BLOCK, read_half, half, free_half);
    if (response == NULL) {
        free_half(half);
    }
    return response;
}

static int
has_no_body(int status)
{
    return status == MHD_HTTP_NO_CONTENT || status == MHD_HTTP_NOT_MODIFIED;
}

/* Takes over REPLY's descriptor; NULL when there is no memory. */
static struct MHD_Response *
make_body(const struct wire_reply *reply)
{
    struct MHD_Response *response;

    if (has_no_body(reply->status)) {
        if (reply->fd >= 0) {
            close(reply->fd);
        }
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    }
    if (reply->cut == WIRE_CUT_MIDDLE) {
        return make_half(reply);
    }
    if (reply->fd < 0) {
        return MHD_create_response_from_buffer(
            reply->body_len, reply->body_len != 0 ? (void *)(uintptr_t)reply->body : NULL,
            MHD_RESPMEM_MUST_COPY);
    }
    response = MHD_create_response_from_fd64(reply->fd_size, reply->fd);
    if (response == NULL) {
        close(reply->fd);
    }
    return response;
}

/* Can this be a header line? libmicrohttpd lets most control characters pass. */
static int
is_clean(const struct wire_header *header)
{
    const unsigned char *p;

    for (p = (const unsigned char *)header->name; *p != '\0'; p++) {
        if (*p <= 0x20 || *p == ':' || *p >= 0x7F) {
            return 0;
        }
    }
    if (header->name[0] == '\0') {
        return 0;
    }
    for (p = (const unsigned char *)header->value; *p != '\0'; p++) {
        if ((*p < 0x20 && *p != '\t') || *p == 0x7F) {
            return 0;
        }
    }
    return 1;
}

/* Adds REPLY's headers; -1 when one cannot be sent. Lengths are the library's. */
static int
add_headers(struct MHD_Response *response, const struct wire_reply *reply)
{
    for (size_t i = 0; i < reply->header_count; i++) {
        const struct wire_header *header = &reply->headers[i];

        if (!is_clean(header)) {
            return -1;
        }
        if (strcasecmp(header->name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0
            || strcasecmp(header->name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
            continue;
        }
        if (MHD_add_response_header(response, header->name, header->value) != MHD_YES
            && header->value[0] != '\0') { /* empty values it does not take */
            return -1;
        }
    }
    return 0;
}

struct MHD_Response *
server_make_response(const struct wire_reply *reply, int *status)
{
    struct MHD_Response *response = make_body(reply);

    *status = reply->status;
    if (response != NULL && reply->status >= 200 && reply->status <= 599
        && add_headers(response, reply) == 0) {
        return response;
    }
    if (response != NULL) {
        MHD_destroy_response(response);
    }
    *status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
}
