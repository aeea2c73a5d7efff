/*
 * bind/server: module moontap.native.server, an HTTP server with a Lua function
 * as its handler. Owns the listening server; nothing here waits, but each
 * handler runs as a task of its own and may.
 */
#include "../server.h"

#include "../task.h"
#include "wire.h"

#include <lauxlib.h>
#include <string.h>

#define SERVER_META "moontap.server"
#define ADDRESS_SIZE 64

__attribute__((visibility("default"))) int luaopen_moontap_native_server(lua_State *L);

struct lua_server {
    struct server *server; /* NULL: closed, or never opened */
    struct wire_lua_handler handler;
    unsigned port;
    char address[ADDRESS_SIZE];
};

static struct lua_server *
check_server(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, SERVER_META);
}

/* Options -------------------------------------------------------------------- */

static const char *const option_names[] = {
    "address", "body_max", "connections_max", "handler", "idle_timeout", "port", NULL,
};

/* [-0, +0, v] Raises when the table at 1 has a key that is no option. */
static void
check_names(lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        const char *const *name = option_names;

        lua_pop(L, 1);
        while (*name != NULL
               && (lua_type(L, -1) != LUA_TSTRING || strcmp(*name, lua_tostring(L, -1)) != 0)) {
            name++;
        }
        if (*name == NULL) {
            lua_pushvalue(L, -1); /* tolstring may change the key lua_next needs */
            luaL_error(L, "listen: unknown option '%s'", luaL_tolstring(L, -1, NULL));
        }
    }
}

/* [-0, +0, v] The integer option NAME within MIN..MAX; 0 when it is absent. */
static lua_Integer
number_option(lua_State *L, const char *name, lua_Integer min, lua_Integer max)
{
    lua_Integer value = 0;
    int is_integer = 1;

    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        value = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : min - 1;
        if (!is_integer || value < min || value > max) {
            luaL_error(L, "listen: %s: expected an integer %I..%I, got %s", name, min, max,
                       luaL_tolstring(L, -1, NULL));
        }
    }
    lua_pop(L, 1);
    return value;
}

/* [-0, +0, v] Copies the option `address` to OUT. */
static void
address_option(lua_State *L, char *out)
{
    const char *text = "127.0.0.1";

    if (lua_getfield(L, 1, "address") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "listen: address: expected a string, got a %s", luaL_typename(L, -1));
        }
        text = lua_tostring(L, -1);
    }
    if (strlen(text) >= ADDRESS_SIZE) {
        luaL_error(L, "listen: address: \"%s\" is too long", text);
    }
    memcpy(out, text, strlen(text) + 1);
    lua_pop(L, 1);
}

/* [-0, +0, v] Reads the option table at 1. */
static void
read_options(lua_State *L, struct server_options *options, char *address)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    check_names(L);
    memset(options, 0, sizeof *options);
    address_option(L, address);
    options->address = address;
    options->port = (unsigned)number_option(L, "port", 0, 65535);
    options->body_max = (size_t)number_option(L, "body_max", 1, 1 << 30);
    options->connections_max = (unsigned)number_option(L, "connections_max", 1, 65535);
    options->idle_timeout_s = (unsigned)number_option(L, "idle_timeout", 1, 86400);
    if (lua_getfield(L, 1, "handler") != LUA_TFUNCTION) {
        luaL_error(L, "listen: handler: expected a function, got a %s", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

/* Methods -------------------------------------------------------------------- */

/* close(): stops listening and closes every connection. Works twice; is also
 * what the collector and a to-be-closed variable call. */
static int
server_close_method(lua_State *L)
{
    struct lua_server *self = check_server(L, 1);
    struct server *server = self->server;

    self->server = NULL;
    wire_handler_clear(L, &self->handler);
    server_close(server);
    return 0;
}

static int
server_tostring(lua_State *L)
{
    struct lua_server *self = check_server(L, 1);
    int v6 = strchr(self->address, ':') != NULL;

    lua_pushfstring(L, "server %s%s%s:%d%s", v6 ? "[" : "", self->address, v6 ? "]" : "",
                    (int)self->port, self->server == NULL ? " (closed)" : "");
    return 1;
}

/* Fields port and address, then the methods (upvalue). */
static int
server_index(lua_State *L)
{
    struct lua_server *self = check_server(L, 1);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";

    if (strcmp(name, "port") == 0) {
        lua_pushinteger(L, self->port);
    } else if (strcmp(name, "address") == 0) {
        lua_pushstring(L, self->address);
    } else {
        lua_pushvalue(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
    }
    return 1;
}

/* Functions ------------------------------------------------------------------ */

/* listen{address, port, handler, ...} -> server, or nil and an error */
static int
server_listen(lua_State *L)
{
    struct server_options options;
    struct lua_server *self;
    struct fault fault;
    char address[ADDRESS_SIZE];

    lua_settop(L, 1);
    read_options(L, &options, address);
    self = lua_newuserdatauv(L, sizeof *self, 0);
    memset(self, 0, sizeof *self);
    memcpy(self->address, address, sizeof address);
    luaL_setmetatable(L, SERVER_META);
    lua_getfield(L, 1, "handler");
    wire_handler_set(L, &self->handler, server_reply);
    if (server_open(task_loop(L), &options, wire_dispatch, &self->handler, &self->server, &fault)
        != FAULT_OK) {
        wire_handler_clear(L, &self->handler);
        return task_fail(L, &fault);
    }
    self->port = server_port(self->server);
    return 1;
}

static const luaL_Reg funcs[] = {
    {"listen", server_listen},
    {NULL, NULL},
};

static const luaL_Reg methods[] = {
    {"close", server_close_method},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__close", server_close_method},
    {"__gc", server_close_method},
    {"__tostring", server_tostring},
    {NULL, NULL},
};

int
luaopen_moontap_native_server(lua_State *L)
{
    luaL_newmetatable(L, SERVER_META);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, server_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, funcs);
    return 1;
}
