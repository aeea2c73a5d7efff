/*
 * bind/pcaps_redact: keeps secrets out of what an answer says. A server may
 * repeat what it was sent, and the API's errors quote bucket addresses.
 */
#include "pcaps.h"

#include <lauxlib.h>
#include <string.h>
#include <strings.h>

#define SECRET_MIN 4 /* shorter ones would blank half the text */
#define DEPTH_MAX 16

static void
hide_one(const char *secret, size_t n, char *text, size_t len)
{
    char *at = text;

    while (n >= SECRET_MIN && (at = memmem(at, len - (size_t)(at - text), secret, n)) != NULL) {
        memset(at, '*', n);
        at += n;
    }
}

/* Hides each value of the query of URI, a bucket's address. */
static void
hide_query(const char *uri, char *text, size_t len)
{
    const char *at = strchr(uri, '?');

    while (at != NULL) {
        const char *name = at + 1;
        size_t whole = strcspn(name, "&");
        const char *equals = memchr(name, '=', whole);

        if (equals != NULL && memmem(name, (size_t)(equals - name), "key", 3) != NULL) {
            hide_one(equals + 1, whole - (size_t)(equals + 1 - name), text, len);
        }
        at = name[whole] == '&' ? name + whole : NULL;
    }
}

/* Hides the value behind each "…access-key…=", whatever address it stands in. */
static void
hide_named(char *text, size_t len)
{
    static const char mark[] = "access-key";
    size_t n = sizeof mark - 1;

    for (size_t i = 0; i + n <= len; i++) {
        if (strncasecmp(text + i, mark, n) != 0) {
            continue;
        }
        i += n;
        while (i < len && (text[i] == '-' || (text[i] >= 'a' && text[i] <= 'z'))) {
            i++;
        }
        if (i < len && text[i] == '=') {
            i++;
        } else if (i + 3 <= len && strncasecmp(text + i, "%3d", 3) == 0) {
            i += 3;
        } else {
            continue;
        }
        while (i < len && strchr("&\"'<> ;,\t\r\n", text[i]) == NULL) {
            text[i++] = '*';
        }
    }
}

void
pcaps_hide_secrets(lua_State *L, char *text, size_t len)
{
    const struct pcaps_client *client = lua_touserdata(L, 1);
    const struct pcaps_secrets *s = &client->secrets;

    if (s->authorization[0] != '\0') {
        const char *token = s->authorization + strlen("Bearer ");
        hide_one(token, strlen(token), text, len);
    }
    hide_one(s->key, strlen(s->key), text, len);
    hide_one(s->email, strlen(s->email), text, len);
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "destination_conf");
        if (lua_rawget(L, 2) == LUA_TSTRING) {
            hide_query(lua_tostring(L, -1), text, len);
        }
        lua_pop(L, 1);
    }
    hide_named(text, len);
}

/* [-1, +1, m] */
static void
redact_string(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    luaL_Buffer b;
    char *copy = luaL_buffinitsize(L, &b, len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    pcaps_hide_secrets(L, copy, len);
    luaL_pushresultsize(&b, schema_redact(copy, len));
    lua_replace(L, -2);
}

static void
redact_value(lua_State *L, int depth)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        redact_string(L);
        return;
    }
    if (!lua_istable(L, -1) || depth > DEPTH_MAX) {
        return;
    }
    luaL_checkstack(L, 6, NULL);
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        redact_value(L, depth + 1);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4); /* an entry that is there: the walk may go on */
    }
}

void
pcaps_redact(lua_State *L)
{
    redact_value(L, 0);
}
