/*
 * pcaps_schema: the checks of a record, all problems at once. See
 * pcaps_schema.h.
 */
#include "pcaps_schema.h"

#include "duration.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US (86400 * INT64_C(1000000))
#define CLOCK_SKEW_US (60 * INT64_C(1000000)) /* clocks may differ by as much */
#define SHOWN_MAX 40                          /* bytes of a value in a message */
#define ADDRESS_MAX 64

struct check {
    struct schema_record *record;
    const struct schema_rules *rules;
    struct schema_problems *problems;
    const struct schema_field *fields;
    size_t count;
    unsigned types; /* what the record says it is; SCHEMA_BOTH when unclear */
};

/* A problem of the key NAME below PARENT. */
static void
problem_at(struct check *c, int parent, const char *name, const char *fmt, va_list ap)
{
    struct schema_problem *p;

    if (c->problems->count++ >= SCHEMA_PROBLEMS_MAX) {
        return;
    }
    p = &c->problems->items[c->problems->count - 1];
    if (parent == SCHEMA_TOP) {
        (void)snprintf(p->path, sizeof p->path, "%s", name);
        (void)snprintf(p->pointer, sizeof p->pointer, "/%s", name);
    } else {
        const char *object = c->fields[parent].name;

        (void)snprintf(p->path, sizeof p->path, "%s.%s", object, name);
        (void)snprintf(p->pointer, sizeof p->pointer, "/%s/%s", object, name);
    }
    (void)vsnprintf(p->message, sizeof p->message, fmt, ap); /* cut is fine */
}

