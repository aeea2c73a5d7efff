/* cronexpr_parse: an expression as a whole: its bytes, zone, macro and fields;
 * see cronexpr.h. */
#include "cronexpr_int.h"

#include "duration.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Problems --------------------------------------------------------------------------- */

const char *
cronexpr_field_name(enum cronexpr_field field)
{
    static const char *const names[] = {"second", "minute", "hour",       "dom",
                                        "month",  "dow",    "expression", "tz"};

    return names[field];
}

void
cronexpr_advise(struct cronexpr_parser *ps, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(ps->problem->hint, sizeof ps->problem->hint, fmt, ap);
    va_end(ap);
}

enum fault_code
cronexpr_refuse(struct cronexpr_parser *ps, enum cronexpr_field field, const char *fmt, ...)
{
    char text[FAULT_MSG_MAX - 16];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ps->problem->field = field;
    return fault_set(&ps->problem->fault, FAULT_INVALID, "%s: %s", cronexpr_field_name(field),
                     text);
}

enum fault_code
cronexpr_resolve(struct cronexpr_parser *ps, const char *fmt, ...)
{
    char text[CRONEXPR_TEXT_MAX + 1];
    enum fault_code bad;
    va_list ap;

    if (ps->resolved == NULL) {
        return FAULT_OK;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    bad = buf_puts(ps->resolved, text);
    if (bad) {
        ps->problem->field = CRONEXPR_TEXT;
        return fault_set(&ps->problem->fault, bad,
                         bad == FAULT_NOMEM ? "not enough memory" : "expression: too long");
    }
    return FAULT_OK;
}

/* Draws ------------------------------------------------------------------------------ */

/* Spreads the bits of H over the whole word. */
static uint64_t
mix(uint64_t h)
{
    h ^= h >> 30;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 27;
    h *= 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

enum fault_code
cronexpr_draw_hash(struct cronexpr_parser *ps, enum cronexpr_field field, unsigned values,
                   unsigned *drawn)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a of the name */

    if (ps->options->name == NULL) {
        cronexpr_advise(ps, "H is made of a name: give the option name");
        return cronexpr_refuse(ps, field, "H without a name");
    }
    for (size_t i = 0; i < ps->options->name_len; i++) {
        h = (h ^ (unsigned char)ps->options->name[i]) * 0x100000001b3u;
    }
    *drawn = (unsigned)(mix(h + (field + 1) * 0x9e3779b97f4a7c15u) % values);
    return FAULT_OK;
}

enum fault_code
cronexpr_draw_random(struct cronexpr_parser *ps, enum cronexpr_field field, unsigned item,
                     unsigned values, unsigned *drawn)
{
    uint64_t place = field * (uint64_t)CRONEXPR_TEXT_MAX + item + 1;

    if (!ps->options->has_seed) {
        cronexpr_advise(ps, "draw a seed once, keep it, and give it as the option seed");
        return cronexpr_refuse(ps, field, "~ without a seed");
    }
    *drawn = (unsigned)(mix(ps->options->seed + place * 0x9e3779b97f4a7c15u) % values);
    return FAULT_OK;
}

/* The text --------------------------------------------------------------------------- */

/* The bytes of an expression that are left. */
struct rest {
    const char *p, *end;
};

static void
skip_blanks(struct rest *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t')) {
        r->p++;
    }
}

/* Takes the next word; its length. */
static size_t
take_word(struct rest *r, const char **word)
{
    skip_blanks(r);
    *word = r->p;
    while (r->p < r->end && *r->p != ' ' && *r->p != '\t') {
        r->p++;
    }
    return (size_t)(r->p - *word);
}

