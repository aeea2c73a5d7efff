/*
 * bind/http: module moontap.native.http, HTTP for scripts. Owns the one struct
 * http of a state and the Lua handlers of its in-process transport; request()
 * waits, the rest does not.
 *
 * The registry keeps one userdata, the hub. Its user value is a table: "cacert"
 * and "user_agent" as set by configure(), and each in-process URL prefix with
 * its handler.
 */
#include "http.h"

#include "../duration.h"
#include "../task.h"
#include "wire.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HUB_META "moontap.http.hub"
#define HANDLER_META "moontap.http.handler"
#define CALL_META "moontap.http.call"
#define REDIRECTS_DEFAULT 5
#define REDIRECTS_MAX 20
#define HEADERS_COUNT_MAX 200
#define METHOD_SIZE 24
#define AGENT_DEFAULT "moontap/" MOONTAP_VERSION

static const char hub_key = 0; /* registry: the hub */

struct hub {
    struct http *http; /* owned; NULL until the first request */
};

/* One request under way. User values: 1 the body, 2 the path of to_file. */
struct call {
    struct http_exchange *exchange; /* owned; NULL when not started or over */
    struct tasks *tasks;
    struct task_ref ref;
    struct http_file file;
};

enum { ARGUMENT = 1, CALL, KEPT }; /* stack of request() */

/* One header on its way into a request. */
struct header {
    struct wire_header wire;
    int secret;
    size_t order; /* as it was found: repeated headers keep their order */
};

/* The hub --------------------------------------------------------------------- */

static int
hub_gc(lua_State *L)
{
    struct hub *hub = luaL_checkudata(L, 1, HUB_META);
    struct http *http = hub->http;

    hub->http = NULL;
    http_free(http);
    return 0;
}

static int
handler_gc(lua_State *L)
{
    wire_handler_clear(L, luaL_checkudata(L, 1, HANDLER_META));
    return 0;
}

/* [-0, +0, m] */
static void
make_meta(lua_State *L, const char *name, lua_CFunction gc)
{
    if (luaL_newmetatable(L, name)) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
}

/* [-0, +2, m] Pushes the hub and its table; made when there is none yet. */
static struct hub *
push_hub(lua_State *L)
{
    struct hub *hub;

    luaL_checkstack(L, 6, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &hub_key) == LUA_TUSERDATA) {
        hub = lua_touserdata(L, -1);
        (void)lua_getiuservalue(L, -1, 1);
        return hub;
    }
    lua_pop(L, 1);
    make_meta(L, HUB_META, hub_gc);
    hub = lua_newuserdatauv(L, sizeof *hub, 1);
    hub->http = NULL;
    luaL_setmetatable(L, HUB_META);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    (void)lua_setiuservalue(L, -3, 1);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &hub_key);
    return hub;
}

/* [-0, +1, m] Pushes the roots the command line names, or nil. */
static void
push_config_cacert(lua_State *L)
{
    (void)luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, "moontap.config") == LUA_TTABLE) {
        (void)lua_getfield(L, -1, "cacert");
    } else {
        lua_pushnil(L);
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* [-0, +2, e] Pushes what OPTIONS borrows; the hub's table is at INDEX. */
static void
read_settings(lua_State *L, int index, struct http_options *options)
{
    memset(options, 0, sizeof *options);
    options->user_agent = AGENT_DEFAULT;
    if (lua_getfield(L, index, "user_agent") == LUA_TSTRING) {
        options->user_agent = lua_tostring(L, -1);
    }
    if (lua_getfield(L, index, "cacert") == LUA_TNIL) {
        lua_pop(L, 1);
        push_config_cacert(L);
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        options->cacert = lua_tostring(L, -1);
    }
}

/* [-0, +0, e] */
static void
raise_fault(lua_State *L, const struct fault *fault)
{
    if (fault->code == FAULT_NOMEM) {
        (void)luaL_error(L, "not enough memory");
    }
    (void)task_raise(L, fault_kind(fault->code), fault->msg);
}

struct http *
bind_http(lua_State *L)
{
    struct hub *hub = push_hub(L);
    struct http_options options;
    struct fault fault;

    if (hub->http == NULL) {
        read_settings(L, lua_gettop(L), &options);
        if (http_new(task_loop(L), &options, &hub->http, &fault) != FAULT_OK) {
            raise_fault(L, &fault);
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 2);
    return hub->http;
}

/* Answers --------------------------------------------------------------------- */

const char *
bind_http_sent_name(enum http_sent sent)
{
    return sent == HTTP_SENT_NO ? "no" : sent == HTTP_SENT_YES ? "yes" : "maybe";
}

/* [-0, +1, m] Pushes LEN bytes of TEXT in lower case. */
static void
push_lower(lua_State *L, const char *text, size_t len)
{
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, len);
    size_t i;

    for (i = 0; i < len; i++) {
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
    }
    luaL_pushresultsize(&b, len);
}

/* [-0, +0, m] Adds the line "Name: value" to the table on top. */
static void
add_header(lua_State *L, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    const char *value, *end = line + len;

    if (colon == NULL) {
        return; /* no header: a peer's slip */
    }
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t'); value++) {
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    push_lower(L, line, (size_t)(colon - line));
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TSTRING) {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value, (size_t)(end - value));
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        lua_pushlstring(L, value, (size_t)(end - value));
    }
    lua_rawset(L, -3);
}

