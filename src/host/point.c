/*
 * point: named places where a test may end the process as a power failure
 * would: MOONTAP_KILL_AT=NAME, or NAME:N for the N-th passing. Only in builds
 * with MOONTAP_POINTS; elsewhere the function does nothing.
 */
#include "host.h"

#include <lauxlib.h>

#ifdef MOONTAP_POINTS

#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSINGS_MAX 1000000000L

/* The number behind the last colon of TEXT, whose length up to there goes to *N;
 * 1 when there is none. */
static long
read_passings(const char *text, size_t *n)
{
    const char *colon = strrchr(text, ':');
    long passings = 0;

    *n = strlen(text);
    if (colon == NULL || colon[1] == '\0') {
        return 1;
    }
    for (const char *p = colon + 1; *p != '\0'; p++) {
        if (!isdigit((unsigned char)*p) || passings > PASSINGS_MAX) {
            return 1; /* part of the name */
        }
        passings = passings * 10 + (*p - '0');
    }
    *n = (size_t)(colon - text);
    return passings;
}

static void
decide(struct point *point)
{
    const char *text = getenv("MOONTAP_KILL_AT");

    point->is_decided = 1;
    if (text != NULL && text[0] != '\0') {
        point->name = text;
        point->left = read_passings(text, &point->n);
    }
}

int
host_point(lua_State *L)
{
    struct point *point = &host_of(L)->point;
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);

    if (!point->is_decided) {
        decide(point);
    }
    if (point->name != NULL && point->n == n && memcmp(point->name, name, n) == 0
        && --point->left == 0) {
        (void)kill(getpid(), SIGKILL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

#else

int
host_point(lua_State *L)
{
    (void)luaL_checkstring(L, 1);
    lua_pushboolean(L, 0);
    return 1;
}

#endif
