/*
 * host: one lua_State with its libraries, embedded modules and effects; loads
 * scripts, runs the root task, turns what came of it into an exit status.
 */
#ifndef MOONTAP_HOST_H
#define MOONTAP_HOST_H

#include "fault.h"
#include "heap.h"
#include "loop.h"
#include "task.h"

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses; docs say what each means to a user. */
enum host_exit {
    HOST_EXIT_OK = 0,
    HOST_EXIT_FAILED = 1,
    HOST_EXIT_USAGE = 2,
    HOST_EXIT_CREDENTIALS = 3,
    HOST_EXIT_STOPPED = 4,
    HOST_EXIT_QUOTA = 5,
    HOST_EXIT_UNKNOWN = 6,
    HOST_EXIT_SKIPPED = 8 /* 7 is a command's word for an empty capture */
};

#define HOST_SIGNALS 3 /* those of host_on_signal */

/* The passing of a test point at which a process is killed. */
struct point {
    int is_decided;   /* the environment was looked at */
    const char *name; /* of N bytes; NULL: none */
    size_t n;
    long left;        /* passings until then */
    const char *rest; /* of the list, for when it was met */
};

struct host {
    lua_State *L;
    struct heap heap;   /* of L */
    struct loop *loop;
    struct tasks *tasks;
    struct task *root;
    struct loop_signal *usr1;
    struct loop_signal *told[HOST_SIGNALS]; /* signals that Lua functions are told of */
    size_t memory_used; /* bytes that Lua holds */
    size_t memory_max;  /* 0: no cap */
    int memory_refused; /* the cap was met */
    void (*open_libs)(lua_State *L);
    int exiting;        /* os.exit was called: leave with exit_status */
    int exit_status;
    int is_over;        /* host_run is done: exit_status is final */
    int is_script;      /* the root is a script: its results mean nothing */
    int cancelled;      /* the root was cancelled by a signal */
    int interrupts_told; /* Ctrl-Cs that the function of host_on_interrupt knows of */
    struct point point;  /* where the process is to end, for tests */
};

/* Opens HOST (memory given by the caller). FAULT_NOMEM, FAULT_IO. */
enum fault_code host_open(struct host *host, struct fault *fault);
/* Closes the state, then the loop. Works on a half-open host. */
void host_close(struct host *host);

/*
 * Child mode (child_mode.c): the stem, when stem_is_meant says so. Each branch shuts
 * itself in and runs what comes over its link. Returns the exit status.
 */
int host_child_main(void);

/* The host of L. [-0, +0, -] */
struct host *host_of(lua_State *L);

/*
 * [-1, +1 or 2, m] Loads the script PATH ("-": standard input) as a function
 * whose globals are strict; the table on top becomes its `arg`. Pushes the
 * function; or nil and the reason. Returns the number pushed.
 */
int host_load_script(lua_State *L, const char *path);

/*
 * [-(1 + nargs), +0, -] Runs the function below its NARGS arguments as the
 * root task until it and all it started have ended. Prints an uncaught error
 * with its traceback on standard error. Returns the exit status: 0, what the
 * error's kind says, or an integer that a command's function returned.
 */
int host_run(struct host *host, int nargs);

/* Routes SIGINT, SIGTERM and SIGUSR1 to HOST; a write to nobody (SIGPIPE)
 * or beyond a limit (SIGXFSZ) fails and ends nothing. */
enum fault_code host_catch_signals(struct host *host, struct fault *fault);

/* [-1, +0, m] From now on SIGINT calls the function on top of the stack, in a task
 * of its own, instead of stopping the run; nil takes it back. */
void host_on_interrupt(lua_State *L);

/* [-1, +0, m] The function on top of the stack (or nil) is called with the exit status
 * when the run is over; it may wait. */
void host_on_exit(lua_State *L);
/* [-0, +0, -] Calls it, once; by host_run. */
void host_run_exit(struct host *host, int status);

/* on_signal(name, fn | nil) of moontap.native.host: SIGHUP, SIGINT or SIGTERM calls fn in a
 * task of its own from now on, and stops nothing. */
int host_on_signal(lua_State *L);
/* Lets go of what host_on_signal holds of the loop. */
void host_forget_signals(struct host *host);

/* Signals no longer reach the state, which is about to be closed. */
void host_release_signals(void);

/* The exit status for an uncaught error of KIND (NULL: not the host's). */
int host_exit_status(const char *kind);

/*
 * In MS milliseconds of real time, 0 to take it back, interrupts whatever runs
 * then, a loop that never waits included. IS_INTERRUPT: as a Ctrl-C for the
 * foreground, every second until it is taken back, while host_on_interrupt has a
 * function. Returns 0, or -1 with errno set.
 */
int host_set_alarm(uint64_t ms, int is_interrupt);

/* Milliseconds until it rings; 0 when it has rung or was not set. */
uint64_t host_alarm_left(void);

/* Shared by the files of this room ------------------------------------------- */

/* As host_open, with other libraries, and with a loop that is still cold. */
enum fault_code
host_open_cold(struct host *host, void (*open_libs)(lua_State *L), struct fault *fault);
/* [-0, +1, m] */
int luaopen_host(lua_State *L);
/* [-0, +0, v] Makes the global `moontap`. */
void host_open_moontap(lua_State *L);
/* [-0, +0, v] Child mode: the standard libraries that touch nothing, and require. */
void host_open_child_libs(lua_State *L);
/* [-0, +0, v] Child mode: require finds what is listed as harmless, nothing else. */
void host_open_child_search(lua_State *L);
/* Child mode: is NAME a module that require finds there? */
int host_is_harmless(const char *name);
/* evaluator.c: [-0, +1, v] Makes module moontap.native.evaluator, and pushes it. */
void evaluator_open(lua_State *L);
/* [-0, +0, v] Opens libraries, searchers, effects and globals. */
void host_open_libs(lua_State *L);
/* [-0, +0, v] Sets package.searchers and the paths. */
void host_open_search(lua_State *L);
/* [-0, +0, m] Adds the directory of script PATH to where require looks. */
void host_search_beside(lua_State *L, const char *path);
/* [-0, +1, m] Pushes the globals of scripts, made at the first call. */
void host_push_env(lua_State *L);

/* [-0, +0, m] Gives the chunk on top of the stack these globals. */
void host_set_env(lua_State *L);

/* point.c: point(name [, pid]) of moontap.native.host -> is there such a thing,
 * was the process killed. A pid that is a function is called only where it is wanted. */
int host_point(lua_State *L);

/* effect.c: [-0, +0, m] Opens the table of effects. */
void effect_open(lua_State *L);
/* [-0, +1, m] Pushes the function that calls effect NAME through its wrappers.
 * NATIVE (a plain C function, may be NULL) becomes its implementation. */
void effect_push(lua_State *L, const char *name, lua_CFunction native);
/* [-0, +1, m] The module moontap.native.effects. */
int luaopen_effects(lua_State *L);

#endif
