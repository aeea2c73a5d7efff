/* db_statement: prepared statements, their parameters and rows; see db.h. */
#include "db_int.h"

#include "buf.h"

#include <string.h>

static const char text_many[] = "bad SQL: more than one statement";
static const char text_none[] = "bad SQL: no statement";
static const char text_nomem[] = "not enough memory";

/* Preparing ------------------------------------------------------------------------ */

/* Prepares the caller's SQL; *TAIL is what comes behind its first statement. */
static int
prepare(struct db *db, const char *sql, size_t len, unsigned flags, sqlite3_stmt **out,
        const char **tail)
{
    int rc;

    db->is_foreign = 1;
    rc = sqlite3_prepare_v3(db->raw, sql, (int)len, flags, out, tail);
    db->is_foreign = 0;
    return rc;
}

/* Is there nothing but blanks and comments in the LEN bytes at SQL? */
static int
is_blank(struct db *db, const char *sql, size_t len)
{
    sqlite3_stmt *more = NULL;
    const char *tail = sql;
    int rc = SQLITE_OK;

    while (rc == SQLITE_OK && more == NULL && len > 0) {
        rc = prepare(db, sql, len, 0, &more, &tail);
        if (tail == sql) {
            break;
        }
        len -= (size_t)(tail - sql);
        sql = tail;
    }
    (void)sqlite3_finalize(more);
    return rc == SQLITE_OK && more == NULL;
}

static struct db_stmt *
find_statement(struct db *db, const char *sql, size_t len)
{
    for (size_t i = 0; i < DB_STATEMENTS_MAX; i++) {
        struct db_stmt *stmt = &db->stmts[i];

        if (stmt->raw != NULL && stmt->len == len && memcmp(stmt->text, sql, len) == 0) {
            return stmt;
        }
    }
    return NULL;
}

static void
free_statement(struct db_stmt *stmt)
{
    (void)sqlite3_finalize(stmt->raw);
    mem_free(stmt->text);
    memset(stmt, 0, sizeof *stmt);
}

/* A free place, or that of the statement whose last use is longest ago. */
static struct db_stmt *
take_place(struct db *db)
{
    struct db_stmt *oldest = &db->stmts[0];

    for (size_t i = 0; i < DB_STATEMENTS_MAX && oldest->raw != NULL; i++) {
        if (db->stmts[i].raw == NULL || db->stmts[i].used < oldest->used) {
            oldest = &db->stmts[i];
        }
    }
    free_statement(oldest);
    oldest->db = db;
    return oldest;
}

/* Prepares the one statement in SQL into STMT, which is freed on failure. */
static enum fault_code
prepare_one(struct db_stmt *stmt, const char *sql, size_t len, struct db_fault *fault)
{
    const char *tail = NULL;
    int rc = prepare(stmt->db, sql, len, SQLITE_PREPARE_PERSISTENT, &stmt->raw, &tail);

    if (rc != SQLITE_OK) {
        return db_fail(stmt->db, rc, "prepare a statement for", fault);
    }
    if (stmt->raw == NULL) {
        return db_refuse(fault, FAULT_INVALID, text_none);
    }
    if (!is_blank(stmt->db, tail, len - (size_t)(tail - sql))) {
        return db_refuse(fault, FAULT_INVALID, text_many);
    }
    stmt->text = mem_strdup(sql);
    stmt->len = len;
    return stmt->text != NULL ? FAULT_OK : db_refuse(fault, FAULT_NOMEM, text_nomem);
}

/* What comes before each use of STMT. */
static enum fault_code
begin_use(struct db_stmt *stmt, struct db_fault *fault)
{
    struct db *db = stmt->db;

    stmt->used = ++db->uses;
    stmt->changes_before = sqlite3_total_changes64(db->raw);
    return sqlite3_stmt_readonly(stmt->raw) ? FAULT_OK : db_set_durable(db, 1, fault);
}

enum fault_code
db_prepare(struct db *db, const char *sql, size_t len, struct db_stmt **out, struct db_fault *fault)
{
    enum fault_code code = db_enter(db, fault);
    struct db_stmt *stmt;

    *out = NULL;
    if (code != FAULT_OK) {
        return code;
    }
    if (strlen(sql) != len) {
        return db_refuse(fault, FAULT_INVALID, "bad SQL: it holds a NUL byte");
    }
    stmt = find_statement(db, sql, len);
    if (stmt == NULL) {
        stmt = take_place(db);
        code = prepare_one(stmt, sql, len, fault);
        if (code != FAULT_OK) {
            free_statement(stmt);
            return code;
        }
        stmt->id = (int64_t)++db->prepared * DB_STATEMENTS_MAX + (stmt - db->stmts);
    }
    *out = stmt;
    return begin_use(stmt, fault);
}

enum fault_code
db_prepare_again(struct db *db, int64_t id, struct db_stmt **out, struct db_fault *fault)
{
    struct db_stmt *stmt = &db->stmts[id % DB_STATEMENTS_MAX];
    enum fault_code code;

    *out = NULL;
    if (stmt->raw == NULL || stmt->id != id) {
        return FAULT_OK;
    }
    code = db_enter(db, fault);
    if (code != FAULT_OK) {
        return code;
    }
    *out = stmt;
    return begin_use(stmt, fault);
}

