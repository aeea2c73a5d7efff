/* tz: makes a table of a TZif file and looks things up in it; see tz.h. The rule
 * behind the file's own table is written out for 400 years, after which dates
 * fall on the same days of the week; later times are looked up a multiple of 400
 * years earlier. */
#include "tz.h"

#include "buf.h"
#include "tz_int.h"

#include <string.h>

#define HEADER_SIZE 44
#define CYCLE_YEARS 400
/* Years of the rule that are written out. The table is folded one cycle behind
 * the second of them, where all neighbours come from the rule too; what the last
 * year has before its own first day counts. */
#define RULE_YEARS (CYCLE_YEARS + 3)

/* The counts in the header of a block, in their order. */
struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
};

/* The bytes of a file that are left. */
struct reader {
    const uint8_t *p;
    size_t left;
};

/* The next N bytes; NULL when there are fewer. */
static const uint8_t *
take(struct reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if (n > r->left) {
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t
read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t
read_i64(const uint8_t *p)
{
    return (int64_t)((uint64_t)read_u32(p) << 32 | read_u32(p + 4));
}

static enum fault_code
refuse(struct fault *fault, const char *why)
{
    return fault_set(fault, FAULT_INVALID, "%s", why);
}

/* The header of a block, whose times have TIME_SIZE bytes; *SIZE of its data. */
static enum fault_code
read_header(struct reader *r, size_t time_size, struct counts *n, size_t *size, struct fault *fault)
{
    const uint8_t *p = take(r, HEADER_SIZE);

    if (p == NULL || memcmp(p, "TZif", 4) != 0) {
        return refuse(fault, "not a TZif file");
    }
    if (p[4] < '2') {
        return refuse(fault, "a TZif file of version 1, which ends in 2038");
    }
    n->isut = read_u32(p + 20);
    n->isstd = read_u32(p + 24);
    n->leap = read_u32(p + 28);
    n->time = read_u32(p + 32);
    n->type = read_u32(p + 36);
    n->chars = read_u32(p + 40);
    *size = n->time * (time_size + 1) + n->type * (size_t)6 + n->chars + n->leap * (time_size + 4)
            + n->isstd + n->isut;
    return FAULT_OK;
}

/* What a block of version 2 consists of. */
struct block {
    const uint8_t *times, *indexes, *types;
    size_t time_count, type_count;
    const char *rule; /* behind the block, without its newlines */
    size_t rule_len;
};

static enum fault_code
read_block(struct reader *r, struct block *b, struct fault *fault)
{
    struct counts n = {0};
    size_t size = 0;
    enum fault_code bad = read_header(r, 4, &n, &size, fault);

    if (bad) {
        return bad;
    }
    if (take(r, size) == NULL) {
        return refuse(fault, "the file is cut off");
    }
    bad = read_header(r, 8, &n, &size, fault);
    if (bad) {
        return bad;
    }
    if (n.leap != 0) {
        return refuse(fault, "the zone counts leap seconds");
    }
    b->times = take(r, size);
    if (b->times == NULL || r->left < 2 || r->p[0] != '\n' || r->p[r->left - 1] != '\n') {
        return refuse(fault, "the file is cut off");
    }
    if (n.type == 0) {
        return refuse(fault, "the file has no local time");
    }
    b->indexes = b->times + n.time * (size_t)8;
    b->types = b->indexes + n.time;
    b->time_count = n.time;
    b->type_count = n.type;
    b->rule = (const char *)r->p + 1;
    b->rule_len = r->left - 2;
    return FAULT_OK;
}

/* The offset of type INDEX. */
static enum fault_code
read_offset(const struct block *b, size_t index, int32_t *offset, struct fault *fault)
{
    if (index >= b->type_count) {
        return refuse(fault, "a change leads to no local time");
    }
    *offset = (int32_t)read_u32(b->types + index * 6);
    if (*offset < -TZ_OFFSET_MAX || *offset > TZ_OFFSET_MAX) {
        return refuse(fault, "an offset is longer than a day");
    }
    return FAULT_OK;
}

/* The file's own table; *LAST is when its last change comes. */
static enum fault_code
add_table(struct tz *tz, const struct block *b, int64_t *last, struct fault *fault)
{
    struct tz_change *first = &tz->changes[0];
    enum fault_code bad = read_offset(b, 0, &first->offset, fault);

    first->at = TZ_BEGIN_S;
    tz->count = 1;
    *last = TZ_BEGIN_S;
    for (size_t i = 0; i < b->time_count && !bad; i++) {
        int64_t at = read_i64(b->times + i * 8);
        int32_t offset = 0;

        if (i > 0 && at <= read_i64(b->times + (i - 1) * 8)) {
            return refuse(fault, "the changes are not in order");
        }
        if (at > CIVIL_MAX_S) {
            return refuse(fault, "a change comes after the year 9999");
        }
        bad = read_offset(b, b->indexes[i], &offset, fault);
        if (!bad && at <= TZ_BEGIN_S) { /* files may begin at the Big Bang */
            first->offset = offset;
        } else if (!bad) {
            tz->changes[tz->count++] = (struct tz_change){.at = at, .offset = offset};
            *last = at;
        }
    }
    return bad;
}

/* Puts a change where its time wants it; one at the same second is replaced. */
static void
insert(struct tz *tz, const struct tz_change *change)
{
    size_t i = tz->count;

    while (tz->changes[i - 1].at > change->at) {
        i--;
    }
    if (tz->changes[i - 1].at == change->at) {
        tz->changes[i - 1] = *change;
        return;
    }
    memmove(&tz->changes[i + 1], &tz->changes[i], (tz->count - i) * sizeof *tz->changes);
    tz->changes[i] = *change;
    tz->count++;
}

/* What the rule makes of the years after LAST. */
static void
add_rule(struct tz *tz, const struct tz_posix *posix, int64_t last)
{
    struct tz_change pair[2];
    int64_t first_year = 1;
    unsigned month, day;

    if (last > CIVIL_MIN_S) {
        civil_date(civil_day_of(last), &first_year, &month, &day);
    }
    for (int64_t year = first_year; year < first_year + RULE_YEARS; year++) {
        tz_posix_changes(posix, year, pair);
        for (int i = 0; i < 2; i++) {
            if (pair[i].at > last) {
                insert(tz, &pair[i]);
            }
        }
    }
    tz->fold = civil_days(first_year + CYCLE_YEARS + 2, 1, 1) * CIVIL_DAY_S;
    while (tz->changes[tz->count - 1].at >= tz->fold) {
        tz->count--;
    }
}

/* Drops changes that change nothing, and notes how far local time had come. */
static void
settle(struct tz *tz)
{
    size_t n = 1;
    int64_t reached = INT64_MIN;

    tz->changes[0].reached = tz->changes[0].offset;
    for (size_t i = 1; i < tz->count; i++) {
        struct tz_change change = tz->changes[i];
        int64_t end = change.at + tz->changes[n - 1].offset;

        if (change.offset == tz->changes[n - 1].offset) {
            continue;
        }
        reached = end > reached ? end : reached;
        change.reached = (int32_t)(reached - change.at);
        tz->changes[n++] = change;
    }
    tz->count = n;
    if (tz->changes[n - 1].at < tz->fold - CIVIL_CYCLE_S) {
        tz->fold = INT64_MAX; /* the rule changes nothing */
    }
}

enum fault_code
tz_read(const void *data, size_t n, struct tz **out, struct fault *fault)
{
    struct reader r = {data, n};
    struct block b = {0};
    struct tz_posix posix = {0};
    struct tz *tz;
    int64_t last;
    size_t room;
    enum fault_code bad = read_block(&r, &b, fault);

    if (bad) {
        return bad;
    }
    if (b.rule_len > 0 && tz_posix_read(b.rule, b.rule_len, &posix) != 0) {
        return refuse(fault, "the rule at the end makes no sense");
    }
    room = 1 + b.time_count + (posix.has_dst ? 2 * RULE_YEARS : 0);
    tz = mem_alloc(sizeof *tz + room * sizeof *tz->changes);
    if (tz == NULL) {
        return fault_set(fault, FAULT_NOMEM, "not enough memory");
    }
    tz->changes = (struct tz_change *)(tz + 1);
    tz->fold = INT64_MAX;
    bad = add_table(tz, &b, &last, fault);
    if (bad) {
        mem_free(tz);
        return bad;
    }
    if (posix.has_dst) {
        add_rule(tz, &posix, last);
    }
    settle(tz);
    *out = tz;
    return FAULT_OK;
}

void
tz_free(struct tz *tz)
{
    mem_free(tz);
}

const struct tz *
tz_utc(void)
{
    static struct tz_change only = {.at = TZ_BEGIN_S}; /* never written to */
    static const struct tz utc = {.fold = INT64_MAX, .count = 1, .changes = &only};

    return &utc;
}

void
tz_span_at(const struct tz *tz, int64_t t, struct tz_span *span)
{
    int64_t shift = 0;
    size_t low = 0, high = tz->count;

    t = t < TZ_BEGIN_S ? TZ_BEGIN_S : t >= TZ_END_S ? TZ_END_S - 1 : t;
    if (t >= tz->fold) {
        shift = ((t - tz->fold) / CIVIL_CYCLE_S + 1) * CIVIL_CYCLE_S;
        t -= shift;
    }
    while (high - low > 1) { /* the last change that is not after T */
        size_t middle = low + (high - low) / 2;

        if (tz->changes[middle].at <= t) {
            low = middle;
        } else {
            high = middle;
        }
    }
    span->from = tz->changes[low].at;
    span->until = high < tz->count ? tz->changes[high].at : tz->fold;
    span->offset = tz->changes[low].offset;
    span->reached = tz->changes[low].reached;
    if (shift > 0 && span->from < tz->fold - CIVIL_CYCLE_S) { /* a seam, where nothing changes */
        span->from = tz->fold - CIVIL_CYCLE_S;
        span->reached = span->offset;
    }
    span->from += shift;
    span->until = span->until < TZ_END_S - shift ? span->until + shift : TZ_END_S;
}
