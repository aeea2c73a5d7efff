/*
 * pty: runs a program on a pseudo-terminal of its own. What comes on standard
 * input is typed there; what the program shows goes to standard output. A
 * request line on descriptor 3, if that is open, changes the size: "ROWS COLUMNS".
 * Leaves with the program's status (128 + signal), and says on standard error
 * whether the terminal was left as it was found.
 *
 * usage: pty COMMAND [ARGUMENT...]
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define ROWS 24
#define COLUMNS 80
#define SIZE_FD 3

#define KEYS_MAX 4096 /* read, not typed yet */

static int master = -1, slave = -1, has_sizes;
static char keys[KEYS_MAX];
static size_t key_count;

static void
die(const char *what)
{
    (void)fprintf(stderr, "pty: %s: %s\n", what, strerror(errno));
    exit(125);
}

static void
set_size(unsigned rows, unsigned columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    (void)ioctl(master, TIOCSWINSZ, &size);
}

static void
open_terminal(void)
{
    char name[128];

    has_sizes = fcntl(SIZE_FD, F_GETFD) >= 0;
    if (!has_sizes && dup2(STDERR_FILENO, SIZE_FD) < 0) { /* keeps the number taken */
        die("dup2");
    }
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0
        || ptsname_r(master, name, sizeof name) != 0) {
        die("open a terminal");
    }
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        die(name);
    }
    set_size(ROWS, COLUMNS);
    /* a program that waits to be read from takes no keys meanwhile */
    (void)fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
}

static pid_t
start(char **argv)
{
    pid_t pid = fork();

    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        (void)setsid();
        (void)ioctl(slave, TIOCSCTTY, 0);
        for (int fd = 0; fd < 3; fd++) {
            (void)dup2(slave, fd);
        }
        (void)close(SIZE_FD);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

static void
write_all(int fd, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, data, n);

        if (put < 0 && errno != EINTR) {
            return; /* the reader has left; the program goes on */
        }
        data += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
}

/* Passes on what the program shows. */
static void
show(void)
{
    char chunk[4096];
    ssize_t got = read(master, chunk, sizeof chunk);

    if (got > 0) {
        write_all(STDOUT_FILENO, chunk, (size_t)got);
    }
}

/* Reads keys to be typed. Returns 0 at the end of them. */
static int
take_keys(void)
{
    ssize_t got = read(STDIN_FILENO, keys, sizeof keys);

    if (got > 0) {
        key_count = (size_t)got;
    }
    return got > 0 || (got < 0 && errno == EINTR);
}

/* Types as many of the keys as the terminal takes. */
static void
type_keys(void)
{
    ssize_t put = write(master, keys, key_count);

    if (put > 0) {
        key_count -= (size_t)put;
        memmove(keys, keys + put, key_count);
    }
}

static int
resize(void)
{
    char text[64];
    ssize_t got = read(SIZE_FD, text, sizeof text - 1);
    unsigned rows, columns;

    if (got <= 0) {
        return 0;
    }
    text[got] = '\0';
    if (sscanf(text, "%u %u", &rows, &columns) == 2) {
        set_size(rows, columns);
    }
    return 1;
}

/* Passes everything on until the program has ended. Returns its wait status. */
static int
serve(pid_t pid)
{
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {master, POLLIN, 0}, {SIZE_FD, POLLIN, 0}};
    int status, has_keys = 1;

    if (!has_sizes) {
        fds[2].fd = -1;
    }
    for (;;) {
        int ready;

        fds[0].fd = has_keys && key_count == 0 ? STDIN_FILENO : -1;
        fds[1].events = key_count > 0 ? POLLIN | POLLOUT : POLLIN;
        ready = poll(fds, 3, 20);
        if (ready > 0 && fds[0].revents != 0) {
            has_keys = take_keys();
        }
        if (ready > 0 && (fds[1].revents & POLLOUT) != 0) {
            type_keys();
        }
        if (ready > 0 && fds[2].revents != 0 && !resize()) {
            fds[2].fd = -1;
        }
        if (ready > 0 && (fds[1].revents & POLLIN) != 0) {
            show();
        } else if (waitpid(pid, &status, WNOHANG) == pid) {
            while (poll(&fds[1], 1, 20) > 0 && (fds[1].revents & POLLIN) != 0) {
                show();
            }
            return status;
        }
    }
}

static int
is_same(const struct termios *a, const struct termios *b)
{
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag
           && memcmp(a->c_cc, b->c_cc, sizeof a->c_cc) == 0;
}

int
main(int argc, char **argv)
{
    struct termios before, after;
    int status;

    if (argc < 2) {
        (void)fputs("usage: pty COMMAND [ARGUMENT...]\n", stderr);
        return 125;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    open_terminal();
    (void)tcgetattr(slave, &before);
    status = serve(start(argv + 1));
    (void)tcgetattr(slave, &after);
    (void)fprintf(stderr, "terminal %s\n", is_same(&before, &after) ? "restored" : "left changed");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
