/*
 * server_int: what the files of the server room share. Nobody else includes it.
 *
 * Who does what: server.c owns the library, its connections and the tokens;
 * server_answer.c makes responses; server_socket.c opens the listening socket.
 */
#ifndef MOONTAP_SERVER_INT_H
#define MOONTAP_SERVER_INT_H

#include "server.h"

#include <microhttpd.h>

/*
 * Makes the response to REPLY, whose descriptor it takes over, and sets *STATUS
 * to what it goes out with: a reply that cannot be sent becomes an empty 500.
 * NULL when there is no memory.
 */
struct MHD_Response *server_make_response(const struct wire_reply *reply, int *status);

/*
 * Opens a socket that listens on the numeric address TEXT and PORT (0: any).
 * We do, because the library would not say why it cannot.
 */
enum fault_code server_open_socket(const char *text, unsigned port, int *out, struct fault *fault);
/* The port that socket FD is bound to. */
unsigned server_socket_port(int fd);

#endif
