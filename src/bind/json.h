/*
 * bind/json: JSON text and Lua values (module moontap.native.json). Reading is
 * lua-cjson (an instance of its own) and a walk that makes integers integers
 * and drops nulls; writing is done here, with sorted keys, so that equal values
 * give equal text. Part of the program; modules may call these functions.
 */
#ifndef MOONTAP_BIND_JSON_H
#define MOONTAP_BIND_JSON_H

#include <lua.h>
#include <stddef.h>

#define JSON_DEPTH_MAX 64
#define JSON_TEXT_MAX (64u << 20)
#define JSON_ARRAY_META "moontap.json.array" /* metatable of marked lists */

/*
 * [-0, +1, m] Reads the N bytes at S (need not be NUL-terminated). Pushes the
 * value and returns 0; pushes a text that says what is wrong and where, and
 * returns -1. `null` gives nil; null fields and items are left out.
 */
int json_decode(lua_State *L, const char *s, size_t n);

/*
 * [-0, +0, m] Makes what lua-cjson has decoded at IDX fit for scripts, in
 * place: integral floats become integers, nulls are dropped.
 */
void json_normalize(lua_State *L, int idx);

/*
 * [-0, +1, v] Pushes the JSON text of the value at IDX. PRETTY: two spaces of
 * indentation. Raises an error that names the path of what cannot be written.
 */
void json_encode(lua_State *L, int idx, int pretty);

/* [-0, +1, m] moontap.native.json */
int luaopen_moontap_native_json(lua_State *L);

#endif
