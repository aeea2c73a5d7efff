/*
 * silent_resolver: preloaded, it makes every look-up of a name take as long as
 * one whose name servers never answer, without a network or root.
 */
#include <netdb.h>
#include <string.h>
#include <time.h>

#define SILENCE_S 10

int
getaddrinfo(const char *restrict node, const char *restrict service,
            const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
    struct timespec left = { .tv_sec = SILENCE_S };

    (void)node;
    (void)service;
    (void)hints;
    *res = NULL;
    while (nanosleep(&left, &left) != 0) {
        /* a signal is no answer */
    }
    return EAI_AGAIN;
}
