/*
 * run: scripts as functions, the root task, signals, and what the shell is
 * told in the end.
 */
#include "host.h"

#include "buf.h"
#include "leave.h"

#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* Signals -------------------------------------------------------------------- */

static struct tasks *volatile signalled_tasks;
static volatile sig_atomic_t signal_count;
static volatile sig_atomic_t alarm_fired;
static volatile sig_atomic_t is_interactive; /* SIGINT is for the foreground */
static volatile sig_atomic_t interrupt_count;
static volatile sig_atomic_t alarm_is_interrupt; /* as Ctrl-C, again and again */
static volatile sig_atomic_t alarm_rang;         /* since it was set */

static const char interrupt_key = 0; /* registry: function() that SIGINT calls */

static const char text_interrupted[] = "interrupted";
static const char text_too_long[] = "the time limit passed";

/* How long a run may take to stop once it was asked to, in seconds. */
#define STOP_GRACE 5u
static const char text_too_late[] = "moontap: it does not stop; leaving\n";

/* Asks the run to stop, and leaves when that does not help: no hook reaches a
 * finalizer, or a C function that takes its time. */
static void
ask_to_stop(const char *why)
{
    struct tasks *tasks = signalled_tasks;

    if (tasks != NULL) {
        task_interrupt(tasks, why);
    }
    (void)alarm(STOP_GRACE);
}

/* The first signal asks, the second one leaves at once. */
static void
on_stop_signal(int signum)
{
    (void)signum;
    if (++signal_count > 1) {
        leave_now(HOST_EXIT_STOPPED);
    }
    ask_to_stop(text_interrupted);
}

static void
on_interrupt_signal(int signum)
{
    struct tasks *tasks = signalled_tasks;

    if (!is_interactive) {
        on_stop_signal(signum);
    } else if (tasks != NULL) {
        interrupt_count++;
        task_interrupt_foreground(tasks, text_interrupted);
    }
}

/* For a script that is too busy to meet its deadline in the loop; and the end of
 * the grace that ask_to_stop gives. */
static void
on_alarm(int signum)
{
    struct tasks *tasks = signalled_tasks;

    (void)signum;
    alarm_rang = 1;
    if (alarm_is_interrupt && is_interactive && signal_count == 0) {
        if (tasks != NULL) {
            interrupt_count++;
            task_interrupt_foreground(tasks, text_too_long);
        }
        (void)alarm(1);
        return;
    }
    if (alarm_fired || signal_count > 0) {
        (void)!write(STDERR_FILENO, text_too_late, sizeof text_too_late - 1);
        leave_now(HOST_EXIT_STOPPED);
    }
    alarm_fired = 1;
    ask_to_stop(text_too_long);
}

int
host_set_alarm(uint64_t ms, int is_interrupt)
{
    struct itimerval timer;

    alarm_is_interrupt = is_interrupt;
    alarm_rang = 0;
    memset(&timer, 0, sizeof timer);
    timer.it_value.tv_sec = (time_t)(ms / 1000u);
    timer.it_value.tv_usec = (suseconds_t)(ms % 1000u) * 1000;
    return setitimer(ITIMER_REAL, &timer, NULL);
}

/* [-0, +1, m] */
static int
build_list(lua_State *L)
{
    task_push_list(L, task_scheduler(L));
    return 1;
}

uint64_t
host_alarm_left(void)
{
    struct itimerval timer;

    if (alarm_rang || getitimer(ITIMER_REAL, &timer) != 0) {
        return 0;
    }
    return (uint64_t)timer.it_value.tv_sec * 1000u + (uint64_t)timer.it_value.tv_usec / 1000u;
}

static void
on_usr1(void *arg)
{
    struct host *host = arg;

    lua_pushcfunction(host->L, build_list);
    if (lua_pcall(host->L, 0, 1, 0) == LUA_OK) {
        (void)fputs(lua_tostring(host->L, -1), stderr);
        (void)fflush(stderr);
    }
    lua_pop(host->L, 1);
}

/* The write says so itself. */
static void
on_failed_write(int signum)
{
    (void)signum;
}

enum fault_code
host_catch_signals(struct host *host, struct fault *fault)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    (void)sigemptyset(&action.sa_mask);
    action.sa_handler = on_failed_write; /* not SIG_IGN, which children would inherit */
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action, NULL);
    signalled_tasks = host->tasks;
    action.sa_handler = on_stop_signal;
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    action.sa_handler = on_interrupt_signal;
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = on_alarm;
    (void)sigaction(SIGALRM, &action, NULL);
    return loop_signal_new(host->loop, SIGUSR1, on_usr1, host, &host->usr1, fault);
}

