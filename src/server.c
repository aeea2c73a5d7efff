/*
 * server: HTTP/1.1 on the loop; see server.h.
 *
 * libmicrohttpd keeps its sockets in an epoll descriptor of its own, which the
 * loop watches. A token lives from a request's first line until both sides have
 * let go of it: the library (its `finished` callback) and whoever answers.
 */
#include "server_int.h"

#include "buf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_TIMEOUT_S 60u
#define PEER_SIZE 64
/* Bytes of a body beyond the bound that are read and dropped, as a multiple of
 * the bound, so that the client gets to read its 413. */
#define DROP_FACTOR 16u

struct server {
    struct loop *loop;
    struct MHD_Daemon *daemon;
    struct loop_watch *watch;
    struct loop_timer timer; /* the library's own timeouts */
    struct loop_job job;     /* another turn of the library */
    wire_handler_fn handler;
    void *arg;
    struct wire_token *tokens; /* all that the library knows, linked */
    size_t body_max;
    unsigned idle_timeout_s;
    unsigned port;
    int running; /* inside MHD_run */
    int closing; /* server_close was called meanwhile */
};

struct wire_token {
    struct wire_token *next, *prev;
    struct server *server; /* NULL: the library has let go */
    struct MHD_Connection *connection;
    struct loop_timer timer; /* ends a connection that stays silent */
    char *target;
    struct buf body;
    size_t dropped;                /* bytes of body beyond the bound */
    struct MHD_Response *response; /* the answer, until it is queued */
    int status;
    enum wire_cut cut;
    int begun; /* its head was read */
    int asked; /* the handler has it and owes an answer */
    int suspended;
    int answered;
};

static enum MHD_Result queue_answer(struct wire_token *token);
static void finish_close(struct server *server);

/* Tokens --------------------------------------------------------------------- */

static void
free_token(struct wire_token *token)
{
    if (token->response != NULL) {
        MHD_destroy_response(token->response);
    }
    buf_fini(&token->body);
    mem_free(token->target);
    mem_free(token);
}

static void
link_token(struct server *server, struct wire_token *token)
{
    token->server = server;
    token->next = server->tokens;
    if (server->tokens != NULL) {
        server->tokens->prev = token;
    }
    server->tokens = token;
}

/* The library lets go of TOKEN; it is freed unless an answer is still owed. */
static void
release_token(struct server *server, struct wire_token *token)
{
    loop_timer_stop(server->loop, &token->timer);
    if (token->prev != NULL) {
        token->prev->next = token->next;
    } else {
        server->tokens = token->next;
    }
    if (token->next != NULL) {
        token->next->prev = token->prev;
    }
    token->server = NULL;
    token->connection = NULL;
    if (!token->asked) {
        free_token(token);
    }
}

static void
resume(struct wire_token *token)
{
    if (token->suspended) {
        token->suspended = 0;
        MHD_resume_connection(token->connection);
    }
}

/* Turns of the library --------------------------------------------------------- */

static void run_server(void *arg);

/* Asks for the next turn at the time the library wants: its descriptor alone
 * does not tell of requests that are read already. */
static void
plan_next(struct server *server)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (MHD_get_timeout(server->daemon, &ms) != MHD_YES) {
        loop_timer_stop(server->loop, &server->timer);
        return;
    }
    if (ms == 0
        || loop_timer_start(server->loop, &server->timer, ms, run_server, server) != FAULT_OK) {
        loop_post(server->loop, &server->job, run_server, server);
    }
}

static void
run_server(void *arg)
{
    struct server *server = arg;

    server->running = 1;
    (void)MHD_run(server->daemon);
    server->running = 0;
    if (server->closing) {
        finish_close(server);
    } else {
        plan_next(server);
    }
}

static void
on_readable(void *arg, unsigned events)
{
    (void)events;
    run_server(arg);
}

static void
run_soon(struct server *server)
{
    if (!server->closing) {
        loop_post(server->loop, &server->job, run_server, server);
    }
}

/* Requests --------------------------------------------------------------------- */

/* Called with the request line, before it is decoded. */
static void *
begin_request(void *arg, const char *target, struct MHD_Connection *connection)
{
    struct server *server = arg;
    struct wire_token *token = mem_zalloc(sizeof *token);

    if (token == NULL) {
        return NULL;
    }
    token->target = mem_strdup(target);
    if (token->target == NULL) {
        mem_free(token);
        return NULL;
    }
    token->connection = connection;
    buf_init(&token->body, server->body_max);
    link_token(server, token);
    return token;
}

static void
finish_request(void *arg, struct MHD_Connection *connection, void **slot,
               enum MHD_RequestTerminationCode why)
{
    struct wire_token *token = *slot;

