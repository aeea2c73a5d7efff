/* Schedules: whatever is taken can be resolved, described and asked when it fires,
 * and the answers agree. Input: a byte of switches, eight bytes of a time, the
 * expression. */
#include "fuzz.h"

#include "cronexpr.h"

#include <string.h>

static struct tz_store zones; /* kept from input to input */

static struct tz_zone *
zone_of(uint8_t switches)
{
    static const char *const names[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe",
                                        "Pacific/Apia"};
    const char *name = names[switches & 3];
    struct tz_zone *zone;

    must(tz_store_get(&zones, name, strlen(name), 0, &zone, NULL) == FAULT_OK);
    return zone;
}

/* The resolved text means the same, and needs no options. */
static void
check_resolved(const struct cronexpr *x, const struct buf *text)
{
    const struct cronexpr_options plain = {.phase = x->phase};
    struct cronexpr again;
    struct cronexpr_problem problem;

    must(!text->failed);
    must(cronexpr_parse(text->data, text->len, &plain, &again, NULL, &problem) == FAULT_OK
         || text->len > CRONEXPR_TEXT_MAX);
    if (text->len <= CRONEXPR_TEXT_MAX) {
        must(again.second == x->second && again.minute == x->minute && again.hour == x->hour);
        must(again.dom == x->dom && again.month == x->month && again.dow == x->dow);
        must(again.every == x->every && again.wildcard == x->wildcard);
    }
}

static void
check_words(const struct cronexpr *x)
{
    struct buf b;
    unsigned n = 0;

    buf_init(&b, 8192);
    must(cronexpr_describe(x, &b) == FAULT_OK && b.len > 0);
    do {
        must(n++ < 32);
        buf_reset(&b);
        must(cronexpr_warning(x, n, &b) == FAULT_OK);
    } while (b.len > 0);
    buf_fini(&b);
}

static void
check_fires(const struct cronexpr *x, const struct cronexpr_clock *clock, int64_t t)
{
    int64_t fire, other, out[4];

    for (int i = 0; i < 4 && cronexpr_next(x, clock, t, &fire); i++) {
        must(fire > t && fire >= CIVIL_MIN_S && fire <= CIVIL_MAX_S);
        must(cronexpr_nominals(x, clock, fire, out, 4) > 0);
        must(cronexpr_next(x, clock, fire - 1, &other) && other == fire);
        if (cronexpr_prev(x, clock, fire, &other)) {
            must(other <= t || t < CIVIL_MIN_S);
            must(cronexpr_next(x, clock, other, &other) && other == fire);
        }
        t = fire;
    }
    if (cronexpr_prev(x, clock, t, &fire)) {
        must(fire < t && cronexpr_prev(x, clock, fire + 1, &other) && other == fire);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t switches = input_byte(&in);
    const struct cronexpr_options options = {
        .name = switches & 16 ? "name" : NULL,
        .name_len = 4,
        .has_seed = (switches & 32) != 0,
        .seed = switches,
        .phase = switches,
    };
    struct cronexpr_clock clock = {NULL, (enum cronexpr_dst)((switches >> 2 & 3) % 3)};
    struct cronexpr x;
    struct cronexpr_problem problem;
    struct buf resolved;
    uint64_t t = 0;

    for (int i = 0; i < 8; i++) {
        t = t << 8 | input_byte(&in);
    }
    buf_init(&resolved, 8192);
    if (cronexpr_parse((const char *)in.at, in.left, &options, &x, &resolved, &problem)
        == FAULT_OK) {
        clock.tz = tz_zone_rules(zone_of(switches), 0);
        check_resolved(&x, &resolved);
        check_words(&x);
        check_fires(&x, &clock, (int64_t)t);
        check_fires(&x, &clock, (int64_t)(t % 4102444800u)); /* up to 2100 */
    } else {
        must(problem.fault.code != FAULT_OK && problem.fault.msg[0] != '\0');
        must(strlen(problem.hint) < sizeof problem.hint);
        must(cronexpr_field_name(problem.field) != NULL);
    }
    buf_fini(&resolved);
    return 0;
}