static enum fault_code
check_bytes(struct cronexpr_parser *ps, const char *text, size_t len)
{
    if (len > CRONEXPR_TEXT_MAX) {
        ps->problem->field = CRONEXPR_TEXT;
        return fault_set(&ps->problem->fault, FAULT_LIMIT, "expression: longer than %d bytes",
                         CRONEXPR_TEXT_MAX);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < ' ' && c != '\t') || c > '~') {
            cronexpr_advise(ps, "an expression is one line of ASCII");
            return cronexpr_refuse(ps, CRONEXPR_TEXT, "byte %u is 0x%02x", (unsigned)i + 1, c);
        }
    }
    return FAULT_OK;
}

/* Takes CRON_TZ=ZONE or TZ=ZONE from the front. */
static enum fault_code
take_zone(struct cronexpr_parser *ps, struct rest *r)
{
    static const char *const keys[] = {"CRON_TZ=", "TZ="};
    const char *word;

    skip_blanks(r);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t len = strlen(keys[i]);

        if ((size_t)(r->end - r->p) < len || memcmp(r->p, keys[i], len) != 0) {
            continue;
        }
        len = take_word(r, &word) - len;
        word += strlen(keys[i]);
        if (len == 0 || len > TZ_NAME_MAX) {
            return cronexpr_refuse(ps, CRONEXPR_TZ, "'%.*s' is no time zone",
                                   (int)(len < TZ_NAME_MAX ? len : TZ_NAME_MAX), word);
        }
        memcpy(ps->x->tz, word, len);
        ps->x->tz[len] = '\0';
        return FAULT_OK;
    }
    return FAULT_OK;
}

/* Fields ----------------------------------------------------------------------------- */

/* Whether some day in 400 years, after which all repeats, is one of X. */
static int
ever_fires(const struct cronexpr *x)
{
    for (int64_t year = 2000; year < 2400; year++) {
        for (unsigned month = 1; month <= 12; month++) {
            if (cronexpr_month_days(x, year, month) != 0) {
                return 1;
            }
        }
    }
    return 0;
}

static int
has_special_days(const struct cronexpr *x)
{
    return x->dom_from_last != 0 || x->dom_last_weekday;
}

static void
note_warnings(struct cronexpr *x)
{
    int has_dow_step = x->dow_star && x->steps[CRONEXPR_DOW] != 1;
    int has_dom_step = x->dom_star && x->steps[CRONEXPR_DOM] != 1;

    if ((has_dom_step && (!x->dow_star || has_dow_step)) || (has_dow_step && !x->dom_star)) {
        x->warnings |= CRONEXPR_WARN_AND;
    }
    if (x->has_seconds && x->steps[CRONEXPR_SECOND] != 0) {
        x->warnings |= CRONEXPR_WARN_SECONDS;
    }
    /* days that some months lack, and nothing else */
    if (!x->dom_star && x->dow_star && !has_special_days(x)
        && ((x->dom | x->dom_nearest) & ((1u << 29) - 1)) == 0) {
        x->warnings |= CRONEXPR_WARN_SHORT_MONTHS;
    }
}

static enum fault_code
refuse_count(struct cronexpr_parser *ps, unsigned count)
{
    if (count == 7) {
        cronexpr_advise(ps, "there is no field for the year");
    } else if (count == 0) {
        cronexpr_advise(ps, "* * * * * is every minute");
    } else {
        cronexpr_advise(ps, "minute hour dom month dow, or second before them");
    }
    return count == 0 ? cronexpr_refuse(ps, CRONEXPR_TEXT, "is empty")
                      : cronexpr_refuse(ps, CRONEXPR_TEXT, "has %u field%s, not 5 or 6", count,
                                        count == 1 ? "" : "s");
}

