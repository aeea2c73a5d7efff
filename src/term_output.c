/*
 * term_output: while a line is being typed, what anybody writes to standard
 * output or error goes to a file in memory, and from there above the line
 * before the program waits again. A file, because a pipe that is full would
 * stop the only thread, which is also the one that reads it.
 */
#include "term_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <readline/readline.h>

#define REST_MAX 65536 /* bytes of a line without an end that are held back */
#define CHUNK 65536

enum fault_code
term_open_output(struct term *t, struct fault *fault)
{
    buf_init(&t->rest, REST_MAX);
    t->held_fd = memfd_create("moontap-output", MFD_CLOEXEC);
    if (t->held_fd < 0 || fcntl(t->held_fd, F_SETFL, O_APPEND) != 0) {
        return fault_set(fault, FAULT_IO, "collect output: %s", strerror(errno));
    }
    return FAULT_OK;
}

void
term_close_output(struct term *t)
{
    if (t->held_fd >= 0) {
        (void)close(t->held_fd);
        t->held_fd = -1;
    }
    buf_fini(&t->rest);
}

void
term_print_above(struct term *t, const char *text, size_t n)
{
    if (n == 0) {
        return;
    }
    if (t->reading) {
        rl_clear_visible_line();
    }
    (void)fwrite(text, 1, n, t->out);
    if (t->reading) {
        if (text[n - 1] != '\n') {
            (void)fputc('\n', t->out);
        }
        rl_on_new_line();
        rl_redisplay();
    }
    (void)fflush(t->out);
}

/* Shows the complete lines of TEXT, and holds back what follows the last one. */
static void
show_lines(struct term *t, char *text, size_t n)
{
    const char *last = memrchr(text, '\n', n);
    size_t whole = last != NULL ? (size_t)(last - text) + 1 : 0;

    if (whole > 0) {
        if (t->rest.len > 0 && buf_append(&t->rest, text, whole) == FAULT_OK) {
            term_print_above(t, buf_cstr(&t->rest), t->rest.len);
        } else {
            term_print_above(t, buf_cstr(&t->rest), t->rest.len);
            term_print_above(t, text, whole);
        }
        buf_reset(&t->rest);
    }
    if (n > whole && buf_append(&t->rest, text + whole, n - whole) != FAULT_OK) {
        term_print_above(t, text + whole, n - whole);
    }
}

/* Shows what was written since the last time. */
static void
drain(void *arg)
{
    struct term *t = arg;
    char chunk[CHUNK];
    off_t at = 0;
    ssize_t got;

    (void)fflush(stdout);
    (void)fflush(stderr);
    if (lseek(t->held_fd, 0, SEEK_END) <= 0) {
        return;
    }
    while ((got = pread(t->held_fd, chunk, sizeof chunk, at)) > 0) {
        show_lines(t, chunk, (size_t)got);
        at += got;
    }
    (void)ftruncate(t->held_fd, 0);
}

/* Makes FD lead to the file in memory, if it is a terminal. Returns a duplicate
 * of what it was, or -1. */
static int
divert(const struct term *t, int fd)
{
    int was = isatty(fd) ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (was >= 0 && dup2(t->held_fd, fd) < 0) {
        (void)close(was);
        was = -1;
    }
    return was;
}

static void
give_back(int *was, int fd)
{
    if (*was >= 0) {
        (void)dup2(*was, fd);
        (void)close(*was);
        *was = -1;
    }
}

enum fault_code
term_begin_output(struct term *t, struct fault *fault)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    clearerr(stdout); /* Ctrl-C may have cut off what was written; a dead terminal says so again */
    t->real_out = divert(t, STDOUT_FILENO);
    t->real_err = divert(t, STDERR_FILENO);
    if (t->real_out < 0) {
        return fault_set(fault, FAULT_IO, "collect output: %s", strerror(errno));
    }
    loop_on_wait(t->loop, drain, t);
    return FAULT_OK;
}

void
term_end_output(struct term *t)
{
    if (t->real_out < 0 && t->real_err < 0) {
        return;
    }
    loop_on_wait(t->loop, NULL, NULL);
    drain(t);
    term_print_above(t, buf_cstr(&t->rest), t->rest.len);
    buf_reset(&t->rest);
    give_back(&t->real_out, STDOUT_FILENO);
    give_back(&t->real_err, STDERR_FILENO);
}
