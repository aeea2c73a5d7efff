/* pcaps_schema: the JSON of a record that was checked. See pcaps_schema.h. */
#include "pcaps_schema.h"

#include <string.h>

/* Writes INTEGER at the end of TEXT (SIZE bytes); returns where it starts.
 * snprintf would cost more than all the rest of a body. */
static const char *
format_integer(int64_t integer, char *text, size_t size)
{
    uint64_t rest = integer < 0 ? -(uint64_t)integer : (uint64_t)integer;
    char *p = text + size;

    *--p = '\0';
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (integer < 0) {
        *--p = '-';
    }
    return p;
}

/* Appends SEPARATOR and the key of F. */
static void
write_key(const struct schema_field *f, char separator, struct buf *out)
{
    char key[48];
    size_t n = strlen(f->name);

    key[0] = separator;
    key[1] = '"';
    memcpy(key + 2, f->name, n);
    key[n + 2] = '"';
    key[n + 3] = ':';
    (void)buf_append(out, key, n + 4);
}

/* Appends the object of the fields below PARENT. */
static void
write_object(const struct schema_record *record, int parent, struct buf *out)
{
    size_t count;
    const struct schema_field *fields = schema_fields(record->op, &count);
    char separator = '{', number[24];

    for (size_t i = 0; i < count; i++) {
        const struct schema_value *v = &record->values[i];

        if (fields[i].parent != parent || v->kind == SCHEMA_ABSENT) {
            continue;
        }
        write_key(&fields[i], separator, out);
        separator = ',';
        if (fields[i].type == SCHEMA_OBJECT) {
            write_object(record, (int)i, out);
        } else if (v->kind == SCHEMA_IS_STRING) {
            (void)buf_json_string(out, v->as.text, v->len);
        } else {
            (void)buf_puts(out, format_integer(v->as.integer, number, sizeof number));
        }
    }
    (void)buf_puts(out, separator == '{' ? "{}" : "}");
}

enum fault_code
schema_write(const struct schema_record *record, struct buf *out)
{
    write_object(record, SCHEMA_TOP, out); /* a failed append sticks */
    return (enum fault_code)out->failed;
}
