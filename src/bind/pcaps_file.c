/*
 * bind/pcaps_file: whether a file that was downloaded is a capture, and whole.
 */
#include "pcaps.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_HEADER 24   /* bytes before the first packet of a pcap */
#define WALKED_MAX (64 << 20) /* what the API gives to download is far smaller */
#define PACKET_HEADER 16 /* bytes before each packet */

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

    if (big == 0x0A0D0D0A) {
        return 1;
    }
    if (little == 0xA1B2C3D4 || little == 0xA1B23C4D) {
        return 2;
    }
    return big == 0xA1B2C3D4 || big == 0xA1B23C4D ? 3 : 0;
}

/* Does the pcap of SIZE bytes end where a packet ends? */
static int
ends_whole(int fd, off_t size, int big)
{
    unsigned char header[PACKET_HEADER];
    off_t at = FILE_HEADER;

    while (at < size) {
        if (size - at < PACKET_HEADER
            || pread(fd, header, sizeof header, at) != (ssize_t)sizeof header) {
            return 0;
        }
        at += PACKET_HEADER + (off_t)read_u32(header + 8, big);
    }
    return at == size;
}

enum fault_code
pcaps_file_check(int fd, struct fault *fault)
{
    unsigned char head[FILE_HEADER] = {0};
    struct stat st;
    int format;

    if (fstat(fd, &st) != 0) {
        return fault_set(fault, FAULT_IO, "look at the file: %s", strerror(errno));
    }
    if (pread(fd, head, sizeof head, 0) < 4 || (format = capture_format(head)) == 0) {
        return fault_set(fault, FAULT_PROTOCOL, "what came (%lld bytes) is no pcap or pcapng file",
                         (long long)st.st_size);
    }
    if (format > 1
        && (st.st_size < FILE_HEADER
            || (st.st_size <= WALKED_MAX && !ends_whole(fd, st.st_size, format == 3)))) {
        return fault_set(fault, FAULT_PROTOCOL, "the capture was cut off after %lld bytes",
                         (long long)st.st_size);
    }
    return FAULT_OK;
}
