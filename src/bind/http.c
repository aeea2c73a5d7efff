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

#include "http_args.h"

#include "../task.h"
#include "wire.h"

#include <lauxlib.h>
#include <string.h>

#define HUB_META "moontap.http.hub"
#define HANDLER_META "moontap.http.handler"
#define CALL_META "moontap.http.call"
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
    struct call *call = lua_touserdata(L, HTTP_ARGS_CALL);
    const char *path;
    int count;

    (void)status;
    (void)ctx;
    (void)lua_getiuservalue(L, HTTP_ARGS_CALL, 2);
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
    char method[HTTP_ARGS_METHOD];
    struct http *http;
    struct call *call;
    struct fault fault;
    const char *path;

    luaL_checktype(L, HTTP_ARGS_TABLE, LUA_TTABLE);
    lua_settop(L, HTTP_ARGS_TABLE);
    call = push_call(L);
    lua_newtable(L);
    path = http_args_read(L, &request, method);
    (void)lua_getfield(L, HTTP_ARGS_TABLE, "body");
    (void)lua_setiuservalue(L, HTTP_ARGS_CALL, 1);
    lua_pushstring(L, path);
    (void)lua_setiuservalue(L, HTTP_ARGS_CALL, 2);
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
    http_args_keys(L, 1, "configure", keys);
    hub = push_hub(L);
    lua_remove(L, 2); /* the registry keeps the hub; its table is now at 2 */
    for (i = 0; keys[i] != NULL; i++) {
        if (lua_getfield(L, 1, keys[i]) == LUA_TBOOLEAN && !lua_toboolean(L, -1)) {
            lua_pushnil(L);
            lua_setfield(L, 2, keys[i]);
        } else if (http_args_text(L, 1, "configure", keys[i]) != NULL) {
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
    {"check", http_args_check},
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
