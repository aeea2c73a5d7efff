/* db: what only shows below Lua: each allocation fails once, and the database is
 * as good as before. */
#include "db.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"

#include <cmocka.h>

#define SWEEP_MAX 20000

static char dir[64], path[96];
static const struct db_options options = {.busy_ms = 1000};

static int syncs;      /* so far */
static int sync_error; /* errno value of the next ones; 0: they work */

/* SQLite's calls of it end here, not in the C library. */
__attribute__((visibility("default"))) int fdatasync(int fd);
int
fdatasync(int fd)
{
    (void)fd;
    syncs++;
    errno = sync_error;
    return sync_error != 0 ? -1 : 0;
}

static int
make_directory(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/moontap-db-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/x.db", dir);
    return 0;
}

static int
remove_directory(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(dir); /* fails when a log is left */
}

/* Runs SQL with one integer parameter; the integer in its first column goes to
 * *OUT (may be NULL). */
static enum fault_code
run(struct db *db, const char *sql, int64_t parameter, int64_t *out, struct db_fault *fault)
{
    struct db_value value = {.type = DB_INTEGER, .integer = parameter};
    struct db_stmt *stmt;
    int has_row = 0;
    enum fault_code code = db_prepare(db, sql, strlen(sql), &stmt, fault);

    if (code != FAULT_OK) {
        return code;
    }
    code = db_bind(stmt, 1, &value, fault);
    if (code == FAULT_OK) {
        code = db_step(stmt, &has_row, fault);
    }
    if (code == FAULT_OK && has_row && out != NULL) {
        code = db_column(stmt, 0, &value, fault);
        *out = value.integer;
    }
    db_reset(stmt);
    return code;
}

static int64_t
count(struct db *db)
{
    struct db_fault fault;
    int64_t n = -1;

    assert_int_equal(run(db, "SELECT count(*) FROM t WHERE i > ?", 0, &n, &fault), FAULT_OK);
    return n;
}

static enum fault_code
add_two(struct db *db, int64_t first, struct db_fault *fault)
{
    enum fault_code code = db_begin(db, first % 3 == 0, fault);

    if (code != FAULT_OK) {
        return code;
    }
    code = run(db, "INSERT INTO t VALUES(?, hex(randomblob(2000)))", first, NULL, fault);
    if (code == FAULT_OK) {
        code = run(db, "INSERT INTO t VALUES(? + 1, 'second')", first, NULL, fault);
    }
    if (code != FAULT_OK) {
        db_rollback(db);
        return code;
    }
    return db_commit(db, fault);
}

/* Opens, makes the table, adds two rows, all anew each time. */
static enum fault_code
whole_life(int64_t first)
{
    struct db_fault fault;
    struct db *db;
    enum fault_code code = db_open(path, &options, &db, &fault);

    if (code == FAULT_OK) {
        code = db_exec(db, "SELECT * FROM nowhere", &fault);
        assert_true(code == FAULT_INVALID || code == FAULT_NOMEM);
        code = db_exec(db, "CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY, v)", &fault);
    }
    if (code == FAULT_OK) {
        code = add_two(db, first, &fault);
    }
    db_close(db);
    return code;
}

static void
test_db_life_without_memory(void **state)
{
    struct db_fault fault;
    struct db *db;
    int64_t expected = 0;
    long n;

    (void)state;
    for (n = 1; n < SWEEP_MAX; n++) {
        enum fault_code code;

        mem_fail_at(n);
        code = whole_life(2 * n + 1);
        if (!mem_fail_hit()) {
            mem_fail_at(0);
            assert_int_equal(code, FAULT_OK);
            break;
        }
        mem_fail_at(0);
        assert_true(code == FAULT_OK || code == FAULT_NOMEM);
        expected += code == FAULT_OK ? 2 : 0;
    }
    assert_in_range(n, 100, SWEEP_MAX - 1);
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_int_equal(count(db), expected + 2);
    db_close(db);
}

/* The same with one handle that stays open. */
static void
test_db_transaction_without_memory(void **state)
{
    struct db_fault fault;
    struct db *db;
    int64_t expected = 0;
    long n;

    (void)state;
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_int_equal(db_exec(db, "CREATE TABLE t(i INTEGER PRIMARY KEY, v)", &fault), FAULT_OK);
    for (n = 1; n < SWEEP_MAX; n++) {
        enum fault_code code;
        int is_hit;

        /* a new schema, so that all is prepared again */
        assert_int_equal(db_exec(db, "CREATE TABLE u(x); DROP TABLE u", &fault), FAULT_OK);
        mem_fail_at(n);
        code = add_two(db, 2 * n + 1, &fault);
        is_hit = mem_fail_hit();
        mem_fail_at(0);
        assert_false(db_in_transaction(db));
        assert_true(code == FAULT_OK || code == FAULT_NOMEM);
        expected += code == FAULT_OK ? 2 : 0;
        assert_int_equal(count(db), expected);
        if (!is_hit) {
            break;
        }
    }
    assert_in_range(n, 5, SWEEP_MAX - 1);
    db_close(db);
}

