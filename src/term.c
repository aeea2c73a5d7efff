/*
 * term: readline on the loop; see term.h. What others write meanwhile is
 * term_output.c's business, the history file term_history.c's.
 */
#include "term_int.h"

#include "buf.h"
#include "leave.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#define MODES_MAX 6 /* that can be on at once */
#define KEYMAP_DEPTH_MAX 8
#define PASTE_MAX (1u << 20)       /* bytes */
#define PASTE_WAIT_MS 200          /* for more of a paste */
#define SEARCH_ESC_MS 50           /* what follows an escape later is no part of its key */
#define KEYS_PER_STEP 256          /* then others have their turn */
#define KEYSEQ_TIMEOUT_MAX "50"    /* ms; readline blocks the program for so long */
#define BREAK_CHARACTERS " \t\n\"\\'`@$><=;|&{(+-*/%^#~,[])}:."

/* Readline's callbacks have no argument of ours: the one that is open. */
static struct term *opened;

/* Crash and hasty exit -------------------------------------------------------- */

static const char text_restore[] = "\033[?2004l\r\n"; /* bracketed paste off */

/* Safe in a signal handler. */
static void
restore_terminal(void)
{
    const struct term *t = opened;

    if (t != NULL && t->reading) {
        (void)tcsetattr(t->in_fd, TCSANOW, &t->found);
        (void)!write(t->out_fd, text_restore, sizeof text_restore - 1);
    }
}

static void
on_crash(int signum)
{
    restore_terminal();
    (void)raise(signum); /* the handler is gone: SA_RESETHAND */
}

static void
catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction action, old;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_crash;
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            (void)sigaction(signals[i], &action, NULL);
        }
    }
}

/* Completion and hints ---------------------------------------------------------- */

void
term_offer(struct term *t, size_t at, const char *text)
{
    char **grown, *made;
    size_t start = t->word_at, skip = at < start ? start - at : 0, n;

    if (t->offer_count >= TERM_OFFERS_MAX || at > (size_t)rl_point
        || strncmp(text, rl_line_buffer + at, (size_t)rl_point - at) != 0) {
        return;
    }
    grown = mem_realloc(t->offers, (t->offer_count + 1) * sizeof *grown);
    if (grown == NULL) {
        return; /* one offer less */
    }
    t->offers = grown;
    n = at > start ? at - start : 0; /* of the word before it that stays */
    made = mem_alloc(n + strlen(text + skip) + 1);
    if (made == NULL) {
        return;
    }
    memcpy(made, rl_line_buffer + start, n);
    memcpy(made + n, text + skip, strlen(text + skip) + 1);
    t->offers[t->offer_count++] = made;
}

static void
drop_offers(struct term *t)
{
    for (size_t i = t->next_offer; i < t->offer_count; i++) {
        mem_free(t->offers[i]);
    }
    mem_free(t->offers);
    t->offers = NULL;
    t->offer_count = t->next_offer = 0;
}

/* Hands the offers over one by one; readline frees them. */
static char *
next_offer(const char *text, int state)
{
    struct term *t = opened;

    (void)text;
    (void)state;
    return t->next_offer < t->offer_count ? t->offers[t->next_offer++] : NULL;
}

void
term_say(struct term *t, const char *text, size_t n)
{
    t->has_said = 1;
    term_print_above(t, text, n);
}

static int
say_hint(int count, int key)
{
    struct term *t = opened;

    (void)count;
    (void)key;
    t->has_said = 0;
    t->calls.hint(t->calls.arg, t, rl_line_buffer, (size_t)rl_point);
    if (!t->has_said) {
        (void)rl_ding();
    }
    return 0;
}

static char **
complete(const char *text, int start, int end)
{
    struct term *t = opened;
    char **matches;

    rl_attempted_completion_over = 1; /* no file names of readline's own */
    rl_completion_append_character = '\0';
    rl_completion_suppress_quote = 1;
    t->word_at = (size_t)start;
    t->calls.complete(t->calls.arg, t, rl_line_buffer, (size_t)end);
    matches = t->offer_count > 0 ? rl_completion_matches(text, next_offer) : NULL;
    drop_offers(t);
    if (matches == NULL && start == end) {
        (void)say_hint(1, 0);
    }
    return matches;
}

