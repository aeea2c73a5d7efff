/* Keys in bucket URIs: whatever is around one, it is hidden; hiding twice is
 * hiding once; and nothing grows. Input: where the URI goes, then the text. */
#include "fuzz.h"

#include "pcaps_schema.h"

#include <string.h>

#define KEY "FUZZSECRETKEY"
#define URI "r2://bucket/dir?access-key-id=a&secret-access-key=" KEY
#define TEXT_MAX 8192u

/* Is there a byte before or behind the URI that makes it another word? */
static int
stands_alone(char before)
{
    return strchr(" \"'\n(,:=", before) != NULL && before != '\0';
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size < TEXT_MAX ? size : TEXT_MAX};
    size_t at = (size_t)input_byte(&in) * 4, n, again;
    static char text[TEXT_MAX + sizeof URI], twice[sizeof text];

    at = at < in.left ? at : in.left;
    memcpy(text, in.at, at);
    memcpy(text + at, URI, sizeof URI - 1);
    memcpy(text + at + sizeof URI - 1, in.at + at, in.left - at);
    n = schema_redact(text, in.left + sizeof URI - 1);
    must(n <= in.left + sizeof URI - 1);
    if (at == 0 || stands_alone((char)in.at[at - 1])) {
        must(memmem(text, n, KEY, sizeof KEY - 1) == NULL
             || memmem(in.at, in.left, KEY, sizeof KEY - 1) != NULL);
    }
    memcpy(twice, text, n);
    again = schema_redact(twice, n);
    must(again == n && memcmp(twice, text, n) == 0);
    return 0;
}
