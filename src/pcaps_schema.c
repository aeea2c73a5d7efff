/*
 * pcaps_schema: the table of fields and the look-ups in it; the checks are in
 * pcaps_schema_check.c. See pcaps_schema.h.
 *
 * Sources: "schema" is the API's OpenAPI schema, "docs" its prose, "client" a
 * rule of our own that the API does not state.
 */
#include "pcaps_schema.h"

#include <string.h>
#include <strings.h>

#define NEAR_MAX 32 /* longest name that is compared */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const TYPES[] = {"simple", "full", NULL};
static const char *const SYSTEMS[] = {"magic-transit", NULL};

enum { FILTER = 8 }; /* index of filter_v1 below */

/* clang-format off */
static const struct schema_field CREATE[] = {
    {.name = "type", .parent = SCHEMA_TOP, .type = SCHEMA_STRING, .values = TYPES,
     .types = SCHEMA_BOTH, .required = SCHEMA_BOTH, .source = "schema",
     .doc = "simple: sampled packets of the recent past, from all data centers; full: every "
            "packet from now on, at one of them"},
    {.name = "system", .parent = SCHEMA_TOP, .type = SCHEMA_STRING, .values = SYSTEMS,
     .types = SCHEMA_BOTH, .required = SCHEMA_BOTH, .fill = "magic-transit", .source = "schema",
     .doc = "the system that captures; may be left out"},
    {.name = "time_limit", .parent = SCHEMA_TOP, .type = SCHEMA_INTEGER,
     .format = SCHEMA_SECONDS, .min = 1, .max = 300, .full_max = 86400, .types = SCHEMA_BOTH,
     .required = SCHEMA_BOTH, .source = "schema",
     .doc = "seconds to look back (simple) or to capture (full); also \"5m\""},
    {.name = "packet_limit", .parent = SCHEMA_TOP, .type = SCHEMA_INTEGER, .min = 1,
     .max = 10000, .types = SCHEMA_BOTH, .required = SCHEMA_SIMPLE, .source = "schema",
     .doc = "most packets in the capture"},
    {.name = "byte_limit", .parent = SCHEMA_TOP, .type = SCHEMA_INTEGER, .min = 1,
     .max = 1000000000, .types = SCHEMA_FULL, .source = "schema",
     .doc = "most bytes in the capture"},
    {.name = "colo_name", .parent = SCHEMA_TOP, .type = SCHEMA_STRING, .min = 1, .max = 64,
     .client_bounds = 1, .types = SCHEMA_FULL, .required = SCHEMA_FULL, .source = "schema",
     .doc = "the data center, one site (\"ord02\") or a metro (\"ORD\")"},
    {.name = "destination_conf", .parent = SCHEMA_TOP, .type = SCHEMA_STRING,
     .format = SCHEMA_BUCKET, .types = SCHEMA_FULL, .required = SCHEMA_FULL,
     .source = "schema",
     .doc = "the bucket the files go to, its ownership validated before"},
    {.name = "offset_time", .parent = SCHEMA_TOP, .type = SCHEMA_STRING,
     .format = SCHEMA_DATE_TIME, .types = SCHEMA_SIMPLE, .source = "schema",
     .doc = "RFC 3339 time from which to look back, at most 24 hours ago; also \"-10m\"; "
            "without it: now"},
    {.name = "filter_v1", .parent = SCHEMA_TOP, .type = SCHEMA_OBJECT, .types = SCHEMA_BOTH,
     .source = "schema",
     .doc = "which packets, all fields must match; without it every packet is captured"},
    {.name = "source_address", .parent = FILTER, .type = SCHEMA_STRING,
     .format = SCHEMA_ADDRESS, .types = SCHEMA_BOTH, .source = "schema",
     .doc = "source IP address, one address"},
    {.name = "source_port", .parent = FILTER, .type = SCHEMA_INTEGER, .max = 65535,
     .client_bounds = 1, .types = SCHEMA_BOTH, .source = "schema",
     .doc = "source port of TCP or UDP"},
    {.name = "destination_address", .parent = FILTER, .type = SCHEMA_STRING,
     .format = SCHEMA_ADDRESS, .types = SCHEMA_BOTH, .source = "schema",
     .doc = "destination IP address, one address"},
    {.name = "destination_port", .parent = FILTER, .type = SCHEMA_INTEGER, .max = 65535,
     .client_bounds = 1, .types = SCHEMA_BOTH, .source = "schema",
     .doc = "destination port of TCP or UDP"},
    {.name = "protocol", .parent = FILTER, .type = SCHEMA_INTEGER, .format = SCHEMA_PROTOCOL,
     .max = 255, .client_bounds = 1, .types = SCHEMA_BOTH, .source = "schema",
     .doc = "IP protocol number; also \"tcp\", \"udp\", \"icmp\", \"gre\", …"},
};

