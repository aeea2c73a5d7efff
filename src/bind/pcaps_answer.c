/*
 * bind/pcaps_answer: what came of an attempt, as Lua values. The HTTP status
 * counts first, then `success`. Answers that are not the API's are told by
 * status and first bytes. Nothing secret gets into an error.
 */
#include "pcaps.h"

#include "http.h"
#include "json.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SNIPPET_MAX 200 /* bytes of a foreign answer that are shown */
#define MESSAGE_MAX 600 /* bytes of what the API says that are shown */
#define CODE_NO_ROUTE 7003
#define PCAPS_ID_LEN 32
#define ERRORS_SHOWN 3  /* errors of the envelope that go into the message */

static const char observe_key = 0; /* registry: function(exchange), or nil */

int
pcaps_observe(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
    }
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &observe_key);
    return 0;
}

static void
set_string(lua_State *L, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        lua_pushstring(L, value);
        lua_setfield(L, -2, name);
    }
}

static void
set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/* Tells the observer, if there is one, of the exchange that has ended. */
static void
observe(lua_State *L, const struct pcaps_call *call, const struct http_result *r)
{
    const struct pcaps_client *client = lua_touserdata(L, 1);

    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &observe_key) == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_createtable(L, 0, 8);
    set_string(L, "method", pcaps_ops[call->op].method);
    lua_pushfstring(L, "%s%s", client->url + client->path_at, call->suffix);
    lua_setfield(L, -2, "path");
    set_integer(L, "status", r->status);
    set_integer(L, "ms", (lua_Integer)r->elapsed_ms);
    set_integer(L, "bytes", (lua_Integer)r->body_bytes);
    set_string(L, "ray", call->ray);
    set_string(L, "sent", bind_http_sent_name(r->sent));
    if (r->code != FAULT_OK) {
        set_string(L, "failure", r->fault.msg);
    }
    lua_call(L, 1, 0);
}

/* [-0, +0, m] Sets what every error of an attempt carries. */
static void
set_facts(lua_State *L, const struct pcaps_call *call, enum http_sent sent, int status,
          uint64_t elapsed_ms)
{
    set_string(L, "op", pcaps_ops[call->op].name);
    set_string(L, "sent", bind_http_sent_name(sent));
    set_string(L, "ray", call->ray);
    set_integer(L, "attempts", 1);
    lua_pushnumber(L, (lua_Number)elapsed_ms / 1000);
    lua_setfield(L, -2, "elapsed");
    if (status != 0) {
        set_integer(L, "status", status);
    }
}

/* [-0, +1, m] Pushes what was asked for: the operation, and the id it is about. */
static const char *
push_subject(lua_State *L, const struct pcaps_call *call)
{
    const char *name = pcaps_ops[call->op].name;

    return lua_type(L, 2) == LUA_TSTRING ? lua_pushfstring(L, "%s %s", name, lua_tostring(L, 2))
                                         : lua_pushstring(L, name);
}

/* What may help with a fault that libcurl words for its own authors. */
static const char *
hint_of(const struct fault *fault)
{
    return strstr(fault->msg, "wrong version number") != NULL
               ? " (does that port speak plain HTTP? a simulator's address starts with http://)"
               : "";
}

int
pcaps_push_fault(lua_State *L, const struct pcaps_call *call, const struct fault *fault,
                 enum http_sent sent, uint64_t elapsed_ms)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s%s", push_subject(L, call), fault->msg, hint_of(fault));
    task_new_error(L, fault_kind(fault->code), lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
    set_facts(L, call, sent, fault->status, elapsed_ms);
    return 2;
}

/* [-0, +2, m] An error of KIND whose message is the string at the top
 * (popped), with what the answer says besides. */
static int
push_refusal(lua_State *L, const struct pcaps_call *call, const char *kind)
{
    const struct http_result *r = http_result(call->exchange);
    char value[64];

    task_new_error(L, kind, lua_tostring(L, -1));
    lua_remove(L, -2);
    set_facts(L, call, HTTP_SENT_YES, r->status, r->elapsed_ms);
    set_string(L, "retry_after", http_header(call->exchange, "retry-after", value, sizeof value));
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* [-0, +1, m] The start of TEXT on one line, fit to be shown. */
static void
push_snippet(lua_State *L, const char *text, size_t n)
{
    char shown[SNIPPET_MAX];
    size_t used = 0;
    int blank = 1;

    for (size_t i = 0; i < n && used < sizeof shown; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c <= ' ' || c == 127) {
            if (!blank) {
                shown[used++] = ' ';
            }
            blank = 1;
        } else {
            shown[used++] = c < 127 ? (char)c : '?';
            blank = 0;
        }
    }
    lua_pushlstring(L, shown, used);
}

