/*
 * point: named places where a test may end the process, or one that works for
 * it, as a power failure would: MOONTAP_KILL_AT=NAME, or NAME:N for the N-th
 * passing. Of a list, NAME,NAME:N,…, each is waited for when the one before was
 * met. Only in builds with MOONTAP_POINTS; elsewhere the function does nothing.
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

/* The number behind the last colon of TEXT, whose length up to there goes from *N
 * to *N; 1 when there is none. */
static long
read_passings(const char *text, size_t *n)
{
    size_t colon = *n;
    long passings = 0;

    while (colon > 0 && text[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 || colon == *n) {
        return 1;
    }
    for (size_t i = colon; i < *n; i++) {
        if (!isdigit((unsigned char)text[i]) || passings > PASSINGS_MAX) {
            return 1; /* part of the name */
        }
        passings = passings * 10 + (text[i] - '0');
    }
    *n = colon - 1;
    return passings;
}

/* Waits for the first point of LIST, which may be NULL or empty. */
static void
take_next(struct point *point, const char *list)
{
    if (list == NULL || list[0] == '\0') {
        point->name = NULL;
        return;
    }
    point->name = list;
    point->n = strcspn(list, ",");
    point->rest = list + point->n + (list[point->n] == ',');
    point->left = read_passings(list, &point->n);
}

/* Is NAME, N bytes, what is waited for? */
static int
is_awaited(struct point *point, const char *name, size_t n)
{
    if (!point->is_decided) {
        point->is_decided = 1;
        take_next(point, getenv("MOONTAP_KILL_AT"));
    }
    return point->name != NULL && point->n == n && memcmp(point->name, name, n) == 0;
}

/* Is this passing of what is waited for the one? */
static int
is_met(struct point *point)
{
    if (--point->left != 0) {
        return 0;
    }
    take_next(point, point->rest);
    return 1;
}

/* [-0, +0, e] The process at argument 2, which may be a function that returns it. */
static pid_t
process_of(lua_State *L)
{
    pid_t pid;

    if (!lua_isfunction(L, 2)) {
        return (pid_t)luaL_optinteger(L, 2, getpid());
    }
    lua_pushvalue(L, 2);
    lua_call(L, 0, 1);
    pid = (pid_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return pid;
}

int
host_point(lua_State *L)
{
    size_t n;
    const char *name = luaL_checklstring(L, 1, &n);
    struct point *point = &host_of(L)->point;
    pid_t pid = is_awaited(point, name, n) ? process_of(L) : 0;
    int met = pid > 0 && is_met(point);

    if (met) {
        (void)kill(pid, SIGKILL);
    }
    lua_pushboolean(L, 1);
    lua_pushboolean(L, met);
    return 2;
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
