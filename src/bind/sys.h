/*
 * bind/sys: what the files of module moontap.native.sys share. Only read_line
 * waits.
 */
#ifndef MOONTAP_BIND_SYS_H
#define MOONTAP_BIND_SYS_H

#include <lauxlib.h>
#include <sys/types.h>

/* [-0, +1, m] moontap.native.sys */
int luaopen_moontap_native_sys(lua_State *L);

/* The functions on files. */
extern const luaL_Reg sys_file_funcs[];

/* The functions on the machine and the process in it. */
extern const luaL_Reg sys_machine_funcs[];

/* [-0, +0, m] Makes the metatable of redirections. */
void sys_open_machine(lua_State *L);

/* [-0, +0, m] Sets the functions on standard input in the table on top. */
void sys_open_input(lua_State *L);

/* [-0, +2, m] nil and the error of errno value WHY: "WHAT PATH: reason". */
int sys_fail(lua_State *L, const char *what, const char *path, int why);
/* [-0, +1, -] true */
int sys_succeed(lua_State *L);
/* [-0, +0, v] The path at ARG: not empty, without NUL. */
const char *sys_check_path(lua_State *L, int arg);
/* [-0, +0, v] The file mode at ARG, OTHER when there is none. */
mode_t sys_opt_mode(lua_State *L, int arg, mode_t other);
/*
 * [-0, +1, m] Pushes a handle for a descriptor, -1 for now; the collector closes
 * what is put into it.
 */
int *sys_push_fd(lua_State *L);

#endif
