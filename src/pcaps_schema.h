/*
 * pcaps_schema: what the Magic Transit PCAPs API accepts, as one table of
 * fields, and the checks made from it. The client, the simulator, the help
 * texts and the reference all read this table. Pure: knows no Lua and
 * allocates nothing but what schema_write appends to its buffer.
 *
 * A caller puts the values it was given into a struct schema_record (the
 * strings are borrowed), has it checked, and on the client's side writes the
 * JSON body from it.
 */
#ifndef MOONTAP_PCAPS_SCHEMA_H
#define MOONTAP_PCAPS_SCHEMA_H

#include "buf.h"
#include "rfc3339.h"

#include <stddef.h>
#include <stdint.h>

/* The operations that take parameters. */
enum schema_op {
    SCHEMA_CREATE,
    SCHEMA_OWNERSHIP_CREATE,
    SCHEMA_OWNERSHIP_VALIDATE,
    SCHEMA_ID, /* those whose only parameter is an id in the path */
    SCHEMA_OP_COUNT
};

enum schema_type { SCHEMA_INTEGER, SCHEMA_STRING, SCHEMA_OBJECT };

/* What a value means beyond its type. */
enum schema_format {
    SCHEMA_PLAIN,
    SCHEMA_SECONDS,   /* the client also takes "5m" */
    SCHEMA_DATE_TIME, /* RFC 3339; the client also takes "-10m" */
    SCHEMA_ADDRESS,   /* the client wants an IP literal */
    SCHEMA_PROTOCOL,  /* the client also takes names */
    SCHEMA_BUCKET,    /* a bucket URI; its query may hold secrets */
    SCHEMA_SECRET,    /* never shown in a message */
    SCHEMA_PATH_ID    /* becomes one segment of a path */
};

/* Capture types, as a set. */
#define SCHEMA_SIMPLE 1u
#define SCHEMA_FULL 2u
#define SCHEMA_BOTH (SCHEMA_SIMPLE | SCHEMA_FULL)

#define SCHEMA_TOP (-1)       /* parent of a field that lies at the top */
#define SCHEMA_FIELDS_MAX 14  /* of one operation */
#define SCHEMA_UNKNOWN_MAX 16 /* unknown keys that are named; more are counted */
#define SCHEMA_PROBLEMS_MAX 32
#define SCHEMA_ID_MAX 32

struct schema_field {
    const char *name;
    int parent; /* index of the object it lies in, or SCHEMA_TOP */
    enum schema_type type;
    enum schema_format format;
    int64_t min, max;          /* integers: the value; strings: the length.
                                Both zero: no bound */
    int64_t full_max;          /* another upper bound for full captures, or 0 */
    const char *const *values; /* the only values, NULL-terminated; or NULL */
    unsigned types;            /* capture types that have this field */
    unsigned required;         /* capture types that cannot do without it */
    const char *fill;          /* what the client sends when it is left out */
    int client_bounds;         /* min and max are the client's own rule */
    const char *doc;           /* one line, with what the client does besides */
    const char *source;        /* where the fact comes from */
};

enum schema_kind {
    SCHEMA_ABSENT,
    SCHEMA_IS_BOOLEAN,
    SCHEMA_IS_INTEGER, /* integral floats too */
    SCHEMA_IS_NUMBER,  /* any other number */
    SCHEMA_IS_STRING,
    SCHEMA_IS_TABLE,
    SCHEMA_IS_OTHER
};

/* One value as it was given. */
struct schema_value {
    enum schema_kind kind;
    size_t len; /* of text */
    union {
        int64_t integer; /* also of booleans */
        double number;
        const char *text; /* borrowed, NUL-terminated; for SCHEMA_IS_OTHER
                                the name of the type */
    } as;
};

/* The parameters of one call. */
struct schema_record {
    enum schema_op op;
    struct schema_value values[SCHEMA_FIELDS_MAX]; /* by index of the field */
    unsigned members;                              /* keys seen below an object, unknown ones too */
    unsigned unknown_count;                        /* may be larger than the array */
    struct schema_unknown {
        int parent;
        char name[40]; /* cut */
    } unknown[SCHEMA_UNKNOWN_MAX];
    char offset_time[RFC3339_SIZE]; /* holds an offset_time that was converted */
};

enum schema_side { SCHEMA_CLIENT, SCHEMA_SERVER };

struct schema_rules {
    enum schema_side side;
    int allow_ipv6; /* client: IPv6 addresses are let through */
    int has_now;    /* without it no rule on offset_time's age */
    int64_t now_us; /* microseconds since 1970 */
};

struct schema_problems {
    unsigned count; /* may be larger than the array */
    struct schema_problem {
        char path[64];    /* "filter_v1.destination_port" */
        char pointer[64]; /* "/filter_v1/destination_port" */
        char message[192];
    } items[SCHEMA_PROBLEMS_MAX];
};

/* The operation called NAME ("create", "ownership.validate", …), or -1. The
 * operations that only take an id all give SCHEMA_ID. */
int schema_op_find(const char *name);
/* The fields of OP, in the order of the JSON body; *COUNT of them. */
const struct schema_field *schema_fields(enum schema_op op, size_t *count);
/* Index of field KEY below PARENT, or -1. */
int schema_find(enum schema_op op, int parent, const char *key, size_t len);

/* Empties RECORD for OP. */
void schema_record_init(struct schema_record *record, enum schema_op op);
/* Notes that KEY below PARENT is no field. */
void schema_record_unknown(struct schema_record *record, int parent, const char *key, size_t len);
/* The value of field NAME at the top, for callers that look at one field;
 * NULL when OP has no such field. */
const struct schema_value *schema_record_get(const struct schema_record *record, const char *name);

/*
 * Checks RECORD and fills PROBLEMS with all there are, in the order of the
 * table. On the client's side it also turns conveniences into what the API
 * takes (names into numbers, "5m" into seconds) and fills `system`. Returns
 * the number of problems.
 */
unsigned schema_check(struct schema_record *record, const struct schema_rules *rules,
                      struct schema_problems *problems);

/* Appends the JSON object of a record that was checked without a problem. */
enum fault_code schema_write(const struct schema_record *record, struct buf *out);

/* The one of NAMES (N of them) that KEY was probably meant to be, or NULL. */
const char *schema_near(const char *key, const char *const *names, size_t n);

/* The number of protocol NAME (any case), or -1. */
int schema_protocol(const char *name, size_t len);

/*
 * Hides the query of every bucket URI in TEXT (LEN bytes), in place, in plain
 * text as well as in JSON: R2 puts keys there. Returns the new length.
 */
size_t schema_redact(char *text, size_t len);

#endif
