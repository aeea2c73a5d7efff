/*
 * db: opening, waiting for locks, transactions; see db.h. Statements are
 * db_statement.c's business, errors db_error.c's.
 */
#include "db_int.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STATEMENT_MS_MIN 1000
#define PROGRESS_STEPS 20000 /* of SQLite's machine, between two looks at the clock */
#define SLEEP_MS_MAX 25u
/* A log that does not grow any more is synced faster, and found through faster. */
#define LOG_BYTES_MAX (1 << 20)
/* Of a new file; small, because a commit writes each page that it has touched. */
#define PAGE_BYTES "2048"

/* Memory ------------------------------------------------------------------------ */

#define HEADER 16 /* holds the size; keeps the alignment */

static int
size_of(void *p)
{
    int n;

    memcpy(&n, (char *)p - HEADER, sizeof n);
    return n;
}

static void *
with_size(char *block, int n)
{
    if (block == NULL) {
        return NULL;
    }
    memcpy(block, &n, sizeof n);
    return block + HEADER;
}

static void *
allocate(int n)
{
    return with_size(mem_alloc((size_t)n + HEADER), n);
}

static void *
resize(void *p, int n)
{
    return with_size(mem_realloc((char *)p - HEADER, (size_t)n + HEADER), n);
}

static void
release(void *p)
{
    if (p != NULL) {
        mem_free((char *)p - HEADER);
    }
}

static int
round_up(int n)
{
    return (n + 7) & ~7;
}

static int
start_memory(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void
stop_memory(void *unused)
{
    (void)unused;
}

/* Has no effect once SQLite is in use, by us or by another part of the program. */
static void
configure(void)
{
    static const sqlite3_mem_methods methods = {
        allocate, release, resize, size_of, round_up, start_memory, stop_memory, NULL,
    };

    (void)sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* mem_alloc counts */
}

/* Waiting ------------------------------------------------------------------------- */

/* Not the loop's clock: this blocks the whole program, virtual time included. */
static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint32_t
next_jitter(struct db *db)
{
    db->jitter ^= db->jitter << 13;
    db->jitter ^= db->jitter >> 17;
    db->jitter ^= db->jitter << 5;
    return db->jitter;
}

/* Somebody else has the lock: sleeps a moment; 0 when it is time to give up. */
static int
on_busy(void *arg, int count)
{
    struct db *db = arg;
    uint64_t now = now_ms(), left = db->deadline_ms > now ? db->deadline_ms - now : 0;
    unsigned bound = count < 5 ? 1u << count : SLEEP_MS_MAX;
    uint64_t us = 200 + next_jitter(db) % (bound * 1000);
    struct timespec ts;

    if (left == 0) {
        return 0;
    }
    us = us > left * 1000 ? left * 1000 : us;
    ts = (struct timespec){.tv_sec = 0, .tv_nsec = (long)us * 1000};
    (void)nanosleep(&ts, NULL); /* a signal ends it early: one look more */
    return 1;
}

static int
on_progress(void *arg)
{
    const struct db *db = arg;

    return now_ms() >= db->limit_ms;
}

/* Callers do not begin or end transactions behind our back. */
static int
on_authorize(void *arg, int action, const char *a, const char *b, const char *c, const char *d)
{
    const struct db *db = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    if (db->is_foreign && (action == SQLITE_TRANSACTION || action == SQLITE_SAVEPOINT)) {
        return SQLITE_DENY;
    }
    return SQLITE_OK;
}

/* Opening ------------------------------------------------------------------------- */

/*
 * Makes the file with the mode that the others of the database will have too.
 * One that is there is not opened: closing it again would drop the locks that
 * another handle of this process has on it.
 */
static enum fault_code
make_file(const char *path, struct db_fault *fault)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 && errno != EEXIST) {
        return db_refuse_file(fault, path, "SQLITE_CANTOPEN", strerror(errno));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return FAULT_OK;
}

static enum fault_code
set_up(struct db *db, struct db_fault *fault)
{
    static const int switches[][2] = {
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1}, {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_DEFENSIVE, 1},   {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},     {SQLITE_DBCONFIG_DQS_DDL, 0},
    };
    int rc = sqlite3_extended_result_codes(db->raw, 1);

    for (size_t i = 0; rc == SQLITE_OK && i < sizeof switches / sizeof *switches; i++) {
        rc = sqlite3_db_config(db->raw, switches[i][0], switches[i][1], NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_busy_handler(db->raw, on_busy, db);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_set_authorizer(db->raw, on_authorize, db);
    }
    sqlite3_progress_handler(db->raw, PROGRESS_STEPS, on_progress, db);
    return rc == SQLITE_OK ? FAULT_OK : db_fail(db, rc, "open", fault);
}

