/*
 * http: cancelling a request never waits for a name server. Runs in name spaces
 * of its own, where the only name server is a socket that nobody reads.
 */
#include "support/rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CANNOT_TEST 77
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

static int
bring_loopback_up(void)
{
    struct ifreq request;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

    memset(&request, 0, sizeof request);
    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    rc = ioctl(fd, SIOCSIFFLAGS, &request);
    (void)close(fd);
    return rc;
}

static int
write_resolver_file(const char *path)
{
    static const char text[] = "nameserver 127.0.0.1\noptions timeout:3 attempts:2\n";
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), rc;

    rc = fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 ? 0 : -1;
    (void)close(fd);
    return rc;
}

/* After this every name server look-up of this process stays unanswered. */
static int
silence_name_servers(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
    char path[] = "/tmp/moontap-resolv-XXXXXX";
    int fd, rc;

    if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0
        && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0) {
        return -1;
    }
    fd = mkstemp(path);
    rc = fd < 0 || write_resolver_file(path) != 0
         || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
         || mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) != 0 || bring_loopback_up() != 0;
    (void)close(fd);
    (void)unlink(path);
    if (rc != 0) {
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
    long start = now_ms();
    const struct http_result *result;
    int right;

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
run_silenced(int (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(silence_name_servers() != 0 ? CANNOT_TEST : fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_TEST) {
        print_message("no name spaces here: not tested\n");
        return;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void
test_http_dns_cancel_does_not_wait_for_the_name_server(void **state)
{
    (void)state;
    run_silenced(cancel_under_way);
}

static void
test_http_dns_deadline_does_not_wait_for_the_name_server(void **state)
{
    (void)state;
    run_silenced(deadline_under_way);
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
