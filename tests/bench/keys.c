/*
 * keys: measures a prompt from the other side of its terminal.
 *
 * usage: keys start ROUNDS PROMPT COMMAND...     from fork to the first PROMPT
 *        keys echo KEYS PROMPT SETUP COMMAND...  from a key to its echo, after
 *                                                the lines of the file SETUP
 * Prints one time a line, in microseconds.
 */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS 20000
#define LINE_MAX_BYTES 4096
#define KEYS_PER_LINE 40
#define PAUSE_US 4000

struct screen {
    int fd;
    pid_t pid;
    size_t len;
    char data[1 << 16]; /* what was shown since the last look */
};

static long
now_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000L + ts.tv_nsec / 1000;
}

static void
start(struct screen *s, char **argv)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};

    s->len = 0;
    s->pid = forkpty(&s->fd, NULL, NULL, &size);
    if (s->pid == 0) {
        (void)setenv("TERM", "xterm", 1);
        (void)setenv("INPUTRC", "/dev/null", 1);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    if (s->pid < 0) {
        perror("forkpty");
        exit(1);
    }
}

static void
stop(struct screen *s)
{
    (void)kill(s->pid, SIGKILL);
    (void)close(s->fd);
    (void)waitpid(s->pid, NULL, 0);
}

static void
type(struct screen *s, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t put = write(s->fd, text, n);

        if (put < 0 && errno != EINTR) {
            perror("keys: write");
            exit(1);
        }
        text += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
}

/* Reads until TEXT is shown, and forgets what was. */
static void
expect(struct screen *s, const char *text)
{
    struct pollfd fd = {.fd = s->fd, .events = POLLIN};

    s->len = 0;
    for (;;) {
        ssize_t got;

        if (poll(&fd, 1, LIMIT_MS) <= 0) {
            (void)fprintf(stderr, "keys: no \"%s\" in \"%.*s\"\n", text, (int)s->len, s->data);
            exit(1);
        }
        if (s->len > sizeof s->data / 2) {
            s->len = 0;
        }
        got = read(s->fd, s->data + s->len, sizeof s->data - s->len);
        if (got <= 0) {
            (void)fprintf(stderr, "keys: it ended: %.*s\n", (int)s->len, s->data);
            exit(1);
        }
        s->len += (size_t)got;
        if (memmem(s->data, s->len, text, strlen(text)) != NULL) {
            return;
        }
    }
}

static int
measure_start(int rounds, const char *prompt, char **argv)
{
    for (int i = 0; i < rounds; i++) {
        struct screen s;
        long began = now_us();

        start(&s, argv);
        expect(&s, prompt);
        (void)printf("%ld\n", now_us() - began);
        stop(&s);
    }
    return 0;
}

static int
measure_echo(int keys, const char *prompt, const char *setup, char **argv)
{
    static struct screen s;
    char line[LINE_MAX_BYTES];
    FILE *file = fopen(setup, "r");

    if (file == NULL) {
        perror(setup);
        return 1;
    }
    start(&s, argv);
    expect(&s, prompt);
    while (fgets(line, sizeof line, file) != NULL) {
        type(&s, line, strlen(line));
        expect(&s, prompt);
    }
    (void)fclose(file);
    for (int i = 0; i < keys; i++) {
        long began;

        if (i % KEYS_PER_LINE == KEYS_PER_LINE - 1) {
            type(&s, "\025", 1); /* Ctrl-U */
            (void)usleep(10 * PAUSE_US);
            (void)tcflush(s.fd, TCIFLUSH);
        }
        (void)usleep(PAUSE_US);
        began = now_us();
        type(&s, "Q", 1);
        expect(&s, "Q");
        (void)printf("%ld\n", now_us() - began);
    }
    stop(&s);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc >= 5 && strcmp(argv[1], "start") == 0) {
        return measure_start(atoi(argv[2]), argv[3], argv + 4);
    }
    if (argc >= 6 && strcmp(argv[1], "echo") == 0) {
        return measure_echo(atoi(argv[2]), argv[3], argv[4], argv + 5);
    }
    (void)fputs("usage: keys start ROUNDS PROMPT COMMAND...\n"
                "       keys echo KEYS PROMPT SETUP COMMAND...\n",
                stderr);
    return 2;
}
