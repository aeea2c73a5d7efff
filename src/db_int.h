/* db_int: what the files of db share; nobody else includes it. */
#ifndef MOONTAP_DB_INT_H
#define MOONTAP_DB_INT_H

#include "db.h"

#include <sqlite3.h>

#define DB_STATEMENTS_MAX 64

struct db_stmt {
    sqlite3_stmt *raw; /* NULL: the place is free */
    struct db *db;
    char *text; /* LEN bytes, as it was given */
    size_t len;
    int64_t id;    /* of no other; its place is ID modulo DB_STATEMENTS_MAX */
    uint64_t used; /* db->uses at its last use */
    int64_t changes_before;
};

struct db {
    sqlite3 *raw;
    char *path;
    unsigned busy_ms;
    uint64_t deadline_ms; /* when the call under way stops waiting for locks */
    uint64_t limit_ms;    /* … and when its statement is stopped */
    uint32_t jitter;      /* state of a small generator */
    int is_foreign;       /* while SQL of the caller is prepared */
    int is_full;          /* synchronous = FULL */
    int in_transaction;
    int is_synced_last;   /* the transaction under way is DB_DURABLE_LAST */
    int has_logged;       /* … and has written something when it was committed */
    int log_max;          /* pages in the log from which on it is taken over */
    int is_lost;          /* SQLite has rolled the transaction back */
    struct db_fault lost; /* why */
    sqlite3_stmt *begin, *commit, *rollback;
    uint64_t uses, prepared; /* how often a statement was */
    struct db_stmt stmts[DB_STATEMENTS_MAX];
};

/* db.c: starts the clocks of a call. Fails in a transaction that is lost. */
enum fault_code db_enter(struct db *db, struct db_fault *fault);
/* Makes commits durable or not; only outside a transaction. */
enum fault_code db_set_durable(struct db *db, int durable, struct db_fault *fault);

/* db_error.c: fills FAULT for SQLite's result RC of WHAT ("commit to"). Notes when
 * a transaction is lost by it. */
enum fault_code db_fail(struct db *db, int rc, const char *what, struct db_fault *fault);
/* FAULT_IO: what was committed could not be synced because of errno value WHY. */
enum fault_code db_fail_sync(struct db *db, int why, struct db_fault *fault);
/* The same for what is not SQLite's failure: CODE and the reason WHY. */
enum fault_code db_refuse(struct db_fault *fault, enum fault_code code, const char *why);
/* FAULT_IO: the database PATH cannot be opened because of WHY. NAME as SQLite
 * would say it. */
enum fault_code
db_refuse_file(struct db_fault *fault, const char *path, const char *name, const char *why);

/* db_statement.c */
void db_free_statements(struct db *db);

#endif