    (void)connection;
    (void)why;
    *slot = NULL;
    if (token != NULL) {
        release_token(arg, token);
    }
}

/* The peer as "address:port". */
static void
write_peer(struct MHD_Connection *connection, char *out)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    char host[INET6_ADDRSTRLEN];

    (void)snprintf(out, PEER_SIZE, "unknown");
    if (address != NULL && address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        if (inet_ntop(AF_INET, &in->sin_addr, host, sizeof host) != NULL) {
            (void)snprintf(out, PEER_SIZE, "%s:%u", host, ntohs(in->sin_port));
        }
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;

        if (inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host) != NULL) {
            (void)snprintf(out, PEER_SIZE, "[%s]:%u", host, ntohs(in->sin6_port));
        }
    }
}

/* Collects headers; COUNT is how many there is room for. */
struct header_list {
    struct wire_header *items;
    size_t count, room;
};

static enum MHD_Result
collect_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct header_list *list = arg;

    (void)kind;
    if (list->count < list->room) {
        list->items[list->count].name = name;
        list->items[list->count++].value = value != NULL ? value : "";
    }
    return MHD_YES;
}

static enum MHD_Result
answer_number(struct MHD_Connection *connection, unsigned status)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_NO;

    if (response != NULL) {
        result = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
    }
    return result;
}

/* The request is read whole: gives it to the handler, which may answer at once. */
static enum MHD_Result
ask_handler(struct server *server, struct wire_token *token, const char *method)
{
    struct MHD_Connection *connection = token->connection;
    struct header_list list = {0};
    struct wire_request request;
    char peer[PEER_SIZE];
    int count = MHD_get_connection_values(connection, MHD_HEADER_KIND, NULL, NULL);

    list.room = count > 0 ? (size_t)count : 0;
    list.items = mem_alloc(list.room * sizeof *list.items);
    if (list.items == NULL) {
        return answer_number(connection, MHD_HTTP_INTERNAL_SERVER_ERROR);
    }
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, collect_header, &list);
    write_peer(connection, peer);
    request = (struct wire_request){
        .method = method,
        .target = token->target,
        .peer = peer,
        .headers = list.items,
        .header_count = list.count,
        .body = buf_cstr(&token->body),
        .body_len = token->body.len,
    };
    token->asked = 1;
    token->suspended = 1;
    MHD_suspend_connection(connection);
    server->handler(server->arg, &request, token);
    mem_free(list.items);
    return MHD_YES;
}

/* Takes a piece of the body; MHD_NO gives the connection up. */
static enum MHD_Result
take_body(struct server *server, struct wire_token *token, const char *data, size_t *size)
{
    size_t n = *size;

    *size = 0;
    if (token->dropped == 0 && buf_append(&token->body, data, n) == FAULT_OK) {
        return MHD_YES;
    }
    if (token->body.failed == FAULT_NOMEM) {
        return MHD_NO;
    }
    token->dropped += n;
    return token->dropped / DROP_FACTOR <= server->body_max ? MHD_YES : MHD_NO;
}

/* A body that says it is too long is refused before it is read. */
static int
announces_too_much(const struct server *server, struct MHD_Connection *connection)
{
    const char *text =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    size_t n = 0;

    for (; text != NULL && *text >= '0' && *text <= '9'; text++) {
        n = n * 10 + (size_t)(*text - '0');
        if (n > server->body_max) {
            return 1;
        }
    }
    return 0;
}

/* libmicrohttpd calls this at the head, for each piece of body, at the end, and
 * once more after a suspended connection was resumed. */
static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
           const char *version, const char *data, size_t *size, void **slot)
{
    struct server *server = arg;
    struct wire_token *token = *slot;

    (void)url;
    (void)version;
    if (token == NULL) { /* no memory when it began */
        return MHD_NO;
    }
    if (!token->begun) {
        token->begun = 1;
        if (announces_too_much(server, connection)) {
            return answer_number(connection, MHD_HTTP_CONTENT_TOO_LARGE);
        }
        return MHD_YES;
    }
    if (*size != 0) {
        return take_body(server, token, data, size);
    }
    if (token->answered) {
        return queue_answer(token);
    }
    if (server->closing) {
        return MHD_NO;
    }
    if (token->dropped != 0) {
        return answer_number(connection, MHD_HTTP_CONTENT_TOO_LARGE);
    }
    return ask_handler(server, token, method);
}

/* Answers ---------------------------------------------------------------------- */

