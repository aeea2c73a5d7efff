/*
 * search: where require looks. The host's own modules first (embedded, or from
 * the directory MOONTAP_LUA while developing), then files beside the script,
 * then the system's Lua 5.4 modules. A relative path is never searched.
 */
#include "embedded.h"
#include "host.h"

#include "buf.h"

#include <dlfcn.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char beside_key = 0; /* registry: path template beside the script */

#define NATIVE_PREFIX "moontap.native."

int luaopen_moontap_native_child(lua_State *L);
int luaopen_moontap_native_clock(lua_State *L);
int luaopen_moontap_native_cron(lua_State *L);
int luaopen_moontap_native_json(lua_State *L);
int luaopen_moontap_native_schema(lua_State *L);
int luaopen_moontap_native_sys(lua_State *L);
int luaopen_cjson(lua_State *L);

static const luaL_Reg builtin[] = {
    {"cjson", luaopen_cjson},
    {NATIVE_PREFIX "child", luaopen_moontap_native_child},
    {NATIVE_PREFIX "clock", luaopen_moontap_native_clock},
    {NATIVE_PREFIX "cron", luaopen_moontap_native_cron},
    {NATIVE_PREFIX "effects", luaopen_effects},
    {NATIVE_PREFIX "host", luaopen_host},
    {NATIVE_PREFIX "json", luaopen_moontap_native_json},
    {NATIVE_PREFIX "schema", luaopen_moontap_native_schema},
    {NATIVE_PREFIX "sys", luaopen_moontap_native_sys},
    {NATIVE_PREFIX "task", luaopen_task},
    {NULL, NULL},
};

/* Which shared object holds a native module that is not built in. */
static const struct {
    const char *name;
    const char *file;
} rooms[] = {
    {"db", "db"}, {"http", "http"}, {"pcaps", "http"}, {"server", "server"}, {"term", "term"},
};

/* Embedded ------------------------------------------------------------------ */

/* [-0, +2 or 1, v] The override directory's file NAME; 0 when there is none. */
static int
load_override(lua_State *L, const char *dir, const char *name)
{
    static const char *const shapes[] = {"%s/%s.lua", "%s/%s/init.lua"};
    char path[PATH_MAX], rel[200];

    if (snprintf(rel, sizeof rel, "%s", name) >= (int)sizeof rel) {
        return 0;
    }
    for (char *p = rel; *p != '\0'; p++) {
        *p = *p == '.' ? '/' : *p;
    }
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, shapes[i], dir, rel);
        if (access(path, R_OK) == 0) {
            if (luaL_loadfile(L, path) != LUA_OK) {
                return lua_error(L);
            }
            lua_pushstring(L, path);
            return 2;
        }
    }
    return 0;
}

static int
search_embedded(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *dir = getenv("MOONTAP_LUA");

    if (dir != NULL && dir[0] != '\0') {
        int n = load_override(L, dir, name);
        if (n != 0) {
            return n;
        }
    }
    for (const luaL_Reg *reg = builtin; reg->name != NULL; reg++) {
        if (strcmp(reg->name, name) == 0) {
            lua_pushcfunction(L, reg->func);
            lua_pushliteral(L, "built in");
            return 2;
        }
    }
    for (const struct embedded_file *file = embedded_files; file->name != NULL; file++) {
        if (strcmp(file->name, name) == 0) {
            if (luaL_loadbufferx(L, (const char *)file->code, file->size, name, "b")
                != LUA_OK) {
                return lua_error(L);
            }
            lua_pushliteral(L, "built in");
            return 2;
        }
    }
    lua_pushfstring(L, "no built-in module '%s'", name);
    return 1;
}

/* Child mode ---------------------------------------------------------------- */

/* What touches nothing, or is there to be called by the host's own Lua code. */
static const char *const harmless[] = {
    "cjson",
    NATIVE_PREFIX "clock",
    NATIVE_PREFIX "effects",
    NATIVE_PREFIX "json",
    NATIVE_PREFIX "schema",
    NATIVE_PREFIX "task",
    "moontap.child.batch",
    "moontap.child.data",
    "moontap.child.globals",
    "moontap.child.main",
    "moontap.child.outside",
    "moontap.child.pcaps",
    "moontap.child.protocol",
    "moontap.child.quick",
    "moontap.child.rpc",
    "moontap.clock",
    "moontap.config",
    "moontap.duration",
    "moontap.effects",
    "moontap.errors",
    "moontap.hex",
    "moontap.json",
    "moontap.later",
    "moontap.task",
    "pcaps.capture",
    "pcaps.intents",
    "pcaps.retry",
};

