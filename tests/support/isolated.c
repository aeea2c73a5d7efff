/* isolated: see isolated.h. */
#include "isolated.h"

#include "rig.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

int
isolated_enter(int network)
{
    int flags = CLONE_NEWNS | (network ? CLONE_NEWNET : 0);

    if (unshare(flags) != 0 && unshare(CLONE_NEWUSER | flags) != 0) {
        return -1;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return -1;
    }
    return network ? bring_loopback_up() : 0;
}

int
isolated_replace(const char *path, const char *text)
{
    char name[] = "/tmp/moontap-test-XXXXXX";
    int fd = mkstemp(name), rc;

    if (fd < 0) {
        return -1;
    }
    rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0644) == 0
         && mount(name, path, NULL, MS_BIND, NULL) == 0;
    (void)close(fd);
    (void)unlink(name);
    return rc ? 0 : -1;
}

void
isolated_run(int (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == ISOLATED_IMPOSSIBLE) {
        print_message("no name spaces here: not tested\n");
        return;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}
