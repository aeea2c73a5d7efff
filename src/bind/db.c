/*
 * bind/db: module moontap.native.db, SQLite databases and digests. Owns the open
 * databases. Nothing here waits as a task does: a call blocks the program for its
 * own work, and for another process's lock at most as long as busy_timeout. A
 * transaction's function cannot wait either: nobody else's work may get into it.
 *
 * Wrong SQL and a wrong number of parameters are the caller's mistake and raise.
 * All else that goes wrong gives nil and an error with `code`, SQLite's name for
 * it, and `retryable` when another process was in the way.
 */
#include "../db.h"
#include "../digest.h"

#include "../duration.h"
#include "../task.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#define DB_META "moontap.db"
#define BUSY_MS 5000
#define BUSY_MS_MAX 3600000u
#define ROWS_MAX 1000000
#define VALUES_MAX 16 /* of one digest */
#define KNOWN_MAX 256 /* texts of statements, before they are forgotten */

__attribute__((visibility("default"))) int luaopen_moontap_native_db(lua_State *L);

/* User value 1: the path as text; 2: a table of statements, text -> id. */
struct lua_db {
    struct db *db;        /* NULL: closed, or never opened */
    lua_Integer rows_max; /* of one answer */
    int is_stepping;      /* rows are on their way: a finalizer may come in between */
    int known;            /* texts in the table of statements, at most */
};

static struct lua_db *
check_db(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, DB_META);
}

static struct lua_db *
check_open(lua_State *L, int arg)
{
    struct lua_db *self = check_db(L, arg);

    luaL_argcheck(L, self->db != NULL, arg, "the database is closed");
    luaL_argcheck(L, !self->is_stepping, arg, "the database is in use, by what collects garbage");
    return self;
}

/* Errors ----------------------------------------------------------------------- */

/* [-0, +2, v] nil and the error of FAULT; raises what is the caller's mistake. */
static int
fail(lua_State *L, const struct db_fault *fault)
{
    if (fault->fault.code == FAULT_INVALID) {
        return luaL_error(L, "%s", fault->fault.msg);
    }
    (void)task_fail(L, &fault->fault);
    lua_pushstring(L, fault->name);
    lua_setfield(L, -2, "code");
    if (fault->is_busy) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "retryable");
    }
    if (fault->is_done) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "is_done");
    }
    return 2;
}

static int
succeed(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* Parameters ------------------------------------------------------------------- */

/* [-0, +0, v] Raises when the value at ARG cannot be a parameter; N is its number. */
static void
check_parameter(lua_State *L, int arg, int n)
{
    switch (lua_type(L, arg)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TSTRING: return;
    case LUA_TNUMBER:
        if (isnan(lua_tonumber(L, arg))) {
            luaL_error(L, "parameter %d: not a number", n);
        }
        return;
    default:
        luaL_error(L, "parameter %d: expected nil, a boolean, a number or a string, got a %s", n,
                   luaL_typename(L, arg));
    }
}

/* [-0, +0, -] */
static void
read_parameter(lua_State *L, int arg, struct db_value *value)
{
    switch (lua_type(L, arg)) {
    case LUA_TBOOLEAN:
        value->type = DB_INTEGER;
        value->integer = lua_toboolean(L, arg);
        return;
    case LUA_TSTRING:
        value->type = DB_TEXT;
        value->text = lua_tolstring(L, arg, &value->len);
        return;
    case LUA_TNUMBER:
        value->type = lua_isinteger(L, arg) ? DB_INTEGER : DB_FLOAT;
        value->integer = lua_tointeger(L, arg);
        value->number = lua_tonumber(L, arg);
        return;
    default: value->type = DB_NULL;
    }
}

/*
 * [-0, +0, v] The statement whose text is at 2. A text that is the very same string
 * as before is found by its address: to compare it would read it, from memory mostly.
 */
static enum fault_code
find_statement(lua_State *L, struct lua_db *self, struct db_stmt **stmt, struct db_fault *fault)
{
    size_t len;
    const char *sql = luaL_checklstring(L, 2, &len);
    enum fault_code code = FAULT_OK;

    *stmt = NULL;
    (void)lua_getiuservalue(L, 1, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) == LUA_TNUMBER) {
        code = db_prepare_again(self->db, lua_tointeger(L, -1), stmt, fault);
    }
    lua_pop(L, 2);
    if (code != FAULT_OK || *stmt != NULL) {
        return code;
    }
    code = db_prepare(self->db, sql, len, stmt, fault);
    if (code != FAULT_OK) {
        return code;
    }
    if (++self->known % KNOWN_MAX == 0) { /* of texts that were made up, say */
        lua_newtable(L);
        (void)lua_setiuservalue(L, 1, 2);
    }
    (void)lua_getiuservalue(L, 1, 2);
    lua_pushvalue(L, 2);
    lua_pushinteger(L, db_statement_id(*stmt));
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return FAULT_OK;
}