void
bind_http_push_headers(lua_State *L, const struct buf *head)
{
    const char *line = buf_cstr(head), *end;

    luaL_checkstack(L, 8, NULL);
    lua_newtable(L);
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        add_header(L, line, (size_t)(end - line));
    }
}

int
bind_http_push_failure(lua_State *L, const struct http_result *result)
{
    (void)task_fail(L, &result->fault);
    lua_pushstring(L, bind_http_sent_name(result->sent));
    lua_setfield(L, -2, "sent");
    lua_pushnumber(L, (lua_Number)result->elapsed_ms / 1000);
    lua_setfield(L, -2, "elapsed");
    if (result->status != 0) {
        lua_pushinteger(L, result->status);
        lua_setfield(L, -2, "status");
    }
    return 2;
}

/* [-0, +1, m] */
static void
push_response(lua_State *L, const struct http_result *result)
{
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, result->status);
    lua_setfield(L, -2, "status");
    bind_http_push_headers(L, result->head);
    lua_setfield(L, -2, "headers");
    lua_pushstring(L, result->url);
    lua_setfield(L, -2, "url");
    lua_pushnumber(L, (lua_Number)result->elapsed_ms / 1000);
    lua_setfield(L, -2, "elapsed");
}

/* Arguments ------------------------------------------------------------------- */

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
static void
check_keys(lua_State *L, int arg, const char *what, const char *const *keys)
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
static const char *
read_text(lua_State *L, int arg, const char *what, const char *key)
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

/* [-1, +0, v] Takes the value on top as one more of header NAME; KEPT holds the
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
    lua_rawseti(L, KEPT, (lua_Integer)*count);
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
    const char *text = read_text(L, arg, "request", "method");
    size_t i;

    if (text == NULL) {
        text = request->body != NULL ? "POST" : "GET";
    }
    if (strlen(text) >= METHOD_SIZE) {
        (void)luaL_error(L, "request: method: is too long");
    }
    for (i = 0; text[i] != '\0'; i++) {
        method[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] & ~0x20 : text[i]);
    }
    method[i] = '\0';
    request->method = method;
}

/*
 * [-0, +?, v] Reads the table at ARGUMENT; leaves on the stack what REQUEST
 * borrows. KEPT is a table. Returns the path of to_file or NULL.
 */
