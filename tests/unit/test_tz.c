/* tz: zone files against glibc, which reads them with code of its own; damaged
 * files; names; files that change. */
#include "tz.h"
#include "tz_int.h"

#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ZONES "/usr/share/zoneinfo"

static struct tz_zone *
get_zone(struct tz_store *store, const char *name)
{
    struct tz_zone *zone;
    struct fault fault;

    if (tz_store_get(store, name, strlen(name), 0, &zone, &fault) != FAULT_OK) {
        fail_msg("%s: %s", name, fault.msg);
    }
    return zone;
}

/* Against glibc ------------------------------------------------------------------ */

static void
compare_at(const char *name, const struct tz *tz, int64_t t)
{
    struct tz_span span;
    time_t when = (time_t)t;
    struct tm tm;

    tz_span_at(tz, t, &span);
    assert_non_null(localtime_r(&when, &tm));
    if (span.offset != tm.tm_gmtoff) {
        fail_msg("%s at %lld: %d, glibc %ld", name, (long long)t, span.offset, tm.tm_gmtoff);
    }
}

/* All changes of the zone, the seconds around them, and others at random. */
static void
compare_zone(const char *name, const struct tz *tz)
{
    const int64_t begin = civil_days(1860, 1, 1) * CIVIL_DAY_S;
    const int64_t end = civil_days(2700, 1, 1) * CIVIL_DAY_S;
    struct tz_span span;
    uint64_t random = 1;

    assert_int_equal(setenv("TZ", name, 1), 0);
    tzset();
    for (int64_t t = begin; t < end; t = span.until) {
        tz_span_at(tz, t, &span);
        assert_true(span.from <= t && span.until > t);
        compare_at(name, tz, t);
        compare_at(name, tz, span.until - 1);
        compare_at(name, tz, (t + span.until) / 2);
    }
    for (int i = 0; i < 200; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        compare_at(name, tz, begin + (int64_t)((random >> 20) % (uint64_t)(end - begin)));
    }
}

static unsigned
compare_directory(struct tz_store *store, const char *dir)
{
    char path[600], name[300];
    struct dirent *entry;
    unsigned zones = 0;
    DIR *list;

    (void)snprintf(path, sizeof path, ZONES "/%s", dir);
    list = opendir(path);
    assert_non_null(list);
    while ((entry = readdir(list)) != NULL) {
        struct stat st;

        (void)snprintf(name, sizeof name, "%s%s%.200s", dir, *dir != '\0' ? "/" : "",
                       entry->d_name);
        (void)snprintf(path, sizeof path, ZONES "/%s", name);
        if (strchr(name, '.') != NULL || strcmp(name, "right") == 0 || strcmp(name, "posix") == 0
            || strcmp(name, "localtime") == 0 || strcmp(name, "posixrules") == 0
            || strcmp(name, "leapseconds") == 0 || strcmp(name, "leap-seconds") == 0
            || strncmp(name, "SystemV", 7) == 0 || strcmp(name, "Factory") == 0
            || stat(path, &st) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            zones += compare_directory(store, name);
        } else {
            compare_zone(name, tz_zone_rules(get_zone(store, name), 0));
            zones++;
        }
    }
    (void)closedir(list);
    return zones;
}

static void
test_tz_agrees_with_glibc_on_every_zone(void **state)
{
    struct tz_store store;

    (void)state;
    tz_store_init(&store);
    assert_true(compare_directory(&store, "") > 300);
    tz_store_fini(&store);
}

/* Spans ---------------------------------------------------------------------------- */

/* The spans of a zone between two times: they touch, and differ. */
static unsigned
walk(const struct tz *tz, int64_t begin, int64_t end)
{
    struct tz_span span, again;
    unsigned n = 0;

    for (int64_t t = begin; t < end; t = span.until, n++) {
        tz_span_at(tz, t, &span);
        assert_true(span.from <= t && t < span.until);
        tz_span_at(tz, span.until - 1, &again);
        assert_memory_equal(&span, &again, sizeof span);
        assert_true(abs(span.offset) <= TZ_OFFSET_MAX);
        if (span.from > TZ_BEGIN_S) {
            tz_span_at(tz, span.from - 1, &again);
            assert_true(again.until == span.from);
            assert_true(again.offset != span.offset || span.reached == span.offset);
            assert_true(span.reached >= again.offset);
        }
    }
    return n;
}

