/*
 * loop_watch: descriptors and signals that the loop looks at; see loop.h.
 */
#include "loop_int.h"

#include "buf.h"

struct loop_watch {
    uv_poll_t poll;
    struct loop *loop;
    loop_watch_fn fn;
    void *arg;
    int counted;
};

struct loop_signal {
    uv_signal_t uv;
    loop_fn fn;
    void *arg;
};

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct loop_watch *watch = poll->data;
    unsigned happened = 0;

    if (status < 0) {
        happened = LOOP_READ | LOOP_WRITE;
    }
    if ((events & UV_READABLE) != 0) {
        happened |= LOOP_READ;
    }
    if ((events & UV_WRITABLE) != 0) {
        happened |= LOOP_WRITE;
    }
    watch->fn(watch->arg, happened);
}

/* Fails only when closing. */
void
loop_watch_events(struct loop_watch *watch, unsigned events)
{
    int mask = ((events & LOOP_READ) != 0 ? UV_READABLE : 0)
               | ((events & LOOP_WRITE) != 0 ? UV_WRITABLE : 0);

    if (mask != 0) {
        (void)uv_poll_start(&watch->poll, mask, on_poll);
    } else {
        (void)uv_poll_stop(&watch->poll);
    }
}

enum fault_code
loop_watch_new(struct loop *loop, int fd, unsigned events, loop_watch_fn fn,
               void *arg, struct loop_watch **out, struct fault *fault)
{
    struct loop_watch *watch = mem_zalloc(sizeof *watch);
    int err;

    *out = NULL;
    if (watch == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    err = uv_poll_init(&loop->uv, &watch->poll, fd);
    if (err != 0) {
        mem_free(watch);
        return fault_set(fault, FAULT_IO, "watch descriptor %d: %s", fd, uv_strerror(err));
    }
    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    watch->poll.data = watch;
    watch->counted = 1;
    loop->live_watches++;
    loop_watch_events(watch, events);
    *out = watch;
    return FAULT_OK;
}

static void
free_watch(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void
loop_watch_unref(struct loop_watch *watch)
{
    if (watch->counted) {
        watch->counted = 0;
        watch->loop->live_watches--;
    }
}

void
loop_watch_free(struct loop_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    loop_watch_unref(watch);
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, free_watch);
}

static void
on_signal(uv_signal_t *uv, int signum)
{
    struct loop_signal *sig = uv->data;

    (void)signum;
    sig->fn(sig->arg);
}

static void
free_signal(uv_handle_t *handle)
{
    mem_free(handle->data);
}

enum fault_code
loop_signal_new(struct loop *loop, int signum, loop_fn fn, void *arg,
                struct loop_signal **out, struct fault *fault)
{
    struct loop_signal *sig = mem_zalloc(sizeof *sig);
    int err;

    *out = NULL;
    if (sig == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    sig->fn = fn;
    sig->arg = arg;
    sig->uv.data = sig;
    err = uv_signal_init(&loop->uv, &sig->uv);
    if (err != 0) {
        mem_free(sig);
        return fault_set(fault, FAULT_IO, "watch signal %d: %s", signum, uv_strerror(err));
    }
    uv_unref((uv_handle_t *)&sig->uv);
    err = uv_signal_start(&sig->uv, on_signal, signum);
    if (err != 0) {
        uv_close((uv_handle_t *)&sig->uv, free_signal);
        return fault_set(fault, FAULT_IO, "watch signal %d: %s", signum, uv_strerror(err));
    }
    *out = sig;
    return FAULT_OK;
}

void
loop_signal_free(struct loop_signal *sig)
{
    if (sig == NULL) {
        return;
    }
    (void)uv_signal_stop(&sig->uv);
    uv_close((uv_handle_t *)&sig->uv, free_signal);
}
