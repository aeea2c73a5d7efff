/*
 * isolated: runs a test in a child process with name spaces of its own, where
 * files of the system can be replaced. Where the machine allows none, the test
 * says so and passes.
 */
#ifndef MOONTAP_TEST_ISOLATED_H
#define MOONTAP_TEST_ISOLATED_H

#define ISOLATED_IMPOSSIBLE 77

/* Leaves the machine's mounts and, with NETWORK, its network (loopback is up in
 * the new one). In the child. Returns 0, or -1 where that is not allowed. */
int isolated_enter(int network);
/* Puts TEXT in the place of the file PATH. Returns 0 or -1. */
int isolated_replace(const char *path, const char *text);
/* Runs FN in a child; fails the test when it returns neither 0 nor
 * ISOLATED_IMPOSSIBLE. */
void isolated_run(int (*fn)(void));

#endif
