/*
 * answer: takes in what a peer answers, head and body, within their bounds. The
 * same for both transports; a refusal is put into the exchange's fault.
 */
#include "http_int.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

int
answer_refuse(struct http_exchange *ex, enum fault_code code, const char *why)
{
    char label[HTTP_LABEL_MAX];

    (void)fault_set(&ex->result.fault, code, "%s: %s", request_label(ex, label, sizeof label), why);
    return -1;
}

void
answer_reset(struct http_exchange *ex)
{
    buf_reset(&ex->head);
    buf_reset(&ex->body_buf);
    ex->in_head = 0;
    ex->result.status = 0;
    ex->result.body_bytes = 0;
}

/* The status of "HTTP/1.1 200 OK"; 0 when the line makes no sense. */
static int
read_status(const char *line, size_t len)
{
    const char *p = memchr(line, ' ', len);
    size_t left = p != NULL ? len - (size_t)(p - line) : 0;

    if (left < 4 || p[1] < '1' || p[1] > '9' || p[2] < '0' || p[2] > '9' || p[3] < '0'
        || p[3] > '9') {
        return 0;
    }
    return (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
}

static int
head_failed(struct http_exchange *ex, enum fault_code code)
{
    return code == FAULT_NOMEM ? answer_refuse(ex, code, "not enough memory")
                               : answer_refuse(ex, FAULT_LIMIT,
                                               "the answer's header lines are larger than"
                                               " 65536 bytes");
}
_Static_assert(HTTP_HEADERS_MAX == 65536u, "the message above names the bound");

int
answer_head_line(struct http_exchange *ex, const char *line, size_t len)
{
    size_t whole = len;
    enum fault_code code;

    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n')) {
        len--;
    }
    if (!ex->in_head) {
        if (len < 5 || memcmp(line, "HTTP/", 5) != 0) {
            return 0; /* a trailer: nobody asked for it */
        }
        answer_reset(ex);
        ex->in_head = 1;
        ex->result.status = read_status(line, len);
        return 0;
    }
    if (len == 0) {
        ex->in_head = 0;
        return 0;
    }
    if ((line[0] == ' ' || line[0] == '\t') && ex->head.len > 0) {
        ex->head.data[ex->head.len - 1] = ' '; /* continues the line before */
    }
    if (whole > len) {
        code = buf_append(&ex->head, line, len + 1);
    } else {
        code = buf_append(&ex->head, line, len);
        if (code == FAULT_OK) {
            code = buf_append(&ex->head, "\n", 1);
        }
    }
    if (code != FAULT_OK) {
        return head_failed(ex, code);
    }
    ex->head.data[ex->head.len - 1] = '\n';
    return 0;
}

static int
write_out(struct http_exchange *ex, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(ex->sink_fd, data, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            char label[HTTP_LABEL_MAX];

            (void)fault_set(&ex->result.fault, FAULT_IO, "%s: write the answer: %s",
                            request_label(ex, label, sizeof label),
                            n < 0 ? strerror(errno) : "nothing was written");
            return -1;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int
too_large(struct http_exchange *ex, uint64_t bound)
{
    char label[HTTP_LABEL_MAX];

    (void)fault_set(&ex->result.fault, FAULT_LIMIT,
                    "%s: the answer's body is larger than %llu bytes",
                    request_label(ex, label, sizeof label), (unsigned long long)bound);
    return -1;
}

int
answer_body(struct http_exchange *ex, const char *data, size_t len)
{
    int to_sink = ex->sink_fd >= 0 && ex->result.status / 100 == 2;
    uint64_t bound = to_sink ? ex->body_max : ex->body_buf.max;

    if (len > bound - ex->result.body_bytes) {
        return too_large(ex, bound);
    }
    if (to_sink) {
        if (write_out(ex, data, len) != 0) {
            return -1;
        }
    } else if (buf_append(&ex->body_buf, data, len) != FAULT_OK) {
        return answer_refuse(ex, FAULT_NOMEM, "not enough memory for the answer's body");
    }
    ex->result.body_bytes += len;
    return 0;
}

const char *
answer_find(const struct buf *head, const char *name, size_t *len)
{
    size_t name_len = strlen(name);
    const char *line = buf_cstr(head);
    const char *end;

    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        if ((size_t)(end - line) <= name_len || line[name_len] != ':'
            || strncasecmp(line, name, name_len) != 0) {
            continue;
        }
        line += name_len + 1;
        while (line < end && (*line == ' ' || *line == '\t')) {
            line++;
        }
        while (end > line && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }
        *len = (size_t)(end - line);
        return line;
    }
    return NULL;
}