static void problem(struct check *c, const struct schema_field *f, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
problem(struct check *c, const struct schema_field *f, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problem_at(c, f->parent, f->name, fmt, ap);
    va_end(ap);
}

static void unknown_key(struct check *c, const struct schema_unknown *u, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
unknown_key(struct check *c, const struct schema_unknown *u, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    problem_at(c, u->parent, u->name, fmt, ap);
    va_end(ap);
}

/* Describes what was given for F in OUT: `string "http"`, `70000`, `a table`. */
static const char *
describe(const struct schema_field *f, const struct schema_value *v, char *out, size_t size)
{
    char shown[SHOWN_MAX + 4];
    size_t n = 0;

    switch (v->kind) {
    case SCHEMA_ABSENT: return "nothing";
    case SCHEMA_IS_TABLE: return "a table";
    case SCHEMA_IS_BOOLEAN: return v->as.integer ? "true" : "false";
    case SCHEMA_IS_OTHER: return v->as.text;
    case SCHEMA_IS_INTEGER: (void)snprintf(out, size, "%" PRId64, v->as.integer); return out;
    case SCHEMA_IS_NUMBER: (void)snprintf(out, size, "%.14g", v->as.number); return out;
    case SCHEMA_IS_STRING: break;
    }
    if (f->format == SCHEMA_BUCKET || f->format == SCHEMA_SECRET) {
        return "a string";
    }
    for (; n < v->len && n < SHOWN_MAX; n++) {
        shown[n] = (unsigned char)v->as.text[n] < ' ' || v->as.text[n] == 127 ? '?' : v->as.text[n];
    }
    (void)snprintf(out, size, "string \"%.*s%s\"", (int)n, shown, n < v->len ? "…" : "");
    return out;
}

static int
is_client(const struct check *c)
{
    return c->rules->side == SCHEMA_CLIENT;
}

static const char *
type_name(unsigned types)
{
    return types == SCHEMA_SIMPLE ? "simple" : "full";
}

static void
set_integer(struct schema_value *v, int64_t integer)
{
    v->kind = SCHEMA_IS_INTEGER;
    v->as.integer = integer;
}

/* The client's conveniences for integers. Returns 0 when a problem was noted. */
static int
convert_integer(struct check *c, const struct schema_field *f, struct schema_value *v)
{
    uint64_t ms;
    int number;

    if (!is_client(c) || v->kind != SCHEMA_IS_STRING) {
        return 1;
    }
    if (f->format == SCHEMA_PROTOCOL) {
        number = schema_protocol(v->as.text, v->len);
        if (number >= 0) {
            set_integer(v, number);
        } else if (v->len > 0 && (v->as.text[0] < '0' || v->as.text[0] > '9')) {
            problem(c, f,
                    "unknown protocol \"%.20s\"; give its number, or a name such as "
                    "\"tcp\", \"udp\", \"icmp\", \"gre\"",
                    v->as.text);
            return 0;
        }
    } else if (f->format == SCHEMA_SECONDS && v->len > 1
               && strspn(v->as.text, "0123456789.") < v->len
               && duration_parse(v->as.text, v->len, &ms) == 0) {
        if (ms % 1000 != 0) {
            problem(c, f, "expected whole seconds, got \"%.20s\"", v->as.text);
            return 0;
        }
        set_integer(v, (int64_t)(ms / 1000));
    }
    return 1;
}

/* The largest value of F for the types that the record may have. */
static int64_t
upper_bound(const struct check *c, const struct schema_field *f)
{
    return f->full_max != 0 && (c->types & SCHEMA_FULL) ? f->full_max : f->max;
}

/* What a script's author should have written instead of the text V. */
static const char *
integer_hint(const struct check *c, const struct schema_field *f, const struct schema_value *v)
{
    if (!is_client(c) || v->kind != SCHEMA_IS_STRING) {
        return "";
    }
    if (v->len > 0 && strspn(v->as.text, "0123456789") == v->len) {
        return "; leave out the quotes";
    }
    return f->format == SCHEMA_SECONDS ? "; a duration is written \"90s\" or \"5m\"" : "";
}

static void
check_integer(struct check *c, const struct schema_field *f, struct schema_value *v)
{
    int64_t max = upper_bound(c, f);
    int bounded = max != 0 && (is_client(c) || !f->client_bounds);
    char got[96], range[64] = "", owner[32] = "";

    if (!convert_integer(c, f, v)) {
        return;
    }
    if (v->kind == SCHEMA_IS_INTEGER
        && (!bounded || (v->as.integer >= f->min && v->as.integer <= max))) {
        return;
    }
    if (bounded) {
        (void)snprintf(range, sizeof range, " %" PRId64 "..%" PRId64, f->min, max);
    }
    if (f->full_max != 0 && c->types != SCHEMA_BOTH) {
        (void)snprintf(owner, sizeof owner, " for a %s capture", type_name(c->types));
    }
    problem(c, f, "expected integer%s%s, got %s%s", range, owner,
            describe(f, v, got, sizeof got), integer_hint(c, f, v));
}

/* Turns "-10m" into the time it means. Returns 0 when V is not of that form. */
static int
convert_offset(struct check *c, struct schema_value *v)
{
    uint64_t ms;

    if (!is_client(c) || v->len < 2 || v->as.text[0] != '-' || !c->rules->has_now
        || duration_parse(v->as.text + 1, v->len - 1, &ms) != 0) {
        return 0;
    }
    (void)rfc3339_format(c->rules->now_us - (int64_t)ms * 1000, c->record->offset_time);
    v->as.text = c->record->offset_time;
    v->len = strlen(v->as.text);
    return 1;
}

static void
check_time(struct check *c, const struct schema_field *f, struct schema_value *v)
{
    int64_t us;
    char got[96];

    (void)describe(f, v, got, sizeof got);
    (void)convert_offset(c, v);
    if (rfc3339_parse(v->as.text, v->len, &us) != 0) {
        problem(c, f, "expected an RFC 3339 time (2026-11-22T10:00:00Z)%s, got %s",
                is_client(c) ? " or \"-10m\"" : "", got);
    } else if (c->rules->has_now && us > c->rules->now_us + CLOCK_SKEW_US) {
        problem(c, f, "lies in the future: captures look backwards, got %s", got);
    } else if (c->rules->has_now && us < c->rules->now_us - DAY_US) {
        problem(c, f, "is older than 24 hours, got %s", got);
    }
}

static void
check_address(struct check *c, const struct schema_field *f, const struct schema_value *v)
{
    unsigned char binary[sizeof(struct in6_addr)];
    char text[ADDRESS_MAX] = "", got[96];

    if (!is_client(c)) { /* the API states no form */
        return;
    }
    if (v->len < sizeof text && memchr(v->as.text, '\0', v->len) == NULL) {
        memcpy(text, v->as.text, v->len);
    }
    if (inet_pton(AF_INET, text, binary) == 1) {
        return;
    }
    (void)describe(f, v, got, sizeof got);
    if (inet_pton(AF_INET6, text, binary) == 1) {
        if (!c->rules->allow_ipv6) {
            problem(c, f,
                    "is an IPv6 address, which the API does not document: pass the "
                    "option allow_ipv6 = true to send it anyway");
        }
    } else if (strchr(text, '/') != NULL) {
        problem(c, f, "expected one address: the API takes no networks, got %s", got);
    } else {
        problem(c, f, "expected an IPv4 address (host names are not looked up), got %s", got);
    }
}

static void
check_bucket(struct check *c, const struct schema_field *f, const struct schema_value *v)
{
    if (!is_client(c)) {
        return;
    }
    if (v->len <= 5
        || (strncmp(v->as.text, "s3://", 5) != 0 && strncmp(v->as.text, "gs://", 5) != 0
            && strncmp(v->as.text, "r2://", 5) != 0)
        || strchr("/?", v->as.text[5]) != NULL) {
        problem(c, f, "expected a bucket: s3://…, gs://… or r2://…");
    }
    for (size_t i = 0; i < v->len; i++) {
        if ((unsigned char)v->as.text[i] <= ' ' || v->as.text[i] == 127) {
            problem(c, f, "holds a space or control character");
            return;
        }
    }
}

static void
check_id(struct check *c, const struct schema_field *f, const struct schema_value *v)
{
    if (v->len == 0) {
        problem(c, f, "is empty");
    } else if (v->len > SCHEMA_ID_MAX) {
        problem(c, f, "is longer than %d characters", SCHEMA_ID_MAX);
    } else if (strcmp(v->as.text, ".") == 0 || strcmp(v->as.text, "..") == 0) {
        problem(c, f, "cannot be \"%s\"", v->as.text);
    }
    for (size_t i = 0; i < v->len; i++) {
        if ((unsigned char)v->as.text[i] < ' ' || v->as.text[i] == 127) {
            problem(c, f, "holds a control character");
            return;
        }
    }
}

/* Writes `"simple" or "full"` to OUT. */
static const char *
list_values(const char *const *values, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; values[i] != NULL && used < size; i++) {
        used +=
            (size_t)snprintf(out + used, size - used, "%s\"%s\"", i > 0 ? " or " : "", values[i]);
    }
    return out;
}

static int
is_one_of(const struct schema_value *v, const char *const *values)
{
    for (size_t i = 0; values[i] != NULL; i++) {
        if (strlen(values[i]) == v->len && memcmp(values[i], v->as.text, v->len) == 0) {
            return 1;
        }
    }
    return 0;
}

static void
check_string(struct check *c, const struct schema_field *f, struct schema_value *v)
{
    char got[96], list[96];

    if (v->kind != SCHEMA_IS_STRING) {
        problem(c, f, "expected a string, got %s", describe(f, v, got, sizeof got));
        return;
    }
    if (is_client(c) && !buf_utf8_valid(v->as.text, v->len)) { /* JSON could not carry it */
        problem(c, f, "is not UTF-8 text");
        return;
    }
    if (f->values != NULL) {
        if (!is_one_of(v, f->values)) {
            problem(c, f, "expected %s, got %s", list_values(f->values, list, sizeof list),
                    describe(f, v, got, sizeof got));
        }
        return;
    }
    switch (f->format) {
    case SCHEMA_DATE_TIME: check_time(c, f, v); return;
    case SCHEMA_ADDRESS: check_address(c, f, v); return;
    case SCHEMA_BUCKET: check_bucket(c, f, v); return;
    case SCHEMA_PATH_ID: check_id(c, f, v); return;
    default: break;
    }
    if (f->max != 0 && (is_client(c) || !f->client_bounds)
        && ((int64_t)v->len < f->min || (int64_t)v->len > f->max)) {
        problem(c, f, "expected %" PRId64 "..%" PRId64 " characters, got %zu", f->min, f->max,
                v->len);
    }
}

static void
check_object(struct check *c, const struct schema_field *f, const struct schema_value *v)
{
    char got[96];

    if (v->kind != SCHEMA_IS_TABLE) {
        problem(c, f, "expected a table, got %s", describe(f, v, got, sizeof got));
    } else if (is_client(c) && c->record->members == 0) {
        problem(c, f,
                "is empty, as if a value in it were nil: leave %s out to capture "
                "everything",
                f->name);
    }
}

/* What is missing. The client fills what it can. */
static void
check_absent(struct check *c, const struct schema_field *f, struct schema_value *v)
{
    char list[96];

    if ((f->required & c->types) != c->types) {
        return;
    }
    if (f->fill != NULL && is_client(c)) {
        v->kind = SCHEMA_IS_STRING;
        v->as.text = f->fill;
        v->len = strlen(f->fill);
    } else if (f->values != NULL) {
        problem(c, f, "is required: %s", list_values(f->values, list, sizeof list));
    } else if (f->required == SCHEMA_BOTH) {
        problem(c, f, "is required");
    } else {
        problem(c, f, "is required for a %s capture", type_name(c->types));
    }
}

static void
check_field(struct check *c, size_t i)
{
    const struct schema_field *f = &c->fields[i];
    struct schema_value *v = &c->record->values[i];

    if (v->kind == SCHEMA_ABSENT) {
        check_absent(c, f, v);
    } else if (!(f->types & c->types)) {
        if (is_client(c)) { /* the API ignores it */
            problem(c, f, "belongs to %s captures; this one is %s", type_name(f->types),
                    type_name(c->types));
        }
    } else if (f->type == SCHEMA_INTEGER) {
        check_integer(c, f, v);
    } else if (f->type == SCHEMA_STRING) {
        check_string(c, f, v);
    } else {
        check_object(c, f, v);
    }
}

/* Names that people use for something else's field. */
static const char *
hint_for(const struct schema_unknown *u)
{
    static const struct {
        const char *name, *hint;
    } hints[] = {
        {"account_id", "belongs to the client: pcaps.client{ account_id = … }"},
        {"api_token", "belongs to the client: pcaps.client{ api_token = … }"},
        {"allow_ipv6", "is an option: it goes into the second table"},
        {"timeout", "is an option: it goes into the second table"},
        {"max_retries", "is an option: it goes into the second table"},
        {"colo", "unknown field; did you mean colo_name?"},
        {"filter", "unknown field; did you mean filter_v1?"},
        {"duration", "unknown field; did you mean time_limit?"},
        {"bucket", "unknown field; did you mean destination_conf?"},
    };

    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strcmp(hints[i].name, u->name) == 0) {
            return hints[i].hint;
        }
    }
    return NULL;
}