void
host_on_interrupt(lua_State *L)
{
    is_interactive = !lua_isnil(L, -1);
    if (is_interactive) {
        task_shield_running(L);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &interrupt_key);
}

/* Guarded. */
static int
spawn_interrupt(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &interrupt_key) == LUA_TFUNCTION) {
        task_spawn(L, 0, 1);
        task_shield(L, -1);
    }
    return 0;
}

/* Tells the function of host_on_interrupt of a Ctrl-C. */
static void
tell_interrupt(struct host *host)
{
    host->interrupts_told = interrupt_count;
    lua_pushcfunction(host->L, spawn_interrupt);
    if (lua_pcall(host->L, 0, 0, 0) != LUA_OK) {
        lua_pop(host->L, 1); /* no memory: the next one may reach it */
    }
    if (!task_has_foreground(host->tasks)) {
        task_set_foreground(host->tasks, NULL);
    }
}

void
host_release_signals(void)
{
    signalled_tasks = NULL;
    (void)host_set_alarm(0, 0);
}

/* Loading --------------------------------------------------------------------- */

/* [-1, +0, m] The table on top becomes the global `arg` of scripts. */
static void
set_arg(lua_State *L)
{
    host_push_env(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "arg");
    lua_pop(L, 1);
}

int
host_load_script(lua_State *L, const char *path)
{
    int is_stdin = strcmp(path, "-") == 0;

    set_arg(L);
    if (!is_stdin) {
        host_search_beside(L, path);
    }
    if (luaL_loadfilex(L, is_stdin ? NULL : path, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    host_set_env(L);
    return 1;
}

/* Running ---------------------------------------------------------------------- */

static int
is_over(void *arg)
{
    struct host *host = arg;

    if (interrupt_count != host->interrupts_told) {
        tell_interrupt(host);
    }
    if ((signal_count > 0 || alarm_fired) && !host->cancelled) {
        host->cancelled = 1;
        task_cancel(host->root, "cancelled",
                    signal_count > 0 ? text_interrupted : text_too_long);
    }
    return host->exiting || task_state(host->root) >= TASK_DONE;
}

int
host_exit_status(const char *kind)
{
    static const struct {
        const char *kind;
        int status;
    } table[] = {
        {"usage", HOST_EXIT_USAGE},         {"credentials", HOST_EXIT_CREDENTIALS},
        {"timeout", HOST_EXIT_STOPPED},     {"cancelled", HOST_EXIT_STOPPED},
        {"quota", HOST_EXIT_QUOTA},         {"unknown_outcome", HOST_EXIT_UNKNOWN},
        {"skipped", HOST_EXIT_SKIPPED},
    };

    for (size_t i = 0; kind != NULL && i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].kind, kind) == 0) {
            return table[i].status;
        }
    }
    return HOST_EXIT_FAILED;
}

static int
to_text(lua_State *L)
{
    (void)luaL_tolstring(L, 1, NULL);
    return 1;
}

/* [-0, +1, m] Pushes the error on top as text, whatever its __tostring does. */
static void
push_text(lua_State *L)
{
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        lua_pushfstring(L, "(an error that is a %s, which cannot be shown)",
                        luaL_typename(L, -1));
    }
}

/* Prints a traceback without the frames of the commands, which tell a script's
 * author nothing. */
static void
print_frames(const char *text)
{
    static const char *const own[] = {"\tlua/moontap/cmd/", "\t(...tail calls...)"};

    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        if (strncmp(text, own[0], strlen(own[0])) != 0
            && strncmp(text, own[1], strlen(own[1])) != 0) {
            (void)fprintf(stderr, "%.*s\n", (int)n, text);
        }
        text += n + (text[n] == '\n');
    }
}

/* [-0, +0, m] Does the error on top say that a create may have been done? Then
 * that is what the shell is told, also of a run that was stopped. */
static int
is_unknown(lua_State *L)
{
    int unknown = lua_getfield(L, -1, "outcome") == LUA_TSTRING
                  && strcmp(lua_tostring(L, -1), "unknown") == 0;

    lua_pop(L, 1);
    return unknown;
}

