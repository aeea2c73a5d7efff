/*
 * child, stem: this very program, started again, is the stem, whose branches play the
 * process that misbehaves. What it is to do is the first frame it gets.
 */
#include "buf.h"
#include "child.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 10000u
#define DIED "start a process: the process that runs branch off from has died"
#define OUTPUT_MAX 100000u

extern char **environ;

/* The process that is started --------------------------------------------------- */

static void
send_frame(const char *text, size_t n)
{
    unsigned char head[FRAME_HEAD];

    frame_write_head(head, n, 0);
    if (write(CHILD_LINK_FD, head, sizeof head) != (ssize_t)sizeof head
        || write(CHILD_LINK_FD, text, n) != (ssize_t)n) {
        _exit(9);
    }
}

static void
send_fd(void)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    unsigned char bytes[5];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fd = STDIN_FILENO;

    frame_write_head(bytes, 1, 0);
    bytes[4] = 'x';
    memset(&control, 0, sizeof control);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    (void)!sendmsg(CHILD_LINK_FD, &msg, 0);
}

static int term_held; /* was SIGTERM, and nothing else, blocked when it began */

static void
look_at_signals(void)
{
    sigset_t now;

    (void)sigprocmask(SIG_SETMASK, NULL, &now);
    term_held = 1;
    for (int i = 1; i < SIGRTMIN; i++) {
        term_held = term_held && sigismember(&now, i) == (i == SIGTERM);
    }
}

/* Descriptors, environment, group and limits, as text. */
static void
report_self(void)
{
    char text[400];
    int n = 0, fds = 0;

    for (int fd = 0; fd < 256; fd++) {
        fds += fcntl(fd, F_GETFD) >= 0;
    }
    n = snprintf(text, sizeof text, "fds=%d group=%d held=%d", fds, getpgrp() == getpid(),
                 term_held);
    for (char **e = environ; *e != NULL && n < (int)sizeof text; e++) {
        if (strncmp(*e, "ASAN", 4) != 0 && strncmp(*e, "UBSAN", 5) != 0
            && strncmp(*e, "LSAN", 4) != 0) {
            n += snprintf(text + n, sizeof text - (size_t)n, " %s", *e);
        }
    }
    send_frame(text, (size_t)n);
}

static int
obey(const char *what)
{
    static char big[5000];

    if (strcmp(what, "exit") == 0) {
        return 7;
    } else if (strcmp(what, "report") == 0) {
        report_self();
    } else if (strcmp(what, "malformed") == 0) {
        (void)!write(CHILD_LINK_FD, "HTTP/1.1 200 OK\r\n\r\n", 19);
    } else if (strcmp(what, "oversize") == 0) {
        send_frame(big, sizeof big);
    } else if (strcmp(what, "empty") == 0) {
        (void)!write(CHILD_LINK_FD, "\0\0\0\0", 4);
    } else if (strcmp(what, "cut") == 0) {
        (void)!write(CHILD_LINK_FD, "\100\0\0\0abc", 7);
        (void)shutdown(CHILD_LINK_FD, SHUT_WR);
    } else if (strcmp(what, "descriptor") == 0) {
        send_fd();
    } else if (strcmp(what, "flood") == 0) {
        for (;;) {
            send_frame("x", 1);
        }
    } else if (strcmp(what, "output") == 0) {
        for (;;) {
            (void)!write(STDOUT_FILENO, big, sizeof big);
        }
    } else if (strcmp(what, "spin") == 0) {
        for (volatile int i = 0;; i++) {
        }
    } else if (strcmp(what, "crash") == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
    }
    for (;;) {
        (void)pause();
    }
}

static int
play_stem(void)
{
    struct stem_orders orders;
    char frame[64] = "";
    ssize_t n;

    if (!stem_serve(&orders)) {
        return 0;
    }
    look_at_signals();
    stem_let_terminate();
    n = read(CHILD_LINK_FD, frame, sizeof frame - 1);
    if (n <= (ssize_t)FRAME_HEAD) {
        return 8;
    }
    return obey(frame + FRAME_HEAD);
}