int
host_is_harmless(const char *name)
{
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (strcmp(harmless[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int
search_harmless(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    if (host_is_harmless(name)) {
        return search_embedded(L);
    }
    lua_pushfstring(L, "no module '%s' in a playbook's process", name);
    return 1;
}

void
host_open_child_search(lua_State *L)
{
    static const char *const removed[] = {"loadlib", "searchpath", "cpath",
                                          "path",    "config",     "preload"};

    (void)lua_getglobal(L, LUA_LOADLIBNAME);
    for (size_t i = 0; i < sizeof removed / sizeof *removed; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, removed[i]);
    }
    (void)lua_getfield(L, -1, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i > 0; i--) {
        lua_pushnil(L);
        lua_rawseti(L, -2, i);
    }
    lua_pushcfunction(L, search_harmless);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 2);
}

/* Rooms that load at first use ------------------------------------------------ */

/* [-0, +1, v] Pushes the path of room FILE: beside the program's bin. */
static const char *
push_room_path(lua_State *L, const char *file)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n <= 0) {
        luaL_error(L, "cannot find the program's own place");
        return NULL;
    }
    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';
    return lua_pushfstring(L, "%s/../lib/moontap/%s.so", self, file);
}

/* [-0, +2, v] Loads native module NAME from room FILE. */
static int
load_room(lua_State *L, const char *name, const char *file)
{
    const char *path = push_room_path(L, file);
    char symbol[64];
    void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL); /* stays until exit */
    const char *build;
    void *open_fn;

    if (handle == NULL) {
        return luaL_error(L, "cannot load a part of moontap: %s", dlerror());
    }
    build = dlsym(handle, "moontap_module_build_id");
    if (build == NULL || strcmp(build, MOONTAP_BUILD_ID) != 0) {
        return luaL_error(L, "%s belongs to another build of moontap; install both "
                             "together", path);
    }
    (void)snprintf(symbol, sizeof symbol, "luaopen_moontap_native_%s", name);
    open_fn = dlsym(handle, symbol);
    if (open_fn == NULL) {
        return luaL_error(L, "%s has no module %s", path, name);
    }
    lua_pushcfunction(L, (lua_CFunction)open_fn);
    lua_insert(L, -2);
    return 2;
}

static int
search_room(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    size_t prefix = sizeof NATIVE_PREFIX - 1;

    if (strncmp(name, NATIVE_PREFIX, prefix) == 0) {
        for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
            if (strcmp(rooms[i].name, name + prefix) == 0) {
                return load_room(L, rooms[i].name, rooms[i].file);
            }
        }
    }
    lua_pushnil(L); /* nothing to add to the list of places */
    return 1;
}

/* Beside the script ----------------------------------------------------------- */

void
host_search_beside(lua_State *L, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        lua_pushliteral(L, "./?.lua;./?/init.lua");
    } else {
        lua_pushlstring(L, path, (size_t)(slash - path));
        lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", lua_tostring(L, -1),
                        lua_tostring(L, -1));
        lua_remove(L, -2);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &beside_key);
}

static int
search_beside(lua_State *L)
{
    const char *path;

    (void)luaL_checkstring(L, 1);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &beside_key) != LUA_TSTRING) {
        lua_pushnil(L);
        return 1;
    }
    (void)lua_getglobal(L, LUA_LOADLIBNAME);
    (void)lua_getfield(L, -1, "searchpath");
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -4);
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2)) {
        return 1; /* the list of files that were tried */
    }
    path = lua_tostring(L, -2);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) {
        return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s",
                          lua_tostring(L, 1), path, lua_tostring(L, -1));
    }
    host_set_env(L);
    lua_pushstring(L, path);
    return 2;
}

/* The system's modules ----------------------------------------------------------- */

/* [-0, +0, m] Drops from package[FIELD] every template that is not absolute. */
static void
drop_relative(lua_State *L, const char *field)
{
    luaL_Buffer kept;
    const char *p;

    (void)lua_getfield(L, -1, field);
    p = lua_tostring(L, -1);
    luaL_buffinit(L, &kept);
    while (p != NULL && *p != '\0') {
        size_t n = strcspn(p, ";");

        if (*p == '/') {
            if (luaL_bufflen(&kept) > 0) {
                luaL_addchar(&kept, ';');
            }
            luaL_addlstring(&kept, p, n);
        }
        p += n + (p[n] == ';');
    }
    luaL_pushresult(&kept);
    lua_setfield(L, -3, field);
    lua_pop(L, 1);
}

void
host_open_search(lua_State *L)
{
    static const lua_CFunction ours[] = {search_embedded, search_room, search_beside};
    lua_Integer n;

    (void)lua_getglobal(L, LUA_LOADLIBNAME);
    drop_relative(L, "path");
    drop_relative(L, "cpath");
    (void)lua_getfield(L, -1, "searchers");
    n = luaL_len(L, -1);
    for (lua_Integer i = n; i > 1; i--) { /* preload stays first */
        (void)lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 3);
    }
    for (int i = 0; i < 3; i++) {
        lua_pushcfunction(L, ours[i]);
        lua_rawseti(L, -2, i + 2);
    }
    lua_pop(L, 2);
}
