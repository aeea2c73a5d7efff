/*
 * term: a person at a terminal. GNU readline's callback interface on the loop,
 * and the output of everybody else above the line that is being typed. Knows no
 * Lua. There is one at a time, because readline is one.
 *
 * Life: term_open, then any number of term_begin … term_end, then term_close.
 * Between begin and end the terminal is readline's and standard output and
 * error are collected; otherwise all is as the program found it.
 */
#ifndef MOONTAP_TERM_H
#define MOONTAP_TERM_H

#include "fault.h"
#include "loop.h"

#include <stddef.h>

struct term;

enum term_event {
    TERM_NOTHING,   /* go on waiting */
    TERM_LINE,      /* a line is complete */
    TERM_EOF,       /* the end was typed, or the terminal is gone */
    TERM_INTERRUPT  /* term_interrupt was called */
};

/* Asked from within term_step. BEFORE is what stands before the cursor. */
struct term_calls {
    /* What could end BEFORE: calls term_offer for each, and term_offer_from. */
    void (*complete)(void *arg, struct term *t, const char *before, size_t n);
    /* What to say of the call that BEFORE is in: calls term_say, or does not. */
    void (*hint)(void *arg, struct term *t, const char *before, size_t n);
    void *arg;
};

/* Takes the terminal at descriptors 0 and 1. FAULT_IO when they are none, or
 * when one is open already; FAULT_NOMEM. CALLS is copied. */
enum fault_code term_open(struct loop *loop, const struct term_calls *calls, struct term **out,
                          struct fault *fault);
/* Ends a reading that goes on. Works with NULL. */
void term_close(struct term *t);

/* Shows PROMPT and begins to read. WAKE(ARG) is called from the loop whenever
 * term_step is due. FAULT_NOMEM, FAULT_IO. */
enum fault_code term_begin(struct term *t, const char *prompt, loop_fn wake, void *arg,
                           struct fault *fault);
/* Handles what was typed. *LINE (owned by T, valid until the next term_begin) is
 * set with TERM_LINE. After anything but TERM_NOTHING the reading is over. */
enum term_event term_step(struct term *t, const char **line);
/* Ends a reading from outside; what was typed is dropped. Works twice. */
void term_end(struct term *t);
/* Lets the reading end with TERM_INTERRUPT; without one, does nothing. */
void term_interrupt(struct term *t);

/* Within calls.complete: TEXT (copied) can stand from the offset AT of the line
 * on, instead of what stands there up to the cursor. */
void term_offer(struct term *t, size_t at, const char *text);
/* Within calls.hint: shows TEXT above the line. */
void term_say(struct term *t, const char *text, size_t n);

/* Columns. */
int term_width(const struct term *t);

/* History ------------------------------------------------------------------- */

/* Keeps MAX entries, and those of FILE (NULL: none), to which later ones are
 * appended. A file that cannot be read is as good as none: FAULT_IO says why. */
enum fault_code term_open_history(struct term *t, const char *file, int max,
                                  struct fault *fault);
/* Adds TEXT, unless it is what was added last; to the file too when IS_KEPT. */
void term_add_history(struct term *t, const char *text, int is_kept);

#endif
