/*
 * http: cancelling a request never waits for a name server. Runs in name spaces
 * of its own, where the only name server is a socket that nobody reads.
 */
#include "support/isolated.h"
#include "support/rig.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BLOCKED 1
#define WRONG 2
#define BOUND_MS 1000 /* the resolver itself gives up after seconds */

struct place {
    struct loop *loop;
    struct http *http;
    struct http_exchange *exchange;
    struct loop_timer timer;
    int done;
};

/* After this every name server look-up of this process stays unanswered. */
static int
silence_name_servers(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    int fd;

    if (isolated_enter(1) != 0
        || isolated_replace("/etc/resolv.conf",
                            "nameserver 127.0.0.1\noptions timeout:3 attempts:2\n") != 0) {
        return -1;
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return bind(fd, (struct sockaddr *)&address, sizeof address); /* never read */
}

static long
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
mark_done(void *arg)
{
    ((struct place *)arg)->done = 1;
}

static int
is_done(void *arg)
{
    return ((struct place *)arg)->done;
}

static int
open_place(struct place *place, uint32_t timeout_ms)
{
    struct http_request request = {.method = "POST",
                                   .url = "http://silent.invalid-name.test/",
                                   .sink_fd = -1,
                                   .connect_timeout_ms = timeout_ms};
    struct fault fault;

    memset(place, 0, sizeof *place);
    return loop_new(&place->loop, &fault) == FAULT_OK
                   && http_new(place->loop, NULL, &place->http, &fault) == FAULT_OK
                   && http_start(place->http, &request, mark_done, place, &place->exchange, &fault)
                          == FAULT_OK
               ? 0
               : -1;
}

/* In the child: cancels while the look-up is under way. */
static int
cancel_under_way(void)
{
    struct place place;
    long start;

    if (silence_name_servers() != 0) {
        return ISOLATED_IMPOSSIBLE;
    }
    if (open_place(&place, 0) != 0) {
        return WRONG;
    }
    (void)loop_timer_start(place.loop, &place.timer, 100, mark_done, &place);
    (void)loop_run(place.loop, is_done, &place);
    start = now_ms();
    http_exchange_free(place.exchange);
    http_free(place.http);
    loop_free(place.loop);
    return now_ms() - start < BOUND_MS ? 0 : BLOCKED;
}

/* In the child: the connect deadline ends the look-up. */
static int
deadline_under_way(void)
{
    struct place place;
    long start;
    const struct http_result *result;
    int right;

    if (silence_name_servers() != 0) {
        return ISOLATED_IMPOSSIBLE;
    }
    start = now_ms();
    if (open_place(&place, 150) != 0) {
        return WRONG;
    }
    (void)loop_run(place.loop, is_done, &place);
    result = http_result(place.exchange);
    right = result->code == FAULT_TIMEOUT && result->sent == HTTP_SENT_NO;
    http_exchange_free(place.exchange);
    http_free(place.http);
    return !right ? WRONG : now_ms() - start < BOUND_MS ? 0 : BLOCKED;
}

static void
test_http_dns_cancel_does_not_wait_for_the_name_server(void **state)
{
    (void)state;
    isolated_run(cancel_under_way);
}

static void
test_http_dns_deadline_does_not_wait_for_the_name_server(void **state)
{
    (void)state;
    isolated_run(deadline_under_way);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_dns_cancel_does_not_wait_for_the_name_server),
        cmocka_unit_test(test_http_dns_deadline_does_not_wait_for_the_name_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