static enum fault_code
parse_fields(struct cronexpr_parser *ps, struct rest r)
{
    const char *word;
    struct rest ahead = r;
    unsigned count = 0;
    size_t len;
    enum fault_code bad = FAULT_OK;

    while (take_word(&ahead, &word) > 0) {
        count++;
    }
    if (count != 5 && count != 6) {
        return refuse_count(ps, count);
    }
    ps->x->second = 1;
    ps->x->has_seconds = count == 6;
    for (unsigned f = CRONEXPR_FIELDS - count; f < CRONEXPR_FIELDS && !bad; f++) {
        len = take_word(&r, &word);
        bad = cronexpr_parse_field(ps, (enum cronexpr_field)f, word, len);
        if (!bad && f + 1 < CRONEXPR_FIELDS) {
            bad = cronexpr_resolve(ps, " ");
        }
    }
    if (!bad && !ever_fires(ps->x)) {
        cronexpr_advise(ps, "none of its months has such a day");
        return cronexpr_refuse(ps, CRONEXPR_DOM, "this never fires");
    }
    note_warnings(ps->x);
    return bad;
}

/* Macros ----------------------------------------------------------------------------- */

static enum fault_code
parse_every(struct cronexpr_parser *ps, struct rest r)
{
    const char *word, *more;
    size_t len = take_word(&r, &word);
    uint64_t ms;

    cronexpr_advise(ps, "write @every 90s or @every 1h30m, in whole seconds, 400 days at most");
    if (len == 0 || take_word(&r, &more) > 0 || duration_parse(word, len, &ms) != 0 || ms == 0
        || ms % 1000 != 0) {
        return cronexpr_refuse(ps, CRONEXPR_TEXT, "@every wants a length of time");
    }
    ps->problem->hint[0] = '\0';
    ps->x->every = (uint32_t)(ms / 1000);
    ps->x->phase = ps->options->phase % ps->x->every;
    return cronexpr_resolve(ps, "@every %.*s", (int)len, word);
}

static int
is_macro(const char *word, size_t len, const char *macro)
{
    for (size_t i = 0; i < len; i++) {
        char c = word[i] >= 'A' && word[i] <= 'Z' ? (char)(word[i] - 'A' + 'a') : word[i];

        if (c != macro[i]) { /* also at its end */
            return 0;
        }
    }
    return macro[len] == '\0';
}

static enum fault_code
parse_macro(struct cronexpr_parser *ps, struct rest r)
{
    static const struct {
        const char *name, *fields;
    } macros[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
        {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
        {"@hourly", "0 * * * *"},
    };
    const char *word, *more;
    size_t len = take_word(&r, &word);

    if (is_macro(word, len, "@every")) {
        return parse_every(ps, r);
    }
    if (take_word(&r, &more) > 0) {
        cronexpr_advise(ps, "a macro stands alone");
        return cronexpr_refuse(ps, CRONEXPR_TEXT, "more follows behind '%.*s'",
                               (int)(len < 40 ? len : 40), word);
    }
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) {
        if (is_macro(word, len, macros[i].name)) {
            const char *fields = macros[i].fields;

            return parse_fields(ps, (struct rest){fields, fields + strlen(fields)});
        }
    }
    if (is_macro(word, len, "@reboot")) {
        cronexpr_advise(ps, "a playbook says on_start = true");
        return cronexpr_refuse(ps, CRONEXPR_TEXT, "@reboot is no time");
    }
    cronexpr_advise(ps, "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, "
                        "@every 90s");
    return cronexpr_refuse(ps, CRONEXPR_TEXT, "there is no macro '%.*s'",
                           (int)(len < 40 ? len : 40), word);
}

enum fault_code
cronexpr_parse(const char *text, size_t len, const struct cronexpr_options *options,
               struct cronexpr *x, struct buf *resolved, struct cronexpr_problem *problem)
{
    struct cronexpr_parser ps = {options, x, resolved, problem};
    struct rest r = {text, text + len};
    enum fault_code bad;

    *x = (struct cronexpr){0};
    problem->field = CRONEXPR_TEXT;
    problem->hint[0] = '\0';
    fault_clear(&problem->fault);
    bad = check_bytes(&ps, text, len);
    bad = bad ? bad : take_zone(&ps, &r);
    if (bad) {
        return bad;
    }
    skip_blanks(&r);
    return r.p < r.end && *r.p == '@' ? parse_macro(&ps, r) : parse_fields(&ps, r);
}
