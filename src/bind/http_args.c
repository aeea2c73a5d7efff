/*
 * bind/http_args: reads the table of request() and configure() into C; see
 * http_args.h.
 */
#include "http_args.h"

#include "../duration.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REDIRECTS_DEFAULT 5
#define REDIRECTS_MAX 20
#define HEADERS_COUNT_MAX 200

/* One header on its way into a request. */
struct header {
    struct wire_header wire;
    int secret;
    size_t order; /* as it was found: repeated headers keep their order */
};

static int
is_among(const char *word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(word, *words) == 0) {
            return 1;
        }
    }
    return 0;
}

/* [-0, +0, v] Raises when the table at ARG has a key that is not among KEYS. */
void
http_args_keys(lua_State *L, int arg, const char *what, const char *const *keys)
{
    lua_pushnil(L);
    while (lua_next(L, arg) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING || !is_among(lua_tostring(L, -2), keys)) {
            (void)luaL_error(L, "%s: unknown option '%s'", what, luaL_tolstring(L, -2, NULL));
        }
        lua_pop(L, 1);
    }
}

/* [-0, +1, v] Pushes field KEY, a string without NUL, or nil. */
const char *
http_args_text(lua_State *L, int arg, const char *what, const char *key)
{
    size_t len;
    const char *text;

    if (lua_getfield(L, arg, key) == LUA_TNIL) {
        return NULL;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        (void)luaL_error(L, "%s: %s: expected a string, got a %s", what, key, luaL_typename(L, -1));
    }
    text = lua_tolstring(L, -1, &len);
    if (len == 0 || strlen(text) != len) {
        (void)luaL_error(L, "%s: %s: %s", what, key, len == 0 ? "is empty" : "holds a NUL byte");
    }
    return text;
}

/* [-0, +0, v] Field KEY as milliseconds; 0 when it is nil. */
static uint32_t
read_timeout(lua_State *L, int arg, const char *key)
{
    uint64_t ms = 0;
    size_t len;
    int type = lua_getfield(L, arg, key), bad = 0;

    if (type == LUA_TNUMBER) {
        bad = duration_from_seconds(lua_tonumber(L, -1), &ms) != 0;
    } else if (type == LUA_TSTRING) {
        const char *text = lua_tolstring(L, -1, &len);

        bad = duration_parse(text, len, &ms) != 0;
    } else if (type != LUA_TNIL) {
        bad = 1;
    }
    if (bad || (type != LUA_TNIL && (ms == 0 || ms > UINT32_MAX))) {
        (void)luaL_error(L,
                         "request: %s: expected a duration above zero (\"5m\", or a"
                         " number of seconds), got %s",
                         key, luaL_tolstring(L, -1, NULL));
    }
    lua_pop(L, 1);
    return (uint32_t)ms;
}

/* [-0, +0, v] Field KEY as an integer from LOW to HIGH; FALLBACK when nil. */
static lua_Integer
read_integer(lua_State *L, int arg, const char *key, lua_Integer low, lua_Integer high,
             lua_Integer fallback)
{
    int is_integer;
    lua_Integer value = fallback;

    if (lua_getfield(L, arg, key) != LUA_TNIL) {
        value =
            lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : (is_integer = 0);
        if (!is_integer || value < low || value > high) {
            (void)luaL_error(L, "request: %s: expected an integer %I..%I, got %s", key,
                             (LUAI_UACINT)low, (LUAI_UACINT)high, luaL_tolstring(L, -1, NULL));
        }
    }
    lua_pop(L, 1);
    return value;
}

/* May the header go to another host? Only what is known to say nothing about
 * who asks: a header of a script's own may well hold a key. */
static int
is_harmless(const char *name)
{
    static const char *const names[] = {
        "accept",           "accept-charset", "accept-encoding",
        "accept-language",  "api-version",    "cache-control",
        "content-language", "content-type",   "if-modified-since",
        "if-none-match",    "pragma",         "range",
        "user-agent",
    };
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int
compare_headers(const void *a, const void *b)
{
    const struct header *x = a, *y = b;
    int order = x->secret - y->secret;

    if (order == 0) {
        order = strcasecmp(x->wire.name, y->wire.name);
    }
    if (order == 0) {
        order = x->order < y->order ? -1 : 1;
    }
    return order;
}

/* [-1, +0, v] Takes the value on top as one more of header NAME; HTTP_ARGS_KEPT holds the
 * string it becomes. */
static void
take_header(lua_State *L, struct header *headers, size_t *count, const char *name)
{
    struct header *header = &headers[*count];
    size_t len;

    if (*count == HEADERS_COUNT_MAX) {
        (void)luaL_error(L, "request: headers: more than %d", HEADERS_COUNT_MAX);
    }
    if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER) {
        (void)luaL_error(L, "request: headers.%s: expected a string, got a %s", name,
                         luaL_typename(L, -1));
    }
    header->wire.name = name;
    header->wire.value = lua_tolstring(L, -1, &len);
    header->secret = !is_harmless(name);
    header->order = *count;
    if (strlen(header->wire.value) != len) {
        (void)luaL_error(L, "request: headers.%s: holds a NUL byte", name);
    }
    *count += 1;
    lua_rawseti(L, HTTP_ARGS_KEPT, (lua_Integer)*count);
}

