/*
 * main: argv to a command, and its exit status. Commands are Lua files under
 * lua/moontap/cmd; a plain "run FILE" has nothing to parse and goes straight
 * to the script, because a script's start-up time is the user's.
 */
#include "host/host.h"
#include "stem.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct command_line {
    struct host *host;
    int argc;
    char **argv;
};

/* The index of the script in "run FILE ..." or "FILE ..." without options; 0
 * when the command line has to be parsed. */
static int
plain_script(int argc, char **argv)
{
    int i = argc > 1 && strcmp(argv[1], "run") == 0 ? 2 : 1;
    const char *dot;

    if (i >= argc || argv[i][0] == '-') {
        return 0;
    }
    if (i == 2) {
        return 2;
    }
    dot = strrchr(argv[1], '.');
    return strchr(argv[1], '/') != NULL || (dot != NULL && strcmp(dot, ".lua") == 0);
}

/* (command line) -> function, arguments… of the root task. */
static int
prepare(lua_State *L)
{
    struct command_line *line = lua_touserdata(L, 1);
    int script = plain_script(line->argc, line->argv);

    lua_settop(L, 0);
    luaL_checkstack(L, line->argc, "too many arguments");
    if (script != 0) {
        line->host->is_script = 1;
        lua_createtable(L, line->argc - script - 1, 1);
        for (int i = script; i < line->argc; i++) {
            lua_pushstring(L, line->argv[i]);
            lua_rawseti(L, -2, i - script);
        }
        if (host_load_script(L, line->argv[script]) != 1) {
            return lua_error(L);
        }
        for (int i = script + 1; i < line->argc; i++) {
            lua_pushstring(L, line->argv[i]);
        }
        return lua_gettop(L);
    }
    (void)lua_getglobal(L, "require");
    lua_pushliteral(L, "moontap.cmd");
    lua_call(L, 1, 1);
    for (int i = 1; i < line->argc; i++) {
        lua_pushstring(L, line->argv[i]);
    }
    return lua_gettop(L);
}

/* Descriptors 0 to 2 are taken, be it by /dev/null: else one that the program
 * opens for itself would be written to as standard output. */
static void
keep_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDONLY); /* writing to it fails, and is said */
    } while (fd >= 0 && fd <= 2);
    if (fd > 2) {
        (void)close(fd);
    }
}

int
main(int argc, char **argv)
{
    struct host host;
    struct command_line line = {&host, argc, argv};
    struct fault fault;
    int status = HOST_EXIT_FAILED;

    if (stem_is_meant(argc, argv)) {
        return host_child_main();
    }
    keep_standard_descriptors();
    if (host_open(&host, &fault) != FAULT_OK
        || host_catch_signals(&host, &fault) != FAULT_OK) {
        (void)fprintf(stderr, "moontap: %s\n", fault.msg);
        return HOST_EXIT_FAILED;
    }
    lua_pushcfunction(host.L, prepare);
    lua_pushlightuserdata(host.L, &line);
    if (lua_pcall(host.L, 1, LUA_MULTRET, 0) == LUA_OK) {
        status = host_run(&host, lua_gettop(host.L) - 1);
    } else {
        (void)fprintf(stderr, "moontap: %s\n", lua_tostring(host.L, -1));
    }
    host_close(&host);
    return status;
}
