/*
 * leave: what has to be put back when the program leaves in a hurry, from a
 * signal handler say: the terminal. Nothing else may happen there.
 */
#ifndef MOONTAP_LEAVE_H
#define MOONTAP_LEAVE_H

/* From now on leave_now calls FN (safe in a signal handler); NULL takes it back. */
void leave_with(void (*fn)(void));

/* Puts back what is to be put back and ends the process with STATUS. Safe in a
 * signal handler. */
_Noreturn void leave_now(int status);

#endif
