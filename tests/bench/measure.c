/*
 * measure: runs commands in turn, again and again, and says what each run took
 * of processor time, by the kernel's account of the child itself.
 *
 * usage: measure ROUNDS BATCH [VAR=VALUE...] COMMAND [ARG...] [--- ...]
 * A round runs each command BATCH times; one line per command and round:
 *   INDEX CPU-US WALL-US MAXRSS-KB     (means of the batch; largest resident set)
 * A command that fails, or runs longer than 60 seconds, ends the measurement.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX 16
#define ENV_MAX 400
#define RUN_S_MAX 60

extern char **environ;

struct command {
    char **argv;         /* ends with NULL */
    char *env[ENV_MAX];
};

static pid_t running;

static void
on_alarm(int signum)
{
    (void)signum;
    (void)kill(running, SIGKILL);
}

static double
us(struct timeval t)
{
    return (double)t.tv_sec * 1e6 + (double)t.tv_usec;
}

static double
wall_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* VAR=VALUE... before the program go to its environment, before what is there. */
static void
split_env(struct command *command)
{
    size_t n = 0;

    while (command->argv[0] != NULL && strchr(command->argv[0], '=') != NULL
           && command->argv[0][0] != '/') {
        command->env[n++] = *command->argv++;
    }
    for (char **var = environ; *var != NULL && n < ENV_MAX - 1; var++) {
        size_t name = strcspn(*var, "=") + 1;
        int given = 0;

        for (size_t i = 0; i < n && !given; i++) {
            given = strncmp(command->env[i], *var, name) == 0;
        }
        if (!given) {
            command->env[n++] = *var;
        }
    }
    command->env[n] = NULL;
}

static int
run_once(struct command *command, const posix_spawn_file_actions_t *actions,
         struct rusage *usage)
{
    int status, err;

    err = posix_spawnp(&running, command->argv[0], actions, NULL, command->argv,
                       command->env);
    if (err != 0) {
        (void)fprintf(stderr, "measure: %s: %s\n", command->argv[0], strerror(err));
        return -1;
    }
    (void)alarm(RUN_S_MAX);
    while (wait4(running, &status, 0, usage) < 0 && errno == EINTR) {
    }
    (void)alarm(0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        (void)fprintf(stderr, "measure: %s failed (status %#x)\n", command->argv[0],
                      (unsigned)status);
        return -1;
    }
    return 0;
}

static int
run_batch(struct command *command, int index, long batch,
          const posix_spawn_file_actions_t *actions)
{
    double cpu = 0, wall = 0;
    long rss = 0;
    struct rusage usage;

    for (long i = 0; i < batch; i++) {
        double start = wall_us();

        if (run_once(command, actions, &usage) != 0) {
            return -1;
        }
        wall += wall_us() - start;
        cpu += us(usage.ru_utime) + us(usage.ru_stime);
        rss = usage.ru_maxrss > rss ? usage.ru_maxrss : rss;
    }
    (void)printf("%d %.2f %.2f %ld\n", index + 1, cpu / (double)batch,
                 wall / (double)batch, rss);
    (void)fflush(stdout);
    return 0;
}

int
main(int argc, char **argv)
{
    static struct command commands[COMMANDS_MAX];
    posix_spawn_file_actions_t actions;
    struct sigaction action = { .sa_handler = on_alarm };
    int count = 0;

    if (argc < 4) {
        (void)fputs("usage: measure ROUNDS BATCH [VAR=VALUE...] COMMAND [ARG...] [--- ...]\n",
                    stderr);
        return 2;
    }
    for (int i = 3; i < argc && count < COMMANDS_MAX; i++) {
        commands[count++].argv = argv + i;
        while (i < argc && strcmp(argv[i], "---") != 0) {
            i++;
        }
        if (i < argc) {
            argv[i] = NULL;
        }
    }
    for (int i = 0; i < count; i++) {
        split_env(&commands[i]);
    }
    (void)sigaction(SIGALRM, &action, NULL);
    if (posix_spawn_file_actions_init(&actions) != 0
        || posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
               != 0
        || posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
               != 0) {
        return 1;
    }
    for (long round = strtol(argv[1], NULL, 10); round > 0; round--) {
        for (int i = 0; i < count; i++) {
            if (run_batch(&commands[i], i, strtol(argv[2], NULL, 10), &actions) != 0) {
                return 1;
            }
        }
    }
    return 0;
}
