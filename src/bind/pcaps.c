/*
 * moontap.native.pcaps: one attempt of each of the nine operations of the
 * PCAPs API. Owns the calls under way; every operation waits. A list is
 * followed by the Date of its answer, or nil; the failure of an operation with
 * parameters, nil and an error, by the JSON that was sent.
 *
 * Stack of an operation: 1 client, 2 parameters or id, 3 options, 4 path of a
 * download, 5 the call.
 */
#include "pcaps.h"

#include "http.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define CALL_INDEX 5

const struct pcaps_op_info pcaps_ops[] = {
    [PCAPS_CREATE] = {"create", "POST", "", "", "application/json", PCAPS_CAPTURE, 1},
    [PCAPS_LIST] = {"list", "GET", "", "", "application/json", PCAPS_CAPTURES, 0},
    [PCAPS_GET] = {"get", "GET", "/", "", "application/json", PCAPS_CAPTURE, 0},
    [PCAPS_STOP] = {"stop", "PUT", "/", "/stop", "*/*", PCAPS_NOTHING, 1},
    [PCAPS_DOWNLOAD] = {"download", "GET", "/", "/download", "application/vnd.tcpdump.pcap",
                        PCAPS_FILE, 0},
    [PCAPS_OWNERSHIP_CREATE] = {"ownership.create", "POST", "/ownership", "", "application/json",
                                PCAPS_PLAIN, 1},
    [PCAPS_OWNERSHIP_LIST] = {"ownership.list", "GET", "/ownership", "", "application/json",
                              PCAPS_LIST_OF, 0},
    [PCAPS_OWNERSHIP_DELETE] = {"ownership.delete", "DELETE", "/ownership/", "", "*/*",
                                PCAPS_NOTHING, 1},
    [PCAPS_OWNERSHIP_VALIDATE] = {"ownership.validate", "POST", "/ownership/validate", "",
                                  "application/json", PCAPS_PLAIN, 1},
};

/* Lets go of all that CALL holds; works twice. Never raises. */
static void
release(struct pcaps_call *call)
{
    struct http_exchange *exchange = call->exchange;

    call->exchange = NULL;
    if (exchange != NULL) {
        http_exchange_free(exchange);
    }
    buf_wipe(&call->body); /* may hold the keys of a bucket */
    http_file_drop(&call->file);
}

static void
cancel(void *arg)
{
    struct pcaps_call *call = arg;

    call->abandoned = call->exchange != NULL;
    release(call);
}

static void
done(void *arg)
{
    struct pcaps_call *call = arg;

    (void)task_wake(call->tasks, call->ref);
}

static int
call_gc(lua_State *L)
{
    release(luaL_checkudata(L, 1, PCAPS_CALL_META));
    return 0;
}

/*
 * __close(call, error) of a create: when the wait was cancelled with the request
 * under way, a capture may have been opened that nobody has seen. The error
 * says so, because no other trace of it is left here.
 */
static int
call_close(lua_State *L)
{
    struct pcaps_call *call = luaL_checkudata(L, 1, PCAPS_CALL_META);

    if (call->abandoned && lua_istable(L, 2)) {
        lua_pushliteral(L, "; a create was under way, its outcome is unknown: "
                           "`moontap captures`, in scripts pcaps.list(), shows whether a "
                           "capture was opened");
        if (lua_getfield(L, 2, "message") == LUA_TSTRING) {
            lua_insert(L, -2);
            lua_concat(L, 2);
            lua_setfield(L, 2, "message");
        }
        lua_settop(L, 2);
        lua_pushliteral(L, "maybe");
        lua_setfield(L, 2, "sent");
        lua_pushliteral(L, "unknown");
        lua_setfield(L, 2, "outcome");
    }
    release(call);
    return 0;
}

/* [-0, +1, m] Pushes an empty call of OP. */
static struct pcaps_call *
new_call(lua_State *L, enum pcaps_op op)
{
    struct pcaps_call *call = lua_newuserdatauv(L, sizeof *call, 0);

    call->exchange = NULL;
    call->tasks = task_scheduler(L);
    call->op = op;
    call->abandoned = 0;
    call->suffix[0] = '\0';
    call->ray[0] = '\0';
    call->file = (struct http_file){.fd = -1};
    buf_init(&call->body, PCAPS_BODY_MAX);
    luaL_setmetatable(L, PCAPS_CALL_META);
    return call;
}

