/*
 * embed: compiles Lua files into one C file of unstripped bytecode.
 * usage: embed OUT.c [NAME=]FILE...
 * A FILE below lua/ is the module of its path ("lua/pcaps/init.lua" is
 * "pcaps"); one below scripts/scenarios/ is "moontap.scenarios.NAME". What lies
 * in lua/moontap/meta/ is not code for the program: such a module is its text.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 200

static int
write_bytes(lua_State *L, const void *p, size_t n, void *arg)
{
    const unsigned char *bytes = p;
    FILE *out = arg;

    (void)L;
    for (size_t i = 0; i < n; i++) {
        if (fprintf(out, "%u,", bytes[i]) < 0) {
            return 1;
        }
    }
    return fputc('\n', out) == EOF;
}

/* The module name of PATH into NAME. */
static void
module_name(const char *path, char *name)
{
    const char *start = path;
    const char *prefix = "";
    size_t n;

    if (strncmp(path, "lua/", 4) == 0) {
        start = path + 4;
    } else if (strncmp(path, "scripts/scenarios/", 18) == 0) {
        start = path + 18;
        prefix = "moontap.scenarios.";
    }
    (void)snprintf(name, NAME_MAX_LEN, "%s%s", prefix, start);
    n = strlen(name);
    if (n > 4 && strcmp(name + n - 4, ".lua") == 0) {
        name[n -= 4] = '\0';
    }
    if (n > 5 && strcmp(name + n - 5, "/init") == 0) {
        name[n - 5] = '\0';
    }
    for (char *p = name; *p != '\0'; p++) {
        if (*p == '/') {
            *p = '.';
        }
    }
}

static int
embed_file(lua_State *L, FILE *out, int index, const char *arg, char *name)
{
    const char *eq = strchr(arg, '=');
    const char *path = eq != NULL ? eq + 1 : arg;
    char chunk[NAME_MAX_LEN + 8];
    luaL_Buffer source;
    FILE *in = fopen(path, "rb");
    size_t got, len;
    const char *text;

    if (in == NULL) {
        perror(path);
        return -1;
    }
    luaL_buffinit(L, &source);
    do {
        char *room = luaL_prepbuffer(&source);
        got = fread(room, 1, LUAL_BUFFERSIZE, in);
        luaL_addsize(&source, got);
    } while (got > 0);
    (void)fclose(in);
    luaL_pushresult(&source);
    if (eq != NULL) {
        (void)snprintf(name, NAME_MAX_LEN, "%.*s", (int)(eq - arg), arg);
        (void)snprintf(chunk, sizeof chunk, "@%s.lua", name);
    } else {
        module_name(path, name);
        (void)snprintf(chunk, sizeof chunk, "@%s", path);
    }
    if (strncmp(path, "lua/moontap/meta/", 17) == 0) {
        lua_pushfstring(L, "return [===[\n%s]===]", lua_tostring(L, -1));
    }
    text = lua_tolstring(L, -1, &len);
    if (luaL_loadbufferx(L, text, len, chunk, "t") != LUA_OK) {
        (void)fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return -1;
    }
    (void)fprintf(out, "static const unsigned char code_%d[] = {\n", index);
    if (lua_dump(L, write_bytes, out, 0) != 0) {
        return -1;
    }
    (void)fprintf(out, "};\n");
    lua_settop(L, 0);
    return 0;
}

int
main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    FILE *out;
    char (*names)[NAME_MAX_LEN];

    if (argc < 2 || L == NULL) {
        return 2;
    }
    names = calloc((size_t)argc, sizeof *names);
    out = fopen(argv[1], "w");
    if (out == NULL || names == NULL) {
        perror(argv[1]);
        return 1;
    }
    (void)fprintf(out, "#include \"host/embedded.h\"\n");
    for (int i = 2; i < argc; i++) {
        if (embed_file(L, out, i, argv[i], names[i]) != 0) {
            (void)fclose(out);
            (void)remove(argv[1]);
            return 1;
        }
    }
    (void)fprintf(out, "const struct embedded_file embedded_files[] = {\n");
    for (int i = 2; i < argc; i++) {
        (void)fprintf(out, "{\"%s\", code_%d, sizeof code_%d},\n", names[i], i, i);
    }
    (void)fprintf(out, "{0, 0, 0}};\n");
    free(names);
    lua_close(L);
    return fclose(out) == 0 ? 0 : 1;
}