static void
test_tz_spans_cover_all_years(void **state)
{
    static const char *const names[] = {"Europe/Berlin",       "America/New_York", "Europe/Dublin",
                                        "Africa/Casablanca",   "Pacific/Apia",     "Asia/Kathmandu",
                                        "Australia/Lord_Howe", "America/Santiago"};
    struct tz_store store;

    (void)state;
    tz_store_init(&store);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct tz *tz = tz_zone_rules(get_zone(&store, names[i]), 0);

        assert_true(walk(tz, TZ_BEGIN_S, TZ_END_S) >= 1);
    }
    assert_int_equal(walk(tz_utc(), TZ_BEGIN_S, TZ_END_S), 1);
    /* two changes a year, as far as years go */
    assert_true(walk(tz_zone_rules(get_zone(&store, "Europe/Berlin"), 0), 4102444800, TZ_END_S)
                > 2 * 7899);
    tz_store_fini(&store);
}

static void
test_tz_knows_gaps_and_repetitions(void **state)
{
    struct tz_store store;
    struct tz_span span;
    const struct tz *tz;

    (void)state;
    tz_store_init(&store);
    tz = tz_zone_rules(get_zone(&store, "America/New_York"), 0);
    tz_span_at(tz, 1772953200, &span); /* 2026-03-08T07:00:00Z */
    assert_true(span.from == 1772953200 && span.offset == -14400 && span.reached == -18000);
    tz_span_at(tz, 1793512800, &span); /* 2026-11-01T06:00:00Z */
    assert_true(span.from == 1793512800 && span.offset == -18000 && span.reached == -14400);
    tz = tz_zone_rules(get_zone(&store, "Pacific/Apia"), 0);
    tz_span_at(tz, 1325239200, &span); /* 2011-12-30T10:00:00Z: a day is left out */
    assert_true(span.from == 1325239200 && span.offset - span.reached == 86400);
    tz_store_fini(&store);
}

/* Rules ----------------------------------------------------------------------------- */

