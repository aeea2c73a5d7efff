/*
 * sandbox: shuts the running process in, for good. It keeps its memory, its
 * clocks and the descriptors it has; it can open nothing, start nothing and
 * signal nobody else. Knows no Lua.
 *
 * Two walls, each enough for files: Landlock (no file, no TCP port, no abstract
 * socket, no signal outward, as far as the kernel knows these), and a list of
 * system calls; every other one fails with EPERM. A system call of another
 * architecture kills the process.
 */
#ifndef MOONTAP_SANDBOX_H
#define MOONTAP_SANDBOX_H

#include "fault.h"

struct sandbox {
    int landlock; /* version of its interface; 0: the kernel has none */
    int seccomp;  /* is the list of system calls in force? */
};

/*
 * Shuts the process in and says in OUT with what. The process must have one
 * thread. FAULT_IO when the list of system calls cannot be put in force: the
 * process must not go on then. A kernel without Landlock is none, because the
 * list alone lets nothing be opened.
 *
 * In a sanitized build it does nothing and succeeds: the sanitizers need calls
 * that the list refuses.
 */
enum fault_code sandbox_enter(struct sandbox *out, struct fault *fault);

/* Does this build shut anything in? */
int sandbox_is_real(void);

/* Says in OUT what sandbox_enter would find here. Changes nothing. */
void sandbox_look(struct sandbox *out);

#endif