/*
 * [-0, +0, v] Prepares the statement at 2 with the parameters behind it, which
 * must stay on the stack until db_reset. What it raises leaves nothing bound.
 */
static enum fault_code
prepare(lua_State *L, struct lua_db *self, struct db_stmt **stmt, struct db_fault *fault)
{
    int n = lua_gettop(L) - 2;
    enum fault_code code;

    for (int i = 1; i <= n; i++) {
        check_parameter(L, i + 2, i);
    }
    luaL_checkstack(L, LUA_MINSTACK, "too many parameters");
    code = find_statement(L, self, stmt, fault);
    if (code == FAULT_OK && db_parameter_count(*stmt) != n) {
        luaL_error(L, "the statement has %d parameter%s, got %d", db_parameter_count(*stmt),
                   db_parameter_count(*stmt) == 1 ? "" : "s", n);
    }
    for (int i = 1; code == FAULT_OK && i <= n; i++) {
        struct db_value value;

        read_parameter(L, i + 2, &value);
        code = db_bind(*stmt, i, &value, fault);
        if (code != FAULT_OK) {
            db_reset(*stmt);
        }
    }
    return code;
}

/* Rows --------------------------------------------------------------------------- */

struct query {
    struct lua_db *self;
    struct db_stmt *stmt;
    enum fault_code code;
    struct db_fault fault;
};

/* [-0, +1, m] Pushes the value; nothing for NULL. Returns 0 then. */
static int
push_value(lua_State *L, const struct db_value *value)
{
    switch (value->type) {
    case DB_NULL: return 0;
    case DB_INTEGER: lua_pushinteger(L, value->integer); break;
    case DB_FLOAT: lua_pushnumber(L, value->number); break;
    case DB_TEXT: lua_pushlstring(L, value->text, value->len); break;
    }
    return 1;
}

/* [-0, +n, v] Pushes the names of the N columns. Known for sure only when there
 * is a row: the schema may have changed since the statement was prepared. */
static int
push_names(lua_State *L, struct query *query)
{
    int n = db_column_count(query->stmt);

    luaL_checkstack(L, n + LUA_MINSTACK, "too many columns");
    for (int i = 0; i < n; i++) {
        const char *name = db_column_name(query->stmt, i);

        if (name == NULL) {
            luaL_error(L, "not enough memory");
        }
        lua_pushstring(L, name);
    }
    return n;
}

/* [-0, +1, m] Pushes the row at hand; the names of its N columns are at NAMES. */
static enum fault_code
push_row(lua_State *L, struct query *query, int names, int n)
{
    lua_createtable(L, 0, n);
    for (int i = 0; i < n; i++) {
        struct db_value value;
        enum fault_code code = db_column(query->stmt, i, &value, &query->fault);

        if (code != FAULT_OK) {
            return code;
        }
        lua_pushvalue(L, names + i);
        if (push_value(L, &value)) {
            lua_rawset(L, -3);
        } else {
            lua_pop(L, 1);
        }
    }
    return FAULT_OK;
}

/* *IS_MORE: there is a row to push. */
static enum fault_code
step(struct query *query, int *is_more)
{
    return query->code = db_step(query->stmt, is_more, &query->fault);
}

