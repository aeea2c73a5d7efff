/*
 * bind/wire: runs a Lua function for a request; see wire.h.
 *
 * The duty to answer is a userdata, the ticket, which the handler's task holds
 * as a variable to be closed: a task that fails or is cancelled answers when it
 * ends, one that is never run when the collector or the state's end gets it.
 */
#include "wire.h"

#include "../fault.h"
#include "../task.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICKET_META "moontap.wire.ticket"
#define FAILED_TEXT "{\"error\":\"the handler of this request failed\"}"
#define STOPPED_TEXT "{\"error\":\"the handler of this request was stopped\"}"

/* The duty to answer one request. */
struct ticket {
    struct wire_token *token; /* NULL: answered */
    wire_reply_fn reply;
};

/* Answering without Lua ------------------------------------------------------ */

static void
answer_text(wire_reply_fn reply, struct wire_token *token, int status, const char *text)
{
    static const struct wire_header json = {"Content-Type", "application/json"};
    struct wire_reply r = {.status = status,
                           .headers = &json,
                           .header_count = 1,
                           .body = text,
                           .body_len = strlen(text),
                           .fd = -1};

    reply(token, &r);
}

static void
answer_ticket(struct ticket *ticket, const struct wire_reply *reply)
{
    struct wire_token *token = ticket->token;

    ticket->token = NULL;
    ticket->reply(token, reply);
}

/* __close(ticket, error) and __gc(ticket) */
static int
ticket_close(lua_State *L)
{
    struct ticket *ticket = luaL_checkudata(L, 1, TICKET_META);
    struct wire_token *token = ticket->token;
    int failed = !lua_isnoneornil(L, 2);

    if (token == NULL) {
        return 0;
    }
    ticket->token = NULL;
    if (failed) {
        answer_text(ticket->reply, token, 500, FAILED_TEXT);
    } else {
        answer_text(ticket->reply, token, 503, STOPPED_TEXT);
    }
    return 0;
}

/* [-0, +1, m] Pushes a ticket without a token. */
static struct ticket *
push_ticket(lua_State *L)
{
    struct ticket *ticket = lua_newuserdatauv(L, sizeof *ticket, 0);

    memset(ticket, 0, sizeof *ticket);
    if (luaL_newmetatable(L, TICKET_META)) {
        lua_pushcfunction(L, ticket_close);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "__close");
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return ticket;
}

/* Request -------------------------------------------------------------------- */

/* [-0, +1, m] */
static void
push_lower(lua_State *L, const char *s)
{
    luaL_Buffer b;
    size_t n = strlen(s);
    char *out = luaL_buffinitsize(L, &b, n);

    for (size_t i = 0; i < n; i++) {
        out[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] - 'A' + 'a' : s[i]);
    }
    luaL_pushresultsize(&b, n);
}

/* [-0, +1, m] */
static void
push_headers(lua_State *L, const struct wire_request *request)
{
    lua_createtable(L, 0, (int)request->header_count);
    for (size_t i = 0; i < request->header_count; i++) {
        const char *value = request->headers[i].value;

        push_lower(L, request->headers[i].name);
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) == LUA_TSTRING) {
            lua_pushliteral(L, ", ");
            lua_pushstring(L, value);
            lua_concat(L, 3);
        } else {
            lua_pop(L, 1);
            lua_pushstring(L, value);
        }
        lua_rawset(L, -3);
    }
}

void
wire_push_request(lua_State *L, const struct wire_request *request)
{
    const char *mark = strchr(request->target, '?');

    luaL_checkstack(L, 6, NULL);
    lua_createtable(L, 0, 7);
    lua_pushstring(L, request->method);
    lua_setfield(L, -2, "method");
    lua_pushstring(L, request->target);
    lua_setfield(L, -2, "target");
    if (mark != NULL) {
        lua_pushlstring(L, request->target, (size_t)(mark - request->target));
        lua_setfield(L, -2, "path");
        lua_pushstring(L, mark + 1);
        lua_setfield(L, -2, "query");
    } else {
        lua_pushstring(L, request->target);
        lua_setfield(L, -2, "path");
    }
    push_headers(L, request);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, request->body != NULL ? request->body : "", request->body_len);
    lua_setfield(L, -2, "body");
    lua_pushstring(L, request->peer);
    lua_setfield(L, -2, "peer");
}

/* Reply ---------------------------------------------------------------------- */

static int
is_header_name(const char *s, size_t n)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789!#$%&'*+-.^_`|~";

    return n != 0 && strspn(s, allowed) == n;
}

static int
is_header_value(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7F) {
            return 0;
        }
    }
    return 1;
}

