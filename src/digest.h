/*
 * digest: SHA-256 as lower-case hexadecimal text, by OpenSSL. Knows no Lua.
 */
#ifndef MOONTAP_DIGEST_H
#define MOONTAP_DIGEST_H

#include "fault.h"

#include <stddef.h>

#define DIGEST_SIZE 65 /* bytes of a digest with its NUL */

/* The digest of N bytes. FAULT_NOMEM. */
enum fault_code
digest_bytes(const void *data, size_t n, char out[DIGEST_SIZE], struct fault *fault);
struct digest_part {
    const void *data; /* N bytes, borrowed */
    size_t n;
};

/* The digest of COUNT parts, one after the other. FAULT_NOMEM. */
enum fault_code digest_parts(const struct digest_part *parts, size_t count, char out[DIGEST_SIZE],
                             struct fault *fault);
/* The digest of the file at PATH, which is read block by block. Blocks. FAULT_IO,
 * FAULT_NOMEM. */
enum fault_code digest_file(const char *path, char out[DIGEST_SIZE], struct fault *fault);

#endif