static void
check_unknown(struct check *c, const struct schema_unknown *u)
{
    const char *names[SCHEMA_FIELDS_MAX], *near, *hint = hint_for(u);
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++) {
        const struct schema_field *f = &c->fields[i];

        if (f->parent == u->parent) {
            names[n++] = f->name;
        } else if (strcmp(f->name, u->name) == 0) {
            unknown_key(c, u, f->parent == SCHEMA_TOP ? "belongs outside of %s" : "belongs into %s",
                        c->fields[u->parent == SCHEMA_TOP ? f->parent : u->parent].name);
            return;
        }
    }
    near = schema_near(u->name, names, n);
    if (hint != NULL && u->parent == SCHEMA_TOP && c->record->op == SCHEMA_CREATE) {
        unknown_key(c, u, "%s", hint);
    } else if (near != NULL) {
        unknown_key(c, u, "unknown field; did you mean %s?", near);
    } else {
        unknown_key(c, u, "unknown field");
    }
}

static int
by_name(const void *a, const void *b)
{
    const struct schema_unknown *x = a, *y = b;

    return x->parent != y->parent ? x->parent - y->parent : strcmp(x->name, y->name);
}

/* Which capture type the record names. */
static unsigned
record_types(const struct check *c)
{
    const struct schema_value *type = schema_record_get(c->record, "type");

    if (c->record->op != SCHEMA_CREATE || type == NULL || type->kind != SCHEMA_IS_STRING) {
        return SCHEMA_BOTH;
    }
    if (strcmp(type->as.text, "simple") == 0) {
        return SCHEMA_SIMPLE;
    }
    return strcmp(type->as.text, "full") == 0 ? SCHEMA_FULL : SCHEMA_BOTH;
}

unsigned
schema_check(struct schema_record *record, const struct schema_rules *rules,
             struct schema_problems *problems)
{
    struct check c = {.record = record, .rules = rules, .problems = problems};
    unsigned unknown = record->unknown_count;

    problems->count = 0;
    c.fields = schema_fields(record->op, &c.count);
    c.types = record_types(&c);
    for (size_t i = 0; i < c.count; i++) {
        check_field(&c, i);
    }
    if (unknown > SCHEMA_UNKNOWN_MAX) {
        unknown = SCHEMA_UNKNOWN_MAX;
    }
    if (is_client(&c) && unknown > 0) { /* the API ignores what it does not know */
        qsort(record->unknown, unknown, sizeof record->unknown[0], by_name);
        for (unsigned i = 0; i < unknown; i++) {
            check_unknown(&c, &record->unknown[i]);
        }
    }
    return problems->count;
}
