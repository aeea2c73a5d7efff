/*
 * rig: what the tests of the http room share: a loop, the server `peer` as a
 * child process, and one call that runs a request to its end.
 */
#ifndef MOONTAP_TEST_RIG_H
#define MOONTAP_TEST_RIG_H

#include "http/http.h"

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

struct rig {
    struct loop *loop;
    struct http *http;
    int port;    /* of the peer */
    int peer_in; /* closing it ends the peer */
    int peer_pid;
};

/* One exchange and whether it has ended. */
struct rig_call {
    struct http_exchange *exchange;
    int ended;
};

/* Starts the program at PATH (a peer) with its standard input held open; its
 * first line of output is its port. */
void rig_start_peer(struct rig *rig, const char *path);
/* Loop, http and the peer of MOONTAP_TEST_BIN; ON_WIRE 0 is the default. */
void rig_open(struct rig *rig, unsigned on_wire);
void rig_close(struct rig *rig);

/* A request to PATH of the peer; the URL is kept in a ring of static buffers. */
struct http_request rig_request(struct rig *rig, const char *method, const char *path);
/* Starts REQUEST; fails the test when it is refused. */
void rig_start(struct rig *rig, const struct http_request *request, struct rig_call *call);
/* Runs the loop until CALL has ended. */
const struct http_result *rig_finish(struct rig *rig, struct rig_call *call);
/* Starts and finishes; the result is valid until rig_drop. */
const struct http_result *
rig_run(struct rig *rig, const struct http_request *request, struct rig_call *call);
void rig_drop(struct rig_call *call);
/* Asks the peer for "effects connections requests". */
void rig_counts(struct rig *rig, int *effects, int *connections, int *requests);
/* How many descriptors this process has open. */
int rig_open_descriptors(void);

#endif