/* Reading ------------------------------------------------------------------------ */

/* Keys that were read already, the next one last; then those of the terminal. */
static int
next_key(FILE *stream)
{
    struct term *t = opened;

    return t->ahead_count > 0 ? t->ahead[--t->ahead_count] : rl_getc(stream);
}

static int
no_key(FILE *stream)
{
    (void)stream;
    return EOF;
}

/* Drops what readline has put aside to be read once more, as a paste into a
 * search: behind the end of a line it would go on with it, without a handler. */
static void
drop_put_aside(void)
{
    rl_getc_func_t *getc_function = rl_getc_function;

    rl_getc_function = no_key;
    while (rl_read_key() != EOF) {
    }
    rl_getc_function = getc_function;
}

static void
on_line(char *line)
{
    struct term *t = opened;

    rl_callback_handler_remove(); /* at once: no second prompt */
    drop_put_aside();
    t->event = line != NULL ? TERM_LINE : TERM_EOF;
    t->line = line;
}

static void
on_input(void *arg, unsigned events)
{
    struct term *t = arg;

    (void)events;
    t->wake(t->wake_arg);
}

static void
on_resize(void *arg)
{
    struct term *t = arg;

    if (t->reading) {
        rl_resize_terminal();
    }
}

/* Ctrl-Z: the shell gets its terminal as it was. */
static void
on_suspend(void *arg)
{
    struct term *t = arg;

    if (t->reading) {
        rl_deprep_terminal();
        (void)write(t->out_fd, "\n", 1);
    }
    (void)kill(getpid(), SIGSTOP); /* goes on here after SIGCONT */
    if (t->reading) {
        rl_prep_terminal(1);
        rl_forced_update_display();
    }
}

/* Readline waits for the rest of a key sequence while nobody else runs. */
static void
bound_key_timeout(void)
{
    const char *value = rl_variable_value("keyseq-timeout");

    if (value == NULL || strlen(value) > 2 || strcmp(value, KEYSEQ_TIMEOUT_MAX) > 0) {
        (void)rl_variable_bind("keyseq-timeout", KEYSEQ_TIMEOUT_MAX);
    }
}

static int
has_input(const struct term *t, int wait_ms)
{
    struct pollfd input = {.fd = t->in_fd, .events = POLLIN};

    return t->ahead_count > 0 || poll(&input, 1, wait_ms) > 0;
}

/* Reads a paste up to its end mark, or until nothing comes for a while: Ctrl-C
 * can have dropped the mark, and readline's own function would wait for it, with
 * everybody else. */
static int
take_paste(int count, int key)
{
    static const char mark[] = "\033[201~";
    struct term *t = opened;
    struct buf text;
    char c;

    (void)count;
    buf_init(&text, PASTE_MAX);
    while (has_input(t, PASTE_WAIT_MS) && (key = rl_read_key()) >= 0) {
        c = key == '\r' ? '\n' : (char)key;
        if (c == '\0' || buf_append(&text, &c, 1) != FAULT_OK) {
            (void)rl_ding();
            break;
        }
        if (text.len >= sizeof mark - 1
            && strcmp(buf_cstr(&text) + text.len - (sizeof mark - 1), mark) == 0) {
            text.len -= sizeof mark - 1;
            text.data[text.len] = '\0';
            break;
        }
    }
    if (text.len > 0) {
        (void)rl_insert_text(buf_cstr(&text));
    }
    buf_fini(&text);
    return 0;
}

/* Readline's own abort jumps to where the last key was read. When that key came
 * from readline itself, as the one that ends a search, nobody is there any more. */
static int
give_up(int count, int key)
{
    (void)count;
    (void)key;
    (void)rl_ding();
    (void)rl_clear_message();
    (void)rl_discard_argument();
    (void)rl_clear_pending_input();
    return 0;
}

static void
replace_function(Keymap map, int depth)
{
    for (int key = 0; key < KEYMAP_SIZE; key++) {
        if (map[key].type == ISFUNC && map[key].function == rl_abort) {
            map[key].function = give_up;
        } else if (map[key].type == ISFUNC && map[key].function == rl_bracketed_paste_begin) {
            map[key].function = take_paste;
        } else if (map[key].type == ISFUNC && map[key].function == rl_vi_editing_mode) {
            map[key].function = rl_newline; /* Alt-Enter: who wants vi says so in his inputrc */
        } else if (map[key].type == ISKMAP && depth < KEYMAP_DEPTH_MAX) {
            replace_function((Keymap)(void *)map[key].function, depth + 1);
        }
    }
}

