/*
 * What the API answers, from the body to the values a script sees: whatever the
 * bytes are, an operation ends in a value or in nil and an error of one kind,
 * with a bounded message on lines of its own and without the token. What the
 * envelope reader accepts, the general JSON reader accepts too, and gives the same.
 *
 * Input: operation, status, then the body.
 */
#include "fuzz.h"

#include "bind/json.h"
#include "bind/pcaps.h"
#include "http/http_int.h"

#include <lauxlib.h>
#include <string.h>

#define SHOWN_MAX 4096 /* far above every bound of its parts */
#define TOKEN "fuzz-token-0123456789"

static const char MAKE_CLIENT[] =
    "local native = require 'moontap.native.pcaps'\n"
    "local rays = setmetatable({}, { __mode = 'k' })\n"
    "local client = native.client({}, { __name = 'capture' }, rays)\n"
    "assert(native.authorize(client, { base_url = 'http://sim.internal/client/v4',\n"
    "  account_id = 'acc', api_token = '" TOKEN "', timeout_ms = 1000 }))\n"
    "return client\n";

static const int statuses[] = {200, 200, 200, 201, 204, 299, 302, 400,
                               401, 403, 404, 409, 429, 500, 503, 999};

/* An answer: STATUS and BODY, with the head that the API sends. */
static struct http_exchange *
answer_of(int status, const char *body, size_t len)
{
    static struct http_exchange ex;
    static const char head[] = "content-type: application/json\ncf-ray: " TOKEN "\n";

    buf_fini(&ex.head);
    buf_fini(&ex.body_buf);
    memset(&ex, 0, sizeof ex);
    buf_init(&ex.head, HTTP_HEADERS_MAX);
    buf_init(&ex.body_buf, HTTP_BODY_MAX);
    must(buf_append(&ex.head, head, sizeof head - 1) == FAULT_OK);
    must(buf_append(&ex.body_buf, body, len) == FAULT_OK);
    ex.result.status = status;
    ex.result.body = &ex.body_buf;
    ex.result.head = &ex.head;
    ex.result.sent = HTTP_SENT_YES;
    return &ex;
}

/* (client, call): pushes what the operation returns. */
static int
push_answer(lua_State *L)
{
    struct pcaps_call *call = lua_touserdata(L, 2);

    lua_settop(L, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 2);
    return pcaps_push_answer(L, call);
}

static void
check_error(lua_State *L, int t)
{
    size_t len;
    const char *text;

    must(lua_istable(L, t));
    must(lua_getfield(L, t, "kind") == LUA_TSTRING);
    must(lua_getfield(L, t, "message") == LUA_TSTRING);
    text = lua_tolstring(L, -1, &len);
    must(len < SHOWN_MAX);
    must(strstr(text, TOKEN) == NULL);
    for (size_t i = 0; i < len; i++) {
        must((unsigned char)text[i] >= ' ' && text[i] != 127);
    }
    if (lua_getfield(L, t, "ray") == LUA_TSTRING) {
        must(strstr(lua_tostring(L, -1), TOKEN) == NULL);
    }
}

static void
check_answer(lua_State *L, enum pcaps_op op, int status, const char *body, size_t len)
{
    struct pcaps_call call = {.exchange = answer_of(status, body, len), .op = op};
    int top;

    lua_settop(L, 0);
    lua_pushcfunction(L, push_answer);
    fuzz_eval(L, MAKE_CLIENT);
    lua_pushlightuserdata(L, &call);
    must(lua_pcall(L, 2, LUA_MULTRET, 0) == LUA_OK);
    top = lua_gettop(L);
    must(top == 1 || top == 2);
    if (lua_isnil(L, 1)) {
        must(top == 2);
        check_error(L, 2);
    } else if (top == 2) {
        must(op == PCAPS_LIST || op == PCAPS_OWNERSHIP_LIST);
        must(lua_isnil(L, 2) || lua_isstring(L, 2)); /* the Date */
    }
}

/* [-0, +0, m] Are the JSON values at A and B the same? Numbers as doubles: an
 * integer of 64 bits is exact to the envelope's reader only. */
static int
same(lua_State *L, int a, int b)
{
    int equal = 1;

    if (lua_type(L, a) == LUA_TNUMBER && lua_type(L, b) == LUA_TNUMBER) {
        return lua_tonumber(L, a) == lua_tonumber(L, b);
    }
    if (!lua_istable(L, a) || !lua_istable(L, b)) {
        return lua_rawequal(L, a, b);
    }
    luaL_checkstack(L, 8, NULL);
    for (lua_pushnil(L); equal && lua_next(L, a); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_rawget(L, b);
        equal = same(L, lua_gettop(L) - 1, lua_gettop(L));
        lua_pop(L, 1);
    }
    if (!equal) {
        return 0; /* the stack is emptied at the end of the turn */
    }
    for (lua_pushnil(L); equal && lua_next(L, b); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        equal = lua_rawget(L, a) != LUA_TNIL;
        lua_pop(L, 1);
    }
    return equal;
}

/* Is there an escape that may be half of a surrogate pair? The envelope's reader bears
 * with those, the other one does not. */
static int
has_surrogate(const char *text, size_t len)
{
    for (size_t i = 0; i + 4 <= len; i++) {
        if (text[i] == '\\' && text[i + 1] == 'u' && (text[i + 2] == 'd' || text[i + 2] == 'D')
            && strchr("89abcdefABCDEF", text[i + 3]) != NULL) {
            return 1;
        }
    }
    return 0;
}

/* (body): both readers agree. */
static int
compare_readers(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    struct buf body;
    int success, accepted;

    lua_settop(L, 1);
    buf_init(&body, len + 1);
    must(buf_append(&body, text, len) == FAULT_OK);
    accepted = pcaps_read_envelope(L, &body, &success) == 0;
    buf_fini(&body);
    if (!accepted) {
        return 0;
    }
    must(lua_gettop(L) == 2);
    if (json_decode(L, text, len) != 0) {
        must(has_surrogate(text, len));
        return 0;
    }
    must(lua_istable(L, 3));
    (void)lua_getfield(L, 3, "result");
    must(same(L, 2, 4));
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_state();
    struct input in = {data, size};
    unsigned op = input_byte(&in) % (PCAPS_OWNERSHIP_VALIDATE + 1u);
    int status = statuses[input_byte(&in) % (sizeof statuses / sizeof *statuses)];
    const char *body = (const char *)in.at;

    if (op != PCAPS_DOWNLOAD) {
        check_answer(L, (enum pcaps_op)op, status, body, in.left);
    }
    lua_settop(L, 0);
    lua_pushcfunction(L, compare_readers);
    lua_pushlstring(L, body, in.left);
    must(lua_pcall(L, 1, 0, 0) == LUA_OK);
    fuzz_turn_over(L);
    return 0;
}