/* A transaction that adds a row, or none when N is 0; how often it has synced. */
static int
syncs_of(struct db *db, enum db_durability durable, int64_t n)
{
    struct db_fault fault;
    int before;

    assert_int_equal(db_begin(db, durable, &fault), FAULT_OK);
    if (n != 0) {
        assert_int_equal(run(db, "INSERT INTO t VALUES(?, 'x')", n, NULL, &fault), FAULT_OK);
    }
    before = syncs;
    assert_int_equal(db_commit(db, &fault), FAULT_OK);
    return syncs - before;
}

static void
test_db_syncs_what_is_to_be_durable(void **state)
{
    struct db_fault fault;
    struct db *db;
    int before;

    (void)state;
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_int_equal(db_exec(db, "CREATE TABLE t(i INTEGER PRIMARY KEY, v)", &fault), FAULT_OK);
    for (int64_t n = 1; n < 10; n += 3) {
        assert_int_equal(syncs_of(db, DB_DURABLE_LAST, n), 1);
        assert_int_equal(syncs_of(db, DB_LOOSE, n + 1), 0);
        assert_int_equal(syncs_of(db, DB_DURABLE, n + 2), 1);
    }
    assert_int_equal(syncs_of(db, DB_DURABLE_LAST, 0), 0); /* it has nothing to lose */
    before = syncs;
    assert_int_equal(run(db, "INSERT INTO t VALUES(?, 'alone')", 10, NULL, &fault), FAULT_OK);
    assert_int_equal(syncs - before, 1);
    assert_int_equal(syncs_of(db, DB_LOOSE, 11), 0);
    assert_int_equal(syncs_of(db, DB_DURABLE_LAST, 12), 1);
    db_close(db);
}

static void
test_db_takes_over_a_long_log(void **state)
{
    struct db_fault fault;
    struct db *db;
    int before;

    (void)state;
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_int_equal(db_exec(db, "CREATE TABLE t(i INTEGER PRIMARY KEY, v)", &fault), FAULT_OK);
    assert_int_equal(db_begin(db, DB_LOOSE, &fault), FAULT_OK);
    assert_int_equal(run(db, "INSERT INTO t VALUES(?, zeroblob(700000))", 1, NULL, &fault),
                     FAULT_OK);
    before = syncs;
    assert_int_equal(db_commit(db, &fault), FAULT_OK);
    assert_int_equal(syncs - before, 0);
    assert_int_equal(db_begin(db, DB_DURABLE_LAST, &fault), FAULT_OK);
    assert_int_equal(run(db, "INSERT INTO t VALUES(?, zeroblob(400000))", 2, NULL, &fault),
                     FAULT_OK);
    before = syncs;
    assert_int_equal(db_commit(db, &fault), FAULT_OK);
    assert_int_equal(syncs - before, 2); /* the log, then the file: no third */
    db_close(db);
}

static void
test_db_says_when_the_disk_refuses(void **state)
{
    struct db_fault fault;
    struct db *db;

    (void)state;
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_int_equal(db_exec(db, "CREATE TABLE t(i INTEGER PRIMARY KEY, v)", &fault), FAULT_OK);
    for (int64_t last = 0; last < 2; last++) {
        assert_int_equal(db_begin(db, last ? DB_DURABLE_LAST : DB_DURABLE, &fault), FAULT_OK);
        assert_int_equal(run(db, "INSERT INTO t VALUES(?, 'x')", last, NULL, &fault), FAULT_OK);
        sync_error = EIO;
        assert_int_equal(db_commit(db, &fault), FAULT_IO);
        sync_error = 0;
        assert_string_equal(fault.name, "SQLITE_IOERR");
        assert_int_equal(fault.is_done, last);
        assert_non_null(strstr(fault.fault.msg, last ? "x.db: Input/output" : "I/O error"));
        assert_false(db_in_transaction(db));
        assert_int_equal(count(db), last);
    }
    assert_int_equal(syncs_of(db, DB_DURABLE_LAST, 2), 1);
    assert_int_equal(count(db), 2);
    db_close(db);
}

static void
test_db_names_its_failures(void **state)
{
    struct db_options reading = {.busy_ms = 0, .read_only = 1};
    struct db_fault fault;
    struct db *db;

    (void)state;
    assert_int_equal(db_open(path, &reading, &db, &fault), FAULT_IO);
    assert_null(db);
    assert_string_equal(fault.name, "SQLITE_CANTOPEN");
    assert_false(fault.is_busy);
    assert_non_null(strstr(fault.fault.msg, "x.db: "));
    assert_int_equal(db_open(path, &options, &db, &fault), FAULT_OK);
    assert_string_equal(db_path(db), path);
    assert_int_equal(db_exec(db, "nonsense", &fault), FAULT_INVALID);
    assert_int_equal(db_begin(db, 1, &fault), FAULT_OK);
    assert_int_equal(db_begin(db, 1, &fault), FAULT_INVALID);
    db_close(db); /* rolls back */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_db_life_without_memory, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_db_transaction_without_memory, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_db_syncs_what_is_to_be_durable, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_db_takes_over_a_long_log, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_db_says_when_the_disk_refuses, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_db_names_its_failures, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
