/*
 * bind/pcaps_file: the file of a download. Written under a temporary name
 * beside its place, checked, synced, renamed: what has its name is whole.
 */
#include "pcaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".part-XXXXXX"
#define FILE_HEADER 24   /* bytes before the first packet of a pcap */
#define PACKET_HEADER 16 /* bytes before each packet */

static enum fault_code
io_fault(struct fault *fault, const char *what, const char *path)
{
    return fault_set(fault, FAULT_IO, "%s %s: %s", what, path, strerror(errno));
}

enum fault_code
pcaps_file_open(struct pcaps_call *call, const char *path, struct fault *fault)
{
    size_t n = strlen(path);
    struct stat st;

    if (n == 0 || n > 4000)
        return fault_set(fault, FAULT_INVALID, "the path is empty or too long");
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fault_set(fault, FAULT_IO, "%s exists and is no ordinary file", path);
    call->temp = mem_alloc(n + sizeof SUFFIX);
    if (call->temp == NULL)
        return fault_set(fault, FAULT_NOMEM, "out of memory");
    memcpy(call->temp, path, n);
    memcpy(call->temp + n, SUFFIX, sizeof SUFFIX);
    call->fd = mkostemp(call->temp, O_CLOEXEC); /* mode 0600 */
    if (call->fd >= 0)
        return FAULT_OK;
    (void)io_fault(fault, "create", path);
    mem_free(call->temp);
    call->temp = NULL;
    return FAULT_IO;
}

void
pcaps_file_drop(struct pcaps_call *call)
{
    if (call->temp != NULL) {
        (void)unlink(call->temp); /* best effort: it may have been renamed */
        mem_free(call->temp);
        call->temp = NULL;
    }
    if (call->fd >= 0) {
        (void)close(call->fd);
        call->fd = -1;
    }
}

static uint32_t
read_u32(const unsigned char *p, int big)
{
    return big ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
               : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/*
 * What the first bytes say: 0 no capture, 1 pcapng, 2 little-endian pcap,
 * 3 big-endian pcap; micro- and nanoseconds alike.
 */
static int
capture_format(const unsigned char *head)
{
    uint32_t little = read_u32(head, 0), big = read_u32(head, 1);

    if (big == 0x0A0D0D0A)
        return 1;
    if (little == 0xA1B2C3D4 || little == 0xA1B23C4D)
        return 2;
    return big == 0xA1B2C3D4 || big == 0xA1B23C4D ? 3 : 0;
}

/* Does the pcap of SIZE bytes end where a packet ends? */
static int
ends_whole(int fd, off_t size, int big)
{
    unsigned char header[PACKET_HEADER];
    off_t at = FILE_HEADER;

    while (at < size) {
        if (size - at < PACKET_HEADER ||
            pread(fd, header, sizeof header, at) != (ssize_t)sizeof header)
            return 0;
        at += PACKET_HEADER + (off_t)read_u32(header + 8, big);
    }
    return at == size;
}

static enum fault_code
check_capture(int fd, int framed, struct fault *fault)
{
    unsigned char head[FILE_HEADER] = {0};
    struct stat st;
    int format;

    if (fstat(fd, &st) != 0)
        return fault_set(fault, FAULT_IO, "look at the file: %s", strerror(errno));
    if (pread(fd, head, sizeof head, 0) < 4 || (format = capture_format(head)) == 0)
        return fault_set(fault, FAULT_PROTOCOL,
                         "what came (%lld bytes) is no pcap or pcapng file",
                         (long long)st.st_size);
    if (format > 1 && (st.st_size < FILE_HEADER ||
                       (!framed && !ends_whole(fd, st.st_size, format == 3))))
        return fault_set(fault, FAULT_PROTOCOL, "the capture was cut off after %lld bytes",
                         (long long)st.st_size);
    return FAULT_OK;
}

/* Makes the new name in the directory of PATH durable. Best effort: the file
 * itself is synced, and not every file system can sync a directory. */
static void
sync_directory(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    int n = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path), fd;

    (void)snprintf(dir, sizeof dir, "%.*s", n == 0 ? 1 : n, n == 0 ? "." : path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

enum fault_code
pcaps_file_commit(struct pcaps_call *call, const char *path, int framed, struct fault *fault)
{
    enum fault_code code = check_capture(call->fd, framed, fault);

    if (code != FAULT_OK)
        return code;
    if (fsync(call->fd) != 0)
        return io_fault(fault, "sync", path);
    if (rename(call->temp, path) != 0)
        return io_fault(fault, "rename to", path);
    mem_free(call->temp);
    call->temp = NULL; /* it has its name: nothing to remove */
    sync_directory(path);
    return FAULT_OK;
}