/* (query) Guarded. The list of all rows. */
static int
collect_all(lua_State *L)
{
    struct query *query = lua_touserdata(L, 1);
    lua_Integer rows = 0, max = query->self->rows_max;
    int n = 0, is_more;

    lua_newtable(L);
    while (step(query, &is_more) == FAULT_OK && is_more) {
        if (rows == 0) {
            n = push_names(L, query);
        }
        if (++rows > max) {
            query->fault.name = "SQLITE_TOOBIG";
            query->fault.is_busy = query->fault.is_done = 0;
            query->code = fault_set(&query->fault.fault, FAULT_LIMIT,
                                    "read from a database: more than %lld rows", (long long)max);
            break;
        }
        query->code = push_row(L, query, 3, n);
        if (query->code != FAULT_OK) {
            break;
        }
        lua_rawseti(L, 2, rows);
    }
    lua_settop(L, 2);
    return 1;
}

/* (query) Guarded. The first row, or false. */
static int
collect_one(lua_State *L)
{
    struct query *query = lua_touserdata(L, 1);
    int is_more;

    lua_pushboolean(L, 0);
    if (step(query, &is_more) == FAULT_OK && is_more) {
        query->code = push_row(L, query, 3, push_names(L, query));
    }
    while (query->code == FAULT_OK && is_more && !db_is_reader(query->stmt)) {
        (void)step(query, &is_more); /* what writes has to come to its end */
    }
    return 1;
}

static int
ask(lua_State *L, lua_CFunction collect)
{
    struct query query = {.self = check_open(L, 1)};
    int status;

    query.code = prepare(L, query.self, &query.stmt, &query.fault);
    if (query.code != FAULT_OK) {
        return fail(L, &query.fault);
    }
    query.self->is_stepping = 1;
    lua_pushcfunction(L, collect);
    lua_pushlightuserdata(L, &query);
    status = lua_pcall(L, 1, 1, 0);
    query.self->is_stepping = 0;
    db_reset(query.stmt);
    if (status != LUA_OK) {
        return lua_error(L);
    }
    return query.code == FAULT_OK ? 1 : fail(L, &query.fault);
}

/* Methods ------------------------------------------------------------------------ */

/* db:rows(sql, ...) -> list of tables by column name; NULL is absent */
static int
db_rows(lua_State *L)
{
    return ask(L, collect_all);
}

/* db:row(sql, ...) -> the first row; false when there is none */
static int
db_row(lua_State *L)
{
    return ask(L, collect_one);
}

/* db:run(sql, ...) -> rows changed, row id of the last one inserted */
static int
db_run(lua_State *L)
{
    struct lua_db *self = check_open(L, 1);
    struct db_stmt *stmt;
    struct db_fault fault;
    enum fault_code code = prepare(L, self, &stmt, &fault);
    int64_t changes;
    int has_row = 1;

    if (code != FAULT_OK) {
        return fail(L, &fault);
    }
    while (code == FAULT_OK && has_row) {
        code = db_step(stmt, &has_row, &fault);
    }
    changes = db_changes(stmt);
    db_reset(stmt);
    if (code != FAULT_OK) {
        return fail(L, &fault);
    }
    lua_pushinteger(L, changes);
    lua_pushinteger(L, db_last_rowid(self->db));
    return 2;
}

/* db:exec(sql) -> true: any number of statements, without parameters */
static int
db_exec_method(lua_State *L)
{
    struct lua_db *self = check_open(L, 1);
    size_t len;
    const char *sql = luaL_checklstring(L, 2, &len);
    struct db_fault fault;

    luaL_argcheck(L, strlen(sql) == len, 2, "bad SQL: it holds a NUL byte");
    return db_exec(self->db, sql, &fault) == FAULT_OK ? succeed(L) : fail(L, &fault);
}

/* [-0, +0, v] What the value at ARG says: a boolean, or "last". */
static enum db_durability
check_durability(lua_State *L, int arg)
{
    const char *word;

    if (lua_type(L, arg) == LUA_TSTRING) {
        word = lua_tostring(L, arg);
        luaL_argcheck(L, strcmp(word, "last") == 0, arg, "expected a boolean or 'last'");
        return DB_DURABLE_LAST;
    }
    luaL_checktype(L, arg, LUA_TBOOLEAN);
    return lua_toboolean(L, arg) ? DB_DURABLE : DB_LOOSE;
}

/*
 * db:transaction(durable, fn, ...) -> what fn(...) returns, once it is committed.
 * It is rolled back when fn raises, which goes on, or returns nil and an error;
 * also when the commit fails: nil and why. One that is durable "last" is committed
 * first and synced then; an error with `is_done` says that only that has failed.
 */
