/* digest: see digest.h. */
#include "digest.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <openssl/evp.h>

#define BLOCK 65536

static void
to_hex(const unsigned char *digest, unsigned n, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < n; i++) {
        *out++ = digits[digest[i] >> 4];
        *out++ = digits[digest[i] & 15];
    }
    *out = '\0';
}

static enum fault_code
no_memory(struct fault *fault)
{
    return fault_set(fault, FAULT_NOMEM, "not enough memory");
}

/* Fetched once: EVP_sha256() is looked up anew for each digest. NULL: no memory. */
static const EVP_MD *
sha256(void)
{
    static const EVP_MD *fetched; /* as long as the process */

    if (fetched == NULL) {
        fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    return fetched;
}

enum fault_code
digest_bytes(const void *data, size_t n, char out[DIGEST_SIZE], struct fault *fault)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    const EVP_MD *type = sha256();
    unsigned len;

    if (type == NULL || !EVP_Digest(data, n, digest, &len, type, NULL)) {
        return no_memory(fault);
    }
    to_hex(digest, len, out);
    return FAULT_OK;
}

enum fault_code
digest_parts(const struct digest_part *parts, size_t count, char out[DIGEST_SIZE],
             struct fault *fault)
{
    static EVP_MD_CTX *context; /* as long as the process: a new one costs as much as a digest */
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    int ok;

    if (context == NULL) {
        context = EVP_MD_CTX_new();
    }
    ok = context != NULL && sha256() != NULL && EVP_DigestInit_ex(context, sha256(), NULL);
    for (size_t i = 0; ok && i < count; i++) {
        ok = EVP_DigestUpdate(context, parts[i].data, parts[i].n);
    }
    if (!ok || !EVP_DigestFinal_ex(context, digest, &len)) {
        return no_memory(fault);
    }
    to_hex(digest, len, out);
    return FAULT_OK;
}

/* Feeds what FD holds into CONTEXT; an errno value, or 0. */
static int
read_into(int fd, EVP_MD_CTX *context, char *block)
{
    for (;;) {
        ssize_t got = read(fd, block, BLOCK);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? errno : 0;
        }
        if (!EVP_DigestUpdate(context, block, (size_t)got)) {
            return ENOMEM;
        }
    }
}

static enum fault_code
digest_descriptor(int fd, const char *path, char out[DIGEST_SIZE], struct fault *fault)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    char *block = mem_alloc(BLOCK);
    int why = ENOMEM;

    if (context != NULL && block != NULL && sha256() != NULL
        && EVP_DigestInit_ex(context, sha256(), NULL)) {
        why = read_into(fd, context, block);
    }
    if (why == 0 && !EVP_DigestFinal_ex(context, digest, &len)) {
        why = ENOMEM;
    }
    EVP_MD_CTX_free(context);
    mem_free(block);
    if (why == ENOMEM) {
        return no_memory(fault);
    }
    if (why != 0) {
        return fault_set(fault, FAULT_IO, "read %.120s: %s", path, strerror(why));
    }
    to_hex(digest, len, out);
    return FAULT_OK;
}

enum fault_code
digest_file(const char *path, char out[DIGEST_SIZE], struct fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum fault_code code;

    if (fd < 0) {
        return fault_set(fault, FAULT_IO, "read %.120s: %s", path, strerror(errno));
    }
    code = digest_descriptor(fd, path, out, fault);
    (void)close(fd);
    return code;
}
