/* cronexpr_field: one field of an expression, a list of values, ranges, steps and
 * the special days; see cronexpr.h. */
#include "cronexpr_int.h"

#include <stdio.h>

#define DIGITS_MAX 4
#define SHOWN_MAX 40 /* bytes of a text that an error repeats */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

const struct cronexpr_range cronexpr_ranges[CRONEXPR_FIELDS] = {
    [CRONEXPR_SECOND] = {0, 59, 59, 59, NULL, "second"},
    [CRONEXPR_MINUTE] = {0, 59, 59, 59, NULL, "minute"},
    [CRONEXPR_HOUR] = {0, 23, 23, 23, NULL, "hour"},
    [CRONEXPR_DOM] = {1, 31, 31, 28, NULL, "day of the month"},
    [CRONEXPR_MONTH] = {1, 12, 12, 12, month_names, "month"},
    [CRONEXPR_DOW] = {0, 7, 6, 6, day_names, "day of the week"},
};

/* An item of a list, and how far it was read. */
struct item {
    struct cronexpr_parser *ps;
    enum cronexpr_field field;
    const struct cronexpr_range *range;
    const char *start, *p, *end;
    unsigned index; /* in its list */
    uint64_t bits;  /* what it adds */
};

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int
is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static int
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int
at_end(const struct item *it)
{
    return it->p == it->end;
}

/* Takes C, in either case; 0 when something else comes. */
static int
take(struct item *it, char c)
{
    if (at_end(it) || lower(*it->p) != c) {
        return 0;
    }
    it->p++;
    return 1;
}

/* How much of the item an error shows. */
static int
shown(const struct item *it)
{
    return it->end - it->start < SHOWN_MAX ? (int)(it->end - it->start) : SHOWN_MAX;
}

static enum fault_code
refuse_item(struct item *it)
{
    const struct cronexpr_range *r = it->range;

    if (it->ps->problem->hint[0] == '\0') {
        cronexpr_advise(it->ps, "values are %u-%u%s, as a, a-b, a-b/n, * or */n", r->min, r->max,
                        r->names != NULL ? " or names of three letters" : "");
    }
    return cronexpr_refuse(it->ps, it->field, "'%.*s' is no %s", shown(it), it->start, r->title);
}

/* Numbers and names ---------------------------------------------------------------- */

static enum fault_code
read_number(struct item *it, unsigned *value)
{
    const char *start = it->p;
    unsigned v = 0;

    for (; !at_end(it) && is_digit(*it->p); it->p++) {
        if (it->p - start == DIGITS_MAX) {
            return cronexpr_refuse(it->ps, it->field, "'%.*s' has a number of more than %d digits",
                                   shown(it), it->start, DIGITS_MAX);
        }
        v = v * 10 + (unsigned)(*it->p - '0');
    }
    if (it->p == start) {
        return refuse_item(it);
    }
    *value = v;
    return FAULT_OK;
}

static enum fault_code
refuse_value(struct item *it, unsigned value)
{
    if (it->field == CRONEXPR_DOW) {
        cronexpr_advise(it->ps, "0 and 7 are Sunday");
    } else if (value == it->range->max + 1 && it->range->min == 0) {
        cronexpr_advise(it->ps, "0 comes after %u", it->range->max);
    }
    return cronexpr_refuse(it->ps, it->field, "%u is outside %u-%u", value, it->range->min,
                           it->range->max);
}

/* The number of the name that the three bytes at P are, or -1. */
static int
find_name(const struct cronexpr_range *range, const char *p)
{
    for (int i = 0; range->names != NULL && range->names[i] != NULL; i++) {
        const char *name = range->names[i];

        if (lower(p[0]) == name[0] && lower(p[1]) == name[1] && lower(p[2]) == name[2]) {
            return (int)range->min + i;
        }
    }
    return -1;
}

static enum fault_code
read_name(struct item *it, unsigned *value)
{
    const char *start = it->p, *end = start;
    int found = -1;

    while (end < it->end && is_letter(*end)) {
        end++;
    }
    if (end - start >= 3) {
        found = find_name(it->range, start);
    }
    /* an L behind a day is not part of its name */
    if (found >= 0
        && (end - start == 3
            || (end - start == 4 && lower(start[3]) == 'l' && it->field == CRONEXPR_DOW))) {
        it->p = start + 3;
        *value = (unsigned)found;
        return FAULT_OK;
    }
    if (found >= 0) {
        cronexpr_advise(it->ps, "names have three letters: %.3s", start);
    }
    return refuse_item(it);
}