static void
replace_functions(void)
{
    static const char *const names[] = {"emacs", "vi-insert", "vi-command"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        replace_function(rl_get_keymap_by_name(names[i]), 0);
    }
}

/* Terminals are UTF-8 nowadays, also where no locale says so. Readline asks the
 * environment, again and again. */
static void
choose_locale(void)
{
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
        (void)setenv(getenv("LC_ALL") != NULL ? "LC_ALL" : "LC_CTYPE", "C.UTF-8", 1);
        (void)setlocale(LC_CTYPE, "");
    }
}

static void
set_up_readline(struct term *t)
{
    choose_locale();
    rl_readline_name = "moontap";
    rl_instream = t->in;
    rl_outstream = t->out;
    rl_catch_signals = 0;
    rl_getc_function = next_key;
    rl_catch_sigwinch = 0;
    rl_attempted_completion_function = complete;
    rl_basic_word_break_characters = BREAK_CHARACTERS;
    rl_completer_word_break_characters = BREAK_CHARACTERS;
    rl_completer_quote_characters = "";
    (void)rl_initialize();
    bound_key_timeout();
    replace_functions();
    /* readline would wait for the answer itself, and everybody with it */
    (void)rl_variable_bind("completion-query-items", "0");
    (void)rl_variable_bind("page-completions", "off");
    (void)rl_bind_keyseq_if_unbound("\\eh", say_hint);
    (void)rl_bind_keyseq_if_unbound("\\C-xh", say_hint);
}

/* Opens the terminal at standard input once more: the loop makes what it watches
 * non-blocking, and that must not reach standard output, or the shell. */
static int
open_again(void)
{
    char name[128];
    int fd = -1;

    if (ttyname_r(STDIN_FILENO, name, sizeof name) == 0) {
        fd = open(name, O_RDONLY | O_NOCTTY | O_CLOEXEC);
    }
    return fd >= 0 ? fd : open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
}

static enum fault_code
open_streams(struct term *t, struct fault *fault)
{
    t->in_fd = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? open_again() : -1;
    t->out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    t->in = t->in_fd >= 0 ? fdopen(t->in_fd, "r") : NULL;
    t->out = t->out_fd >= 0 ? fdopen(t->out_fd, "w") : NULL;
    if (t->in == NULL || t->out == NULL || tcgetattr(t->in_fd, &t->found) != 0) {
        return fault_set(fault, FAULT_IO, "take the terminal: %s", strerror(errno));
    }
    return term_open_output(t, fault);
}

enum fault_code
term_open(struct loop *loop, const struct term_calls *calls, struct term **out,
          struct fault *fault)
{
    struct term *t;
    enum fault_code code;

