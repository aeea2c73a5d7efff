/*
 * http: a name with two addresses, of which the IPv6 one takes packets and says
 * nothing, is reached by IPv4. The silent one is a listening socket on [::1]
 * whose queue is full.
 */
#include "support/isolated.h"
#include "support/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILLERS 8

/* Far above the second that it should take, far below what TCP itself allows. */
#define BOUND_MS 10000

struct silent {
    int listener, fillers[FILLERS];
};

/* Returns -1 where there is no IPv6. */
static int
silent_open(struct silent *s, int port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)port),
                                   .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    s->listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(s->listener);
        return -1;
    }
    assert_int_equal(listen(s->listener, 0), 0);
    for (int i = 0; i < FILLERS; i++) {
        s->fillers[i] = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(s->fillers[i] >= 0);
        assert_true(connect(s->fillers[i], (struct sockaddr *)&address, sizeof address) == 0
                    || errno == EINPROGRESS);
    }
    return 0;
}

static void
silent_close(struct silent *s)
{
    for (int i = 0; i < FILLERS; i++) {
        (void)close(s->fillers[i]);
    }
    (void)close(s->listener);
}

/* In the child: a request to a name that has both addresses, IPv6 first. */
static int
reach_by_ipv4(void)
{
    struct silent silent;
    struct rig rig;
    struct rig_call call;
    struct http_request request;
    const struct http_result *result;
    char url[64];
    int failed;

    if (isolated_enter(0) != 0
        || isolated_replace("/etc/hosts", "::1 both.test\n127.0.0.1 both.test\n") != 0) {
        return ISOLATED_IMPOSSIBLE;
    }
    rig_open(&rig, 0);
    if (silent_open(&silent, rig.port) != 0) {
        return ISOLATED_IMPOSSIBLE; /* no IPv6 */
    }
    request = rig_request(&rig, "POST", "/effect");
    (void)snprintf(url, sizeof url, "http://both.test:%d/effect", rig.port);
    request.url = url;
    request.connect_timeout_ms = BOUND_MS;
    result = rig_run(&rig, &request, &call);
    failed = result->code != FAULT_OK || result->status != 200;
    rig_drop(&call);
    silent_close(&silent);
    rig_close(&rig);
    return failed;
}

static void
test_http_family_falls_back_to_ipv4(void **state)
{
    (void)state;
    isolated_run(reach_by_ipv4);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_family_falls_back_to_ipv4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
