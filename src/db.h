/*
 * db: one SQLite database: a file in WAL mode that only its owner reads. Knows
 * no Lua. A call blocks, for a lock or for its own work, at most as long as
 * db_options.busy_ms says; nothing is left open in between, so other processes
 * come in whenever no transaction is under way here.
 *
 * SQLite allocates through mem_alloc, as all C rooms do.
 *
 * Nobody else may open and close the file within this process while it is open
 * here: that would drop SQLite's locks on it.
 */
#ifndef MOONTAP_DB_H
#define MOONTAP_DB_H

#include "fault.h"

#include <stddef.h>
#include <stdint.h>

struct db;
struct db_stmt;

/*
 * Codes: FAULT_INVALID when the SQL is wrong or used wrongly, FAULT_NOMEM,
 * FAULT_LIMIT for a value that is too big, FAULT_TIMEOUT when a statement took
 * too long, FAULT_IO for all else.
 */
struct db_fault {
    struct fault fault;
    const char *name; /* SQLite's primary result, "SQLITE_BUSY"; static */
    int is_busy;      /* another process was in the way: can be tried again */
    int is_done;      /* committed, but DB_DURABLE_LAST is not on the disk */
};

struct db_options {
    unsigned busy_ms; /* how long a call may block; a statement has a second at least */
    int read_only;    /* the file has to be there */
};

/* Opens the database at PATH, a file that is made with mode 0600 when it is not
 * there. *OUT is NULL on failure. */
enum fault_code db_open(const char *path, const struct db_options *options, struct db **out,
                        struct db_fault *fault);
/* Rolls back what is under way; frees all statements. Works with NULL. */
void db_close(struct db *db);
const char *db_path(const struct db *db);

/* Runs the statements of SQL (NUL-terminated), which have no parameters. What
 * they change outside a transaction is durable, statement by statement. */
enum fault_code db_exec(struct db *db, const char *sql, struct db_fault *fault);

/* Transactions --------------------------------------------------------------- */

/*
 * When a transaction is on the disk. What is DB_LOOSE a power failure may take back,
 * as a whole. DB_DURABLE is there before anybody sees it: a disk that refuses takes
 * it back. DB_DURABLE_LAST is seen by others first, and synced then, when no lock is
 * held any more: cheaper, but a disk that refuses leaves it to the caller.
 */
enum db_durability { DB_LOOSE, DB_DURABLE, DB_DURABLE_LAST };

/* Begins one that may write at once. */
enum fault_code db_begin(struct db *db, enum db_durability durability, struct db_fault *fault);
/* Ends it; on failure it is rolled back, unless the fault says `is_done`. A
 * transaction that SQLite has rolled back by itself fails here with the reason. */
enum fault_code db_commit(struct db *db, struct db_fault *fault);
/* Does nothing outside a transaction. */
void db_rollback(struct db *db);
int db_in_transaction(const struct db *db);

/* Statements ------------------------------------------------------------------ */

enum db_type { DB_NULL, DB_INTEGER, DB_FLOAT, DB_TEXT };

struct db_value {
    enum db_type type;
    int64_t integer;
    double number;
    const char *text; /* LEN bytes, any; a blob comes as text */
    size_t len;
};

/*
 * The one statement in the LEN bytes at SQL, prepared or from the cache. Owned by
 * DB, valid until the next db_prepare. Then db_bind, db_step until there is no
 * more row, and db_reset in every case.
 */
enum fault_code db_prepare(struct db *db, const char *sql, size_t len, struct db_stmt **out,
                           struct db_fault *fault);
/* The same for a statement that was prepared before, without a look at its text;
 * *OUT is NULL when it is gone. ID is positive. */
enum fault_code
db_prepare_again(struct db *db, int64_t id, struct db_stmt **out, struct db_fault *fault);
int64_t db_statement_id(const struct db_stmt *stmt);
int db_parameter_count(const struct db_stmt *stmt);
/* Parameter I counts from 1. The bytes of a text are borrowed until db_reset. */
enum fault_code
db_bind(struct db_stmt *stmt, int i, const struct db_value *value, struct db_fault *fault);
/* *HAS_ROW says whether there is a row to look at. */
enum fault_code db_step(struct db_stmt *stmt, int *has_row, struct db_fault *fault);
int db_is_reader(const struct db_stmt *stmt);
int db_column_count(const struct db_stmt *stmt);
/* NULL when there is no memory; else as long-lived as the statement. */
const char *db_column_name(struct db_stmt *stmt, int i);
/* Column I, counted from 0, of the row at hand; its text lives until the next
 * step. FAULT_NOMEM. */
enum fault_code
db_column(struct db_stmt *stmt, int i, struct db_value *value, struct db_fault *fault);
/* Forgets row and parameters; no lock is held any longer. */
void db_reset(struct db_stmt *stmt);
/* What STMT, which has been stepped to its end, has changed. */
int64_t db_changes(const struct db_stmt *stmt);
int64_t db_last_rowid(const struct db *db);
/* The version of SQLite; lives for ever. */
const char *db_library_version(void);

#endif