static const char *
read_request(lua_State *L, struct http_request *request, char *method)
{
    static const char *const keys[] = {
        "body",      "body_max", "connect_timeout", "headers", "idle_timeout", "method",
        "redirects", "timeout",  "to_file",         "url",     NULL,
    };
    const char *path;
    struct fault fault;

    luaL_checkstack(L, 20, NULL);
    check_keys(L, ARGUMENT, "request", keys);
    memset(request, 0, sizeof *request);
    request->sink_fd = -1;
    request->url = read_text(L, ARGUMENT, "request", "url");
    if (request->url == NULL) {
        (void)luaL_error(L, "request: url: is missing");
    }
    if (lua_getfield(L, ARGUMENT, "body") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING) {
            (void)luaL_error(L, "request: body: expected a string, got a %s", luaL_typename(L, -1));
        }
        request->body = lua_tolstring(L, -1, &request->body_len);
    }
    read_method(L, ARGUMENT, request, method);
    request->total_timeout_ms = read_timeout(L, ARGUMENT, "timeout");
    request->connect_timeout_ms = read_timeout(L, ARGUMENT, "connect_timeout");
    request->idle_timeout_ms = read_timeout(L, ARGUMENT, "idle_timeout");
    request->max_redirects =
        (unsigned)read_integer(L, ARGUMENT, "redirects", 0, REDIRECTS_MAX, REDIRECTS_DEFAULT);
    request->body_max = (uint64_t)read_integer(L, ARGUMENT, "body_max", 1, (lua_Integer)1 << 40, 0);
    read_headers(L, ARGUMENT, request);
    path = read_text(L, ARGUMENT, "request", "to_file");
    if (http_check(request, &fault) != FAULT_OK) {
        (void)luaL_error(L, "request: %s", fault.msg);
    }
    return path;
}

/* Requests -------------------------------------------------------------------- */

/* Lets go of all that CALL holds; works twice. Never raises. */
static void
release(void *arg)
{
    struct call *call = arg;
    struct http_exchange *exchange = call->exchange;

    call->exchange = NULL;
    http_exchange_free(exchange);
    http_file_drop(&call->file);
}

static int
call_gc(lua_State *L)
{
    release(luaL_checkudata(L, 1, CALL_META));
    return 0;
}

static void
done(void *arg)
{
    struct call *call = arg;

    (void)task_wake(call->tasks, call->ref);
}

/* [-0, +2, m] Pushes the response with what TO_FILE wants of it. */
static int
push_answer(lua_State *L, struct call *call, const char *path)
{
    const struct http_result *result = http_result(call->exchange);
    int whole = result->code == FAULT_OK && result->status / 100 == 2;
    struct fault fault;

    if (result->code != FAULT_OK) {
        return bind_http_push_failure(L, result);
    }
    push_response(L, result);
    if (path == NULL || !whole) {
        lua_pushlstring(L, buf_cstr(result->body), result->body->len);
        lua_setfield(L, -2, "body");
    } else if (http_file_commit(&call->file, path, &fault) == FAULT_OK) {
        lua_pushstring(L, path);
        lua_setfield(L, -2, "file");
    } else {
        return task_fail(L, &fault);
    }
    return 1;
}

static int
finished(lua_State *L, int status, lua_KContext ctx)
{
    struct call *call = lua_touserdata(L, CALL);
    const char *path;
    int count;

    (void)status;
    (void)ctx;
    (void)lua_getiuservalue(L, CALL, 2);
    path = lua_tostring(L, -1);
    count = push_answer(L, call, path);
    release(call);
    return count;
}

/* [-0, +1, m] Pushes an empty call. */
static struct call *
push_call(lua_State *L)
{
    struct call *call = lua_newuserdatauv(L, sizeof *call, 2);

    call->exchange = NULL;
    call->tasks = task_scheduler(L);
    call->file.fd = -1;
    call->file.temp = NULL;
    luaL_setmetatable(L, CALL_META);
    return call;
}

/* request{url=, …} -> response | nil, err */
static int
http_request(lua_State *L)
{
    struct http_request request;
    char method[METHOD_SIZE];
    struct http *http;
    struct call *call;
    struct fault fault;
    const char *path;

    luaL_checktype(L, ARGUMENT, LUA_TTABLE);
    lua_settop(L, ARGUMENT);
    call = push_call(L);
    lua_newtable(L);
    path = read_request(L, &request, method);
    (void)lua_getfield(L, ARGUMENT, "body");
    (void)lua_setiuservalue(L, CALL, 1);
    lua_pushstring(L, path);
    (void)lua_setiuservalue(L, CALL, 2);
    task_check_wait(L);
    http = bind_http(L);
    if (path != NULL) {
        if (http_file_open(&call->file, path, &fault) != FAULT_OK) {
            return task_fail(L, &fault);
        }
        request.sink_fd = call->file.fd;
    }
    call->ref = task_ref(L);
    if (http_start(http, &request, done, call, &call->exchange, &fault) != FAULT_OK) {
        http_file_drop(&call->file);
        return task_fail(L, &fault);
    }
    return task_wait(L, release, call, 0, finished); /* nothing below may raise */
}