/* [-1, +1, m] The text on top, from outside, as one line of bounded length. */
static void
tame(lua_State *L)
{
    char shown[MESSAGE_MAX];
    size_t len, used = 0;
    const char *text = lua_tolstring(L, -1, &len);

    for (size_t i = 0; i < len && used < sizeof shown; i++) {
        unsigned char c = (unsigned char)text[i];
        int is_c1 = c == 0xC2 && i + 1 < len && (unsigned char)text[i + 1] < 0xA0;

        if (is_c1) {
            i++;
        }
        shown[used++] = c < ' ' || c == 127 || is_c1 ? ' ' : (char)c;
    }
    lua_pushlstring(L, shown, used);
    lua_replace(L, -2);
}

/* [-0, +1, m] A copy of the answer's body without secrets; its bytes. */
static const char *
push_redacted(lua_State *L, const struct http_result *r, size_t *len)
{
    luaL_Buffer b;
    char *copy;

    if (r->body == NULL || r->body->len == 0) {
        *len = 0;
        return lua_pushliteral(L, "");
    }
    copy = luaL_buffinitsize(L, &b, r->body->len);
    memcpy(copy, r->body->data, r->body->len);
    pcaps_hide_secrets(L, copy, r->body->len);
    luaL_pushresultsize(&b, schema_redact(copy, r->body->len));
    return lua_tolstring(L, -1, len);
}

/* [-0, +2, m] An answer that is not the API's. WHY says what is wrong. */
static int
push_foreign(lua_State *L, const struct pcaps_call *call, const char *why)
{
    const struct http_result *r = http_result(call->exchange);
    size_t len;
    const char *subject = push_subject(L, call);
    const char *body = push_redacted(L, r, &len);

    if (len == 0) {
        lua_pushfstring(L, "%s: status %d %s", subject, r->status, why);
    } else {
        push_snippet(L, body, len);
        lua_pushfstring(L, "%s: status %d %s: %s", subject, r->status, why,
                        lua_tostring(L, -1));
    }
    return push_refusal(L, call, "http");
}

/* [-0, +1, m] One error of the envelope, at the top, as text (replaces it). */
static void
describe_error(lua_State *L)
{
    int t = lua_gettop(L), parts = 0;

    if (!lua_istable(L, t)) {
        (void)luaL_tolstring(L, t, NULL);
        lua_replace(L, t);
        return;
    }
    luaL_checkstack(L, 8, NULL);
    if (lua_getfield(L, t, "code") == LUA_TNUMBER) {
        lua_pushfstring(L, "[%I] ", lua_tointeger(L, -1));
        parts++;
        lua_remove(L, -2);
    } else {
        lua_pop(L, 1);
    }
    if (lua_getfield(L, t, "source") == LUA_TTABLE
        && lua_getfield(L, -1, "pointer") == LUA_TSTRING) {
        lua_pushfstring(L, "%s: ", lua_tostring(L, -1));
        lua_remove(L, -2);
        lua_remove(L, -2);
        parts++;
    } else {
        lua_settop(L, t + parts);
    }
    if (lua_getfield(L, t, "message") != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushliteral(L, "no message");
    }
    lua_concat(L, parts + 1);
    lua_replace(L, t);
}

/* [-0, +1, m] The errors of the envelope at T as one text. */
static void
push_errors_text(lua_State *L, int t)
{
    int count = 0;

    lua_pushliteral(L, "");
    if (lua_getfield(L, t, "errors") == LUA_TTABLE) {
        for (int i = 1; i <= ERRORS_SHOWN && lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
            describe_error(L);
            lua_pushfstring(L, "%s%s%s", lua_tostring(L, -3), count++ > 0 ? "; " : " ",
                            lua_tostring(L, -1));
            lua_replace(L, -4);
            lua_pop(L, 1);
        }
        if (count < ERRORS_SHOWN) {
            lua_pop(L, 1); /* the nil that ended the loop */
        }
    }
    lua_pop(L, 1);
}

/* The code of the first error of the envelope at T; 0 when it has none. */
static lua_Integer
first_code(lua_State *L, int t)
{
    int top = lua_gettop(L);
    lua_Integer code = 0;

    if (lua_getfield(L, t, "errors") == LUA_TTABLE && lua_rawgeti(L, -1, 1) == LUA_TTABLE
        && lua_getfield(L, -1, "code") == LUA_TNUMBER) {
        code = lua_tointeger(L, -1);
    }
    lua_settop(L, top);
    return code;
}