static int
db_transaction(lua_State *L)
{
    struct lua_db *self = check_open(L, 1);
    enum db_durability durable = check_durability(L, 2);
    struct db_fault fault;

    luaL_checktype(L, 3, LUA_TFUNCTION);
    if (db_in_transaction(self->db)) {
        return luaL_error(L, "a transaction inside a transaction");
    }
    lua_pushcfunction(L, db_transaction);
    lua_pushcclosure(L, task_keep_inner_trace, 1);
    lua_insert(L, 3);
    if (db_begin(self->db, durable, &fault) != FAULT_OK) {
        return fail(L, &fault);
    }
    /* nothing but the guarded call may raise until it has ended */
    if (lua_pcall(L, lua_gettop(L) - 4, LUA_MULTRET, 3) != LUA_OK) {
        db_rollback(self->db);
        return lua_error(L);
    }
    if (lua_isnil(L, 4) && !lua_isnoneornil(L, 5)) {
        db_rollback(self->db);
    } else if (db_commit(self->db, &fault) != FAULT_OK) {
        return fail(L, &fault);
    }
    return lua_gettop(L) - 3;
}

/* db:close(); also __close. Works twice. */
static int
db_close_method(lua_State *L)
{
    struct lua_db *self = check_db(L, 1);
    struct db *db = self->db;

    luaL_argcheck(L, !self->is_stepping, 1, "the database is in use, by what collects garbage");
    if (db != NULL && db_in_transaction(db)) {
        return luaL_error(L, "close inside a transaction");
    }
    self->db = NULL;
    db_close(db);
    return 0;
}

static int
db_gc(lua_State *L)
{
    struct lua_db *self = check_db(L, 1);
    struct db *db = self->db;

    self->db = NULL;
    db_close(db);
    return 0;
}

static int
db_tostring(lua_State *L)
{
    struct lua_db *self = check_db(L, 1);

    (void)lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, "database %s%s", lua_tostring(L, -1), self->db != NULL ? "" : " (closed)");
    return 1;
}

/* Functions ------------------------------------------------------------------------ */

/* [-0, +0, v] Raises when the option table at 2 has a key that is none. */
static void
check_option_names(lua_State *L)
{
    static const char *const known[] = {"busy_timeout", "read_only", "rows_max"};

    lua_pushnil(L);
    while (lua_next(L, 2) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;

        while (i < sizeof known / sizeof *known && strcmp(known[i], key) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof *known) {
            (void)luaL_error(L, "db.open: unknown option '%s'", key);
        }
        lua_pop(L, 1);
    }
}

/* [-0, +0, v] Reads the option table at 2, or nil. */
static void
read_options(lua_State *L, struct db_options *options, lua_Integer *rows_max)
{
    uint64_t ms = BUSY_MS;

    *rows_max = ROWS_MAX;
    *options = (struct db_options){.busy_ms = BUSY_MS};
    if (lua_isnil(L, 2)) {
        return;
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    check_option_names(L);
    (void)lua_getfield(L, 2, "read_only");
    options->read_only = lua_toboolean(L, -1);
    if (lua_getfield(L, 2, "busy_timeout") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TNUMBER || duration_from_seconds(lua_tonumber(L, -1), &ms) != 0
            || ms > BUSY_MS_MAX) {
            luaL_error(L, "db.open: busy_timeout: expected 0 to %d seconds",
                       (int)(BUSY_MS_MAX / 1000));
        }
        options->busy_ms = (unsigned)ms;
    }
    if (lua_getfield(L, 2, "rows_max") != LUA_TNIL) {
        int is_integer;

        *rows_max = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || *rows_max < 1 || *rows_max > ROWS_MAX) {
            luaL_error(L, "db.open: rows_max: expected 1 to %d", ROWS_MAX);
        }
    }
    lua_settop(L, 2);
}