/* check{url=, …}: raises, with what is wrong, where request would. */
static int
http_check_arguments(lua_State *L)
{
    struct http_request request;
    char method[METHOD_SIZE];

    luaL_checktype(L, ARGUMENT, LUA_TTABLE);
    lua_settop(L, ARGUMENT);
    lua_pushnil(L); /* where the call would be */
    lua_newtable(L);
    (void)read_request(L, &request, method);
    lua_pushstring(L, method);
    return 1;
}

/* Set-up ---------------------------------------------------------------------- */

/* configure{cacert=, user_agent=}: for requests started from now on. A field
 * that is absent stays as it was, false means the default again. */
static int
http_set_options(lua_State *L)
{
    static const char *const keys[] = {"cacert", "user_agent", NULL};
    struct http_options options;
    struct hub *hub;
    struct fault fault;
    size_t i;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    check_keys(L, 1, "configure", keys);
    hub = push_hub(L);
    lua_remove(L, 2); /* the registry keeps the hub; its table is now at 2 */
    for (i = 0; keys[i] != NULL; i++) {
        if (lua_getfield(L, 1, keys[i]) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
            lua_pushnil(L);
            lua_setfield(L, 2, keys[i]);
        } else if (read_text(L, 1, "configure", keys[i]) != NULL) {
            lua_setfield(L, 2, keys[i]);
        }
        lua_settop(L, 2);
    }
    read_settings(L, 2, &options);
    if (hub->http != NULL && http_configure(hub->http, &options, &fault) != FAULT_OK) {
        raise_fault(L, &fault);
    }
    return 0;
}

/* [-0, +1, m] Pushes the handler of the prefix at index 1, made if need be. */
static struct wire_lua_handler *
push_handler(lua_State *L, int hub_table)
{
    struct wire_lua_handler *handler;

    lua_pushvalue(L, 1);
    if (lua_rawget(L, hub_table) == LUA_TUSERDATA) {
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    handler = lua_newuserdatauv(L, sizeof *handler, 0);
    memset(handler, 0, sizeof *handler);
    handler->ref = LUA_NOREF;
    luaL_setmetatable(L, HANDLER_META);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, hub_table);
    return handler;
}

/* set_inproc(url_prefix, handler | nil) */
static int
http_set_handler(lua_State *L)
{
    const char *prefix = luaL_checkstring(L, 1);
    struct wire_lua_handler *handler;
    struct http *http;

    luaL_argcheck(L, strncmp(prefix, "http://", 7) == 0 || strncmp(prefix, "https://", 8) == 0, 1,
                  "expected a URL that begins with http:// or https://");
    luaL_argcheck(L, prefix[strlen(prefix) - 1] != '/', 1, "must not end in '/'");
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
    }
    lua_settop(L, 2);
    http = bind_http(L);
    (void)push_hub(L); /* 3 the hub, 4 its table */
    if (lua_isnil(L, 2)) {
        (void)http_set_inproc(http, prefix, NULL, NULL); /* a removal cannot fail */
        wire_handler_clear(L, push_handler(L, 4));
        lua_pushvalue(L, 1);
        lua_pushnil(L);
        lua_rawset(L, 4);
        return 0;
    }
    handler = push_handler(L, 4);
    lua_pushvalue(L, 2);
    wire_handler_set(L, handler, http_inproc_reply);
    if (http_set_inproc(http, prefix, wire_dispatch, handler) != FAULT_OK) {
        return luaL_error(L, "not enough memory");
    }
    return 0;
}

static const luaL_Reg funcs[] = {
    {"check", http_check_arguments},
    {"configure", http_set_options},
    {"request", http_request},
    {"set_inproc", http_set_handler},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moontap_native_http(lua_State *L);

int
luaopen_moontap_native_http(lua_State *L)
{
    make_meta(L, CALL_META, call_gc);
    make_meta(L, HANDLER_META, handler_gc);
    luaL_newlib(L, funcs);
    lua_pushstring(L, http_library_version());
    lua_setfield(L, -2, "version");
    return 1;
}
