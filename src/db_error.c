/* db_error: what SQLite's results mean here; see db.h. */
#include "db_int.h"

#include <string.h>

#define PATH_SHOWN 120 /* the end of a longer path is enough, and the reason must fit */

static const char *const names[] = {
    "SQLITE_OK",       "SQLITE_ERROR",   "SQLITE_INTERNAL", "SQLITE_PERM",     "SQLITE_ABORT",
    "SQLITE_BUSY",     "SQLITE_LOCKED",  "SQLITE_NOMEM",    "SQLITE_READONLY", "SQLITE_INTERRUPT",
    "SQLITE_IOERR",    "SQLITE_CORRUPT", "SQLITE_NOTFOUND", "SQLITE_FULL",     "SQLITE_CANTOPEN",
    "SQLITE_PROTOCOL", "SQLITE_EMPTY",   "SQLITE_SCHEMA",   "SQLITE_TOOBIG",   "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH", "SQLITE_MISUSE",  "SQLITE_NOLFS",    "SQLITE_AUTH",     "SQLITE_FORMAT",
    "SQLITE_RANGE",    "SQLITE_NOTADB",
};

static enum fault_code
code_of(int primary)
{
    switch (primary) {
    case SQLITE_NOMEM: return FAULT_NOMEM;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
    case SQLITE_AUTH: return FAULT_INVALID;
    case SQLITE_TOOBIG: return FAULT_LIMIT;
    case SQLITE_INTERRUPT: return FAULT_TIMEOUT;
    default: return FAULT_IO;
    }
}

static const char *
reason_of(struct db *db, int primary)
{
    switch (primary) {
    case SQLITE_AUTH: return "BEGIN, COMMIT, ROLLBACK and SAVEPOINT are left to transaction()";
    case SQLITE_INTERRUPT: return "took longer than a statement may";
    case SQLITE_BUSY: return "locked by another process for too long";
    default: return sqlite3_errmsg(db->raw);
    }
}

/* The end of PATH that is shown. */
static const char *
shown_path(const char *path)
{
    size_t n = strlen(path);

    return n > PATH_SHOWN ? path + n - PATH_SHOWN : path;
}

enum fault_code
db_refuse(struct db_fault *fault, enum fault_code code, const char *why)
{
    fault->name = names[SQLITE_MISUSE];
    fault->is_busy = fault->is_done = 0;
    return fault_set(&fault->fault, code, "%s", why);
}

enum fault_code
db_refuse_file(struct db_fault *fault, const char *path, const char *name, const char *why)
{
    fault->name = name;
    fault->is_busy = fault->is_done = 0;
    return fault_set(&fault->fault, FAULT_IO, "open database %s: %s", shown_path(path), why);
}

enum fault_code
db_fail_sync(struct db *db, int why, struct db_fault *fault)
{
    fault->name = names[SQLITE_IOERR];
    fault->is_busy = 0;
    fault->is_done = 1;
    return fault_set(&fault->fault, FAULT_IO, "sync database %s: %s", shown_path(db->path),
                     why != 0 ? strerror(why) : "disk I/O error");
}

enum fault_code
db_fail(struct db *db, int rc, const char *what, struct db_fault *fault)
{
    int primary = rc == SQLITE_IOERR_NOMEM ? SQLITE_NOMEM : rc & 0xff;
    int why =
        primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? sqlite3_system_errno(db->raw) : 0;
    enum fault_code code = code_of(primary);

    fault->name = primary < (int)(sizeof names / sizeof *names) ? names[primary] : "SQLITE_ERROR";
    fault->is_busy = primary == SQLITE_BUSY;
    fault->is_done = 0;
    (void)fault_set(&fault->fault, code, "%s database %s: %s%s%s", what, shown_path(db->path),
                    reason_of(db, primary), why != 0 ? ": " : "", why != 0 ? strerror(why) : "");
    if (db->in_transaction && !db->is_lost && sqlite3_get_autocommit(db->raw)) {
        db->is_lost = 1;
        db->lost = *fault;
    }
    return code;
}
