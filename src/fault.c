/* fault: fills error records; see fault.h. */
#include "fault.h"

#include <stdio.h>

enum fault_code
fault_set(struct fault *fault, enum fault_code code, const char *fmt, ...)
{
    if (fault != NULL) {
        va_list ap;

        fault->code = code;
        fault->status = 0;
        va_start(ap, fmt);
        (void)vsnprintf(fault->msg, sizeof fault->msg, fmt, ap); /* cut is fine */
        va_end(ap);
    }
    return code;
}

void
fault_clear(struct fault *fault)
{
    if (fault != NULL) {
        fault->code = FAULT_OK;
        fault->status = 0;
        fault->msg[0] = '\0';
    }
}

const char *
fault_kind(enum fault_code code)
{
    switch (code) {
    case FAULT_OK: return "ok";
    case FAULT_NOMEM: return "memory";
    case FAULT_INVALID: return "usage";
    case FAULT_LIMIT: return "limit";
    case FAULT_IO: return "io";
    case FAULT_NETWORK: return "network";
    case FAULT_TLS: return "tls";
    case FAULT_TIMEOUT: return "timeout";
    case FAULT_CANCELLED: return "cancelled";
    case FAULT_PROTOCOL: return "http";
    }
    return "unknown";
}