static int
note_wal(void *arg, int n, char **values, char **columns)
{
    (void)columns;
    *(int *)arg = n == 1 && values[0] != NULL && strcmp(values[0], "wal") == 0;
    return 0;
}

/* A commit has written into the log, which holds PAGES now. It is taken over into
 * the file when it has grown to LOG_BYTES_MAX. */
static int
on_logged(void *arg, sqlite3 *raw, const char *name, int pages)
{
    struct db *db = arg;
    int in_log = -1, taken = -1;

    if (pages >= db->log_max) { /* what fails is tried again after the next commit */
        (void)sqlite3_wal_checkpoint_v2(raw, name, SQLITE_CHECKPOINT_PASSIVE, &in_log, &taken);
    }
    db->has_logged = in_log < 0 || taken < in_log; /* else it is in the file, and synced */
    return SQLITE_OK;
}

static int
watch_log(struct db *db)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db->raw, "PRAGMA page_size", -1, &stmt, NULL);

    if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
        db->log_max = LOG_BYTES_MAX / sqlite3_column_int(stmt, 0);
        (void)sqlite3_wal_hook(db->raw, on_logged, db);
    }
    (void)sqlite3_finalize(stmt);
    return rc;
}

/* The first look into the file. */
static enum fault_code
look_in(struct db *db, int read_only, struct db_fault *fault)
{
    int is_wal = read_only, rc;

    if (read_only) {
        rc = sqlite3_exec(db->raw, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    } else if (sqlite3_db_readonly(db->raw, "main") == 1) {
        return db_refuse_file(fault, db->path, "SQLITE_READONLY", "it may only be read");
    } else {
        rc = sqlite3_exec(db->raw, "PRAGMA page_size=" PAGE_BYTES, NULL, NULL, NULL);
        if (rc == SQLITE_OK) {
            rc = sqlite3_exec(db->raw, "PRAGMA journal_mode=WAL", note_wal, &is_wal, NULL);
        }
        if (rc == SQLITE_OK) {
            rc = watch_log(db);
        }
    }
    if (rc == SQLITE_OK && !is_wal) {
        return db_refuse_file(fault, db->path, "SQLITE_CANTOPEN",
                              "no write-ahead log is possible there");
    }
    return rc == SQLITE_OK ? db_set_durable(db, 1, fault) : db_fail(db, rc, "open", fault);
}

/* Kept ready, so that a transaction can be ended when there is no memory. */
static enum fault_code
prepare_own(struct db *db, struct db_fault *fault)
{
    const struct {
        const char *sql;
        sqlite3_stmt **out;
    } own[] = {
        {"BEGIN IMMEDIATE", &db->begin},
        {"COMMIT", &db->commit},
        {"ROLLBACK", &db->rollback},
    };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        int rc = sqlite3_prepare_v3(db->raw, own[i].sql, -1, SQLITE_PREPARE_PERSISTENT, own[i].out,
                                    NULL);
        if (rc != SQLITE_OK) {
            return db_fail(db, rc, "open", fault);
        }
    }
    return FAULT_OK;
}

static enum fault_code
open_file(struct db *db, const struct db_options *options, struct db_fault *fault)
{
    int flags = (options->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE)
                | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    enum fault_code code = options->read_only ? FAULT_OK : make_file(db->path, fault);
    int rc;

    if (code != FAULT_OK) {
        return code;
    }
    rc = sqlite3_open_v2(db->path, &db->raw, flags, NULL);
    if (rc != SQLITE_OK) {
        return db_fail(db, rc, "open", fault);
    }
    code = set_up(db, fault);
    if (code == FAULT_OK) {
        code = db_enter(db, fault);
    }
    if (code == FAULT_OK) {
        code = look_in(db, options->read_only, fault);
    }
    return code == FAULT_OK ? prepare_own(db, fault) : code;
}

/* A copy of PATH that SQLite takes for a file: neither a URI nor ":memory:". */
static char *
plain_path(const char *path)
{
    size_t n = strlen(path), before = path[0] == '/' ? 0 : 2;
    char *copy = mem_alloc(before + n + 1);

    if (copy != NULL) {
        memcpy(copy, "./", before);
        memcpy(copy + before, path, n + 1);
    }
    return copy;
}