/* [-0, +0, v] Raises unless the name below and the value on top can be sent. */
static void
check_header(lua_State *L)
{
    size_t n, m;
    const char *name, *value;

    if (lua_type(L, -2) != LUA_TSTRING) {
        luaL_error(L, "reply.headers: a name is a %s, expected a string", luaL_typename(L, -2));
    }
    name = lua_tolstring(L, -2, &n);
    if (!is_header_name(name, n)) {
        luaL_error(L, "reply.headers: \"%s\" is no header name", name);
    }
    if (strcasecmp(name, "content-length") == 0 || strcasecmp(name, "transfer-encoding") == 0) {
        luaL_error(L, "reply.headers: %s is set from the body", name);
    }
    if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER) {
        luaL_error(L, "reply.headers.%s: expected a string, got a %s", name, luaL_typename(L, -1));
    }
    value = lua_tolstring(L, -1, &m);
    if (!is_header_value(value, m)) {
        luaL_error(L, "reply.headers.%s: control characters in the value", name);
    }
}

/*
 * [-0, +1, m] Pushes a list {name, value, name, value, ...} made from the table
 * on top; the strings in it are what the wire_header array points to.
 */
static lua_Integer
push_flat_headers(lua_State *L)
{
    int from = lua_gettop(L), flat = from + 1;
    lua_Integer n = 0;

    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, from) != 0) {
        lua_Integer i, items = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;

        for (i = 1; i <= items || (i == 1 && !lua_istable(L, -1)); i++) {
            lua_pushvalue(L, -2);
            if (items != 0) {
                lua_rawgeti(L, -2, i);
            } else {
                lua_pushvalue(L, -2);
            }
            check_header(L); /* also makes a number a string */
            lua_rawseti(L, flat, ++n + 1);
            lua_rawseti(L, flat, n++);
        }
        lua_pop(L, 1);
    }
    return n;
}

/* Sorts by name, and keeps the order of equal names: the order of a table's
 * keys differs from run to run. */
static void
sort_headers(struct wire_header *headers, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct wire_header h = headers[i];
        size_t j = i;

        for (; j > 0 && strcasecmp(headers[j - 1].name, h.name) > 0; j--) {
            headers[j] = headers[j - 1];
        }
        headers[j] = h;
    }
}

/* [-0, +?, m] Leaves on the stack what REPLY borrows. */
static void
read_headers(lua_State *L, int idx, struct wire_reply *reply)
{
    struct wire_header *headers;
    int flat;
    lua_Integer n;

    if (lua_getfield(L, idx, "headers") == LUA_TNIL) {
        return;
    }
    if (!lua_istable(L, -1)) {
        luaL_error(L, "reply.headers: expected a table, got a %s", luaL_typename(L, -1));
    }
    n = push_flat_headers(L);
    flat = lua_gettop(L);
    if (n == 0) {
        return;
    }
    headers = lua_newuserdatauv(L, (size_t)(n / 2) * sizeof *headers, 0);
    for (lua_Integer i = 0; i < n / 2; i++) {
        lua_rawgeti(L, flat, 2 * i + 1);
        lua_rawgeti(L, flat, 2 * i + 2);
        headers[i].name = lua_tostring(L, -2);
        headers[i].value = lua_tostring(L, -1);
        lua_pop(L, 2); /* the list keeps them */
    }
    reply->headers = headers;
    reply->header_count = (size_t)(n / 2);
    sort_headers(headers, reply->header_count);
}

static enum wire_cut
read_cut(lua_State *L, int idx)
{
    static const char *const names[] = {"before", "middle", "silent", NULL};
    static const enum wire_cut cuts[] = {WIRE_CUT_BEFORE, WIRE_CUT_MIDDLE, WIRE_SILENT};
    const char *name;

    if (lua_getfield(L, idx, "cut") == LUA_TNIL) {
        lua_pop(L, 1);
        return WIRE_WHOLE;
    }
    name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            lua_pop(L, 1);
            return cuts[i];
        }
    }
    luaL_error(L, "reply.cut: expected \"before\", \"middle\" or \"silent\", got %s", name);
    return WIRE_WHOLE;
}

static int
read_status(lua_State *L, int idx, enum wire_cut cut)
{
    lua_Integer status;
    int is_integer;

    lua_getfield(L, idx, "status");
    if (lua_isnil(L, -1) && (cut == WIRE_CUT_BEFORE || cut == WIRE_SILENT)) {
        lua_pop(L, 1);
        return 200; /* nobody gets to see it */
    }
    status = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || status < 200 || status > 599) {
        luaL_error(L, "reply.status: expected an integer 200..599, got %s",
                   luaL_tolstring(L, -1, NULL));
    }
    lua_pop(L, 1);
    return (int)status;
}

