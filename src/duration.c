/* duration: reads and writes lengths of time; see duration.h. */
#include "duration.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Milliseconds of the unit at TEXT; *LEN its length. 0 when there is none. */
static uint64_t
unit_ms(const char *text, size_t rest, size_t *len)
{
    *len = 1;
    if (rest >= 2 && text[0] == 'm' && text[1] == 's') {
        *len = 2;
        return 1;
    }
    if (rest == 0) {
        return 0;
    }
    switch (text[0]) {
    case 's': return 1000;
    case 'm': return 60u * 1000u;
    case 'h': return 3600u * 1000u;
    case 'd': return 86400u * 1000u;
    default: return 0;
    }
}

/*
 * Reads digits with an optional fraction at TEXT as micro-units (the number
 * times 10^6) into *MICRO; returns how many bytes it took, 0 when none.
 */
static size_t
read_number(const char *text, size_t len, uint64_t *micro)
{
    size_t i = 0, digits = 0;
    uint64_t value = 0, scale = 1000000;

    for (; i < len && text[i] >= '0' && text[i] <= '9'; i++, digits++) {
        value = value * 10 + (uint64_t)(text[i] - '0');
        if (value > DURATION_MAX_MS) {
            return 0;
        }
    }
    value *= scale;
    if (i < len && text[i] == '.') {
        for (i++; i < len && text[i] >= '0' && text[i] <= '9'; i++, digits++) {
            scale /= 10; /* digits behind the sixth count for nothing */
            value += scale * (uint64_t)(text[i] - '0');
        }
        if (text[i - 1] == '.') {
            return 0;
        }
    }
    *micro = value;
    return digits != 0 ? i : 0;
}

int
duration_parse(const char *text, size_t len, uint64_t *ms)
{
    size_t i = 0, taken;
    uint64_t total = 0, micro, unit;

    if (len == 0) {
        return -1;
    }
    while (i < len) {
        size_t unit_len;
        int first = i == 0;

        taken = read_number(text + i, len - i, &micro);
        if (taken == 0) {
            return -1;
        }
        i += taken;
        unit = unit_ms(text + i, len - i, &unit_len);
        if (unit == 0) {
            if (i < len || !first) { /* a bare number stands alone */
                return -1;
            }
            unit = 1000;
        } else {
            i += unit_len;
        }
        /* Compared before multiplying: MICRO may be up to 3.5e16. */
        if (micro / 1000000 > DURATION_MAX_MS / unit) {
            return -1;
        }
        total += micro / 1000000 * unit + (micro % 1000000 * unit + 500000) / 1000000;
        if (total > DURATION_MAX_MS) {
            return -1;
        }
    }
    *ms = total;
    return 0;
}

int
duration_from_seconds(double seconds, uint64_t *ms)
{
    if (!(seconds >= 0) || seconds > (double)DURATION_MAX_MS / 1000) {
        return -1;
    }
    /* Up, so that no wait ends early and a short one still lets time pass; the
     * little less keeps 0.3 s, which is a bit more than 0.3, at 300 ms. */
    *ms = (uint64_t)fmax(0, ceil(seconds * 1000 - 1e-6));
    return 0;
}

/* Appends VALUE and UNIT to OUT when VALUE is not zero. */
static void
put_part(char *out, size_t size, uint64_t value, const char *unit)
{
    size_t used = strlen(out);

    if (value != 0) {
        (void)snprintf(out + used, size - used, "%llu%s", (unsigned long long)value, unit);
    }
}

char *
duration_format(uint64_t ms, char *out, size_t size)
{
    uint64_t rest = ms % 60000;

    if (size == 0) {
        return out;
    }
    out[0] = '\0';
    if (ms < 1000) {
        (void)snprintf(out, size, ms == 0 ? "0s" : "%llums", (unsigned long long)ms);
        return out;
    }
    put_part(out, size, ms / 86400000, "d");
    put_part(out, size, ms / 3600000 % 24, "h");
    put_part(out, size, ms / 60000 % 60, "m");
    if (rest % 1000 == 0) {
        put_part(out, size, rest / 1000, "s");
    } else {
        size_t used = strlen(out), end;

        (void)snprintf(out + used, size - used, "%llu.%03llu", (unsigned long long)(rest / 1000),
                       (unsigned long long)(rest % 1000));
        for (end = strlen(out); end > used && out[end - 1] == '0'; end--) {
            out[end - 1] = '\0';
        }
        used = strlen(out);
        (void)snprintf(out + used, size - used, "s");
    }
    return out;
}