/* (task) -> exit status. Prints the error; guarded, because it may raise. */
static int
show_failure(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    const char *kind = NULL;
    int unknown = 0;

    task_push_error(L, task);
    if (lua_type(L, -1) == LUA_TTABLE && luaL_getmetafield(L, -1, "__name") != LUA_TNIL) {
        lua_pop(L, 1);
        unknown = is_unknown(L);
        if (lua_getfield(L, -1, "kind") == LUA_TSTRING) {
            kind = lua_tostring(L, -1);
        }
        lua_insert(L, -2); /* keeps KIND alive below the error */
    }
    push_text(L);
    (void)fprintf(stderr, "moontap: %s\n", lua_tostring(L, -1));
    if (kind == NULL || (strcmp(kind, "usage") != 0 && strcmp(kind, "credentials") != 0)) {
        task_push_traceback(L, task);
        print_frames(lua_tostring(L, -1));
    }
    lua_pushinteger(L, unknown ? HOST_EXIT_UNKNOWN : host_exit_status(kind));
    return 1;
}

static int
report_failure(struct host *host)
{
    lua_State *L = host->L;
    int status = HOST_EXIT_FAILED;

    (void)fflush(stdout);
    lua_pushcfunction(L, show_failure);
    lua_pushlightuserdata(L, host->root);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
        status = (int)lua_tointeger(L, -1);
    } else {
        (void)fputs("moontap: failed; not enough memory to say how\n", stderr);
    }
    lua_pop(L, 1);
    return status;
}

/* (task) -> the integer its function returned, else 0. */
static int
read_result(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);

    task_push_error(L, task); /* the top value: the last result, or nil */
    lua_pushinteger(L, lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0);
    return 1;
}

/* (task) -> exit status. Guarded, because it may raise. */
static int
show_cancellation(lua_State *L)
{
    int unknown;

    task_push_cancellation(L, lua_touserdata(L, 1));
    unknown = lua_istable(L, -1) && is_unknown(L);
    (void)fprintf(stderr, "moontap: %s\n", luaL_tolstring(L, -1, NULL));
    lua_pushinteger(L, unknown ? HOST_EXIT_UNKNOWN : HOST_EXIT_STOPPED);
    return 1;
}

static int
outcome(struct host *host)
{
    lua_State *L = host->L;
    int status = 0;

    switch (task_state(host->root)) {
    case TASK_DONE:
        if (host->is_script) {
            return HOST_EXIT_OK;
        }
        lua_pushcfunction(L, read_result);
        lua_pushlightuserdata(L, host->root);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
            status = (int)lua_tointeger(L, -1);
        }
        lua_pop(L, 1);
        return status;
    case TASK_CANCELLED:
        (void)fflush(stdout);
        lua_pushcfunction(L, show_cancellation);
        lua_pushlightuserdata(L, host->root);
        status = HOST_EXIT_STOPPED;
        if (lua_pcall(L, 1, 1, 0) == LUA_OK) {
            status = (int)lua_tointeger(L, -1);
        } else {
            (void)fputs("moontap: stopped\n", stderr);
        }
        lua_pop(L, 1);
        return status;
    default:
        return report_failure(host);
    }
}

static void
report_task(void *arg, const char *message)
{
    (void)arg;
    (void)fprintf(stderr, "moontap: %s\n", message);
}

/* Has whoever read standard output left? That is how `| head` ends. */
static int
is_reader_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/* (fn, arguments…) Guarded. */
static int
spawn_root(lua_State *L)
{
    host_of(L)->root = task_spawn_root(L, lua_gettop(L) - 1);
    return 0;
}

int
host_run(struct host *host, int nargs)
{
    lua_State *L = host->L;
    int status;

    task_on_report(host->tasks, report_task, host);
    lua_pushcfunction(L, spawn_root);
    lua_insert(L, -(nargs + 2));
    if (lua_pcall(L, nargs + 1, 0, 0) != LUA_OK) {
        (void)fputs("moontap: not enough memory to start\n", stderr);
        lua_pop(L, 1);
        return HOST_EXIT_FAILED;
    }
    if (!loop_run(host->loop, is_over, host)) {
        (void)fputs("moontap: every task waits and nothing can wake one:\n", stderr);
        on_usr1(host);
        return HOST_EXIT_FAILED;
    }
    status = host->exiting ? host->exit_status : outcome(host);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !is_reader_gone()) {
        (void)fprintf(stderr, "moontap: cannot write to standard output: %s\n",
                      strerror(errno));
        status = status == 0 ? HOST_EXIT_FAILED : status;
    }
    host->exit_status = status;
    host->is_over = 1;
    host_run_exit(host, status);
    return status;
}
