/*
 * sandbox: Landlock and seccomp by hand; see sandbox.h.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#ifdef MOONTAP_SANITIZED
#define SANDBOX_REAL 0
#else
#define SANDBOX_REAL 1
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

int
sandbox_is_real(void)
{
    return SANDBOX_REAL;
}

#if SANDBOX_REAL

/* Landlock ---------------------------------------------------------------------- */

/* As of interface 6; an older kernel takes the front of it. Own names, because the
 * headers of the system may be older than its kernel. */
struct ruleset {
    uint64_t files;
    uint64_t ports;
    uint64_t scopes;
};

#define CREATE_VERSION 1u /* LANDLOCK_CREATE_RULESET_VERSION */
#define PORTS_ALL 3u      /* bind and connect */
#define SCOPES_ALL 3u     /* abstract sockets, signals */
#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_restrict_self 446
#endif

/* What version VERSION can refuse of files: all that it knows. */
static uint64_t
known_files(int version)
{
    static const unsigned bits[] = {0, 13, 14, 15, 15, 16};
    unsigned n = version > 5 ? 16 : bits[version];

    return ((uint64_t)1 << n) - 1;
}

/* The version that the kernel knows; 0 or less: none. */
static int
landlock_version(void)
{
    return (int)syscall(__NR_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);
}

/* Returns the version that is in force, 0: none. */
static int
enter_landlock(void)
{
    int version = landlock_version();
    struct ruleset rules = {0};
    size_t size = sizeof rules.files;
    long fd, done;

    if (version <= 0) {
        return 0;
    }
    rules.files = known_files(version);
    if (version >= 4) {
        rules.ports = PORTS_ALL;
        size = offsetof(struct ruleset, scopes);
    }
    if (version >= 6) {
        rules.scopes = SCOPES_ALL;
        size = sizeof rules;
    }
    fd = syscall(__NR_landlock_create_ruleset, &rules, size, 0u);
    if (fd < 0) {
        return 0;
    }
    done = syscall(__NR_landlock_restrict_self, (int)fd, 0u);
    (void)close((int)fd);
    return done == 0 ? version : 0;
}

/* System calls --------------------------------------------------------------------- */

#ifdef ARCH

/* Allowed whatever their arguments are. */
static const int plain_calls[] = {
    /* descriptors that are there */
    __NR_read,
    __NR_write,
    __NR_readv,
    __NR_writev,
    __NR_pread64,
    __NR_lseek,
    __NR_close,
    __NR_fstat,
    __NR_sendmsg,
    __NR_recvmsg,
    __NR_shutdown,
    /* waiting */
    __NR_epoll_create1,
    __NR_epoll_ctl,
    __NR_epoll_pwait,
    __NR_ppoll,
    __NR_eventfd2,
    __NR_pipe2,
    __NR_timerfd_create,
    __NR_timerfd_settime,
    __NR_timerfd_gettime,
#ifdef __NR_epoll_wait
    __NR_epoll_wait,
#endif
#ifdef __NR_epoll_pwait2
    __NR_epoll_pwait2,
#endif
#ifdef __NR_poll
    __NR_poll,
#endif
    __NR_futex,
    __NR_nanosleep,
    __NR_clock_nanosleep,
    __NR_restart_syscall,
    __NR_sched_yield,
    /* memory */
    __NR_brk,
    __NR_munmap,
    __NR_mremap,
    __NR_madvise,
    /* clocks, itself */
    __NR_clock_gettime,
    __NR_clock_getres,
    __NR_gettimeofday,
    __NR_getrusage,
    __NR_getpid,
    __NR_gettid,
    __NR_getrandom,
    __NR_setitimer,
#ifdef __NR_alarm
    __NR_alarm,
#endif
#ifdef __NR_time
    __NR_time,
#endif
    /* signals that come, and the end */
    __NR_rt_sigaction,
    __NR_rt_sigprocmask,
    __NR_rt_sigreturn,
    __NR_sigaltstack,
    __NR_exit,
    __NR_exit_group,
};

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))
#define LEAF 4u /* calls that are compared one by one */
/* Room for the head, two for each plain call, one for each way through the search and
 * one for its end, those that look at arguments. */
#define PROGRAM_MAX (8u + 4u * COUNT_OF(plain_calls) + 40u)

struct program {
    struct sock_filter code[PROGRAM_MAX];
    unsigned short len;
};

static void
add(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    p->code[p->len++] = (struct sock_filter){code, yes, no, k};
}

