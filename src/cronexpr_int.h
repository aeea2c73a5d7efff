/* cronexpr_int: what the files of the room cronexpr share. */
#ifndef MOONTAP_CRONEXPR_INT_H
#define MOONTAP_CRONEXPR_INT_H

#include "cronexpr.h"

/* Values of a field. The day of the week takes 7 for Sunday as well. */
struct cronexpr_range {
    unsigned min, max;
    unsigned star_max;        /* the last value of a star */
    unsigned draw_max;        /* the last value of H and a lone ~ */
    const char *const *names; /* of the values from MIN on; NULL-terminated, or NULL */
    const char *title;
};
extern const struct cronexpr_range cronexpr_ranges[CRONEXPR_FIELDS];

/* Bits of cronexpr.warnings; the first two are one for each field. */
#define CRONEXPR_WARN_STEP(field) (1u << (field))
#define CRONEXPR_WARN_UNEVEN(field) (1u << (CRONEXPR_FIELDS + (field)))
#define CRONEXPR_WARN_AND (1u << (2 * CRONEXPR_FIELDS))
#define CRONEXPR_WARN_SECONDS (1u << (2 * CRONEXPR_FIELDS + 1))
#define CRONEXPR_WARN_SHORT_MONTHS (1u << (2 * CRONEXPR_FIELDS + 2))

/* What parsing needs all the way down. */
struct cronexpr_parser {
    const struct cronexpr_options *options;
    struct cronexpr *x;
    struct buf *resolved; /* NULL: nobody asked */
    struct cronexpr_problem *problem;
};

/* Fills the hint of the problem. */
void cronexpr_advise(struct cronexpr_parser *ps, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Fills the problem; returns FAULT_INVALID. */
enum fault_code cronexpr_refuse(struct cronexpr_parser *ps, enum cronexpr_field field,
                                const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Appends to the resolved text, where one is wanted. */
enum fault_code cronexpr_resolve(struct cronexpr_parser *ps, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Reads the LEN bytes of TEXT, printable ASCII, as FIELD. */
enum fault_code cronexpr_parse_field(struct cronexpr_parser *ps, enum cronexpr_field field,
                                     const char *text, size_t len);

/* Items with H and ~ in them: what was drawn for VALUES of them at STEP. */
enum fault_code cronexpr_draw_hash(struct cronexpr_parser *ps, enum cronexpr_field field,
                                   unsigned values, unsigned *drawn);
enum fault_code cronexpr_draw_random(struct cronexpr_parser *ps, enum cronexpr_field field,
                                     unsigned item, unsigned values, unsigned *drawn);

/* The days of a month on which X fires: bit 0 is the first. */
uint32_t cronexpr_month_days(const struct cronexpr *x, int64_t year, unsigned month);

#endif
