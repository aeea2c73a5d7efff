/*
 * term_int: what the files of the term room share.
 */
#ifndef MOONTAP_TERM_INT_H
#define MOONTAP_TERM_INT_H

#include "term.h"

#include "buf.h"

#include <stdio.h>
#include <termios.h>

#define TERM_OFFERS_MAX 1000

struct term {
    struct loop *loop;
    struct term_calls calls;
    int in_fd, out_fd;         /* the terminal, apart from descriptors 0 and 1 */
    FILE *in, *out;            /* the same as streams, for readline; own them */
    struct termios found;      /* how the terminal was found */
    struct loop_signal *resize, *suspend;
    struct loop_watch *watch;  /* on the terminal, while reading */
    loop_fn wake;
    void *wake_arg;
    int reading;
    enum term_event event;     /* how the reading ended, or TERM_NOTHING */
    char *line;                /* readline's; NULL: none */
    char **offers;             /* of the completion that is under way */
    size_t offer_count, next_offer;
    size_t word_at;            /* where readline's word begins */
    int has_said;              /* term_say was called for a hint */
    int held_fd;               /* takes what is written while reading */
    int real_out, real_err;    /* descriptors 1 and 2 meanwhile; -1 */
    int ahead[2];              /* keys that were read already, the next one last */
    int ahead_count;
    struct buf rest;           /* the last line of it, while it is not complete */
    char *history;             /* path of the history file; NULL: none */
};

/* term_output.c */
enum fault_code term_open_output(struct term *t, struct fault *fault);
void term_close_output(struct term *t);
enum fault_code term_begin_output(struct term *t, struct fault *fault);
/* Gives back descriptors 1 and 2 and shows what is left; works twice. */
void term_end_output(struct term *t);
/* Shows N bytes of TEXT above the line that is being typed. */
void term_print_above(struct term *t, const char *text, size_t n);

/* term_undo.c */
/* Lets readline take a key. The undo list stays with the line that is being typed. */
void term_read_key(void);

#endif
