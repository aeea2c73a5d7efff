/*
 * term_history: what was typed, in memory and in a file. Entries carry time
 * stamps, so that one of several lines stays one.
 */
#include "term_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <readline/history.h>

#define OWNER_ONLY 0600

/* Makes FILE when there is none. Returns 0, or -1 with errno set. */
static int
touch(const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, OWNER_ONLY);

    if (fd < 0) {
        return -1;
    }
    (void)fchmod(fd, OWNER_ONLY); /* best effort: what was typed is nobody else's */
    return close(fd);
}

enum fault_code
term_open_history(struct term *t, const char *file, int max, struct fault *fault)
{
    int err;

    using_history();
    clear_history();
    stifle_history(max);
    history_comment_char = '#';
    history_write_timestamps = 1;
    if (file == NULL) {
        return FAULT_OK;
    }
    err = touch(file) == 0 ? read_history(file) : errno;
    if (err != 0) {
        return fault_set(fault, FAULT_IO, "history %s: %s", file, strerror(err));
    }
    t->history = mem_strdup(file);
    if (t->history == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    if (history_length >= max) {
        (void)history_truncate_file(file, max); /* best effort: it only grows else */
    }
    return FAULT_OK;
}

void
term_add_history(struct term *t, const char *text, int is_kept)
{
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1)
                                          : NULL;

    if (last != NULL && strcmp(last->line, text) == 0) {
        return;
    }
    add_history(text);
    if (is_kept && t->history != NULL) {
        (void)append_history(1, t->history); /* best effort: it is in memory */
    }
}