/* A number within the field's bounds, or a name. */
static enum fault_code
read_value(struct item *it, unsigned *value)
{
    enum fault_code bad;

    if (!at_end(it) && is_letter(*it->p)) {
        return read_name(it, value);
    }
    bad = read_number(it, value);
    if (bad) {
        return bad;
    }
    return *value < it->range->min || *value > it->range->max ? refuse_value(it, *value) : FAULT_OK;
}

/* "/n" where one comes; *STEP is 0 where none does. */
static enum fault_code
read_step(struct item *it, unsigned *step)
{
    enum fault_code bad;

    *step = 0;
    if (!take(it, '/')) {
        return FAULT_OK;
    }
    bad = read_number(it, step);
    if (!bad && *step == 0) {
        cronexpr_advise(it->ps, "a step is 1 or more");
        bad = cronexpr_refuse(it->ps, it->field, "'%.*s' has a step of 0", shown(it), it->start);
    }
    return bad;
}

/* Ranges --------------------------------------------------------------------------- */

static void
add_range(struct item *it, unsigned from, unsigned to, unsigned step)
{
    if (step > to - from && step > 1) {
        it->ps->x->warnings |= CRONEXPR_WARN_STEP(it->field);
    }
    for (unsigned v = from; v <= to; v += step > 0 ? step : 1) {
        it->bits |= (uint64_t)1 << v;
    }
}

/* VALUE as a name, or as digits. */
static const char *
value_text(const struct item *it, unsigned value, int as_name, char out[12])
{
    if (as_name) { /* 7 is sun again */
        return it->range->names[it->field == CRONEXPR_DOW ? value % 7 : value - it->range->min];
    }
    (void)snprintf(out, 12, "%u", value);
    return out;
}

/* FROM-TO, or FROM where both are the same. */
static void
range_text(const struct item *it, unsigned from, unsigned to, int as_name, char out[24])
{
    char a[12], b[12];

    (void)snprintf(out, 24, "%s%s%s", value_text(it, from, as_name, a), from == to ? "" : "-",
                   from == to ? "" : value_text(it, to, as_name, b));
}

/* A range from FROM over the end of the field to TO: says what to write instead. */
static enum fault_code
refuse_wrapping(struct item *it, unsigned from, unsigned to, unsigned step)
{
    int named = it->range->names != NULL && find_name(it->range, it->start) >= 0;
    unsigned min = it->range->min, span = it->range->star_max + 1 - min;
    char first[24], second[24], list[CRONEXPR_HINT_MAX - 40] = "";
    size_t used = 0;

    if (step > 1) {
        for (unsigned v = from; v <= to + span && used < sizeof list - 24; v += step) {
            range_text(it, min + (v - min) % span, min + (v - min) % span, named, first);
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", v > from ? "," : "",
                                     first);
        }
        cronexpr_advise(it->ps, "list the values: %s", list);
    } else {
        /* among the days of the week, Sunday is in the first part */
        range_text(it, from, it->range->max, named, first);
        range_text(it, min + (it->field == CRONEXPR_DOW), to, named, second);
        cronexpr_advise(it->ps, "write %s,%s", first, second);
    }
    return cronexpr_refuse(it->ps, it->field, "the range '%.*s' ends before it starts", shown(it),
                           it->start);
}

/* A range from FROM, or one of which ~ draws a value. */
static enum fault_code
parse_range(struct item *it, unsigned from, int is_random)
{
    unsigned to = 0, step = 0, values, drawn = 0;
    enum fault_code bad = read_value(it, &to);

    bad = bad ? bad : read_step(it, &step);
    if (bad) {
        return bad;
    }
    if (!at_end(it)) {
        return refuse_item(it);
    }
    if (it->field == CRONEXPR_DOW && to == 0 && from > 0) {
        to = 7; /* fri-sun */
    }
    if (from > to) {
        return refuse_wrapping(it, from, to, step);
    }
    if (!is_random) {
        add_range(it, from, to, step);
        return cronexpr_resolve(it->ps, "%.*s", (int)(it->end - it->start), it->start);
    }
    values = step > 0 && step < to - from + 1 ? step : to - from + 1;
    bad = cronexpr_draw_random(it->ps, it->field, it->index, values, &drawn);
    if (bad) {
        return bad;
    }
    if (step == 0) {
        to = from + drawn;
    }
    add_range(it, from + drawn, to, step);
    return step > 0 ? cronexpr_resolve(it->ps, "%u-%u/%u", from + drawn, to, step)
                    : cronexpr_resolve(it->ps, "%u", from + drawn);
}