static void
test_tz_reads_rules(void **state)
{
    static const char *const good[] = {
        "UTC0",
        "EST5EDT,M3.2.0,M11.1.0",
        "<+0330>-3:30",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "EST5EDT,0/0,J365/25",
        "IST-2IDT,M3.4.4/26,M10.5.0",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "XXX-24:59:59YYY,J60/-167,365/167:59:59",
    };
    static const char *const bad[] = {
        "",
        "UT0",
        "UTC",
        "5",
        "EST5EDT",
        "EST5EDT,",
        "EST5EDT,M3.2.0",
        "EST5EDT,M3.2.0,M11.1.0x",
        "EST5EDT,M0.2.0,M11.1.0",
        "EST5EDT,M3.6.0,M11.1.0",
        "EST5EDT,M3.2.7,M11.1.0",
        "EST25",
        "EST5EDT,J0,J365",
        "EST5EDT,J1,366",
        "EST5EDT,0/168,J365",
        "<+03>-3:",
        "<+0-3",
        "EST5:60",
        "EST5EDT4EXT3",
        "EST-",
        "EST1234",
    };
    struct tz_posix posix;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (tz_posix_read(good[i], strlen(good[i]), &posix) != 0) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (tz_posix_read(bad[i], strlen(bad[i]), &posix) == 0) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

/* Bytes of a file -------------------------------------------------------------------- */

struct file {
    unsigned char bytes[4096];
    size_t len;
};

static void
put_number(struct file *f, uint64_t value, unsigned size)
{
    for (unsigned i = size; i-- > 0;) {
        f->bytes[f->len++] = (unsigned char)(value >> i * 8);
    }
}

static void
put_header(struct file *f, uint32_t leap, uint32_t times, uint32_t types)
{
    memcpy(f->bytes + f->len, "TZif2", 5);
    memset(f->bytes + f->len + 5, 0, 15);
    f->len += 20;
    put_number(f, 0, 4);
    put_number(f, 0, 4);
    put_number(f, leap, 4);
    put_number(f, times, 4);
    put_number(f, types, 4);
    put_number(f, 4, 4);
}

/* A file with changes at the N TIMES to and from OFFSET, and a rule. */
static void
make_file(struct file *f, const int64_t *times, uint32_t n, int32_t offset, const char *rule)
{
    f->len = 0;
    put_header(f, 0, 0, 1);
    put_number(f, 0, 6);
    put_number(f, 0x58585800, 4);
    put_header(f, 0, n, 2);
    for (uint32_t i = 0; i < n; i++) {
        put_number(f, (uint64_t)times[i], 8);
    }
    for (uint32_t i = 0; i < n; i++) {
        put_number(f, 1 - i % 2, 1);
    }
    put_number(f, 0, 6);
    put_number(f, (uint32_t)offset, 4);
    put_number(f, 0x0100, 2);
    put_number(f, 0x58585800, 4);
    f->len += (size_t)sprintf((char *)f->bytes + f->len, "\n%s\n", rule);
}

static void
check_refused(const struct file *f, const char *why)
{
    struct tz *tz = NULL;
    struct fault fault;

    assert_int_equal(tz_read(f->bytes, f->len, &tz, &fault), FAULT_INVALID);
    assert_null(tz);
    assert_string_equal(fault.msg, why);
}

static void
test_tz_refuses_damaged_files(void **state)
{
    const int64_t good[] = {0, 1000}, late[] = {0, CIVIL_MAX_S + 1}, back[] = {1000, 1000};
    struct file f, whole;
    struct tz *tz;

    (void)state;
    make_file(&whole, good, 2, 3600, "XXX0");
    for (f = whole; f.len-- > 0;) { /* cut anywhere */
        assert_int_equal(tz_read(f.bytes, f.len, &tz, NULL), FAULT_INVALID);
    }
    f = whole;
    assert_int_equal(tz_read(f.bytes, f.len, &tz, NULL), FAULT_OK);
    tz_free(tz);
    f.bytes[0] = 't';
    check_refused(&f, "not a TZif file");
    f = whole;
    f.bytes[4] = 0;
    check_refused(&f, "a TZif file of version 1, which ends in 2038");
    make_file(&f, late, 2, 3600, "XXX0");
    check_refused(&f, "a change comes after the year 9999");
    make_file(&f, back, 2, 3600, "XXX0");
    check_refused(&f, "the changes are not in order");
    make_file(&f, good, 2, TZ_OFFSET_MAX + 1, "XXX0");
    check_refused(&f, "an offset is longer than a day");
    make_file(&f, good, 2, INT32_MIN, "XXX0");
    check_refused(&f, "an offset is longer than a day");
    make_file(&f, good, 2, 3600, "XXX");
    check_refused(&f, "the rule at the end makes no sense");
    f = whole;
    f.bytes[44 + 10 + 28] = 1; /* the leap seconds of the second header */
    f.bytes[44 + 10 + 31] = 0;
    check_refused(&f, "the zone counts leap seconds");
    f = whole;
    memset(f.bytes + 20, 0xff, 24); /* counts far beyond the file */
    check_refused(&f, "the file is cut off");
    memset(f.bytes, 0, 44);
    check_refused(&f, "not a TZif file");
}

static void
test_tz_reads_odd_files(void **state)
{
    /* from before the years there are, and each hour for some days */
    int64_t times[100] = {INT64_MIN, INT64_MIN + 1, -3600};
    struct file f;
    struct tz *tz;
    struct tz_span span;

    (void)state;
    for (int i = 3; i < 100; i++) {
        times[i] = i * 3600;
    }
    make_file(&f, times, 100, 93600, "XXX5YYY,M1.1.0/-167,M12.5.6/167");
    assert_int_equal(tz_read(f.bytes, f.len, &tz, NULL), FAULT_OK);
    assert_true(walk(tz, TZ_BEGIN_S, TZ_END_S) > 16000);
    tz_free(tz);
    /* a rule and nothing before it; daylight saving time all year */
    make_file(&f, times, 0, 0, "XXX5YYY,0/0,J365/25");
    assert_int_equal(tz_read(f.bytes, f.len, &tz, NULL), FAULT_OK);
    (void)walk(tz, TZ_BEGIN_S, TZ_END_S);
    tz_span_at(tz, 4102444800, &span);
    assert_int_equal(span.offset, -4 * 3600);
    tz_free(tz);
    make_file(&f, times, 0, 0, "CET-1CEST,M3.5.0,M10.5.0/3");
    assert_int_equal(tz_read(f.bytes, f.len, &tz, NULL), FAULT_OK);
    assert_true(walk(tz, TZ_BEGIN_S, TZ_END_S) > 2 * 9990);
    tz_free(tz);
}

/* Names ------------------------------------------------------------------------------ */

static void
test_tz_refuses_names_that_are_paths(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        "/etc/passwd",
        "../../etc/passwd",
        "Europe/../Europe/Berlin",
        "Europe//Berlin",
        "Europe/Berlin/",
        "./UTC",
        ".",
        "..",
        "UTC ",
        "Europe/Berl\xc3\xadn",
        "tzdata.zi",
        "right/UTC",
        "posix/UTC",
        "posixrules",
        "localtime",
        ":UTC",
        "~",
        "Europe",
        "CET-1CEST,M",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "No/Such_Zone",
        "Europe/Berlin/x",
    };
    struct tz_store store;
    struct tz_zone *zone;

    (void)state;
    tz_store_init(&store);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (tz_store_get(&store, bad[i], strlen(bad[i]), 0, &zone, NULL) != FAULT_INVALID) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    assert_int_equal(tz_store_get(&store, "UTC\0x", 5, 0, &zone, NULL), FAULT_INVALID);
    assert_null(store.first);
    tz_store_fini(&store);
}