/* The tests -------------------------------------------------------------------------- */

struct rig {
    struct loop *loop;
    struct stem *stem;
    struct child *child;
    struct loop_timer patience;
    char text[500]; /* the frames that came, each behind a space */
    size_t output;  /* bytes */
    int is_late, wants_frame;
};

static void
on_late(void *arg)
{
    ((struct rig *)arg)->is_late = 1;
}

static void
on_received(void *arg)
{
    struct rig *rig = arg;
    struct frame *frame;
    int is_over;

    if (rig->child == NULL) {
        return;
    }
    while ((frame = child_receive(rig->child, &is_over)) != NULL) {
        size_t n = strlen(rig->text);

        (void)snprintf(rig->text + n, sizeof rig->text - n, "%.300s", frame->data);
        frame_free(frame);
    }
}

static void
on_output(void *arg)
{
    struct rig *rig = arg;
    char block[4096];
    int is_over;

    rig->output += child_read_output(rig->child, block, sizeof block, &is_over);
}

static void
ignore(void *arg)
{
    (void)arg;
}

static void
open_rig(struct rig *rig)
{
    struct fault fault;

    memset(rig, 0, sizeof *rig);
    assert_int_equal(loop_new(&rig->loop, &fault), FAULT_OK);
    assert_int_equal(stem_new(rig->loop, &rig->stem, &fault), FAULT_OK);
    assert_int_equal(loop_timer_start(rig->loop, &rig->patience, PATIENCE_MS, on_late, rig),
                     FAULT_OK);
}

/* One more child; WHAT is what it is to do. */
static void
add_child(struct rig *rig, const char *what)
{
    struct child_options options = {.memory_max = 1u << 20,
                                    .cpu_seconds = 1,
                                    .frame_max = 4096,
                                    .send_max = 8192,
                                    .per_second = 100,
                                    .output_max = OUTPUT_MAX,
                                    .zone = "Europe/Paris"};
    struct child_calls calls = {on_received, ignore, on_output, ignore, rig};
    struct fault fault;

    if (child_spawn(rig->loop, rig->stem, &options, &calls, &rig->child, &fault) != FAULT_OK) {
        fail_msg("%s", fault.msg);
    }
    assert_int_equal(link_send(child_link(rig->child), what, strlen(what), -1, &fault), FAULT_OK);
}

static void
begin(struct rig *rig, const char *what)
{
    open_rig(rig);
    add_child(rig, what);
}

static int
is_done(void *arg)
{
    struct rig *rig = arg;

    return rig->is_late || child_result(rig->child) != NULL
           || (rig->wants_frame && rig->text[0] != '\0');
}

static const struct child_end *
run(struct rig *rig)
{
    (void)loop_run(rig->loop, is_done, rig);
    assert_false(rig->is_late);
    return child_result(rig->child);
}

static void
finish(struct rig *rig)
{
    child_free(rig->child);
    stem_free(rig->stem);
    loop_timer_stop(rig->loop, &rig->patience);
    loop_free(rig->loop);
}

static void
expect_end(const char *what, enum child_reason reason, const char *detail)
{
    struct rig rig;
    const struct child_end *end;

    begin(&rig, what);
    end = run(&rig);
    assert_string_equal(child_reason_word(end->reason), child_reason_word(reason));
    if (detail != NULL) {
        assert_string_equal(end->detail, detail);
    }
    finish(&rig);
}

static void
test_child_inherits_nothing(void **state)
{
    struct rig rig;

    (void)state;
    assert_int_equal(setenv("CLOUDFLARE_API_TOKEN", "secret", 1), 0);
    begin(&rig, "report");
    rig.wants_frame = 1;
    (void)run(&rig);
    assert_string_equal(rig.text, "fds=4 group=1 held=1 LC_ALL=C.UTF-8 UV_USE_IO_URING=0"
                                  " TZ=Europe/Paris");
    finish(&rig);
}

