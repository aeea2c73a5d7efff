/*
 * bind/wire: a Lua function as the handler of HTTP requests. Shared by the
 * server and by the in-process transport of http; linked into both modules,
 * so nothing here is exported.
 *
 * Each request runs as a detached task; the reply function it was given is
 * called exactly once, whatever becomes of that task.
 */
#ifndef MOONTAP_BIND_WIRE_H
#define MOONTAP_BIND_WIRE_H

#include "../wire.h"

#include <lua.h>

/* Answers the request of TOKEN; server_reply or http_inproc_reply. */
typedef void (*wire_reply_fn)(struct wire_token *token, const struct wire_reply *reply);

/*
 * A Lua handler as an ARG for wire_dispatch. Zero-initialise, then
 * wire_handler_set. Owned by the binding that listens; when it goes away,
 * requests under way keep the function they were started with.
 */
struct wire_lua_handler {
    lua_State *main; /* the main thread of the state */
    int ref;         /* the function, in the registry; LUA_NOREF: none */
    wire_reply_fn reply;
};

/*
 * [-1, +0, m] Makes HANDLER call the function at the top of the stack (popped).
 * The function it held before is released.
 */
void wire_handler_set(lua_State *L, struct wire_lua_handler *handler, wire_reply_fn reply);

/* [-0, +0, -] Releases the function; works twice, and on a zeroed HANDLER. */
void wire_handler_clear(lua_State *L, struct wire_lua_handler *handler);

/*
 * A wire_handler_fn: ARG is a struct wire_lua_handler. Starts a task that calls
 * the Lua handler. Never raises and never waits: without memory for the task
 * the request is answered with 500 before it returns.
 */
void wire_dispatch(void *arg, const struct wire_request *request, struct wire_token *token);

/*
 * [-0, +1, m] Pushes REQUEST as the table scripts see: method, target, path,
 * query (nil when there is no '?'), headers (lower-case names; values of
 * repeated headers joined by ", "), body, peer.
 */
void wire_push_request(lua_State *L, const struct wire_request *request);

#endif
