/*
 * bind/http_args: the option tables of moontap.native.http, checked. Everything
 * here raises a message that names the field.
 */
#ifndef MOONTAP_BIND_HTTP_ARGS_H
#define MOONTAP_BIND_HTTP_ARGS_H

#include "../http/http.h"

#include <lua.h>

#define HTTP_ARGS_METHOD 24 /* bytes of a method with its NUL */

/* Stack of a function that reads a request: its table, the call under way (or
 * nil), a table that keeps converted strings. */
enum { HTTP_ARGS_TABLE = 1, HTTP_ARGS_CALL, HTTP_ARGS_KEPT };

/* [-0, +0, v] Raises when the table at ARG has a key that is not among KEYS
 * (NULL ends them). WHAT starts the message. */
void http_args_keys(lua_State *L, int arg, const char *what, const char *const *keys);
/* [-0, +1, v] Pushes field KEY, a string without NUL, or nil. Returns it. */
const char *http_args_text(lua_State *L, int arg, const char *what, const char *key);
/*
 * [-0, +?, v] Reads the request at HTTP_ARGS_TABLE; leaves on the stack what
 * REQUEST borrows, and puts the method into METHOD (HTTP_ARGS_METHOD bytes).
 * Returns the path of to_file or NULL.
 */
const char *http_args_read(lua_State *L, struct http_request *request, char *method);
/* check{url=, …} -> method: raises, with what is wrong, where request would. */
int http_args_check(lua_State *L);

#endif