/* Turns REPLY into what TOKEN's connection gets once it is resumed. */
static void
keep_answer(struct wire_token *token, const struct wire_reply *reply)
{
    token->status = reply->status;
    token->cut = reply->cut;
    if (reply->cut == WIRE_CUT_BEFORE || reply->cut == WIRE_SILENT) {
        if (reply->fd >= 0) {
            close(reply->fd);
        }
        return;
    }
    token->response = server_make_response(reply, &token->status);
}

/* On the resumed connection: hands the response over, or closes. */
static enum MHD_Result
queue_answer(struct wire_token *token)
{
    enum MHD_Result result;

    if (token->response == NULL) { /* cut off, or no memory */
        return MHD_NO;
    }
    result = MHD_queue_response(token->connection, (unsigned)token->status, token->response);
    MHD_destroy_response(token->response);
    token->response = NULL;
    return result;
}

/* Nobody may hold a connection for ever, not even one that is never answered. */
static void
end_silence(void *arg)
{
    struct wire_token *token = arg;

    resume(token);
    run_soon(token->server);
}

void
server_reply(struct wire_token *token, const struct wire_reply *reply)
{
    struct server *server = token->server;

    token->asked = 0;
    if (server == NULL) { /* closed meanwhile */
        if (reply->fd >= 0) {
            close(reply->fd);
        }
        free_token(token);
        return;
    }
    buf_fini(&token->body);
    keep_answer(token, reply);
    token->answered = 1;
    if (token->cut == WIRE_SILENT
        && loop_timer_start(server->loop, &token->timer, server->idle_timeout_s * 1000ull,
                            end_silence, token)
               == FAULT_OK) {
        return;
    }
    resume(token);
    run_soon(server);
}

/* Opening and closing ------------------------------------------------------------ */

/* Starts the library on the socket FD, which it takes over. */
static enum fault_code
start_daemon(struct server *server, int fd, unsigned connections_max, struct fault *fault)
{
    const union MHD_DaemonInfo *info;
    enum fault_code code;

    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, server->idle_timeout_s, MHD_OPTION_URI_LOG_CALLBACK,
        begin_request, server, MHD_OPTION_NOTIFY_COMPLETED, finish_request, server, MHD_OPTION_END);
    if (server->daemon == NULL) {
        close(fd);
        return fault_set(fault, FAULT_IO, "listen: libmicrohttpd cannot start");
    }
    info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    code = loop_watch_new(server->loop, info->epoll_fd, LOOP_READ, on_readable, server,
                          &server->watch, fault);
    if (code != FAULT_OK) {
        MHD_stop_daemon(server->daemon);
    }
    return code;
}

enum fault_code
server_open(struct loop *loop, const struct server_options *options, wire_handler_fn handler,
            void *arg, struct server **out, struct fault *fault)
{
    struct server *server = mem_zalloc(sizeof *server);
    unsigned connections_max =
        options->connections_max != 0 ? options->connections_max : SERVER_CONNECTIONS_MAX;
    enum fault_code code;
    int fd = -1;

    *out = NULL;
    if (server == NULL) {
        return fault_set(fault, FAULT_NOMEM, "listen: out of memory");
    }
    server->loop = loop;
    server->handler = handler;
    server->arg = arg;
    server->body_max = options->body_max != 0 ? options->body_max : SERVER_BODY_MAX;
    server->idle_timeout_s =
        options->idle_timeout_s != 0 ? options->idle_timeout_s : IDLE_TIMEOUT_S;
    code = server_open_socket(options->address != NULL ? options->address : "127.0.0.1",
                              options->port, &fd, fault);
    if (code == FAULT_OK) {
        server->port = server_socket_port(fd);
        code = start_daemon(server, fd, connections_max, fault);
    }
    if (code != FAULT_OK) {
        mem_free(server);
        return code;
    }
    *out = server;
    return FAULT_OK;
}

unsigned
server_port(const struct server *server)
{
    return server->port;
}

static void
finish_close(struct server *server)
{
    struct wire_token *token;

    loop_watch_free(server->watch);
    loop_timer_stop(server->loop, &server->timer);
    loop_unpost(server->loop, &server->job);
    server->closing = 1; /* from here on the library's callbacks only let go */
    for (token = server->tokens; token != NULL; token = token->next) {
        resume(token); /* a suspended connection would abort the program */
    }
    MHD_stop_daemon(server->daemon);
    while (server->tokens != NULL) { /* what the library did not report */
        release_token(server, server->tokens);
    }
    mem_free(server);
}

void
server_close(struct server *server)
{
    if (server == NULL) {
        return;
    }
    /* A handler may close its own server: the library is on the stack then. */
    if (server->running) {
        server->closing = 1;
    } else {
        finish_close(server);
    }
}
