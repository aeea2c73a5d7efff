/*
 * request: checks what a caller wants to send and copies it into one block: the
 * exchange, its headers and its URL. What passes here cannot change the framing
 * of the message, whatever a script put into it.
 */
#include "http_int.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define EXPECT_FROM (1024u * 1024u) /* libcurl asks 100-continue from here on */
#define BLOCK_MAX (4u << 20)        /* bytes of URL and headers together */

/* The bytes of a request block, handed out front to back. */
struct carver {
    char *at;
};

#define IN_TOKEN 1u
#define IN_HOST 2u

/* What a byte may be part of. Every request passes here several times. */
static const unsigned char classes[256] = {
    ['0' ... '9'] = IN_TOKEN | IN_HOST,
    ['A' ... 'Z'] = IN_TOKEN | IN_HOST,
    ['a' ... 'z'] = IN_TOKEN | IN_HOST,
    ['-'] = IN_TOKEN | IN_HOST,
    ['.'] = IN_TOKEN | IN_HOST,
    ['_'] = IN_TOKEN | IN_HOST,
    ['!'] = IN_TOKEN,
    ['#'] = IN_TOKEN,
    ['$'] = IN_TOKEN,
    ['%'] = IN_TOKEN,
    ['&'] = IN_TOKEN,
    ['*'] = IN_TOKEN,
    ['+'] = IN_TOKEN,
    ['^'] = IN_TOKEN,
    ['`'] = IN_TOKEN,
    ['|'] = IN_TOKEN,
    ['~'] = IN_TOKEN,
    ['\''] = IN_TOKEN,
};

/* How many bytes from S on are of CLASS. */
static size_t
span(const char *s, unsigned class)
{
    size_t n = 0;

    while ((classes[(unsigned char)s[n]] & class) != 0) {
        n++;
    }
    return n;
}

static int
is_token(const char *s)
{
    return *s != '\0' && s[span(s, IN_TOKEN)] == '\0';
}

static int
has_control(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            return 1;
        }
    }
    return 0;
}

/* Are both the same header? Most pairs differ in their first letter. */
static int
same_name(const char *a, const char *b)
{
    return ((a[0] ^ b[0]) & ~0x20) == 0 && strcasecmp(a, b) == 0;
}

/* Headers that decide where the message ends, or that belong to the hop. */
static int
frames_message(const char *name)
{
    static const char *const names[] = {
        "Connection", "Content-Length",    "Expect",  "Keep-Alive", "Proxy-Connection", "TE",
        "Trailer",    "Transfer-Encoding", "Upgrade",
    };
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (same_name(name, names[i])) {
            return 1;
        }
    }
    return 0;
}

static enum fault_code
check_header(const struct wire_header *header, struct fault *fault)
{
    if (header->name == NULL || header->value == NULL || !is_token(header->name)) {
        return fault_set(fault, FAULT_INVALID,
                         "a header's name is empty or holds a"
                         " character that no header name may hold");
    }
    if (has_control(header->value)) {
        return fault_set(fault, FAULT_INVALID,
                         "the value of header %.60s holds a control character", header->name);
    }
    if (frames_message(header->name)) {
        return fault_set(fault, FAULT_INVALID,
                         "header %.60s cannot be set: it follows from the request", header->name);
    }
    return FAULT_OK;
}

static size_t
scheme_len(const char *url)
{
    if (strncasecmp(url, "http://", 7) == 0) {
        return 7;
    }
    return strncasecmp(url, "https://", 8) == 0 ? 8 : 0;
}

size_t
request_origin_len(const char *url)
{
    size_t len = scheme_len(url);

    return len + strcspn(url + len, "/?#");
}