/* Fills HEADERS (room for five); *SECRET is the index of the first secret. */
static size_t
fill_headers(const struct pcaps_client *client, const struct pcaps_call *call,
             struct wire_header *headers, int *secret)
{
    const struct pcaps_secrets *s = &client->secrets;
    size_t n = 0;

    headers[n++] = (struct wire_header){"Accept", pcaps_ops[call->op].accept};
    if (call->body.len > 0) {
        headers[n++] = (struct wire_header){"Content-Type", "application/json"};
    }
    *secret = (int)n;
    if (s->authorization[0] != '\0') {
        headers[n++] = (struct wire_header){"Authorization", s->authorization};
    } else {
        headers[n++] = (struct wire_header){"X-Auth-Email", s->email};
        headers[n++] = (struct wire_header){"X-Auth-Key", s->key};
    }
    return n;
}

/*
 * [-0, +1 or 0, m] With nil and an error on top: pushes the body that was sent.
 * It is what was meant, whatever became of the table of parameters since.
 */
static int
push_sent(lua_State *L, const struct pcaps_call *call)
{
    if (call->body.len == 0 || !lua_isnil(L, -2)) {
        return 0;
    }
    lua_pushlstring(L, buf_cstr(&call->body), call->body.len);
    return 1;
}

static int
finished(lua_State *L, int status, lua_KContext ctx)
{
    struct pcaps_call *call = lua_touserdata(L, CALL_INDEX);
    int n;

    (void)status;
    (void)ctx;
    n = pcaps_push_answer(L, call);
    if (n == 2) {
        n += push_sent(L, call);
    }
    release(call);
    return n;
}

/* Sends the request of CALL and waits for its answer. */
static int
send_request(lua_State *L, const struct pcaps_client *client, struct pcaps_call *call,
             const struct pcaps_options *options)
{
    const struct pcaps_op_info *info = &pcaps_ops[call->op];
    struct http *http = bind_http(L);
    struct wire_header headers[5];
    char url[sizeof client->url + PCAPS_SUFFIX_MAX];
    size_t suffix = strlen(call->suffix);
    struct http_request request = {
        .method = info->method,
        .url = url,
        .headers = headers,
        .total_timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : client->timeout_ms,
        .sink_fd = call->file.fd,
    };
    struct fault fault;

    memcpy(url, client->url, client->url_len);
    memcpy(url + client->url_len, call->suffix, suffix + 1);
    request.header_count = fill_headers(client, call, headers, &request.secret_headers);
    request.idle_timeout_ms = request.total_timeout_ms;
    if (info->method[0] == 'P') { /* POST and PUT have a body, be it empty */
        request.body = buf_cstr(&call->body);
        request.body_len = call->body.len;
    }
    call->ref = task_ref(L);
    if (http_start(http, &request, done, call, &call->exchange, &fault) != FAULT_OK) {
        int n = pcaps_push_fault(L, call, &fault, HTTP_SENT_NO, 0);
        return n + push_sent(L, call);
    }
    return task_wait(L, cancel, call, 0, finished); /* nothing below may raise */
}

/* [-0, +0, v] The client at index 1, set up. */
static struct pcaps_client *
check_ready(lua_State *L)
{
    struct pcaps_client *client = pcaps_check_client(L, 1);

    if (!client->ready) {
        (void)luaL_error(L, "this client is not set up yet");
    }
    return client;
}

/* create, ownership.create, ownership.validate: (client, params, options) */
static int
send_params(lua_State *L, enum pcaps_op op)
{
    struct pcaps_client *client = check_ready(L);
    struct pcaps_options options;
    struct schema_record record;
    struct pcaps_call *call;

    lua_settop(L, CALL_INDEX - 1);
    pcaps_read_options(L, 3, pcaps_ops[op].name, 1, &options);
    pcaps_read_params(L, 2, op, &options, 1, &record);
    task_check_wait(L);
    call = new_call(L, op);
    if (op == PCAPS_CREATE) {
        lua_toclose(L, CALL_INDEX);
    }
    if (schema_write(&record, &call->body) != FAULT_OK) {
        return luaL_error(L, "not enough memory");
    }
    memcpy(call->suffix, pcaps_ops[op].before, strlen(pcaps_ops[op].before) + 1);
    return send_request(L, client, call, &options);
}