static enum fault_code
parse_star(struct item *it)
{
    const struct cronexpr_range *r = it->range;
    unsigned step = 0, values = r->star_max - r->min + 1;
    enum fault_code bad = read_step(it, &step);

    if (bad) {
        return bad;
    }
    if (!at_end(it)) {
        return refuse_item(it);
    }
    add_range(it, r->min, r->star_max, step);
    if (step > 1 && step < values && (values % step != 0 || it->field == CRONEXPR_DOM)) {
        it->ps->x->warnings |= CRONEXPR_WARN_UNEVEN(it->field);
    }
    return cronexpr_resolve(it->ps, "%.*s", (int)(it->end - it->start), it->start);
}

/* Drawn ---------------------------------------------------------------------------- */

/* "(a-b)" behind H, where it comes. */
static enum fault_code
read_bounds(struct item *it, unsigned *from, unsigned *to)
{
    enum fault_code bad;

    if (!take(it, '(')) {
        return FAULT_OK;
    }
    bad = read_value(it, from);
    if (!bad && !take(it, '-')) {
        return refuse_item(it);
    }
    bad = bad ? bad : read_value(it, to);
    if (!bad && !take(it, ')')) {
        return refuse_item(it);
    }
    if (!bad && *from > *to) {
        return refuse_wrapping(it, *from, *to, 0);
    }
    if (!bad && *to > it->range->draw_max && it->field == CRONEXPR_DOM) {
        cronexpr_advise(it->ps, "write %u at most: every month has that day", it->range->draw_max);
        return cronexpr_refuse(it->ps, it->field, "'%.*s' may draw a day that some months lack",
                               shown(it), it->start);
    }
    return bad;
}

/* H and a lone ~, with bounds and a step. */
static enum fault_code
parse_drawn(struct item *it, int is_random)
{
    unsigned from = it->range->min, to = it->range->draw_max, step = 0, drawn = 0;
    enum fault_code bad = is_random ? FAULT_OK : read_bounds(it, &from, &to);

    bad = bad ? bad : read_step(it, &step);
    if (bad) {
        return bad;
    }
    if (!at_end(it)) {
        return refuse_item(it);
    }
    if (step > to - from + 1) {
        cronexpr_advise(it->ps, "a step here is %u at most", to - from + 1);
        return cronexpr_refuse(it->ps, it->field, "'%.*s' steps over its whole range", shown(it),
                               it->start);
    }
    bad = is_random
              ? cronexpr_draw_random(it->ps, it->field, it->index, step > 0 ? step : to - from + 1,
                                     &drawn)
              : cronexpr_draw_hash(it->ps, it->field, step > 0 ? step : to - from + 1, &drawn);
    if (bad) {
        return bad;
    }
    from += drawn;
    if (step == 0) {
        add_range(it, from, from, 0);
        return cronexpr_resolve(it->ps, "%u", from);
    }
    for (unsigned v = from; v <= to; v += step) {
        it->bits |= (uint64_t)1 << v;
    }
    return cronexpr_resolve(it->ps, "%u-%u/%u", from, to, step);
}

/* Special days --------------------------------------------------------------------- */

/* L, L-n and LW, behind the L. */
static enum fault_code
parse_last_day(struct item *it)
{
    unsigned before = 0;
    enum fault_code bad;

    if (at_end(it)) {
        it->ps->x->dom_from_last |= 1;
    } else if (it->end - it->p == 1 && lower(*it->p) == 'w') {
        it->ps->x->dom_last_weekday = 1;
    } else if (take(it, '-')) {
        bad = read_number(it, &before);
        if (bad) {
            return bad;
        }
        if (before < 1 || before > 30 || !at_end(it)) {
            cronexpr_advise(it->ps, "L-1 to L-30 are the days before the last");
            return refuse_item(it);
        }
        it->ps->x->dom_from_last |= 1u << before;
    } else {
        return refuse_item(it);
    }
    return cronexpr_resolve(it->ps, "%.*s", (int)(it->end - it->start), it->start);
}

/* What follows a single value: nothing, W, L, # or an error. */
static enum fault_code
parse_single(struct item *it, unsigned value)
{
    struct cronexpr *x = it->ps->x;
    char next = at_end(it) ? '\0' : lower(*it->p);
    int is_last = it->end - it->p == 1, width = (int)(it->p - it->start);
    unsigned nth = 0;
    enum fault_code bad;

    if (next == '\0') {
        it->bits |= (uint64_t)1 << value;
    } else if (it->field == CRONEXPR_DOM && next == 'w' && is_last) {
        x->dom_nearest |= 1u << value;
    } else if (it->field == CRONEXPR_DOW && next == 'l' && is_last) {
        x->dow_last |= (uint8_t)(1u << value % 7);
    } else if (it->field == CRONEXPR_DOW && take(it, '#')) {
        bad = read_number(it, &nth);
        if (bad) {
            return bad;
        }
        if (nth < 1 || nth > 5 || !at_end(it)) {
            cronexpr_advise(it->ps, "a month has a first (#1) to a fifth (#5) day of a kind");
            return refuse_item(it);
        }
        x->dow_nth[nth] |= (uint8_t)(1u << value % 7);
    } else if (next == '/') {
        cronexpr_advise(it->ps, "write %.*s-%u%.*s", width, it->start, it->range->star_max,
                        shown(it) - width, it->p);
        return cronexpr_refuse(it->ps, it->field, "'%.*s' has a step but no range", shown(it),
                               it->start);
    } else {
        return refuse_item(it);
    }
    return cronexpr_resolve(it->ps, "%.*s", (int)(it->end - it->start), it->start);
}

