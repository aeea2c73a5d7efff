/* A file that was downloaded: is it a capture, and whole? Whatever its bytes are,
 * that is answered, soon, and a refusal says why. Input: the file. */
#include "fuzz.h"

#include "bind/pcaps.h"

#include <sys/mman.h>
#include <unistd.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fault fault = {FAULT_OK, 0, ""};
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        must(fd >= 0);
    }
    must(ftruncate(fd, 0) == 0);
    must(pwrite(fd, data, size, 0) == (ssize_t)size);
    if (pcaps_file_check(fd, &fault) != FAULT_OK) {
        must(fault.code == FAULT_PROTOCOL && fault.msg[0] != '\0');
    } else {
        must(size >= 4);
    }
    return 0;
}