/* list, ownership.list: (client, nil, options) */
static int
send_plain(lua_State *L, enum pcaps_op op)
{
    struct pcaps_client *client = check_ready(L);
    struct pcaps_options options;
    struct pcaps_call *call;

    lua_settop(L, CALL_INDEX - 1);
    pcaps_read_options(L, 3, pcaps_ops[op].name, 1, &options);
    task_check_wait(L);
    call = new_call(L, op);
    memcpy(call->suffix, pcaps_ops[op].before, strlen(pcaps_ops[op].before) + 1);
    return send_request(L, client, call, &options);
}

/* get, stop, download, ownership.delete: (client, id, options, path) */
static int
send_id(lua_State *L, enum pcaps_op op)
{
    struct pcaps_client *client = check_ready(L);
    const struct pcaps_op_info *info = &pcaps_ops[op];
    struct pcaps_options options;
    struct pcaps_call *call;
    char segment[PCAPS_SEGMENT_MAX];
    struct fault fault;
    size_t len;
    const char *id, *path = NULL;

    lua_settop(L, CALL_INDEX - 1);
    pcaps_read_options(L, 3, info->name, 1, &options);
    id = pcaps_read_id(L, 2, op, 1, &len);
    if (op == PCAPS_DOWNLOAD) {
        path = luaL_checkstring(L, 4);
    }
    task_check_wait(L);
    call = new_call(L, op);
    (void)snprintf(call->suffix, sizeof call->suffix, "%s%s%s", info->before,
                   pcaps_encode(id, len, segment), info->after);
    if (path != NULL && http_file_open(&call->file, path, &fault) != FAULT_OK) {
        return pcaps_push_fault(L, call, &fault, HTTP_SENT_NO, 0);
    }
    return send_request(L, client, call, &options);
}

static int
pcaps_create(lua_State *L)
{
    return send_params(L, PCAPS_CREATE);
}

static int
pcaps_list(lua_State *L)
{
    return send_plain(L, PCAPS_LIST);
}

static int
pcaps_get(lua_State *L)
{
    return send_id(L, PCAPS_GET);
}

static int
pcaps_stop(lua_State *L)
{
    return send_id(L, PCAPS_STOP);
}

static int
pcaps_download(lua_State *L)
{
    return send_id(L, PCAPS_DOWNLOAD);
}

static int
pcaps_ownership_create(lua_State *L)
{
    return send_params(L, PCAPS_OWNERSHIP_CREATE);
}

static int
pcaps_ownership_list(lua_State *L)
{
    return send_plain(L, PCAPS_OWNERSHIP_LIST);
}

static int
pcaps_ownership_delete(lua_State *L)
{
    return send_id(L, PCAPS_OWNERSHIP_DELETE);
}

static int
pcaps_ownership_validate(lua_State *L)
{
    return send_params(L, PCAPS_OWNERSHIP_VALIDATE);
}

/* encode(id) -> the id as one segment of a path */
static int
pcaps_module_encode(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    luaL_Buffer b;
    char *out;

    luaL_argcheck(L, len <= 4096, 1, "too long");
    out = luaL_buffinitsize(L, &b, 3 * len + 1);
    luaL_pushresultsize(&b, strlen(pcaps_encode(text, len, out)));
    return 1;
}

static const luaL_Reg funcs[] = {
    {"authorize", pcaps_client_authorize},
    {"client", pcaps_client_new},
    {"create", pcaps_create},
    {"download", pcaps_download},
    {"encode", pcaps_module_encode},
    {"get", pcaps_get},
    {"list", pcaps_list},
    {"observe", pcaps_observe},
    {"ownership_create", pcaps_ownership_create},
    {"ownership_delete", pcaps_ownership_delete},
    {"ownership_list", pcaps_ownership_list},
    {"ownership_validate", pcaps_ownership_validate},
    {"stop", pcaps_stop},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moontap_native_pcaps(lua_State *L);

int
luaopen_moontap_native_pcaps(lua_State *L)
{
    pcaps_open_client(L);
    if (luaL_newmetatable(L, PCAPS_CALL_META)) {
        lua_pushcfunction(L, call_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, call_close);
        lua_setfield(L, -2, "__close");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, funcs);
    lua_newtable(L); /* check: operation -> function */
    for (int op = PCAPS_CREATE; op <= PCAPS_OWNERSHIP_VALIDATE; op++) {
        lua_pushinteger(L, op);
        lua_pushcclosure(L, pcaps_check, 1);
        lua_setfield(L, -2, pcaps_ops[op].name);
    }
    lua_setfield(L, -2, "check");
    return 1;
}