static const struct schema_field OWNERSHIP_CREATE[] = {
    {.name = "destination_conf", .parent = SCHEMA_TOP, .type = SCHEMA_STRING,
     .format = SCHEMA_BUCKET, .types = SCHEMA_BOTH, .required = SCHEMA_BOTH,
     .source = "schema",
     .doc = "s3://bucket/dir?region=…, gs://bucket/dir, or r2://bucket?account-id=…&"
            "access-key-id=…&secret-access-key=…"},
};

static const struct schema_field OWNERSHIP_VALIDATE[] = {
    {.name = "destination_conf", .parent = SCHEMA_TOP, .type = SCHEMA_STRING,
     .format = SCHEMA_BUCKET, .types = SCHEMA_BOTH, .required = SCHEMA_BOTH,
     .source = "schema", .doc = "the bucket as given to ownership.create, without R2's keys"},
    {.name = "ownership_challenge", .parent = SCHEMA_TOP, .type = SCHEMA_STRING,
     .format = SCHEMA_SECRET, .min = 1, .max = 65536, .client_bounds = 1,
     .types = SCHEMA_BOTH, .required = SCHEMA_BOTH, .source = "docs",
     .doc = "the content of the challenge file in the bucket, not its name"},
};

static const struct schema_field ID[] = {
    {.name = "id", .parent = SCHEMA_TOP, .type = SCHEMA_STRING, .format = SCHEMA_PATH_ID,
     .min = 1, .max = SCHEMA_ID_MAX, .types = SCHEMA_BOTH, .required = SCHEMA_BOTH,
     .source = "schema", .doc = "the id of the capture or ownership"},
};
/* clang-format on */

static const struct {
    const struct schema_field *fields;
    size_t count;
} OPS[SCHEMA_OP_COUNT] = {
    [SCHEMA_CREATE] = {CREATE, COUNT(CREATE)},
    [SCHEMA_OWNERSHIP_CREATE] = {OWNERSHIP_CREATE, COUNT(OWNERSHIP_CREATE)},
    [SCHEMA_OWNERSHIP_VALIDATE] = {OWNERSHIP_VALIDATE, COUNT(OWNERSHIP_VALIDATE)},
    [SCHEMA_ID] = {ID, COUNT(ID)},
};

_Static_assert(COUNT(CREATE) == SCHEMA_FIELDS_MAX, "a record has room for every field");

static const struct {
    const char *name;
    int number;
} PROTOCOLS[] = {
    {"ah", 51},        {"dccp", 33},   {"egp", 8},       {"esp", 50},   {"gre", 47},
    {"icmp", 1},       {"icmpv6", 58}, {"igmp", 2},      {"ipip", 4},   {"ipv6", 41},
    {"ipv6-icmp", 58}, {"l2tp", 115},  {"ospf", 89},     {"pim", 103},  {"sctp", 132},
    {"tcp", 6},        {"udp", 17},    {"udplite", 136}, {"vrrp", 112},
};

int
schema_op_find(const char *name)
{
    static const struct {
        const char *name;
        enum schema_op op;
    } names[] = {
        {"create", SCHEMA_CREATE},
        {"ownership.create", SCHEMA_OWNERSHIP_CREATE},
        {"ownership.validate", SCHEMA_OWNERSHIP_VALIDATE},
        {"get", SCHEMA_ID},
        {"stop", SCHEMA_ID},
        {"download", SCHEMA_ID},
        {"ownership.delete", SCHEMA_ID},
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i].name, name) == 0) {
            return (int)names[i].op;
        }
    }
    return -1;
}

const struct schema_field *
schema_fields(enum schema_op op, size_t *count)
{
    *count = OPS[op].count;
    return OPS[op].fields;
}

int
schema_find(enum schema_op op, int parent, const char *key, size_t len)
{
    const struct schema_field *fields = OPS[op].fields;

    for (size_t i = 0; i < OPS[op].count; i++) {
        if (fields[i].parent == parent && fields[i].name[0] == key[0]
            && strlen(fields[i].name) == len && memcmp(fields[i].name, key, len) == 0) {
            return (int)i;
        }
    }
    return -1;
}

