/*
 * term_undo: keeps readline from using undo lists that it has freed.
 *
 * Readline leaves the undo list of a line with that line when it goes to another one
 * of its history: in the entry, or with the line that is put aside for the time. Some
 * keys, such as those of a search, make one list belong to two lines; readline 8.2
 * then frees it with the one and uses it with the other, keys later. So a list belongs
 * to the line that is being typed and to no other: who comes back to a line cannot
 * undo what he had done to it before, and the list of a line that is left is lost,
 * some fifty bytes for a change.
 */
#include "term_int.h"

#include <readline/history.h>
#include <readline/readline.h>

/* The line put aside. Readline's own, in none of its headers; weak, so that another
 * version may lack it. */
extern HIST_ENTRY *_rl_saved_line_for_history /* NOLINT */ __attribute__((weak));

void
term_read_key(void)
{
    HIST_ENTRY **entry;

    rl_callback_read_char();
    for (entry = history_list(); entry != NULL && *entry != NULL; entry++) {
        (*entry)->data = NULL;
    }
    if (&_rl_saved_line_for_history != NULL && _rl_saved_line_for_history != NULL) {
        _rl_saved_line_for_history->data = NULL;
    }
}
