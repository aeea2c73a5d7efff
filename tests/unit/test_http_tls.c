/* http: certificates are always verified; `openssl s_server` is the peer. */
#include "support/rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;
static char dir[] = "/tmp/moontap-tls-XXXXXX";
static int tls_port;
static pid_t tls_pid;

/* Makes a key and a certificate for localhost that signs itself. */
static void
make_certificate(const char *name)
{
    char command[512];

    (void)snprintf(command, sizeof command,
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
                   " -keyout %s/%s.key -out %s/%s.pem -days 2 -subj /CN=%s"
                   " -addext subjectAltName=DNS:localhost 2>/dev/null",
                   dir, name, dir, name, name);
    assert_int_equal(system(command), 0);
}

static void
start_server(void)
{
    int out[2];
    char line[256], cert[64], key[64];
    FILE *stream;

    (void)snprintf(cert, sizeof cert, "%s/peer.pem", dir);
    (void)snprintf(key, sizeof key, "%s/peer.key", dir);
    assert_int_equal(pipe(out), 0);
    tls_pid = fork();
    if (tls_pid == 0) {
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(out[0]);
        (void)freopen("/dev/null", "w", stderr); /* it tells of refused handshakes */
        (void)execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert,
                     "-key", key, "-www", (char *)NULL);
        _exit(127);
    }
    (void)close(out[1]);
    stream = fdopen(out[0], "r");
    assert_non_null(stream);
    while (fgets(line, sizeof line, stream) != NULL) {
        if (strncmp(line, "ACCEPT ", 7) == 0) {
            tls_port = (int)strtol(strrchr(line, ':') + 1, NULL, 10);
            break;
        }
    }
    assert_true(tls_port > 0);
    (void)fclose(stream);
}

static int
set_up_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    make_certificate("peer");
    make_certificate("stranger");
    start_server();
    return 0;
}

static int
tear_down_all(void **state)
{
    char command[64];
    int status;

    (void)state;
    (void)kill(tls_pid, SIGTERM);
    (void)waitpid(tls_pid, &status, 0);
    (void)snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static int
set_up(void **state)
{
    (void)state;
    rig_open(&rig, 0);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void
trust(const char *name)
{
    char path[64];
    struct http_options options = {path, NULL, 0};
    struct fault fault;

    (void)snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    assert_int_equal(http_configure(rig.http, &options, &fault), FAULT_OK);
}

static const struct http_result *
ask(const char *method, const char *host, struct rig_call *call)
{
    char url[64];
    struct http_request request = rig_request(&rig, method, "/");

    (void)snprintf(url, sizeof url, "https://%s:%d/", host, tls_port);
    request.url = url;
    return rig_run(&rig, &request, call);
}

static void
assert_untrusted(const char *host)
{
    struct rig_call call;
    const struct http_result *result = ask("POST", host, &call);

    assert_int_equal(result->code, FAULT_TLS);
    assert_int_equal(result->sent, HTTP_SENT_NO);
    assert_int_equal(result->status, 0);
    rig_drop(&call);
}

static void
test_http_tls_accepts_the_roots_it_is_given(void **state)
{
    struct rig_call call;
    const struct http_result *result;

    (void)state;
    trust("peer");
    result = ask("GET", "localhost", &call);
    assert_int_equal(result->code, FAULT_OK);
    assert_int_equal(result->status, 200);
    rig_drop(&call);
}

static void
test_http_tls_refuses_unknown_roots(void **state)
{
    (void)state;
    assert_untrusted("localhost"); /* the system's roots */
    trust("stranger");
    assert_untrusted("localhost"); /* --cacert is the only root */
}

static void
test_http_tls_refuses_another_name(void **state)
{
    (void)state;
    trust("peer");
    assert_untrusted("127.0.0.1");
}

static void
test_http_tls_trust_ends_with_the_setting(void **state)
{
    struct rig_call call;

    (void)state;
    trust("peer");
    assert_int_equal(ask("GET", "localhost", &call)->code, FAULT_OK);
    rig_drop(&call);
    trust("stranger");
    assert_untrusted("localhost");
}

static void
test_http_tls_reports_roots_that_cannot_be_read(void **state)
{
    (void)state;
    trust("nothing");
    assert_untrusted("localhost");
}

static void
test_http_tls_resumes_sessions(void **state)
{
    struct rig_call first, second;

    (void)state;
    trust("peer");
    assert_non_null(strstr(buf_cstr(ask("GET", "localhost", &first)->body), "\nNew, TLS"));
    assert_non_null(strstr(buf_cstr(ask("GET", "localhost", &second)->body), "\nReused, TLS"));
    rig_drop(&first);
    rig_drop(&second);
}

static void
test_http_tls_honours_the_variable_for_a_roots_file(void **state)
{
    struct rig_call call;
    char path[64];

    (void)state;
    (void)snprintf(path, sizeof path, "%s/peer.pem", dir);
    (void)setenv("SSL_CERT_FILE", path, 1);
    assert_int_equal(ask("GET", "localhost", &call)->code, FAULT_OK);
    rig_drop(&call);
    (void)unsetenv("SSL_CERT_FILE");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_http_tls_accepts_the_roots_it_is_given),
        TEST(test_http_tls_refuses_unknown_roots),
        TEST(test_http_tls_refuses_another_name),
        TEST(test_http_tls_trust_ends_with_the_setting),
        TEST(test_http_tls_reports_roots_that_cannot_be_read),
        TEST(test_http_tls_resumes_sessions),
        TEST(test_http_tls_honours_the_variable_for_a_roots_file),
    };

    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
