/* JSON from outside: what is read can be written, and reading that gives the
 * same text again, from the second time on (bytes that are no UTF-8 are replaced
 * at the first); a string of any bytes becomes valid JSON. */
#include "fuzz.h"

#include "bind/json.h"
#include "buf.h"

#include <lauxlib.h>
#include <string.h>

/* [-0, +1, v] Pushes what the text at the top becomes when it is read and written. */
static void
push_again(lua_State *L, int pretty)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);

    must(json_decode(L, text, len) == 0);
    json_encode(L, -1, pretty);
    lua_remove(L, -2);
}

/* (text): reads, writes, and twice again. */
static int
round_trip(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    int pretty = (int)(len & 1);

    if (json_decode(L, text, len) != 0) {
        must(lua_type(L, -1) == LUA_TSTRING);
        return 0;
    }
    json_encode(L, 2, !pretty);
    push_again(L, pretty);
    push_again(L, pretty);
    must(lua_compare(L, -2, -1, LUA_OPEQ));
    return 0;
}

/* (text): a C room writes it as a JSON string. */
static int
write_string(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, 1, &len);
    struct buf out;

    buf_init(&out, 8u << 20);
    must(buf_json_string(&out, text, len) == FAULT_OK);
    must(json_decode(L, buf_cstr(&out), out.len) == 0);
    must(lua_type(L, -1) == LUA_TSTRING);
    buf_fini(&out);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = fuzz_state();

    lua_pushcfunction(L, round_trip);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) { /* an infinite number cannot be written */
        must(lua_type(L, -1) == LUA_TSTRING || lua_istable(L, -1));
    }
    lua_settop(L, 0);
    lua_pushcfunction(L, write_string);
    lua_pushlstring(L, (const char *)data, size);
    must(lua_pcall(L, 1, 0, 0) == LUA_OK);
    fuzz_turn_over(L);
    return 0;
}