/* [-0, +1, m] Leaves the body, or nil, on the stack. */
static void
read_body(lua_State *L, int idx, struct wire_reply *reply)
{
    if (lua_getfield(L, idx, "body") == LUA_TNIL) {
        return;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        luaL_error(L, "reply.body: expected a string, got a %s", luaL_typename(L, -1));
    }
    reply->body = lua_tolstring(L, -1, &reply->body_len);
}

/* Opens the reply's file, if it names one. Raises before anything is open. */
static void
open_file(lua_State *L, int idx, struct wire_reply *reply)
{
    const char *path;
    struct stat st;
    int fd;

    if (lua_getfield(L, idx, "file") == LUA_TNIL) {
        return;
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        luaL_error(L, "reply.file: expected a path, got a %s", luaL_typename(L, -1));
    }
    if (reply->body != NULL) {
        luaL_error(L, "reply: has both a body and a file");
    }
    path = lua_tostring(L, -1);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        luaL_error(L, "reply.file: open %s: %s", path, strerror(errno));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        luaL_error(L, "reply.file: %s is not a regular file", path);
    }
    reply->fd = fd;
    reply->fd_size = (uint64_t)st.st_size;
}

/* The handler's task --------------------------------------------------------- */

enum { HANDLER = 1, REQUEST, TICKET, REPLY }; /* stack of the task's function */

static int
handler_done(lua_State *L, int status, lua_KContext ctx)
{
    struct wire_reply reply = {.fd = -1};

    (void)status;
    (void)ctx;
    luaL_checkstack(L, 12, NULL);
    if (!lua_istable(L, REPLY)) {
        return luaL_error(L, "the handler returned a %s, expected a reply table",
                          luaL_typename(L, REPLY));
    }
    reply.cut = read_cut(L, REPLY);
    reply.status = read_status(L, REPLY, reply.cut);
    read_headers(L, REPLY, &reply);
    read_body(L, REPLY, &reply);
    open_file(L, REPLY, &reply);
    /* nothing below may raise: the reply owns the file */
    answer_ticket(lua_touserdata(L, TICKET), &reply);
    return 0;
}

/* (handler, request, ticket): the body of the task. */
static int
run_handler(lua_State *L)
{
    lua_toclose(L, TICKET);
    lua_pushvalue(L, HANDLER);
    lua_pushvalue(L, REQUEST);
    lua_callk(L, 1, 1, 0, handler_done);
    return handler_done(L, LUA_OK, 0);
}

/* Dispatching ---------------------------------------------------------------- */

static int
make_ticket(lua_State *L)
{
    push_ticket(L);
    return 1;
}

/* (handler, request, ticket) */
static int
start_task(lua_State *L)
{
    const struct wire_lua_handler *handler = lua_touserdata(L, 1);
    const struct wire_request *request = lua_touserdata(L, 2);

    lua_pushcfunction(L, run_handler);
    lua_rawgeti(L, LUA_REGISTRYINDEX, handler->ref);
    wire_push_request(L, request);
    lua_pushvalue(L, 3);
    task_spawn(L, 3, 1);
    return 0;
}

void
wire_dispatch(void *arg, const struct wire_request *request, struct wire_token *token)
{
    struct wire_lua_handler *handler = arg;
    wire_reply_fn reply = handler->reply;
    lua_State *L = handler->main;
    struct ticket *ticket;
    int top = lua_gettop(L);

    if (!lua_checkstack(L, 6)) {
        answer_text(reply, token, 500, FAILED_TEXT);
        return;
    }
    lua_pushcfunction(L, make_ticket);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        lua_settop(L, top);
        answer_text(reply, token, 500, FAILED_TEXT);
        return;
    }
    ticket = lua_touserdata(L, -1); /* stays on the stack until the end */
    ticket->token = token;
    ticket->reply = reply;
    lua_pushcfunction(L, start_task);
    lua_pushlightuserdata(L, handler);
    lua_pushlightuserdata(L, (void *)request);
    lua_pushvalue(L, top + 1);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK && ticket->token != NULL) {
        ticket->token = NULL;
        answer_text(reply, token, 500, FAILED_TEXT);
    }
    lua_settop(L, top);
}

/* Handlers ------------------------------------------------------------------- */

void
wire_handler_set(lua_State *L, struct wire_lua_handler *handler, wire_reply_fn reply)
{
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);

    wire_handler_clear(L, handler);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    handler->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    handler->ref = ref;
    handler->reply = reply;
}

void
wire_handler_clear(lua_State *L, struct wire_lua_handler *handler)
{
    if (handler->main != NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, handler->ref);
    }
    handler->main = NULL;
    handler->ref = LUA_NOREF;
}
