/* rig: see rig.h. */
#include "rig.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void
rig_start_peer(struct rig *rig, const char *path)
{
    int in[2], out[2];
    char line[32];
    ssize_t n;

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    rig->peer_pid = fork();
    assert_true(rig->peer_pid >= 0);
    if (rig->peer_pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(in[0]);
        (void)close(in[1]);
        (void)close(out[0]);
        (void)close(out[1]);
        (void)execl(path, path, (char *)NULL);
        _exit(127);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    n = read(out[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    (void)close(out[0]);
    rig->peer_in = in[1];
    rig->port = (int)strtol(line, NULL, 10);
}

void
rig_open(struct rig *rig, unsigned on_wire)
{
    struct http_options options = {NULL, NULL, on_wire};
    struct fault fault;
    const char *bin = getenv("MOONTAP_TEST_BIN");
    char path[4096];

    memset(rig, 0, sizeof *rig);
    rig->peer_in = -1;
    assert_int_equal(loop_new(&rig->loop, &fault), FAULT_OK);
    assert_int_equal(http_new(rig->loop, &options, &rig->http, &fault), FAULT_OK);
    (void)snprintf(path, sizeof path, "%s/peer", bin != NULL ? bin : ".");
    rig_start_peer(rig, path);
}

void
rig_close(struct rig *rig)
{
    int status;

    http_free(rig->http);
    loop_free(rig->loop);
    if (rig->peer_in >= 0) {
        (void)close(rig->peer_in);
        (void)waitpid(rig->peer_pid, &status, 0);
    }
}

struct http_request
rig_request(struct rig *rig, const char *method, const char *path)
{
    static char urls[8][512];
    static unsigned next;
    struct http_request request;
    char *url = urls[next++ % 8];

    memset(&request, 0, sizeof request);
    (void)snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", rig->port, path);
    request.method = method;
    request.url = url;
    request.sink_fd = -1;
    return request;
}

static void
on_done(void *arg)
{
    struct rig_call *call = arg;

    call->ended++;
}

static int
has_ended(void *arg)
{
    return ((struct rig_call *)arg)->ended;
}

void
rig_start(struct rig *rig, const struct http_request *request, struct rig_call *call)
{
    struct fault fault = {FAULT_OK, 0, ""};

    call->ended = 0;
    if (http_start(rig->http, request, on_done, call, &call->exchange, &fault) != FAULT_OK) {
        fail_msg("refused: %s", fault.msg);
    }
    assert_int_equal(call->ended, 0);
}

const struct http_result *
rig_finish(struct rig *rig, struct rig_call *call)
{
    assert_int_equal(loop_run(rig->loop, has_ended, call), 1);
    assert_int_equal(call->ended, 1);
    return http_result(call->exchange);
}

const struct http_result *
rig_run(struct rig *rig, const struct http_request *request, struct rig_call *call)
{
    rig_start(rig, request, call);
    return rig_finish(rig, call);
}

void
rig_drop(struct rig_call *call)
{
    http_exchange_free(call->exchange);
    call->exchange = NULL;
}

void
rig_counts(struct rig *rig, int *effects, int *connections, int *requests)
{
    struct http_request request = rig_request(rig, "GET", "/counts");
    struct rig_call call;
    const struct http_result *result = rig_run(rig, &request, &call);

    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(sscanf(buf_cstr(result->body), "%d %d %d", effects, connections, requests), 3);
    rig_drop(&call);
}

int
rig_open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}