static void
test_child_reports_an_exit(void **state)
{
    struct rig rig;
    const struct child_end *end;

    (void)state;
    begin(&rig, "exit");
    end = run(&rig);
    assert_int_equal(end->reason, CHILD_EXITED);
    assert_int_equal(end->status, 7);
    assert_int_equal(end->signal, 0);
    assert_true(end->max_rss > 0);
    finish(&rig);
}

static void
test_child_that_sends_no_frames_is_killed(void **state)
{
    (void)state;
    expect_end("malformed", CHILD_FRAMES, "malformed frame (head 50545448)");
    expect_end("empty", CHILD_FRAMES, "malformed frame (head 00000000)");
    expect_end("oversize", CHILD_FRAMES, "a frame of 5000 bytes (4096 are allowed)");
    expect_end("cut", CHILD_FRAMES, "a frame is cut short");
    expect_end("descriptor", CHILD_FRAMES, "descriptors nobody asked for");
    expect_end("flood", CHILD_FRAMES, "more than 100 frames in a second");
}

static void
test_child_that_prints_too_much_is_killed(void **state)
{
    (void)state;
    expect_end("output", CHILD_OUTPUT, NULL);
}

static void
test_child_that_computes_too_long_is_killed(void **state)
{
    (void)state;
    expect_end("spin", CHILD_CPU, NULL);
}

static void
test_child_that_crashes_is_told_from_one_that_is_killed(void **state)
{
    struct rig rig;

    (void)state;
#ifndef MOONTAP_SANITIZED
    expect_end("crash", CHILD_CRASHED, NULL);
#endif
    begin(&rig, "wait");
    child_kill(rig.child, CHILD_DEADLINE, NULL);
    assert_int_equal(run(&rig)->reason, CHILD_DEADLINE);
    finish(&rig);
    begin(&rig, "wait");
    child_terminate(rig.child);
    assert_int_equal(run(&rig)->signal, SIGTERM);
    finish(&rig);
}

/* What is queued for one that does not read is bounded, and goes with it. */
static void
test_child_that_does_not_read_makes_its_sender_wait(void **state)
{
    static char text[4000];
    struct rig rig;
    struct fault fault;
    int sent = 0;

    (void)state;
    begin(&rig, "wait");
    memset(text, 'x', sizeof text);
    while (link_has_room(child_link(rig.child)) && sent < 100000) {
        assert_int_equal(link_send(child_link(rig.child), text, sizeof text, -1, &fault), FAULT_OK);
        sent++;
    }
    assert_true(sent < 100000);
    assert_int_equal(link_send(child_link(rig.child), text, 4097, -1, &fault), FAULT_LIMIT);
    assert_int_equal(link_send(child_link(rig.child), text, 0, -1, &fault), FAULT_INVALID);
    finish(&rig);
}

/* An own process starts a child and is killed: the child goes too. Its sign of life
 * is the other end of a pipe that it holds as its output. */
static void
test_child_dies_with_its_parent(void **state)
{
    int ends[2];
    char pid_text[32] = "";
    pid_t parent, child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    parent = fork();
    if (parent == 0) {
        struct rig rig;
        int n;

        begin(&rig, "spin");
        n = snprintf(pid_text, sizeof pid_text, "%d", child_pid(rig.child));
        (void)!write(ends[1], pid_text, (size_t)n);
        for (;;) {
            (void)pause();
        }
    }
    assert_true(read(ends[0], pid_text, sizeof pid_text - 1) > 0);
    child = (pid_t)strtol(pid_text, NULL, 10);
    assert_int_equal(kill(child, 0), 0);
    (void)kill(parent, SIGKILL);
    (void)waitpid(parent, NULL, 0);
    for (int i = 0; i < 500; i++) {
        char path[64], line[200] = "";
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)child);
        f = fopen(path, "r");
        if (f == NULL) {
            break;
        }
        (void)!fgets(line, sizeof line, f);
        (void)fclose(f);
        if (strstr(line, ") Z ") != NULL) {
            break; /* nobody reaps it here */
        }
        assert_int_not_equal(i, 499);
        (void)usleep(10000);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static size_t