static enum fault_code
parse_item(struct item *it)
{
    int is_day = it->field == CRONEXPR_DOM || it->field == CRONEXPR_DOW;
    unsigned value = 0;
    enum fault_code bad;

    if (at_end(it)) {
        cronexpr_advise(it->ps, "there is a comma too many");
        return cronexpr_refuse(it->ps, it->field, "an item of the list is empty");
    }
    if (take(it, '*')) {
        return parse_star(it);
    }
    if (*it->p == '?') {
        if (is_day && it->end - it->start == 1) {
            it->p++;
            return parse_star(it);
        }
        cronexpr_advise(it->ps, "? stands alone, and only for days; elsewhere write *");
        return refuse_item(it);
    }
    if (take(it, '~')) {
        return parse_drawn(it, 1);
    }
    if (take(it, 'h')) {
        return parse_drawn(it, 0);
    }
    if (it->field == CRONEXPR_DOM && take(it, 'l')) {
        return parse_last_day(it);
    }
    if (it->field == CRONEXPR_DOW && it->end - it->start == 1 && lower(*it->p) == 'l') {
        cronexpr_advise(it->ps, "say which day: 5L is the last Friday of the month");
        return refuse_item(it);
    }
    bad = read_value(it, &value);
    if (bad) {
        return bad;
    }
    if (take(it, '-')) {
        return parse_range(it, value, 0);
    }
    return take(it, '~') ? parse_range(it, value, 1) : parse_single(it, value);
}

/* The whole field ------------------------------------------------------------------- */

static void
store(struct cronexpr *x, enum cronexpr_field field, uint64_t bits)
{
    switch (field) {
    case CRONEXPR_SECOND: x->second = bits; break;
    case CRONEXPR_MINUTE: x->minute = bits; break;
    case CRONEXPR_HOUR: x->hour = (uint32_t)bits; break;
    case CRONEXPR_DOM: x->dom = (uint32_t)bits; break;
    case CRONEXPR_MONTH: x->month = (uint32_t)bits; break;
    default: x->dow = (uint8_t)((bits | bits >> 7) & 0x7f); break; /* 7 is Sunday too */
    }
}

/* N of a text that is nothing but "*" or "*" and a step N; else 0. */
static uint8_t
lone_step(const struct cronexpr_range *range, const char *text, size_t len)
{
    unsigned n = 0;

    if (text[0] != '*' && text[0] != '?') {
        return 0;
    }
    if (len == 1) {
        return 1;
    }
    for (size_t i = 2; i < len; i++) {
        if (!is_digit(text[i])) {
            return 0; /* a list */
        }
        n = n * 10 + (unsigned)(text[i] - '0');
    }
    return (uint8_t)(n <= range->star_max - range->min ? n : 0);
}

enum fault_code
cronexpr_parse_field(struct cronexpr_parser *ps, enum cronexpr_field field, const char *text,
                     size_t len)
{
    const char *end = text + len, *p = text;
    int star = *text == '*' || *text == '?';
    struct item it = {.ps = ps, .field = field, .range = &cronexpr_ranges[field]};
    enum fault_code bad = FAULT_OK;

    ps->x->steps[field] = lone_step(it.range, text, len);
    for (; !bad; it.index++) {
        it.start = it.p = p;
        while (p < end && *p != ',') {
            p++;
        }
        it.end = p;
        bad = parse_item(&it);
        if (p == end || bad) {
            break;
        }
        p++; /* a comma: one more item follows, if an empty one */
        bad = cronexpr_resolve(ps, ",");
    }
    if (field == CRONEXPR_DOM) {
        ps->x->dom_star = (uint8_t)star;
    } else if (field == CRONEXPR_DOW) {
        ps->x->dow_star = (uint8_t)star;
    } else if (field <= CRONEXPR_HOUR && star) {
        ps->x->wildcard = 1;
    }
    store(ps->x, field, it.bits);
    return bad;
}
