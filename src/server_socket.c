/* server_socket: the listening socket; see server_int.h. */
#include "server_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 511

/* A numeric address and a port. */
union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static socklen_t
read_address(const char *text, unsigned port, union address *address)
{
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &address->in.sin_addr) == 1) {
        address->in.sin_family = AF_INET;
        address->in.sin_port = htons((uint16_t)port);
        return sizeof address->in;
    }
    if (inet_pton(AF_INET6, text, &address->in6.sin6_addr) == 1) {
        address->in6.sin6_family = AF_INET6;
        address->in6.sin6_port = htons((uint16_t)port);
        return sizeof address->in6;
    }
    return 0;
}

enum fault_code
server_open_socket(const char *text, unsigned port, int *out, struct fault *fault)
{
    union address address;
    socklen_t size = read_address(text, port, &address);
    int fd, one = 1;

    if (size == 0) {
        return fault_set(fault, FAULT_INVALID, "listen: \"%s\" is no numeric IPv4 or IPv6 address",
                         text);
    }
    if (port > 65535) {
        return fault_set(fault, FAULT_INVALID, "listen: port %u is above 65535", port);
    }
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fault_set(fault, FAULT_IO, "listen: socket: %s", strerror(errno));
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* best effort */
    if (bind(fd, &address.any, size) != 0 || listen(fd, BACKLOG) != 0) {
        int why = errno;

        close(fd);
        return fault_set(fault, FAULT_IO, "listen on %s%s%s port %u: %s",
                         size == sizeof address.in6 ? "[" : "", text,
                         size == sizeof address.in6 ? "]" : "", port, strerror(why));
    }
    *out = fd;
    return FAULT_OK;
}

unsigned
server_socket_port(int fd)
{
    union address address;
    socklen_t size = sizeof address;

    memset(&address, 0, sizeof address);
    if (getsockname(fd, &address.any, &size) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
}