count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(dir) != NULL) {
        n++;
    }
    (void)closedir(dir);
    return n;
}

static void
test_child_start_survives_lack_of_memory(void **state)
{
    struct child_options options = {.memory_max = 1u << 20,
                                    .cpu_seconds = 1,
                                    .frame_max = 4096,
                                    .send_max = 8192,
                                    .output_max = OUTPUT_MAX};
    struct child_calls calls = {ignore, ignore, ignore, ignore, NULL};
    struct child *child;
    struct stem *stem;
    struct loop *loop;
    struct fault fault;
    size_t fds;
    int hit = 1;

    (void)state;
    expect_end("exit", CHILD_EXITED, NULL); /* what is opened once is open now */
    assert_int_equal(loop_new(&loop, &fault), FAULT_OK);
    fds = count_fds();
    for (long n = 1; hit; n++) {
        enum fault_code code;

        assert_int_equal(stem_new(loop, &stem, &fault), FAULT_OK);
        mem_fail_at(n);
        code = child_spawn(loop, stem, &options, &calls, &child, &fault);
        hit = mem_fail_hit();
        mem_fail_at(0);
        assert_int_equal(code, hit ? FAULT_NOMEM : FAULT_OK);
        child_free(child);
        stem_free(stem);
    }
    assert_int_equal(count_fds(), fds);
    loop_free(loop);
}

/* Stem ------------------------------------------------------------------------------- */

/* The children of this process, except ONE; how many there are is returned. */
static size_t
list_children(pid_t *list, size_t most, pid_t one)
{
    char path[64];
    size_t n = 0;
    long pid;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    f = fopen(path, "r");
    assert_non_null(f);
    while (n < most && fscanf(f, "%ld", &pid) == 1) {
        if ((pid_t)pid != one) {
            list[n++] = (pid_t)pid;
        }
    }
    (void)fclose(f);
    return n;
}

static void
test_stem_that_is_killed_takes_no_branch_along_and_comes_again(void **state)
{
    struct rig rig;
    struct child *first;
    pid_t stem[4];
    siginfo_t info;

    (void)state;
    begin(&rig, "report");
    rig.wants_frame = 1;
    (void)run(&rig); /* what has branched off does not hold the stem's socket any more */
    rig.text[0] = '\0';
    first = rig.child;
    assert_int_equal(list_children(stem, 4, child_pid(first)), 1);
    assert_int_equal(kill(stem[0], SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)stem[0], &info, WEXITED | WNOWAIT), 0);
    add_child(&rig, "report");
    (void)run(&rig);
    assert_non_null(strstr(rig.text, "fds=4 group=1"));
    assert_null(child_result(first));
    assert_int_equal(kill(child_pid(first), 0), 0);
    child_free(first);
    finish(&rig);
}

static void
stop(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
}

/* Stops the stem, which has ONE branch. */
static pid_t
stop_stem(struct child *one)
{
    pid_t list[4];

    assert_int_equal(list_children(list, 4, child_pid(one)), 1);
    stop(list[0]);
    return list[0];
}

/* Those that are on their way when it dies branch off the next one. */
static void
test_stem_that_dies_leaves_those_that_wait_to_the_next(void **state)
{
    struct rig rig;
    struct child *first;
    pid_t stem;

    (void)state;
    begin(&rig, "wait");
    first = rig.child;
    stem = stop_stem(first);
    add_child(&rig, "exit");
    assert_int_equal(kill(stem, SIGKILL), 0);
    assert_int_equal(run(&rig)->reason, CHILD_EXITED);
    assert_int_equal(child_result(rig.child)->status, 7);
    assert_null(child_result(first));
    child_free(first);
    finish(&rig);
}