enum fault_code
db_open(const char *path, const struct db_options *options, struct db **out, struct db_fault *fault)
{
    struct db *db;
    enum fault_code code;

    configure();
    *out = NULL;
    db = mem_zalloc(sizeof *db);
    if (db == NULL || (db->path = plain_path(path)) == NULL) {
        db_close(db);
        return db_refuse(fault, FAULT_NOMEM, "not enough memory");
    }
    db->busy_ms = options->busy_ms;
    db->jitter = ((uint32_t)getpid() << 12) ^ (uint32_t)now_ms() ^ 1u;
    db->jitter += db->jitter == 0;
    code = open_file(db, options, fault);
    if (code != FAULT_OK) {
        db_close(db);
        /* a file that makes no sense is the world's failure */
        return code == FAULT_INVALID ? (fault->fault.code = FAULT_IO) : code;
    }
    *out = db;
    return FAULT_OK;
}

void
db_close(struct db *db)
{
    if (db == NULL) {
        return;
    }
    db_rollback(db);
    db_free_statements(db);
    (void)sqlite3_finalize(db->begin);
    (void)sqlite3_finalize(db->commit);
    (void)sqlite3_finalize(db->rollback);
    (void)sqlite3_close(db->raw); /* all its statements are gone */
    mem_free(db->path);
    mem_free(db);
}

const char *
db_path(const struct db *db)
{
    return db->path;
}

/* Transactions -------------------------------------------------------------------- */

static int
step_own(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    (void)sqlite3_reset(stmt); /* says the same once more */
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

enum fault_code
db_enter(struct db *db, struct db_fault *fault)
{
    uint64_t now = now_ms();

    db->deadline_ms = now + db->busy_ms;
    db->limit_ms = now + (db->busy_ms > STATEMENT_MS_MIN ? db->busy_ms : STATEMENT_MS_MIN);
    if (db->is_lost) {
        *fault = db->lost;
        return fault->fault.code;
    }
    if (!db->in_transaction && !sqlite3_get_autocommit(db->raw)) {
        (void)step_own(db->rollback); /* one that could not be rolled back before */
    }
    return FAULT_OK;
}

/*
 * For DB_DURABLE_LAST. SQLite syncs the log by itself after a pragma, which cannot be
 * kept prepared: to switch it on and off costs as much as a statement that writes.
 */
static enum fault_code
sync_log(struct db *db, struct db_fault *fault)
{
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(db->raw, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);

    if (rc == SQLITE_OK && log != NULL && log->pMethods != NULL) {
        errno = 0;
        rc = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    }
    return rc == SQLITE_OK ? FAULT_OK : db_fail_sync(db, errno, fault);
}

/* The pragma works while it is prepared: nothing of it can be kept ready. */
enum fault_code
db_set_durable(struct db *db, int durable, struct db_fault *fault)
{
    int rc;

    if (db->in_transaction || db->is_full == durable) {
        return FAULT_OK;
    }
    rc = sqlite3_exec(db->raw, durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                      NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        return db_fail(db, rc, "set how durable is", fault);
    }
    db->is_full = durable;
    return FAULT_OK;
}

enum fault_code
db_begin(struct db *db, enum db_durability durability, struct db_fault *fault)
{
    enum fault_code code;
    int rc;

    if (db->in_transaction) {
        return db_refuse(fault, FAULT_INVALID, "a transaction is under way");
    }
    code = db_enter(db, fault);
    if (code == FAULT_OK) {
        code = db_set_durable(db, durability == DB_DURABLE, fault);
    }
    if (code != FAULT_OK) {
        return code;
    }
    rc = step_own(db->begin);
    if (rc != SQLITE_OK) {
        return db_fail(db, rc, "begin a transaction in", fault);
    }
    db->in_transaction = 1;
    db->is_synced_last = durability == DB_DURABLE_LAST;
    db->has_logged = 0;
    return FAULT_OK;
}

enum fault_code
db_commit(struct db *db, struct db_fault *fault)
{
    enum fault_code code = db_enter(db, fault);
    int rc = code == FAULT_OK ? step_own(db->commit) : SQLITE_OK;

    if (rc != SQLITE_OK) {
        code = db_fail(db, rc, "commit to", fault);
    }
    if (code == FAULT_OK) {
        db->in_transaction = 0;
        code = db->is_synced_last && db->has_logged ? sync_log(db, fault) : FAULT_OK;
    }
    db_rollback(db);
    return code;
}

void
db_rollback(struct db *db)
{
    if (db->in_transaction && !sqlite3_get_autocommit(db->raw)) {
        (void)step_own(db->rollback); /* if that fails, db_enter tries again */
    }
    db->in_transaction = db->is_lost = 0;
}

int
db_in_transaction(const struct db *db)
{
    return db->in_transaction;
}

const char *
db_library_version(void)
{
    return sqlite3_libversion();
}