void
schema_record_init(struct schema_record *record, enum schema_op op)
{
    /* Not the whole struct: the names and the scratch text are large. */
    record->op = op;
    record->members = 0;
    record->unknown_count = 0;
    memset(record->values, 0, sizeof record->values);
}

void
schema_record_unknown(struct schema_record *record, int parent, const char *key, size_t len)
{
    struct schema_unknown *u;

    if (record->unknown_count < SCHEMA_UNKNOWN_MAX) {
        u = &record->unknown[record->unknown_count];
        u->parent = parent;
        if (len >= sizeof u->name) {
            len = sizeof u->name - 1;
        }
        memcpy(u->name, key, len);
        u->name[len] = '\0';
    }
    record->unknown_count++;
}

const struct schema_value *
schema_record_get(const struct schema_record *record, const char *name)
{
    int i = schema_find(record->op, SCHEMA_TOP, name, strlen(name));

    return i < 0 ? NULL : &record->values[i];
}

int
schema_protocol(const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT(PROTOCOLS); i++) {
        if (strlen(PROTOCOLS[i].name) == len && strncasecmp(PROTOCOLS[i].name, name, len) == 0) {
            return PROTOCOLS[i].number;
        }
    }
    return -1;
}

static unsigned
smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours) that turn A into B. */
static unsigned
edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    unsigned row[3][NEAR_MAX + 1];

    for (size_t j = 0; j <= m; j++) {
        row[0][j] = (unsigned)j;
    }
    for (size_t i = 1; i <= n; i++) {
        unsigned *before = row[(i + 1) % 3], *last = row[(i + 2) % 3], *now = row[i % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned cost = a[i - 1] != b[j - 1];

            now[j] = smaller(smaller(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                now[j] = smaller(now[j], before[j - 2] + 1);
            }
        }
    }
    return row[n % 3][m];
}

const char *
schema_near(const char *key, const char *const *names, size_t n)
{
    size_t len = strlen(key);
    unsigned best = 4; /* one more than the distance that still counts */
    const char *found = NULL;

    if (len == 0 || len > NEAR_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        size_t m = strlen(names[i]);
        unsigned d;

        if (m > NEAR_MAX) {
            continue;
        }
        d = edit_distance(key, len, names[i], m);
        if (d < best && d * 2 < m) {
            best = d;
            found = names[i];
        }
    }
    return found;
}

/* Does a bucket URI start at P? Returns the length of its "r2://", also when
 * JSON writes it "r2:\/\/". */
static size_t
bucket_scheme(const char *p, const char *end)
{
    static const char *const schemes[] = {"s3://",     "gs://",     "r2://",
                                          "s3:\\/\\/", "gs:\\/\\/", "r2:\\/\\/"};

    for (size_t i = 0; i < COUNT(schemes); i++) {
        size_t len = strlen(schemes[i]);

        if ((size_t)(end - p) >= len && strncasecmp(p, schemes[i], len) == 0) {
            return len;
        }
    }
    return 0;
}

/* Where the URI at P ends: at a space, a quote or a control character. A JSON
 * escape of anything else (\u0026 for '&') belongs to it. */
static const char *
uri_end(const char *p, const char *end)
{
    for (; p < end; p++) {
        if ((unsigned char)*p <= ' ' || *p == '"' || *p == '<' || *p == '>') {
            return p;
        }
        if (*p == '\\' && p + 1 < end) {
            if (p[1] == '"' || p[1] == 'n' || p[1] == 'r' || p[1] == 't') {
                return p;
            }
            p++;
        }
    }
    return p;
}

size_t
schema_redact(char *text, size_t len)
{
    char *out = text;
    const char *p = text, *end = text + len;

    while (p < end) {
        size_t scheme = bucket_scheme(p, end);
        const char *stop, *query;
        size_t keep;

        if (scheme == 0) {
            *out++ = *p++;
            continue;
        }
        stop = uri_end(p, end);
        query = memchr(p, '?', (size_t)(stop - p));
        keep = (size_t)((query != NULL ? query + 1 : stop) - p);
        memmove(out, p, keep);
        out += keep;
        for (size_t i = 0; query != NULL && i < 3 && query + 1 + i < stop; i++) {
            *out++ = '*'; /* never longer than what it replaces */
        }
        p = stop;
    }
    return (size_t)(out - text);
}