static void
test_tz_advises(void **state)
{
    char hint[120];

    (void)state;
    tz_advise("europe/berlin", 13, hint, sizeof hint);
    assert_string_equal(hint, "did you mean Europe/Berlin?");
    tz_advise("AMERICA/NEW_YORK", 16, hint, sizeof hint);
    assert_string_equal(hint, "did you mean America/New_York?");
    tz_advise("right/UTC", 9, hint, sizeof hint);
    assert_string_equal(hint, "use the name without \"right/\"");
    tz_advise("../x", 4, hint, sizeof hint);
    assert_string_equal(hint, "zones have names such as Europe/Berlin or UTC");
}

/* Files that change -------------------------------------------------------------------- */

static void
write_file(const char *path, const struct file *f)
{
    FILE *out = fopen(path, "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(f->bytes, 1, f->len, out), f->len);
    assert_int_equal(fclose(out), 0);
}

static int32_t
offset_now(struct tz_zone *zone, uint64_t now_ms)
{
    struct tz_span span;

    tz_span_at(tz_zone_rules(zone, now_ms), 1000000000, &span);
    return span.offset;
}

static void
test_tz_follows_its_file(void **state)
{
    const int64_t once[] = {0};
    char dir[] = "/tmp/moontap-tz-XXXXXX", path[64], other[64];
    struct tz_store store;
    struct tz_zone *zone;
    struct file f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/Zone", dir);
    (void)snprintf(other, sizeof other, "%s/Other", dir);
    assert_int_equal(setenv("TZDIR", dir, 1), 0);
    tz_store_init(&store);
    make_file(&f, once, 1, 3600, "");
    write_file(path, &f);
    zone = get_zone(&store, "Zone");
    assert_ptr_equal(zone, get_zone(&store, "Zone"));
    assert_int_equal(offset_now(zone, 0), 3600);
    make_file(&f, once, 1, 7200, "");
    write_file(other, &f);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(offset_now(zone, TZ_LOOK_MS - 1), 3600); /* not looked at yet */
    assert_int_equal(offset_now(zone, TZ_LOOK_MS), 7200);
    assert_int_equal(tz_zone_generation(zone), 1);
    assert_int_equal(unlink(path), 0); /* gone: what was read stays */
    assert_int_equal(offset_now(zone, 2 * TZ_LOOK_MS), 7200);
    assert_true(tz_zone_is_stale(zone));
    f.len -= 3;
    write_file(path, &f); /* broken: likewise */
    assert_int_equal(offset_now(zone, 3 * TZ_LOOK_MS), 7200);
    assert_true(tz_zone_is_stale(zone));
    make_file(&f, once, 1, -3600, "");
    write_file(path, &f);
    assert_int_equal(offset_now(zone, 4 * TZ_LOOK_MS), -3600);
    assert_false(tz_zone_is_stale(zone));
    assert_int_equal(tz_zone_generation(zone), 2);
    tz_store_fini(&store);
    tz_store_fini(&store);
    assert_int_equal(unlink(path), 0);
    /* neither a pipe nor what is too long */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(tz_store_get(&store, "Zone", 4, 0, &zone, NULL), FAULT_INVALID);
    assert_int_equal(unlink(path), 0);
    write_file(path, &f);
    assert_int_equal(truncate(path, TZ_FILE_MAX + 1), 0);
    assert_int_equal(tz_store_get(&store, "Zone", 4, 0, &zone, NULL), FAULT_LIMIT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(unsetenv("TZDIR"), 0);
}

static void
test_tz_survives_without_memory(void **state)
{
    struct tz_store store;
    struct tz_zone *zone;
    struct fault fault;
    long n = 1;

    (void)state;
    tz_store_init(&store);
    for (;; n++) {
        enum fault_code bad;

        mem_fail_at(n);
        bad = tz_store_get(&store, "Europe/Berlin", 13, 0, &zone, &fault);
        if (!mem_fail_hit()) {
            assert_int_equal(bad, FAULT_OK);
            break;
        }
        assert_int_equal(bad, FAULT_NOMEM);
    }
    mem_fail_at(0);
    assert_int_equal(n, 4); /* the zone, the bytes, the table */
    tz_store_fini(&store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tz_agrees_with_glibc_on_every_zone),
        cmocka_unit_test(test_tz_spans_cover_all_years),
        cmocka_unit_test(test_tz_knows_gaps_and_repetitions),
        cmocka_unit_test(test_tz_reads_rules),
        cmocka_unit_test(test_tz_refuses_damaged_files),
        cmocka_unit_test(test_tz_reads_odd_files),
        cmocka_unit_test(test_tz_refuses_names_that_are_paths),
        cmocka_unit_test(test_tz_advises),
        cmocka_unit_test(test_tz_follows_its_file),
        cmocka_unit_test(test_tz_survives_without_memory),
    };

    (void)unsetenv("TZDIR");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
