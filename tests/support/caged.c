/*
 * caged: shuts itself in as a playbook's process does, then tries system calls.
 * Prints a line each: the name, and EPERM or what it gave.
 * usage: caged calls | caged foreign (ends by SIGSYS) | caged i386 (the same)
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int refused, allowed;

static void
note(const char *name, long result)
{
    if (result == -1 && errno == EPERM) {
        (void)printf("%s EPERM\n", name);
        refused++;
    } else {
        (void)printf("%s %ld (%s)\n", name, result, result == -1 ? strerror(errno) : "done");
        allowed++;
    }
    (void)fflush(stdout);
}

/* No wrapper of the library decides for the kernel. */
#define TRY(name, ...) note(#name, syscall(__NR_##name, __VA_ARGS__))
#define TRY_NONE(name) note(#name, syscall(__NR_##name))

static char name_of_parent[64], byte[8];
static struct iovec mine = {byte, 1}, theirs = {byte, 1};

static void
try_files(void)
{
    struct sockaddr address = {.sa_family = AF_UNIX};

    TRY(openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
    TRY(openat, AT_FDCWD, "/proc/self/environ", O_RDONLY);
    TRY(openat, AT_FDCWD, name_of_parent, O_RDWR);
    TRY(openat, AT_FDCWD, "/proc/self/fd/1", O_RDWR);
    TRY(openat, AT_FDCWD, "/tmp", O_RDWR | O_TMPFILE, 0600);
    TRY(openat, AT_FDCWD, ".", O_PATH);
    TRY(openat2, AT_FDCWD, "/etc/passwd", byte, 24);
    TRY(open_by_handle_at, AT_FDCWD, byte, 0);
    TRY(name_to_handle_at, AT_FDCWD, "/", byte, byte, 0);
    TRY(newfstatat, AT_FDCWD, "/etc/passwd", byte, 0);
    TRY(statx, AT_FDCWD, "/etc/passwd", 0, 0, byte);
    TRY(readlinkat, AT_FDCWD, "/proc/self/exe", byte, 8);
    TRY(faccessat, AT_FDCWD, "/etc/passwd", R_OK);
    TRY(getdents64, 0, byte, 8);
    TRY(unlinkat, AT_FDCWD, "/nowhere", 0);
    TRY(mkdirat, AT_FDCWD, "/nowhere", 0700);
    TRY(renameat2, AT_FDCWD, "/a", AT_FDCWD, "/b", 0);
    TRY(symlinkat, "/a", AT_FDCWD, "/b");
    TRY(linkat, AT_FDCWD, "/a", AT_FDCWD, "/b", 0);
    TRY(truncate, "/nowhere", 0);
    TRY(chdir, "/");
    TRY(chroot, "/");
    TRY(mount, "a", "/", "tmpfs", 0, NULL);
    TRY(memfd_create, "x", 0);
    TRY(inotify_init1, 0);
    TRY(fanotify_init, 0, 0);
    TRY(socket, AF_INET, SOCK_STREAM, 0);
    TRY(socket, AF_UNIX, SOCK_STREAM, 0);
    TRY(socketpair, AF_UNIX, SOCK_STREAM, 0, byte);
    TRY(connect, 1, &address, sizeof address);
    TRY(bind, 1, &address, sizeof address);
    TRY(accept4, 1, NULL, NULL, 0);
    TRY(sendto, 1, byte, 1, 0, &address, sizeof address);
    TRY(dup, 1);
    TRY(dup3, 1, 9, 0);
    TRY(fcntl, 1, F_SETOWN, getppid());
    TRY(fcntl, 1, F_SETFL, O_ASYNC);
    TRY(ioctl, 1, TIOCSTI, "x");
    TRY(io_uring_setup, 8, byte);
#ifdef __NR_open
    TRY(open, "/etc/passwd", O_RDONLY);
    TRY(creat, "/tmp/caged", 0600);
    TRY(stat, "/etc/passwd", byte);
    TRY(access, "/etc/passwd", R_OK);
    TRY(readlink, "/proc/self/exe", byte, 8);
    TRY(unlink, "/nowhere");
#endif
}

static void
try_processes(pid_t parent)
{
    char *none[] = {NULL};
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

    TRY(clone, SIGCHLD, 0, 0, 0, 0);
    TRY(clone3, byte, 0);
#ifdef __NR_fork
    TRY_NONE(fork);
    TRY_NONE(vfork);
#endif
    TRY(execve, "/bin/true", none, none);
    TRY(execveat, AT_FDCWD, "/bin/true", none, none, 0);
    TRY(ptrace, PTRACE_ATTACH, parent, 0, 0);
    TRY(kill, parent, 0);
    TRY(kill, -1, 0);
    TRY(tkill, parent, 0);
    TRY(tgkill, parent, parent, 0);
    TRY(rt_sigqueueinfo, parent, SIGTERM, byte);
    TRY(pidfd_open, parent, 0);
    TRY(pidfd_send_signal, 1, SIGTERM, NULL, 0);
    TRY(pidfd_getfd, 1, 1, 0);
    TRY(process_vm_readv, parent, &mine, 1, &theirs, 1, 0);
    TRY(process_vm_writev, parent, &mine, 1, &theirs, 1, 0);
    TRY(kcmp, parent, parent, 0, 0, 0);
    TRY_NONE(setsid);
    TRY(setpgid, 0, 0);
    TRY(setuid, 0);
    TRY(setgid, 0);
    TRY(capset, byte, byte);
    TRY(setpriority, 0, 0, -5);
    TRY(setrlimit, RLIMIT_NOFILE, &limit);
    TRY(prlimit64, parent, RLIMIT_NOFILE, NULL, &limit);
    TRY(prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
    TRY(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    TRY(seccomp, 0, 0, NULL);
    TRY(unshare, 0x10000000);
    TRY(setns, 1, 0);
    TRY(personality, 0xffffffffu);
    TRY(bpf, 0, byte, 8);
    TRY(perf_event_open, byte, 0, -1, -1, 0);
    TRY(userfaultfd, 0);
    TRY(add_key, "user", "x", "y", 1, -1);
    TRY(keyctl, 0, 0, 0, 0, 0);
    TRY(shmget, 0, 4096, 0600);
    TRY(msgget, 0, 0600);
    TRY(semget, 0, 1, 0600);
    TRY(mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TRY(mprotect, (void *)((unsigned long)byte & ~4095ul), 4096,
        PROT_READ | PROT_WRITE | PROT_EXEC);
    TRY(reboot, 0, 0, 0, NULL);
    TRY(sethostname, "x", 1);
    TRY(clock_settime, CLOCK_REALTIME, byte);
    TRY(syslog, 3, byte, 8);
    note("999", syscall(999, 0));
}

/* What it needs goes on. */
static void
use_what_is_left(void)
{
    struct timespec now;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ok = memory != MAP_FAILED && munmap(memory, 4096) == 0
             && clock_gettime(CLOCK_BOOTTIME, &now) == 0
             && syscall(__NR_getrandom, byte, sizeof byte, 0) == (long)sizeof byte
             && malloc((size_t)1 << 20) != NULL && getpid() > 0;

    (void)printf("left %s\n", ok ? "works" : "is broken");
}

int
main(int argc, char **argv)
{
    struct sandbox sandbox;
    struct fault fault;
    pid_t parent = getppid();

    if (argc != 2) {
        return 2;
    }
    (void)snprintf(name_of_parent, sizeof name_of_parent, "/proc/%d/mem", (int)parent);
    if (sandbox_enter(&sandbox, &fault) != FAULT_OK) {
        (void)printf("failed %s\n", fault.msg);
        return 1;
    }
    (void)printf("landlock %d seccomp %d\n", sandbox.landlock, sandbox.seccomp);
    (void)fflush(stdout);
    if (!sandbox_is_real()) {
        return 0;
    }
#ifdef __x86_64__
    if (strcmp(argv[1], "foreign") == 0) {
        (void)syscall(0x40000000 | __NR_getpid); /* x32 */
    } else if (strcmp(argv[1], "i386") == 0) {
        long result;

        __asm__ volatile("int $0x80" : "=a"(result) : "0"(20L) : "memory");
    }
#endif
    if (strcmp(argv[1], "calls") == 0) {
        try_files();
        try_processes(parent);
        use_what_is_left();
        (void)printf("refused %d allowed %d\n", refused, allowed);
    }
    return 0;
}