/* open(path [, {busy_timeout, read_only, rows_max}]) -> database; or nil, err */
static int
open_db(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    struct db_options options;
    struct db_fault fault;
    struct lua_db *self;
    lua_Integer rows_max;

    luaL_argcheck(L, n != 0, 1, "empty path");
    luaL_argcheck(L, strlen(path) == n, 1, "a path cannot hold a NUL byte");
    lua_settop(L, 2);
    read_options(L, &options, &rows_max);
    self = lua_newuserdatauv(L, sizeof *self, 2);
    memset(self, 0, sizeof *self);
    self->rows_max = rows_max;
    luaL_setmetatable(L, DB_META);
    lua_pushvalue(L, 1);
    (void)lua_setiuservalue(L, -2, 1);
    lua_newtable(L);
    (void)lua_setiuservalue(L, -2, 2);
    if (db_open(path, &options, &self->db, &fault) != FAULT_OK) {
        return fail(L, &fault);
    }
    return 1;
}

/* digest(text) -> SHA-256 in hexadecimal */
static int
digest(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    char out[DIGEST_SIZE];
    struct fault fault;

    if (digest_bytes(text, n, out, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushstring(L, out);
    return 1;
}

/* [-0, +0, v] A part for the value at ARG and its bytes, as string.pack writes
 * them: "<s4" of a string (two parts), "<i8" of an integer, "<d" of a float. */
static size_t
add_value(lua_State *L, int arg, struct digest_part *part, unsigned char number[8])
{
    uint64_t bits;
    size_t n = 0, width = 8;

    if (lua_type(L, arg) == LUA_TSTRING) {
        part[1].data = lua_tolstring(L, arg, &n);
        part[1].n = n;
        bits = n;
        width = 4;
        luaL_argcheck(L, n <= UINT32_MAX, arg, "too long");
    } else if (lua_isinteger(L, arg)) {
        bits = (uint64_t)lua_tointeger(L, arg);
    } else {
        double value = luaL_checknumber(L, arg);

        memcpy(&bits, &value, sizeof bits);
    }
    for (size_t i = 0; i < width; i++) {
        number[i] = (unsigned char)(bits >> (8 * i));
    }
    *part = (struct digest_part){number, width};
    return width == 4 ? 2 : 1;
}

/* digest_values(...) -> SHA-256 of strings, each behind its length, integers and
 * floats, so that nothing can be moved from one to the next */
static int
digest_values(lua_State *L)
{
    struct digest_part parts[2 * VALUES_MAX];
    unsigned char numbers[VALUES_MAX][8];
    char out[DIGEST_SIZE];
    struct fault fault;
    size_t count = 0;
    int n = lua_gettop(L);

    luaL_argcheck(L, n <= VALUES_MAX, VALUES_MAX + 1, "too many values");
    for (int i = 0; i < n; i++) {
        count += add_value(L, i + 1, &parts[count], numbers[i]);
    }
    if (digest_parts(parts, count, out, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushlstring(L, out, DIGEST_SIZE - 1);
    return 1;
}

/* file_digest(path) -> SHA-256 of what is in the file; or nil, err. Not for a
 * database that is open here: closing the file drops SQLite's locks. */
static int
file_digest(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    char out[DIGEST_SIZE];
    struct fault fault;

    luaL_argcheck(L, strlen(path) == n, 1, "a path cannot hold a NUL byte");
    if (digest_file(path, out, &fault) != FAULT_OK) {
        return task_fail(L, &fault);
    }
    lua_pushstring(L, out);
    return 1;
}

/* Tables ----------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"close", db_close_method},
    {"exec", db_exec_method},
    {"row", db_row},
    {"rows", db_rows},
    {"run", db_run},
    {"transaction", db_transaction},
    {NULL, NULL},
};

static const luaL_Reg meta[] = {
    {"__close", db_close_method},
    {"__gc", db_gc},
    {"__tostring", db_tostring},
    {NULL, NULL},
};

/* transaction is the method; tasks look here for who may not wait. */
static const luaL_Reg funcs[] = {
    {"digest", digest}, {"digest_values", digest_values}, {"file_digest", file_digest},
    {"open", open_db},  {"transaction", db_transaction},  {NULL, NULL},
};

int
luaopen_moontap_native_db(lua_State *L)
{
    if (luaL_newmetatable(L, DB_META)) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 1);
    luaL_newlib(L, funcs);
    lua_pushstring(L, db_library_version());
    lua_setfield(L, -2, "version"); /* of SQLite */
    return 1;
}