static void
add_load(struct program *p, size_t offset)
{
    add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void
add_return(struct program *p, uint32_t action)
{
    add(p, BPF_RET | BPF_K, action, 0, 0);
}

/* The half of argument N that counts; the upper one is 0 for what is compared. */
static size_t
low_half(unsigned n)
{
    return offsetof(struct seccomp_data, args) + 8u * n; /* little-endian */
}

/* Call NR is allowed when its argument N is VALUE. */
static void
add_when_equal(struct program *p, int nr, unsigned n, uint32_t value)
{
    add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 6);
    add_load(p, low_half(n) + 4);
    add(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    add_load(p, low_half(n));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    add_return(p, SECCOMP_RET_ALLOW);
    add_load(p, offsetof(struct seccomp_data, nr)); /* for what comes next */
}

/* Call NR is allowed when argument N has none of BITS. */
static void
add_when_clear(struct program *p, int nr, unsigned n, uint32_t bits)
{
    add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 4);
    add_load(p, low_half(n));
    add(p, BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0);
    add_return(p, SECCOMP_RET_ALLOW);
    add_load(p, offsetof(struct seccomp_data, nr));
}

_Static_assert(PROGRAM_MAX / 2 < 256, "half of the program can be jumped over");

/* What is not in LIST, of N numbers in order, is refused. By halves: the kernel runs
 * the program for each call it knows when it takes it in. */
static void
add_search(struct program *p, const int *list, size_t n)
{
    size_t half = n / 2;
    unsigned short at = p->len;

    if (n <= LEAF) {
        for (size_t i = 0; i < n; i++) {
            add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)list[i], 0, 1);
            add_return(p, SECCOMP_RET_ALLOW);
        }
        add_return(p, SECCOMP_RET_ERRNO | EPERM);
        return;
    }
    add(p, BPF_JMP | BPF_JGE | BPF_K, (uint32_t)list[half], 0, 0);
    add_search(p, list, half);
    p->code[at].jt = (uint8_t)(p->len - at - 1);
    add_search(p, list + half, n - half);
}

static int
compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void
write_program(struct program *p)
{
    int sorted[COUNT_OF(plain_calls)];

    memcpy(sorted, plain_calls, sizeof sorted);
    qsort(sorted, COUNT_OF(sorted), sizeof *sorted, compare);
    p->len = 0;
    add_load(p, offsetof(struct seccomp_data, arch));
    add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    add_return(p, SECCOMP_RET_KILL_PROCESS);
    add_load(p, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    add(p, BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1); /* x32 */
    add_return(p, SECCOMP_RET_KILL_PROCESS);
#endif
    add_when_clear(p, __NR_mmap, 2, PROT_EXEC);
    add_when_clear(p, __NR_mprotect, 2, PROT_EXEC);
    add_when_equal(p, __NR_ioctl, 1, FIONBIO); /* libuv makes what it watches so */
    add_when_equal(p, __NR_fcntl, 1, F_DUPFD_CLOEXEC);
    add_when_equal(p, __NR_tgkill, 0, (uint32_t)getpid()); /* abort */
    add_search(p, sorted, COUNT_OF(sorted));
}

static enum fault_code
enter_seccomp(struct fault *fault)
{
    struct program program;
    struct sock_fprog filter;

    write_program(&program);
    filter.len = program.len;
    filter.filter = program.code;
    if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0u, &filter) != 0) {
        return fault_set(fault, FAULT_IO, "restrict system calls: %s", strerror(errno));
    }
    return FAULT_OK;
}

#else

static enum fault_code
enter_seccomp(struct fault *fault)
{
    return fault_set(fault, FAULT_IO, "restrict system calls: not known for this processor");
}

#endif

void
sandbox_look(struct sandbox *out)
{
    int version = landlock_version();

    *out = (struct sandbox){.landlock = version > 0 ? version : 0};
#ifdef ARCH
    uint32_t action = SECCOMP_RET_KILL_PROCESS;

    out->seccomp = syscall(__NR_seccomp, SECCOMP_GET_ACTION_AVAIL, 0u, &action) == 0;
#endif
}

enum fault_code
sandbox_enter(struct sandbox *out, struct fault *fault)
{
    enum fault_code code;

    *out = (struct sandbox){0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return fault_set(fault, FAULT_IO, "give up new privileges: %s", strerror(errno));
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* nobody of the same user looks in */
    out->landlock = enter_landlock();
    code = enter_seccomp(fault);
    out->seccomp = code == FAULT_OK;
    return code;
}

#else

void
sandbox_look(struct sandbox *out)
{
    *out = (struct sandbox){0};
}

enum fault_code
sandbox_enter(struct sandbox *out, struct fault *fault)
{
    (void)fault;
    *out = (struct sandbox){0};
    return FAULT_OK;
}

#endif