/* Is that the API's way to say that it does not accept who asks? */
static int
is_authentication(int status, lua_Integer code)
{
    static const lua_Integer codes[] = {6003, 6103, 6111, 9103, 9106, 9107, 9109, 10000, 10001};

    if (status == 401) {
        return 1;
    }
    for (size_t i = 0; (status == 400 || status == 403) && i < sizeof codes / sizeof codes[0];
         i++) {
        if (codes[i] == code) {
            return 1;
        }
    }
    return 0;
}

/* Is the table at T an envelope? */
static int
is_envelope(lua_State *L, int t)
{
    int errors = lua_getfield(L, t, "errors") == LUA_TTABLE;
    int success = lua_getfield(L, t, "success") == LUA_TBOOLEAN;

    lua_pop(L, 2);
    return errors || success;
}

/* [-0, +1, m] Pushes what to look at after a refusal with CODE, or "". */
static void
push_advice(lua_State *L, const struct pcaps_call *call, lua_Integer code, int authentication)
{
    const struct pcaps_client *client = lua_touserdata(L, 1);
    const struct http_result *r = http_result(call->exchange);
    int has_id = lua_type(L, 2) == LUA_TSTRING, top = lua_gettop(L);
    const char *base = lua_pushlstring(L, client->url, client->base_len);

    if (authentication) {
        size_t before = client->base_len + strlen("/accounts/");
        const char *account = lua_pushlstring(L, client->url + before,
                                              client->url_len - before - strlen("/pcaps"));

        lua_pushfstring(L,
                        " (account %s, credentials from %s; they need the permission group"
                        " \"Magic Firewall Packet Captures - %s PCAPs API\")",
                        account, client->origin,
                        pcaps_ops[call->op].writes ? "Write" : "Read");
    } else if (r->status == 404 && !has_id) {
        lua_pushfstring(L, " (is the base URL right? it ends in /client/v4, and is now %s)",
                        base);
    } else if (r->status == 404 && lua_rawlen(L, 2) != PCAPS_ID_LEN && code != CODE_NO_ROUTE) {
        lua_pushliteral(L, " (an id has 32 characters)");
    } else if (code == CODE_NO_ROUTE) {
        lua_pushfstring(L, " (is the base URL right? it is now %s)", base);
    } else {
        lua_pushliteral(L, "");
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* [-0, +2, m] A refusal, or an answer of something in between. */
static int
push_refused(lua_State *L, const struct pcaps_call *call)
{
    const struct http_result *r = http_result(call->exchange);
    size_t len;
    const char *text, *subject, *body = push_redacted(L, r, &len);
    lua_Integer code;
    int t, authentication;

    if (json_decode(L, body, len) != 0 || !lua_istable(L, -1) || !is_envelope(L, lua_gettop(L))) {
        lua_pop(L, 1);
        return push_foreign(L, call, "and no answer of the API");
    }
    pcaps_redact(L); /* again: JSON has more ways to write a text than one */
    t = lua_gettop(L);
    code = first_code(L, t);
    authentication = is_authentication(r->status, code);
    push_errors_text(L, t);
    tame(L);
    text = lua_tostring(L, -1);
    subject = push_subject(L, call);
    lua_pushfstring(L, "%s refused: %d%s", subject, r->status, text);
    push_advice(L, call, code, authentication);
    lua_concat(L, 2);
    (void)push_refusal(L, call, authentication ? "credentials" : "api");
    if (code != 0) {
        set_integer(L, "code", code);
    }
    if (lua_getfield(L, t, "errors") == LUA_TTABLE) {
        lua_setfield(L, -2, "errors");
    } else {
        lua_pop(L, 1);
    }
    return 2;
}

/* [-0, +0, m] Makes the table at the top a capture of the client at index 1. */
static void
adorn(lua_State *L, const struct pcaps_call *call)
{
    int t = lua_gettop(L);

    if (lua_getfield(L, t, "colo_name") == LUA_TNIL) {
        if (lua_getfield(L, t, "colo") != LUA_TNIL) {
            lua_setfield(L, t, "colo_name");
        }
    }
    lua_settop(L, t);
    if (call->ray[0] != '\0') {
        (void)lua_getiuservalue(L, 1, 3);
        lua_pushvalue(L, t);
        lua_pushstring(L, call->ray);
        lua_rawset(L, -3);
        lua_settop(L, t);
    }
    (void)lua_getiuservalue(L, 1, 2);
    (void)lua_setmetatable(L, t);
}

/* [-0, +1, m] The time of the server when it answered, or nil. */
static int
push_date(lua_State *L, const struct pcaps_call *call)
{
    char date[40];

    lua_pushstring(L, http_header(call->exchange, "date", date, sizeof date));
    return 1;
}

/* [-0, +2, m] The list on top, or an empty one when there is none, and the
 * answer's date. */
static int
push_list(lua_State *L, const struct pcaps_call *call, int captures)
{
    lua_Integer n;

    if (lua_isnil(L, -1)) {
        lua_newtable(L);
        return 1 + push_date(L, call);
    }
    if (!lua_istable(L, -1)) {
        return push_foreign(L, call, "with a result that is no list");
    }
    n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; captures && i <= n; i++) {
        if (lua_rawgeti(L, -1, i) == LUA_TTABLE) {
            adorn(L, call);
        }
        lua_pop(L, 1);
    }
    return 1 + push_date(L, call);
}

/* Has the capture on top an id that it can be asked for with? */
static int
has_id(lua_State *L)
{
    int has = lua_getfield(L, -1, "id") == LUA_TSTRING && lua_rawlen(L, -1) > 0;

    lua_pop(L, 1);
    return has;
}

/* [-0, +n, m] A 2xx answer with an envelope. */
static int
push_result(lua_State *L, const struct pcaps_call *call)
{
    const struct http_result *r = http_result(call->exchange);
    enum pcaps_result wanted = pcaps_ops[call->op].result;
    int top = lua_gettop(L), success;

    if (pcaps_read_envelope(L, r->body, &success) != 0) {
        lua_settop(L, top);
        return push_foreign(L, call, "with an answer that cannot be read");
    }
    if (!success) {
        return push_refused(L, call);
    }
    if (wanted == PCAPS_NOTHING) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (wanted == PCAPS_CAPTURES || wanted == PCAPS_LIST_OF) {
        return push_list(L, call, wanted == PCAPS_CAPTURES);
    }
    if (!lua_istable(L, -1)) {
        return push_foreign(L, call, "with no result in the answer");
    }
    if (call->op == PCAPS_CREATE && !has_id(L)) {
        return push_foreign(L, call, "with a capture that has no id");
    }
    if (wanted == PCAPS_CAPTURE) {
        adorn(L, call);
    }
    return 1;
}

/* [-0, +n, m] A 2xx answer whose body went to a file. */
static int
push_file(lua_State *L, struct pcaps_call *call)
{
    const struct http_result *r = http_result(call->exchange);
    const char *path = lua_tostring(L, 4);
    struct fault fault;
    char type[64];

    if (http_header(call->exchange, "content-type", type, sizeof type) != NULL
        && (strncasecmp(type, "text/", 5) == 0 || strncasecmp(type, "application/json", 16) == 0)) {
        lua_pushfstring(L, "download: status %d with %s, not a capture", r->status, type);
        return push_refusal(L, call, "http");
    }
    if (pcaps_file_check(call->file.fd, &fault) != FAULT_OK
        || http_file_commit(&call->file, path, &fault) != FAULT_OK) {
        return pcaps_push_fault(L, call, &fault, HTTP_SENT_YES, r->elapsed_ms);
    }
    lua_pushvalue(L, 4);
    return 1;
}

int
pcaps_push_answer(lua_State *L, struct pcaps_call *call)
{
    const struct http_result *r = http_result(call->exchange);
    enum pcaps_result wanted = pcaps_ops[call->op].result;

    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (http_header(call->exchange, "cf-ray", call->ray, sizeof call->ray) != NULL) {
        pcaps_hide_secrets(L, call->ray, strlen(call->ray));
        for (char *c = call->ray; *c != '\0'; c++) {
            *c = *c > ' ' && *c < 127 ? *c : '?';
        }
    }
    observe(L, call, r);
    if (r->code == FAULT_IO && wanted == PCAPS_FILE) {
        struct fault fault = r->fault;

        (void)fault_set(&fault, FAULT_IO, "%s: %s", lua_tostring(L, 4), r->fault.msg);
        return pcaps_push_fault(L, call, &fault, r->sent, r->elapsed_ms);
    }
    if (r->code != FAULT_OK) {
        return pcaps_push_fault(L, call, &r->fault, r->sent, r->elapsed_ms);
    }
    if (r->status < 200 || r->status > 299) {
        return push_refused(L, call);
    }
    if (wanted == PCAPS_FILE) {
        return push_file(L, call);
    }
    if (wanted == PCAPS_NOTHING && (r->body == NULL || r->body->len == 0)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (r->body == NULL || r->body->len == 0) {
        return push_foreign(L, call, "with an empty answer");
    }
    return push_result(L, call);
}