    *out = NULL;
    if (opened != NULL) {
        return fault_set(fault, FAULT_IO, "the terminal is taken already");
    }
    t = mem_zalloc(sizeof *t);
    if (t == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    t->loop = loop;
    t->calls = *calls;
    t->in_fd = t->out_fd = t->held_fd = t->real_out = t->real_err = -1;
    opened = t;
    code = open_streams(t, fault);
    if (code == FAULT_OK) {
        code = loop_signal_new(loop, SIGWINCH, on_resize, t, &t->resize, fault);
    }
    if (code == FAULT_OK) {
        code = loop_signal_new(loop, SIGTSTP, on_suspend, t, &t->suspend, fault);
    }
    if (code != FAULT_OK) {
        term_close(t);
        return code;
    }
    set_up_readline(t);
    catch_crashes();
    leave_with(restore_terminal);
    *out = t;
    return FAULT_OK;
}

static void
close_stream(FILE *stream, int fd)
{
    if (stream != NULL) {
        (void)fclose(stream);
    } else if (fd >= 0) {
        (void)close(fd);
    }
}

void
term_close(struct term *t)
{
    if (t == NULL) {
        return;
    }
    term_end(t);
    leave_with(NULL);
    loop_signal_free(t->resize);
    loop_signal_free(t->suspend);
    term_close_output(t);
    close_stream(t->in, t->in_fd);
    close_stream(t->out, t->out_fd);
    rl_free(t->line);
    mem_free(t->history);
    opened = NULL;
    mem_free(t);
}

/* What a key can leave begun: searches, arguments, sequences of keys. */
#define MODES                                                                      \
    (RL_STATE_ISEARCH | RL_STATE_NSEARCH | RL_STATE_VIMOTION | RL_STATE_NUMERICARG \
     | RL_STATE_MULTIKEY | RL_STATE_CHARSEARCH)

/* Leaves what was begun. Readline leaves one of them a call. */
static void
leave_modes(void)
{
    rl_free_line_state();
    for (int i = 0; i < MODES_MAX && (i == 0 || RL_ISSTATE(MODES)); i++) {
        rl_callback_sigcleanup();
    }
    RL_UNSETSTATE(MODES | RL_STATE_MOREINPUT | RL_STATE_MACROINPUT);
}

enum fault_code
term_begin(struct term *t, const char *prompt, loop_fn wake, void *arg, struct fault *fault)
{
    enum fault_code code;

    rl_free(t->line);
    t->line = NULL;
    t->event = TERM_NOTHING;
    t->ahead_count = 0;
    t->wake = wake;
    t->wake_arg = arg;
    code = loop_watch_new(t->loop, t->in_fd, LOOP_READ, on_input, t, &t->watch, fault);
    if (code == FAULT_OK) {
        code = term_begin_output(t, fault);
    }
    if (code != FAULT_OK) {
        term_end(t);
        return code;
    }
    t->reading = 1;
    if (RL_ISSTATE(MODES)) {
        leave_modes(); /* a line can end within one, as by Enter in a search */
    }
    rl_callback_handler_install(prompt, on_line);
    return FAULT_OK;
}

/* Readline ends a search at a key such as Alt-b or an arrow by calling itself,
 * which ends in a crash with some of the keys that may follow. So the search is
 * ended first, as by Ctrl-J, and the key comes after it. */
static void
end_search_first(struct term *t)
{
    const char *terminators = rl_variable_value("isearch-terminators");
    int key;

    if (!RL_ISSTATE(RL_STATE_ISEARCH) || t->ahead_count > 0
        || (terminators != NULL && *terminators != '\0')) {
        return;
    }
    key = rl_getc(t->in);
    if (key == ESC && has_input(t, SEARCH_ESC_MS)) {
        t->ahead[t->ahead_count++] = ESC;
    }
    t->ahead[t->ahead_count++] = key == ESC ? '\n' : key;
}

/* What was typed stays to be seen; a prompt alone makes room for the next one. */
static void
leave_line(struct term *t)
{
    if (rl_end > 0) {
        (void)fputs("^C\n", t->out);
    } else {
        rl_clear_visible_line();
    }
    (void)fflush(t->out);
}

enum term_event
term_step(struct term *t, const char **line)
{
    enum term_event event;

    for (int i = 0;
         t->event == TERM_NOTHING && has_input(t, 0) && (i < KEYS_PER_STEP || t->ahead_count > 0);
         i++) {
        end_search_first(t);
        term_read_key();
    }
    event = t->event;
    if (event == TERM_INTERRUPT) {
        leave_line(t);
    }
    if (event != TERM_NOTHING) {
        term_end(t);
    }
    *line = t->line;
    return event;
}

void
term_end(struct term *t)
{
    if (t->reading) {
        t->reading = 0;
        if (t->event != TERM_LINE && t->event != TERM_EOF) {
            leave_modes();
            rl_callback_handler_remove();
            rl_replace_line("", 0);
        }
    }
    loop_watch_free(t->watch);
    t->watch = NULL;
    term_end_output(t);
}

void
term_interrupt(struct term *t)
{
    if (t->reading && t->event == TERM_NOTHING) {
        t->event = TERM_INTERRUPT;
        t->wake(t->wake_arg);
    }
}

int
term_width(const struct term *t)
{
    int rows, columns;

    (void)t;
    rl_get_screen_size(&rows, &columns);
    return columns > 0 ? columns : 80;
}