int64_t
db_statement_id(const struct db_stmt *stmt)
{
    return stmt->id;
}

void
db_free_statements(struct db *db)
{
    for (size_t i = 0; i < DB_STATEMENTS_MAX; i++) {
        free_statement(&db->stmts[i]);
    }
}

/* Using ------------------------------------------------------------------------------ */

int
db_parameter_count(const struct db_stmt *stmt)
{
    return sqlite3_bind_parameter_count(stmt->raw);
}

enum fault_code
db_bind(struct db_stmt *stmt, int i, const struct db_value *value, struct db_fault *fault)
{
    int rc = SQLITE_OK;

    switch (value->type) {
    case DB_NULL: rc = sqlite3_bind_null(stmt->raw, i); break;
    case DB_INTEGER: rc = sqlite3_bind_int64(stmt->raw, i, value->integer); break;
    case DB_FLOAT: rc = sqlite3_bind_double(stmt->raw, i, value->number); break;
    case DB_TEXT:
        rc = sqlite3_bind_text64(stmt->raw, i, value->text, value->len, SQLITE_STATIC, SQLITE_UTF8);
        break;
    }
    return rc == SQLITE_OK ? FAULT_OK : db_fail(stmt->db, rc, "set a parameter for", fault);
}

enum fault_code
db_step(struct db_stmt *stmt, int *has_row, struct db_fault *fault)
{
    int rc = sqlite3_step(stmt->raw);

    *has_row = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW || rc == SQLITE_DONE) {
        return FAULT_OK;
    }
    return db_fail(stmt->db, rc, db_is_reader(stmt) ? "read from" : "write to", fault);
}

int
db_is_reader(const struct db_stmt *stmt)
{
    return sqlite3_stmt_readonly(stmt->raw);
}

int
db_column_count(const struct db_stmt *stmt)
{
    return sqlite3_column_count(stmt->raw);
}

const char *
db_column_name(struct db_stmt *stmt, int i)
{
    return sqlite3_column_name(stmt->raw, i);
}

enum fault_code
db_column(struct db_stmt *stmt, int i, struct db_value *value, struct db_fault *fault)
{
    switch (sqlite3_column_type(stmt->raw, i)) {
    case SQLITE_NULL: value->type = DB_NULL; return FAULT_OK;
    case SQLITE_INTEGER:
        value->type = DB_INTEGER;
        value->integer = sqlite3_column_int64(stmt->raw, i);
        return FAULT_OK;
    case SQLITE_FLOAT:
        value->type = DB_FLOAT;
        value->number = sqlite3_column_double(stmt->raw, i);
        return FAULT_OK;
    default: break;
    }
    value->type = DB_TEXT;
    value->text = sqlite3_column_blob(stmt->raw, i);
    value->len = (size_t)sqlite3_column_bytes(stmt->raw, i);
    if (value->text == NULL && value->len > 0) {
        return db_refuse(fault, FAULT_NOMEM, text_nomem);
    }
    return FAULT_OK;
}

void
db_reset(struct db_stmt *stmt)
{
    (void)sqlite3_reset(stmt->raw); /* db_step has told what it says */
    (void)sqlite3_clear_bindings(stmt->raw);
}

int64_t
db_changes(const struct db_stmt *stmt)
{
    sqlite3 *raw = stmt->db->raw;

    /* a statement that changes no rows leaves the number of the one before */
    return sqlite3_total_changes64(raw) != stmt->changes_before ? sqlite3_changes64(raw) : 0;
}

int64_t
db_last_rowid(const struct db *db)
{
    return sqlite3_last_insert_rowid(db->raw);
}

/* Several ----------------------------------------------------------------------------- */

static enum fault_code
run_through(struct db *db, sqlite3_stmt *raw, struct db_fault *fault)
{
    int rc;

    if (sqlite3_bind_parameter_count(raw) > 0) {
        return db_refuse(fault, FAULT_INVALID, "bad SQL: statements with parameters are for run");
    }
    do {
        rc = sqlite3_step(raw);
    } while (rc == SQLITE_ROW);
    return rc == SQLITE_DONE ? FAULT_OK : db_fail(db, rc, "run statements in", fault);
}

enum fault_code
db_exec(struct db *db, const char *sql, struct db_fault *fault)
{
    enum fault_code code = FAULT_OK;

    while (code == FAULT_OK && sql[0] != '\0') {
        sqlite3_stmt *raw = NULL;
        int rc = SQLITE_OK;

        code = db_enter(db, fault);
        if (code == FAULT_OK) {
            code = db_set_durable(db, 1, fault);
        }
        if (code == FAULT_OK) {
            rc = prepare(db, sql, strlen(sql), 0, &raw, &sql);
        }
        if (rc != SQLITE_OK) {
            code = db_fail(db, rc, "prepare a statement for", fault);
        }
        if (code == FAULT_OK && raw != NULL) {
            code = run_through(db, raw, fault);
        }
        (void)sqlite3_finalize(raw);
    }
    return code;
}
