/*
 * What a peer sends: status line, header lines and body, whole or in pieces; the
 * headers that are looked at; where a redirect leads. Bounds hold, and what is
 * found in a head has neither line end nor NUL.
 *
 * Input: number of redirects that are left and whether the URL is https, the
 * bound on the body, then what libcurl would hand over, a line at a time.
 */
#include "fuzz.h"

#include "bind/http.h"
#include "http/http_int.h"

#include <lauxlib.h>
#include <string.h>

static const char ASK[] =
    "local retry = require 'pcaps.retry'\n"
    "return function(text)\n"
    "  local pause = retry.asked_pause { retry_after = text }\n"
    "  return pause == nil or (type(pause) == 'number' and pause >= 0)\n"
    "end\n";

/* Takes in all of IN: a head up to an empty line, then a body up to a line
 * "HTTP/…", as often as there is something. */
static int
take_in(struct http_exchange *ex, struct input *in)
{
    while (in->left > 0) {
        const uint8_t *end = memchr(in->at, '\n', in->left);
        size_t n = end != NULL ? (size_t)(end - in->at) + 1 : in->left;
        int is_head = ex->in_head || (n > 4 && memcmp(in->at, "HTTP/", 5) == 0);
        const char *line = (const char *)in->at;

        if ((is_head ? answer_head_line(ex, line, n) : answer_body(ex, line, n)) != 0) {
            must(ex->result.fault.code != FAULT_OK && ex->result.fault.msg[0] != '\0');
            return -1;
        }
        in->at += n;
        in->left -= n;
    }
    return 0;
}

static void
check_headers(lua_State *L, struct http_exchange *ex)
{
    static const char *const wanted[] = {"retry-after", "cf-ray", "content-type", "Location", "date"};
    char value[64];

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t len;
        const char *found = answer_find(&ex->head, wanted[i], &len);

        must((http_header(ex, wanted[i], value, sizeof value) != NULL) == (found != NULL));
        must(found == NULL || memchr(found, '\n', len) == NULL);
        if (found != NULL && i == 0) {
            fuzz_eval(L, ASK);
            lua_pushstring(L, value);
            must(lua_pcall(L, 1, 1, 0) == LUA_OK && lua_toboolean(L, -1));
        }
    }
}

/* A guarded call: the headers as a table. */
static int
push_headers(lua_State *L)
{
    bind_http_push_headers(L, lua_touserdata(L, 1));
    return 1;
}

static void
follow(struct http_exchange *ex)
{
    unsigned left = ex->redirects_left;

    switch (redirect_follow(ex)) {
    case 1:
        must(ex->redirects_left == left - 1 && ex->head.len == 0);
        must(strncasecmp(ex->url, "http", 4) == 0 && strstr(ex->url, "://") != NULL);
        must(*ex->target == '/' || *ex->target == '?' || *ex->target == '\0');
        for (const char *c = ex->url; *c != '\0'; c++) {
            must((unsigned char)*c > ' ' && *c != 127);
        }
        break;
    case -1: must(ex->result.fault.code != FAULT_OK); break;
    default: break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_state();
    struct input in = {data, size};
    uint8_t how = input_byte(&in);
    struct wire_header headers[] = {{"Host", "a.test"}, {"X-Auth-Key", "secret"}};
    struct http_request request = {
        .method = how & 8 ? "HEAD" : "GET",
        .url = how & 4 ? "https://a.test/b/c?d#e" : "http://a.test:8080/b/c?d",
        .headers = headers,
        .header_count = 2,
        .secret_headers = 1,
        .body_max = 1 + 16u * input_byte(&in),
        .sink_fd = -1,
        .max_redirects = how & 3,
    };
    struct http_exchange *ex;
    struct fault fault;

    must(request_copy(&request, "fuzz", &ex, &fault) == FAULT_OK);
    if (take_in(ex, &in) == 0) {
        int status = ex->result.status;

        must(status == 0 || (status >= 100 && status <= 999));
        must(ex->result.body_bytes <= request.body_max && ex->head.len <= HTTP_HEADERS_MAX);
        check_headers(L, ex);
        lua_pushcfunction(L, push_headers);
        lua_pushlightuserdata(L, &ex->head);
        must(lua_pcall(L, 1, 1, 0) == LUA_OK);
        follow(ex);
    }
    request_free(ex);
    fuzz_turn_over(L);
    return 0;
}