/* Is S a port, 1 to 65535? */
static int
is_port(const char *s, size_t len)
{
    unsigned long port = 0;
    size_t i;

    for (i = 0; i < len && port <= 65535; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return 0;
        }
        port = port * 10 + (unsigned long)(s[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

/* Is S a host or [address], with a port or without? */
static int
is_authority(const char *s, size_t len)
{
    size_t host = *s == '[' ? strcspn(s, "]") + 1 : span(s, IN_HOST);

    if (host == 0 || host > len || (*s == '[' && host < 4)) {
        return 0;
    }
    return host == len || (s[host] == ':' && is_port(s + host + 1, len - host - 1));
}

static enum fault_code
check_url(const char *url, struct fault *fault)
{
    size_t start, end;
    const char *p;

    if (url == NULL || scheme_len(url) == 0) {
        return fault_set(fault, FAULT_INVALID, "the URL must begin with http:// or https://");
    }
    for (p = url; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f) {
            return fault_set(fault, FAULT_INVALID,
                             "the URL holds a character that must"
                             " be percent-encoded, at byte %zu",
                             (size_t)(p - url) + 1);
        }
    }
    start = scheme_len(url);
    end = request_origin_len(url);
    if (end == start) {
        return fault_set(fault, FAULT_INVALID, "the URL names no host");
    }
    if (memchr(url + start, '@', end - start) != NULL) {
        return fault_set(fault, FAULT_INVALID,
                         "the URL holds a user name or a password;"
                         " send them as a header");
    }
    return is_authority(url + start, end - start)
               ? FAULT_OK
               : fault_set(fault, FAULT_INVALID, "the URL's host or port makes no sense");
}

enum fault_code
http_check(const struct http_request *request, struct fault *fault)
{
    size_t i;
    enum fault_code code;

    if (request->method == NULL || !is_token(request->method)
        || strlen(request->method) >= HTTP_METHOD_MAX) {
        return fault_set(fault, FAULT_INVALID, "the method is not a word HTTP knows");
    }
    if (strcasecmp(request->method, "CONNECT") == 0 || strcasecmp(request->method, "TRACE") == 0) {
        return fault_set(fault, FAULT_INVALID, "method %s is not offered", request->method);
    }
    code = check_url(request->url, fault);
    for (i = 0; code == FAULT_OK && i < request->header_count; i++) {
        code = check_header(&request->headers[i], fault);
    }
    if (code == FAULT_OK && request->body != NULL && (strcmp(request->method, "HEAD") == 0)) {
        return fault_set(fault, FAULT_INVALID, "a HEAD request carries no body");
    }
    return code;
}

static int
names_header(const struct http_request *request, const char *name)
{
    size_t i;

    for (i = 0; i < request->header_count; i++) {
        if (same_name(request->headers[i].name, name)) {
            return 1;
        }
    }
    return 0;
}

static char *
carve(struct carver *carver, const char *text, size_t len)
{
    char *at = carver->at;

    memcpy(at, text, len);
    carver->at += len;
    return at;
}

/* Writes "Name: value" ("Name;" is libcurl's way to say an empty value). */
static void
carve_header(struct carver *carver, struct request_header *out, const char *name, const char *value)
{
    out->name_len = strlen(name);
    out->node.data = carve(carver, name, out->name_len);
    if (*value == '\0') {
        (void)carve(carver, ";", 2);
        out->value = "";
        return;
    }
    (void)carve(carver, ": ", 2);
    out->value = carve(carver, value, strlen(value) + 1);
}

/* Bytes for a target that is not simply the end of URL; 0 when it is. */
static size_t
target_size(const char *url)
{
    size_t origin = request_origin_len(url);

    return url[origin] == '/' && strchr(url + origin, '#') == NULL
               ? 0
               : strcspn(url + origin, "#") + sizeof "/";
}

static const char *
carve_target(struct carver *carver, const char *url)
{
    const char *rest = url + request_origin_len(url), *target;

    if (target_size(url) == 0) {
        return rest;
    }
    target = *rest != '/' ? carve(carver, "/", 1) : carver->at;
    (void)carve(carver, rest, strcspn(rest, "#"));
    (void)carve(carver, "", 1);
    return target;
}

static size_t
header_size(const char *name, const char *value)
{
    return strlen(name) + strlen(value) + sizeof ": ";
}

static uint32_t
or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static int
is_among(const char *word, const char *const *words, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(word, words[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

int
request_has_body(const struct http_exchange *ex)
{
    static const char *const methods[] = {"POST", "PUT", "PATCH"};

    return ex->body != NULL || is_among(ex->method, methods, 3);
}

/* Copies the numbers and sets up what needs no memory of its own. */
static void
fill_in(struct http_exchange *ex, const struct http_request *request)
{
    static const char *const repeatable[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};

    memcpy(ex->method, request->method, strlen(request->method) + 1);
    ex->idempotent = is_among(ex->method, repeatable, 5);
    ex->body = request->body;
    ex->body_len = request->body != NULL ? request->body_len : 0;
    ex->connect_timeout_ms = or_default(request->connect_timeout_ms, HTTP_CONNECT_TIMEOUT_MS);
    ex->total_timeout_ms = or_default(request->total_timeout_ms, HTTP_TOTAL_TIMEOUT_MS);
    ex->idle_timeout_ms = or_default(request->idle_timeout_ms, HTTP_IDLE_TIMEOUT_MS);
    ex->sink_fd = request->sink_fd;
    ex->body_max = request->body_max;
    if (ex->body_max == 0) {
        ex->body_max = ex->sink_fd >= 0 ? HTTP_FILE_MAX : HTTP_BODY_MAX;
    }
    ex->redirects_max = ex->redirects_left = request->max_redirects;
    buf_init(&ex->head, HTTP_HEADERS_MAX);
    buf_init(&ex->body_buf, ex->body_max < HTTP_BODY_MAX || ex->sink_fd < 0 ? (size_t)ex->body_max
                                                                            : HTTP_BODY_MAX);
}

/* libcurl adds these by itself unless they are named. */
static void
switch_off_extras(struct http_exchange *ex, const struct http_request *request)
{
    static char no_type[] = "Content-Type:", no_expect[] = "Expect:";

    if (request_has_body(ex) && !names_header(request, "Content-Type")) {
        ex->quiet[ex->quiet_count++].data = no_type;
    }
    if (ex->body_len >= EXPECT_FROM) {
        ex->quiet[ex->quiet_count++].data = no_expect;
    }
    /* What is sent gets a short answer; what is asked for may get a long one. */
    /* Nor is a file taken compressed: libcurl does not notice the end missing. */
    ex->takes_gzip = request->sink_fd < 0
                     && (!request_has_body(ex) || names_header(request, "Accept-Encoding"));
}

enum fault_code
request_copy(const struct http_request *request, const char *ua, struct http_exchange **out,
             struct fault *fault)
{
    size_t i, count, size, url_size;
    int add_ua;
    struct carver carver;
    struct http_exchange *ex;
    enum fault_code code = http_check(request, fault);

    if (code != FAULT_OK) {
        return code;
    }
    add_ua = !names_header(request, "User-Agent");
    count = request->header_count + (add_ua ? 1 : 0);
    url_size = strlen(request->url) + 1;
    size = sizeof *ex + count * sizeof *ex->headers + url_size + target_size(request->url);
    if (add_ua) {
        size += header_size("User-Agent", ua);
    }
    for (i = 0; i < request->header_count && size <= BLOCK_MAX; i++) {
        size += header_size(request->headers[i].name, request->headers[i].value);
    }
    if (size > BLOCK_MAX) {
        return fault_set(fault, FAULT_LIMIT, "URL and headers are longer than %u bytes", BLOCK_MAX);
    }
    ex = mem_alloc(size);
    if (ex == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    memset(ex, 0, sizeof *ex);
    ex->block_size = size;
    ex->headers = (struct request_header *)(ex + 1);
    carver.at = (char *)(ex->headers + count);
    ex->url = carve(&carver, request->url, url_size);
    ex->target = carve_target(&carver, ex->url);
    if (add_ua) {
        carve_header(&carver, &ex->headers[ex->header_count++], "User-Agent", ua);
    }
    ex->secret_from = count;
    if (request->secret_headers >= 0 && (size_t)request->secret_headers < request->header_count) {
        ex->secret_from = (size_t)request->secret_headers + (add_ua ? 1 : 0);
    }
    for (i = 0; i < request->header_count; i++) {
        carve_header(&carver, &ex->headers[ex->header_count++], request->headers[i].name,
                     request->headers[i].value);
    }
    fill_in(ex, request);
    switch_off_extras(ex, request);
    *out = ex;
    return FAULT_OK;
}

void
request_free(struct http_exchange *ex)
{
    buf_fini(&ex->head);
    buf_fini(&ex->body_buf);
    mem_free(ex->moved_url);
    explicit_bzero(ex, ex->block_size); /* headers hold credentials */
    mem_free(ex);
}

struct curl_slist *
request_link(struct http_exchange *ex)
{
    struct curl_slist *first = NULL;
    size_t i;

    for (i = ex->quiet_count; i > 0; i--) {
        ex->quiet[i - 1].next = first;
        first = &ex->quiet[i - 1];
    }
    for (i = ex->header_count; i > 0; i--) {
        ex->headers[i - 1].node.next = first;
        first = &ex->headers[i - 1].node;
    }
    return first;
}

void
request_drop_secrets(struct http_exchange *ex)
{
    size_t i, kept = 0;

    for (i = 0; i < ex->header_count && i < ex->secret_from; i++) {
        if (ex->headers[i].name_len != 4 || strncasecmp(ex->headers[i].node.data, "Host", 4) != 0) {
            ex->headers[kept++] = ex->headers[i];
        }
    }
    ex->header_count = ex->secret_from = kept;
}

const char *
request_label(const struct http_exchange *ex, char *out, size_t size)
{
    (void)snprintf(out, size, "%s %.*s", ex->method, (int)request_origin_len(ex->url), ex->url);
    return out;
}