/* Waits until PID, which has nothing to do, sleeps. */
static void
await_sleep(pid_t pid)
{
    char path[64], line[200];

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    for (unsigned i = 0; i < PATIENCE_MS; i++) {
        FILE *f = fopen(path, "r");

        assert_non_null(f);
        assert_non_null(fgets(line, sizeof line, f));
        (void)fclose(f);
        if (strstr(line, ") S ") != NULL) {
            return;
        }
        (void)poll(NULL, 0, 1);
    }
    fail_msg("it does not sleep: %s", line);
}

/* What it answered before it died counts, though requests lay there unread. */
static void
test_stem_that_dies_has_started_those_it_answered(void **state)
{
    struct rig rig;
    struct child *first, *answered;
    pid_t list[4], stem;

    (void)state;
    begin(&rig, "wait");
    first = rig.child;
    assert_int_equal(list_children(list, 4, child_pid(first)), 1);
    stem = list[0];
    add_child(&rig, "exit");
    answered = rig.child;
    for (unsigned i = 0; list_children(list, 4, child_pid(first)) < 2; i++) {
        assert_true(i < PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
    await_sleep(stem);
    stop(stem);
    add_child(&rig, "exit");
    assert_int_equal(kill(stem, SIGKILL), 0);
    assert_int_equal(run(&rig)->status, 7); /* on the next one */
    child_free(rig.child);
    rig.child = answered;
    assert_string_equal(child_reason_word(run(&rig)->reason), "exited");
    assert_int_equal(child_result(answered)->status, 7);
    child_free(first);
    finish(&rig);
}

/* It may hold up who waits for it, not for long; the next branch is another's. */
static void
test_stem_that_hangs_is_given_up(void **state)
{
    struct rig rig;
    struct child *first, *second;

    (void)state;
    begin(&rig, "wait");
    first = rig.child;
    (void)stop_stem(first);
    add_child(&rig, "exit");
    second = rig.child;
    assert_true(child_pid(second) > 0); /* of the next one */
    assert_int_equal(run(&rig)->status, 7);
    add_child(&rig, "exit");
    assert_int_equal(run(&rig)->status, 7);
    assert_null(child_result(first));
    child_free(second);
    child_free(first);
    finish(&rig);
}

static void
test_child_that_is_killed_before_it_starts_ends(void **state)
{
    struct rig rig;
    struct child *first;

    (void)state;
    begin(&rig, "wait");
    first = rig.child;
    (void)stop_stem(first);
    add_child(&rig, "wait");
    child_kill(rig.child, CHILD_DEADLINE, "late");
    assert_int_equal(run(&rig)->reason, CHILD_DEADLINE);
    assert_string_equal(child_result(rig.child)->detail, "late");
    child_free(first);
    finish(&rig);
}

static void
test_child_that_cannot_be_watched_says_why(void **state)
{
    struct rig rig;
    const struct child_end *end;

    (void)state;
    begin(&rig, "wait");
    mem_fail_at(1);
    assert_int_equal(child_pid(rig.child), 0);
    mem_fail_at(0);
    end = child_result(rig.child);
    assert_non_null(end);
    assert_int_equal(end->reason, CHILD_NOT_STARTED);
    assert_string_equal(end->detail, "watch a process: not enough memory");
    finish(&rig);
}

struct told {
    struct stem_wait wait;
    pid_t pid;
};

static void
on_told(void *arg, pid_t pid, int why)
{
    struct told *told = arg;

    assert_int_equal(why, 0);
    told->pid = pid;
}

/* One who asks for a branch again when it is told that there is none. */
struct again {
    struct told told;
    struct stem *stem;
    int link, count;
};

static void
on_none(void *arg, pid_t pid, int why)
{
    struct again *again = arg;
    struct stem_orders orders = {.parent = getpid(), .cpu_seconds = 1};
    struct fault fault;

    assert_int_equal(pid, -1);
    assert_string_equal(stem_why(why), strstr(DIED, "the process"));
    again->count++;
    again->told.wait = (struct stem_wait){.fn = on_told, .arg = &again->told};
    assert_int_equal(
        stem_branch(again->stem, &orders, again->link, again->link, &again->told.wait, &fault),
        FAULT_OK);
}

static void
test_stem_that_dies_may_be_asked_again_at_once(void **state)
{
    struct stem_orders orders = {.parent = getpid(), .cpu_seconds = 1};
    struct again again[3];
    struct rig rig;
    struct fault fault;
    pid_t stem;
    int ends[2];

    (void)state;
    begin(&rig, "wait");
    stem = stop_stem(rig.child);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(shutdown(ends[0], SHUT_RDWR), 0);
    for (int i = 0; i < 3; i++) {
        again[i] = (struct again){.stem = rig.stem, .link = ends[1]};
        again[i].told.wait = (struct stem_wait){.fn = on_none, .arg = &again[i]};
        assert_int_equal(
            stem_branch(rig.stem, &orders, ends[1], ends[1], &again[i].told.wait, &fault),
            FAULT_OK);
    }
    assert_int_equal(kill(stem, SIGKILL), 0);
    for (int i = 2; i >= 0; i--) {
        stem_await(rig.stem, &again[i].told.wait);
        assert_int_equal(again[i].count, 1);
        assert_true(again[i].told.pid > 0);
        assert_int_equal(waitpid(again[i].told.pid, NULL, 0), again[i].told.pid);
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    finish(&rig);
}

/* More than both sockets hold, while nobody looks at the answers: no one waits for ever.
 * Each is a child of this process, and no other's. */
static void
test_stem_branches_for_many_at_once(void **state)
{
    static struct told told[1500];
    const size_t n = sizeof told / sizeof *told;
    struct stem_orders orders = {.parent = getpid(), .cpu_seconds = 1};
    struct rig rig;
    struct fault fault;
    int ends[2];

    (void)state;
    open_rig(&rig);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(shutdown(ends[0], SHUT_RDWR), 0);
    for (size_t i = 0; i < n; i++) {
        told[i] = (struct told){.wait = {.fn = on_told, .arg = &told[i]}};
        assert_int_equal(stem_branch(rig.stem, &orders, ends[1], ends[1], &told[i].wait, &fault),
                         FAULT_OK);
    }
    for (size_t i = 0; i < n; i++) {
        int status = 0;

        stem_await(rig.stem, &told[i].wait);
        assert_true(told[i].pid > 0);
        assert_int_equal(waitpid(told[i].pid, &status, 0), told[i].pid);
        assert_int_equal(WEXITSTATUS(status), 8); /* it was told nothing */
    }
    (void)close(ends[0]);
    (void)close(ends[1]);
    finish(&rig);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_inherits_nothing),
        cmocka_unit_test(test_child_reports_an_exit),
        cmocka_unit_test(test_child_that_sends_no_frames_is_killed),
        cmocka_unit_test(test_child_that_prints_too_much_is_killed),
        cmocka_unit_test(test_child_that_computes_too_long_is_killed),
        cmocka_unit_test(test_child_that_crashes_is_told_from_one_that_is_killed),
        cmocka_unit_test(test_child_that_does_not_read_makes_its_sender_wait),
        cmocka_unit_test(test_child_dies_with_its_parent),
        cmocka_unit_test(test_child_start_survives_lack_of_memory),
        cmocka_unit_test(test_stem_that_is_killed_takes_no_branch_along_and_comes_again),
        cmocka_unit_test(test_stem_that_dies_leaves_those_that_wait_to_the_next),
        cmocka_unit_test(test_stem_that_dies_has_started_those_it_answered),
        cmocka_unit_test(test_stem_that_dies_may_be_asked_again_at_once),
        cmocka_unit_test(test_stem_that_hangs_is_given_up),
        cmocka_unit_test(test_child_that_is_killed_before_it_starts_ends),
        cmocka_unit_test(test_child_that_cannot_be_watched_says_why),
        cmocka_unit_test(test_stem_branches_for_many_at_once),
    };

    if (stem_is_meant(argc, argv)) {
        return play_stem();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