/* [-0, +1, v] Pushes the array of REQUEST's headers, in an order that does not
 * depend on the table's, the secret ones last. */
static void
read_headers(lua_State *L, int arg, struct http_request *request)
{
    struct header *found;
    struct wire_header *sent;
    size_t count = 0, i;

    if (lua_getfield(L, arg, "headers") == LUA_TNIL) {
        return;
    }
    if (!lua_istable(L, -1)) {
        (void)luaL_error(L, "request: headers: expected a table, got a %s", luaL_typename(L, -1));
    }
    found = lua_newuserdatauv(L, HEADERS_COUNT_MAX * sizeof *found, 0);
    lua_pushnil(L);
    while (lua_next(L, -3) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            (void)luaL_error(L, "request: headers: a name is a %s, expected a string",
                             luaL_typename(L, -2));
        }
        if (strlen(lua_tostring(L, -2)) != lua_rawlen(L, -2)) {
            (void)luaL_error(L, "request: headers: a name holds a NUL byte");
        }
        if (lua_istable(L, -1)) {
            for (i = 1; i <= lua_rawlen(L, -1); i++) {
                (void)lua_rawgeti(L, -1, (lua_Integer)i);
                take_header(L, found, &count, lua_tostring(L, -3));
            }
            lua_pop(L, 1);
        } else {
            take_header(L, found, &count, lua_tostring(L, -2));
        }
    }
    qsort(found, count, sizeof *found, compare_headers);
    sent = lua_newuserdatauv(L, (count + 1) * sizeof *sent, 0);
    request->secret_headers = (int)count;
    for (i = 0; i < count; i++) {
        sent[i] = found[i].wire;
        if (found[i].secret && request->secret_headers == (int)count) {
            request->secret_headers = (int)i;
        }
    }
    request->headers = sent;
    request->header_count = count;
    lua_rotate(L, -3, 1); /* keep the array, drop the table and the scratch */
    lua_pop(L, 2);
}

/* [-0, +1, v] Reads the method into METHOD, in upper case. */
static void
read_method(lua_State *L, int arg, struct http_request *request, char *method)
{
    const char *text = http_args_text(L, arg, "request", "method");
    size_t i;

    if (text == NULL) {
        text = request->body != NULL ? "POST" : "GET";
    }
    if (strlen(text) >= HTTP_ARGS_METHOD) {
        (void)luaL_error(L, "request: method: is too long");
    }
    for (i = 0; text[i] != '\0'; i++) {
        method[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] & ~0x20 : text[i]);
    }
    method[i] = '\0';
    request->method = method;
}

/*
 * [-0, +?, v] Reads the table at HTTP_ARGS_TABLE; leaves on the stack what REQUEST
 * borrows. HTTP_ARGS_KEPT is a table. Returns the path of to_file or NULL.
 */
const char *
http_args_read(lua_State *L, struct http_request *request, char *method)
{
    static const char *const keys[] = {
        "body",      "body_max", "connect_timeout", "headers", "idle_timeout", "method",
        "redirects", "timeout",  "to_file",         "url",     NULL,
    };
    const char *path;
    struct fault fault;

    luaL_checkstack(L, 20, NULL);
    http_args_keys(L, HTTP_ARGS_TABLE, "request", keys);
    memset(request, 0, sizeof *request);
    request->sink_fd = -1;
    request->url = http_args_text(L, HTTP_ARGS_TABLE, "request", "url");
    if (request->url == NULL) {
        (void)luaL_error(L, "request: url: is missing");
    }
    if (lua_getfield(L, HTTP_ARGS_TABLE, "body") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING) {
            (void)luaL_error(L, "request: body: expected a string, got a %s", luaL_typename(L, -1));
        }
        request->body = lua_tolstring(L, -1, &request->body_len);
    }
    read_method(L, HTTP_ARGS_TABLE, request, method);
    request->total_timeout_ms = read_timeout(L, HTTP_ARGS_TABLE, "timeout");
    request->connect_timeout_ms = read_timeout(L, HTTP_ARGS_TABLE, "connect_timeout");
    request->idle_timeout_ms = read_timeout(L, HTTP_ARGS_TABLE, "idle_timeout");
    request->max_redirects = (unsigned)read_integer(L, HTTP_ARGS_TABLE, "redirects", 0,
                                                    REDIRECTS_MAX, REDIRECTS_DEFAULT);
    request->body_max =
        (uint64_t)read_integer(L, HTTP_ARGS_TABLE, "body_max", 1, (lua_Integer)1 << 40, 0);
    read_headers(L, HTTP_ARGS_TABLE, request);
    path = http_args_text(L, HTTP_ARGS_TABLE, "request", "to_file");
    if (http_check(request, &fault) != FAULT_OK) {
        (void)luaL_error(L, "request: %s", fault.msg);
    }
    return path;
}

/* check{url=, …}: raises, with what is wrong, where request would. */
int
http_args_check(lua_State *L)
{
    struct http_request request;
    char method[HTTP_ARGS_METHOD];

    luaL_checktype(L, HTTP_ARGS_TABLE, LUA_TTABLE);
    lua_settop(L, HTTP_ARGS_TABLE);
    lua_pushnil(L); /* where the call would be */
    lua_newtable(L);
    (void)http_args_read(L, &request, method);
    lua_pushstring(L, method);
    return 1;
}
