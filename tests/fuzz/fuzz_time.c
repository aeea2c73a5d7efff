/* Times and lengths of time as text: what is read can be written, and reading
 * that gives the same. Input: the text. */
#include "fuzz.h"

#include "duration.h"
#include "rfc3339.h"

#include <math.h>
#include <string.h>

static void
check_date(const char *text, size_t len)
{
    char shown[RFC3339_SIZE];
    int64_t us, again;

    if (rfc3339_parse(text, len, &us) == 0) {
        must(rfc3339_parse(shown, strlen(rfc3339_format(us, shown)), &again) == 0);
        must(again == us);
    }
}

static void
check_duration(const char *text, size_t len)
{
    char shown[64];
    uint64_t ms, again;

    if (duration_parse(text, len, &ms) == 0) {
        must(ms <= DURATION_MAX_MS);
        must(duration_parse(shown, strlen(duration_format(ms, shown, sizeof shown)), &again) == 0);
        must(again <= DURATION_MAX_MS);
        must(fabs((double)again - (double)ms) <= (double)ms / 2); /* it is shortened */
    }
}

/* Any number of seconds, and any time. */
static void
check_numbers(const uint8_t *data)
{
    char shown[RFC3339_SIZE];
    double seconds;
    int64_t us;
    uint64_t ms;

    memcpy(&seconds, data, sizeof seconds);
    must(duration_from_seconds(seconds, &ms) != 0 || ms <= DURATION_MAX_MS);
    memcpy(&us, data, sizeof us);
    must(strlen(rfc3339_format(us, shown)) < RFC3339_SIZE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_date((const char *)data, size);
    check_duration((const char *)data, size);
    if (size >= 8) {
        check_numbers(data);
    }
    return 0;
}
