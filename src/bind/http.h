/*
 * bind/http: what the bindings that talk HTTP share: the one struct http of a
 * Lua state, and how an answer or a failure becomes Lua values.
 */
#ifndef MOONTAP_BIND_HTTP_H
#define MOONTAP_BIND_HTTP_H

#include "../http/http.h"

#include <lua.h>

/*
 * [-0, +0, e] The http of L's state, made at first use and freed when the state
 * closes. Its roots come from `moontap.config` (cacert) unless configure() set
 * them. Raises when it cannot be made.
 */
struct http *bind_http(lua_State *L);

/* [-0, +1, m] Pushes the header lines of HEAD as a table of lower-case names;
 * repeated headers are joined by ", ". */
void bind_http_push_headers(lua_State *L, const struct buf *head);

/* [-0, +2, m] Pushes nil and the error object of a failed RESULT, with `sent`
 * ("no", "maybe", "yes") and, when one came, `status`. Returns 2. */
int bind_http_push_failure(lua_State *L, const struct http_result *result);

/* The word for SENT in error objects. */
const char *bind_http_sent_name(enum http_sent sent);

#endif
