/*
 * file: the file an answer is streamed to. Written under a temporary name
 * beside its place and renamed when it is whole, so that whatever dies in
 * between leaves no half file under the name somebody waits for.
 */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".part-XXXXXX"

static enum fault_code
io_fault(struct fault *fault, const char *what, const char *path)
{
    return fault_set(fault, FAULT_IO, "%s %s: %s", what, path, strerror(errno));
}

enum fault_code
http_file_open(struct http_file *file, const char *path, struct fault *fault)
{
    size_t len = strlen(path);
    struct stat st;
    enum fault_code code;

    file->fd = -1;
    file->temp = NULL;
    if (len == 0) {
        return fault_set(fault, FAULT_INVALID, "the path is empty");
    }
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return fault_set(fault, FAULT_IO, "%s exists and is no ordinary file", path);
    }
    file->temp = mem_alloc(len + sizeof SUFFIX);
    if (file->temp == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    memcpy(file->temp, path, len);
    memcpy(file->temp + len, SUFFIX, sizeof SUFFIX);
    file->fd = mkostemp(file->temp, O_CLOEXEC);
    if (file->fd < 0) {
        code = io_fault(fault, "create", path);
        mem_free(file->temp);
        file->temp = NULL;
        return code;
    }
    return FAULT_OK;
}

enum fault_code
http_file_commit(struct http_file *file, const char *path, struct fault *fault)
{
    if (fsync(file->fd) != 0) {
        return io_fault(fault, "write", path);
    }
    if (rename(file->temp, path) != 0) {
        return io_fault(fault, "rename to", path);
    }
    mem_free(file->temp);
    file->temp = NULL;
    http_file_drop(file);
    return FAULT_OK;
}

void
http_file_drop(struct http_file *file)
{
    if (file->temp != NULL) {
        (void)unlink(file->temp); /* best effort: it is a temporary name */
        mem_free(file->temp);
        file->temp = NULL;
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
        file->fd = -1;
    }
}
