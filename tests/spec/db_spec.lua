-- db: SQLite databases as scripts of the host use them, beside other processes, killed, out of
-- space; the command line tool of SQLite is the second opinion.

local command = require "support.command"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local dir, path, h

before_each(function()
  dir = tempdir.new()
  path = dir .. "/x.db"
  h = assert(db.open(path))
end)

after_each(function()
  h:close()
  tempdir.remove(dir)
end)

local function fails(kind, code, value, err)
  assert.is_nil(value)
  assert.is_true(errors.is(err, kind), tostring(err))
  assert.equal(code, err.code)
  return err
end

-- What the sqlite3 tool says of the database.
local function sqlite3(sql, file)
  return (command.query(file or path, sql):gsub("\n$", ""))
end

local function is_sound(file)
  assert.equal("ok", sqlite3("PRAGMA integrity_check", file))
end

-- Runs Lua code in another moontap; `path` is known there.
local function script(code, options)
  options = options or {}
  options.env = options.env or {}
  options.env.DB = path
  local head = 'local db, path = require "moontap.native.db", os.getenv "DB"\n'
  return command.start({ command.moontap, "run", "-e", head .. code }, options)
end

local function make_numbers()
  assert(h:exec "CREATE TABLE n(i INTEGER PRIMARY KEY, v)")
end

describe("values", function()
  local function round_trip(value)
    return h:row("SELECT ? AS v", value).v
  end

  it("come back as they were", function()
    for _, value in ipairs {
      0, -1, math.maxinteger, math.mininteger, 0.5, -1e300, math.huge, "", "text", "a\0b\0",
      "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82", "\xff\xfe not UTF-8", ("x"):rep(100000),
    } do
      local back = round_trip(value)
      assert.equal(value, back)
      assert.equal(math.type(value), math.type(back))
    end
    assert.is_nil(round_trip(nil))
    assert.equal(1, round_trip(true))
    assert.equal(0, round_trip(false))
  end)

  it("are kept in a table with their type", function()
    make_numbers()
    for i, value in ipairs { 2, 2.0, "2", "a\0b", math.maxinteger, 0.1 } do
      assert.equal(1, (h:run("INSERT INTO n VALUES(?, ?)", i, value)))
    end
    local types = {}
    for i, row in ipairs(h:rows "SELECT typeof(v) AS t, v FROM n ORDER BY i") do
      types[i] = row.t .. "/" .. (math.type(row.v) or type(row.v))
    end
    assert.same({ "integer/integer", "real/float", "text/string", "text/string",
                  "integer/integer", "real/float" }, types)
    assert.equal("2|2.0|2|610062|9223372036854775807|0.1",
      sqlite3 [[SELECT group_concat(CASE i WHEN 4 THEN hex(v) ELSE v END, '|') FROM n]])
  end)

  it("of a blob are text, and NULL is absent", function()
    local row = h:row "SELECT x'00ff' AS a, NULL AS b, '' AS c, x'' AS d, 1 AS 'a name'"
    assert.same({ a = "\0\xff", c = "", d = "", ["a name"] = 1 }, row)
  end)

  it("that are none raise, and the statement is as good as before", function()
    for value, text in pairs { [{}] = "got a table", [print] = "got a function", [0] = "number" } do
      local parameter = value == 0 and 0 / 0 or value
      assert.error_matches(function() h:row("SELECT ?", parameter) end, "parameter 1: .*" .. text)
    end
    assert.equal(1, round_trip(1))
  end)
end)

describe("statements", function()
  it("tell what they changed", function()
    assert.same({ true }, { h:exec [[
      -- two tables
      CREATE TABLE a(i INTEGER PRIMARY KEY, t TEXT);
      CREATE TABLE b(t TEXT);  /* and nothing more */
    ]] })
    assert.same({ 1, 1 }, { h:run("INSERT INTO a(t) VALUES(?)", "x") })
    assert.same({ 2, 3 }, { h:run "INSERT INTO a(t) VALUES('y'), ('z'); -- behind it" })
    assert.same({ 3, 3 }, { h:run "UPDATE a SET t = upper(t)" })
    assert.equal(0, (h:run "CREATE TABLE c(x)"))
    assert.equal(0, (h:run "DELETE FROM a WHERE i > 100"))
    assert.equal(0, (h:run "SELECT * FROM a"))
    assert.equal(3, (h:run "DELETE FROM a"))
  end)

  it("give rows, one row, or false", function()
    make_numbers()
    assert.same({}, h:rows "SELECT * FROM n")
    assert.is_false(h:row "SELECT * FROM n")
    for i = 1, 3 do assert(h:run("INSERT INTO n VALUES(?, ?)", i, i * i)) end
    assert.same({ { i = 1, v = 1 }, { i = 2, v = 4 }, { i = 3, v = 9 } },
      h:rows "SELECT * FROM n ORDER BY i")
    assert.same({ v = 4 }, h:row("SELECT v FROM n WHERE i >= ? ORDER BY i", 2))
    assert.same({ i = 4 }, h:row "INSERT INTO n VALUES(4, 16), (5, 25) RETURNING i")
    assert.equal(5, h:row "SELECT count(*) AS n FROM n".n)
    assert.same({ { i = 4 }, { i = 5 } },
      h:rows "DELETE FROM n WHERE i > 3 RETURNING i")
  end)

  it("that are wrong raise at the caller's line", function()
    for sql, text in pairs {
      ["SELEC 1"] = 'near "SELEC": syntax error',
      ["SELECT * FROM nowhere"] = "no such table: nowhere",
      ['SELECT "text"'] = "no such column: text",
      [""] = "no statement",
      ["-- none"] = "no statement",
      ["SELECT 1; SELECT 2"] = "more than one statement",
      ["SELECT 1; SELEC"] = "more than one statement",
      ["SELECT 1\0"] = "NUL byte",
      ["BEGIN"] = "transaction()",
      ["COMMIT"] = "transaction()",
      ["SAVEPOINT x"] = "transaction()",
    } do
      for _, method in ipairs { "run", "rows", "row" } do
        local ok, message = pcall(function() h[method](h, sql) end)
        assert.is_false(ok)
        assert.is_string(message)
        assert.matches("db_spec.lua:", message, 1, true)
        assert.matches(text, message, 1, true)
      end
    end
    for sql, text in pairs { ["SELECT 1; SELEC"] = "syntax error", ["SELECT ?"] = "for run",
                             ["SELECT 1\0"] = "NUL byte", ["BEGIN; COMMIT"] = "transaction()" } do
      local ok, message = pcall(h.exec, h, sql)
      assert.is_false(ok)
      assert.matches(text, message, 1, true)
    end
    assert.is_true(h:exec "")
  end)

  it("want as many parameters as they have", function()
    assert.error_matches(function() h:run("SELECT ?, ?", 1) end, "has 2 parameters, got 1")
    assert.error_matches(function() h:run("SELECT ?", 1, 2) end, "has 1 parameter, got 2")
    assert.error_matches(function() h:run("SELECT 1", nil) end, "has 0 parameters, got 1")
    assert.same({}, h:row("SELECT ?, ?", nil, nil))
  end)

  it("are remembered without end, and notice a new schema", function()
    make_numbers()
    for turn = 1, 3 do
      for i = 1, 100 do
        assert.equal(i, h:row(("SELECT %d AS n"):format(i)).n)
        assert.same({}, h:rows "SELECT * FROM n")
      end
      assert(h:exec(("ALTER TABLE n ADD COLUMN c%d"):format(turn)))
    end
    assert(h:run "INSERT INTO n(v, c3) VALUES(1, 2)")
    assert.same({ { i = 1, v = 1, c3 = 2 } }, h:rows "SELECT * FROM n")
    sqlite3 "DROP TABLE n"
    assert.error_matches(function() h:rows "SELECT * FROM n" end, "no such table")
  end)

  it("hold no lock once they are over", function()
    make_numbers()
    for i = 1, 10 do assert(h:run("INSERT INTO n VALUES(?, ?)", i, "x")) end
    assert(h:row "SELECT * FROM n")
    pcall(h.rows, h, "SELECT abs(?) FROM n", math.mininteger) -- integer overflow on the way
    assert.equal("0|0|0", sqlite3 "PRAGMA wal_checkpoint(TRUNCATE)")
  end)

  it("answer with a bounded number of rows", function()
    local small <close> = assert(db.open(path, { rows_max = 10 }))
    local sql = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) "
      .. "SELECT i FROM c"
    assert.equal(10, #small:rows(sql, 10))
    local err = fails("limit", "SQLITE_TOOBIG", small:rows(sql, 11))
    assert.matches("more than 10 rows", err.message)
    assert.equal(1, small:row(sql, 11).i)
  end)

  it("are stopped when they take too long", function()
    local hasty <close> = assert(db.open(path, { busy_timeout = 0 }))
    local err = fails("timeout", "SQLITE_INTERRUPT", hasty:row [[
      WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT max(i) FROM c]])
    assert.matches("read from database " .. path, err.message, 1, true)
    assert.equal(1, hasty:row "SELECT 1 AS n".n)
  end)

  it("refuse to be joined by a finalizer", function()
    local seen = {}
    local function litter()
      return setmetatable({}, { __gc = function()
        seen[#seen + 1] = pcall(h.run, h, "SELECT 1")
        if not seen[#seen] then assert(not pcall(h.close, h)) end
      end })
    end
    for _ = 1, 50 do litter() end
    local n = os.getenv "MOONTAP_GC_STRESS" and 1000 or 20000 -- a statement may take a second
    local rows = assert(h:rows([[WITH RECURSIVE c(i) AS
      (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) SELECT i, 'text ' || i AS t FROM c]], n))
    assert.equal(n, #rows)
    assert.equal("text " .. n, rows[n].t)
    assert.is_true(#seen > 0)
  end)

  it("obey foreign keys and constraints", function()
    assert(h:exec [[CREATE TABLE p(i INTEGER PRIMARY KEY);
                    CREATE TABLE c(p REFERENCES p(i), u UNIQUE);]])
    local err = fails("io", "SQLITE_CONSTRAINT", h:run "INSERT INTO c VALUES(1, 1)")
    assert.equal("write to database " .. path .. ": FOREIGN KEY constraint failed", err.message)
    assert.is_nil(err.retryable)
    fails("io", "SQLITE_CONSTRAINT", h:exec "INSERT INTO c VALUES(NULL, 1), (NULL, 1)")
    assert.same({}, h:rows "SELECT * FROM c")
  end)
end)

describe("a transaction", function()
  before_each(make_numbers)

  local function add(i) return assert(h:run("INSERT INTO n VALUES(?, 0)", i)) end
  local function count() return h:row "SELECT count(*) AS n FROM n".n end

  it("is committed when its function returns, whose results it passes on", function()
    local function both(...)
      add(1)
      add(2)
      return ...
    end
    assert.same({ n = 3, "a", nil, "c" }, table.pack(h:transaction(true, both, "a", nil, "c")))
    assert.equal("2", sqlite3 "SELECT count(*) FROM n")
    assert.equal(0, select("#", h:transaction(false, function() add(3) end)))
    assert.same({ false, "x" }, { h:transaction(false, function() add(4) return false, "x" end) })
    assert.same({ n = 1 }, table.pack(h:transaction(false, function() add(5) return nil end)))
    assert.equal("5", sqlite3 "SELECT count(*) FROM n")
  end)

  it("is rolled back when its function raises, which goes on", function()
    local value = {}
    local ok, err = pcall(h.transaction, h, true, function()
      add(1)
      error(value)
    end)
    assert.is_false(ok)
    assert.equal(value, err)
    assert.equal(0, count())
    assert(h:transaction(true, add, 2))
  end)

  it("that fails tells where", function()
    local status, _, err = script([[
      local h <close> = assert(db.open(path))
      local function inner() error "deep" end
      local function outer() inner() end
      local function caller() h:transaction(true, outer) end
      caller()]]).wait()
    assert.equal(1, status)
    assert.matches("upvalue 'inner'.-function <.-stack traceback:\n[^\n]*transaction'\n"
      .. "[^\n]*'caller'\n[^\n]*\n$", err)
    local _, times = err:gsub("'caller'", "")
    assert.equal(1, times)
  end)

  it("is rolled back when its function returns nil and an error", function()
    local value = {}
    local function attempt() add(1) return nil, value, 3 end
    assert.same({ nil, value, 3 }, { h:transaction(true, attempt) })
    assert.equal(0, count())
  end)

  it("cannot be nested, closed or left by hand", function()
    for text, fn in pairs {
      ["a transaction inside"] = function() h:transaction(false, print) end,
      ["close inside"] = function() h:close() end,
      ["left to transaction()"] = function() h:run "COMMIT" end,
      ["left to  transaction()"] = function() h:exec "SELECT 1; ROLLBACK" end,
    } do
      local ok, err = pcall(h.transaction, h, true, function() add(1) fn() end)
      assert.is_false(ok)
      assert.matches(text:gsub("  ", " "), err, 1, true)
      assert.equal(0, count())
    end
  end)

  it("cannot wait", function()
    for _, fn in ipairs {
      function() moontap.sleep(0.01) end,
      coroutine.wrap(function() moontap.sleep(0.01) end),
      function() moontap.spawn(print):join() end,
    } do
      local ok, err = pcall(h.transaction, h, true, function() add(1) fn() end)
      assert.is_false(ok)
      assert.matches("cannot wait inside a database transaction", tostring(err), 1, true)
      assert.equal(0, count())
    end
    assert.is_false((pcall(h.transaction, h, true, coroutine.yield)))
    assert(h:transaction(true, add, 1))
  end)

  it("wants a boolean and a function", function()
    assert.error_matches(function() h:transaction(nil, print) end, "boolean expected")
    assert.error_matches(function() h:transaction(true) end, "function expected")
    assert.error_matches(function() h:transaction(print) end, "boolean expected")
  end)

  it("that SQLite has rolled back itself fails as a whole", function()
    add(1)
    local first, second, third
    local function attempt()
      add(2)
      local _
      _, first = h:run "INSERT OR ROLLBACK INTO n VALUES(1, 0)"
      _, second = h:run "INSERT INTO n VALUES(3, 0)"
      _, third = h:exec "INSERT INTO n VALUES(4, 0)"
      return "done"
    end
    local _, err = h:transaction(true, attempt)
    for _, each in ipairs { first, second, third, err } do
      assert.equal("SQLITE_CONSTRAINT", each.code)
      assert.equal(first.message, each.message)
    end
    assert.equal(1, count())
    assert(h:transaction(true, add, 5))
  end)

  it("whose commit is refused is rolled back", function()
    assert(h:exec [[CREATE TABLE c(p REFERENCES n(i) DEFERRABLE INITIALLY DEFERRED)]])
    local err = fails("io", "SQLITE_CONSTRAINT", h:transaction(true, function()
      add(1)
      return h:run "INSERT INTO c VALUES(77)"
    end))
    assert.matches("^commit to database .*FOREIGN KEY", err.message)
    assert.equal(0, count())
    assert(h:transaction(true, add, 1))
  end)

  it("is as durable as it was asked to be", function()
    local function level() return h:row "PRAGMA synchronous".synchronous end
    for _, durable in ipairs { true, false, "last", false, true, "last" } do
      assert.equal(durable == true and 2 or 1, h:transaction(durable, level))
    end
    assert.equal(1, level())
    add(1) -- alone: nobody said that it may get lost
    assert.equal(2, level())
    assert.error_matches(function() h:transaction("first", level) end, "a boolean or 'last'")
  end)
end)

describe("a database", function()
  it("is private, and another tool reads it", function()
    make_numbers()
    for i = 1, 100 do assert(h:run("INSERT INTO n VALUES(?, ?)", i, "row \xc3\xa4 " .. i)) end
    for _, name in ipairs { "x.db", "x.db-wal", "x.db-shm" } do
      assert.equal(tonumber("600", 8), sys.stat(dir .. "/" .. name).mode, name)
    end
    assert.equal("CREATE TABLE n(i INTEGER PRIMARY KEY, v);", sqlite3 ".schema")
    assert.equal("100|5050|row \xc3\xa4 100",
      sqlite3 "SELECT count(*), sum(i), (SELECT v FROM n WHERE i = 100) FROM n")
    assert.equal("wal", sqlite3 "PRAGMA journal_mode")
    is_sound()
    sqlite3 "INSERT INTO n VALUES(101, 'from outside')"
    assert.equal("from outside", h:row "SELECT v FROM n WHERE i = 101".v)
    h:close()
    assert.same({ "x.db" }, sys.list(dir))
  end)

  it("is closed once, by whoever comes first", function()
    assert.equal("database " .. path, tostring(h))
    h:close()
    h:close()
    assert.equal("database " .. path .. " (closed)", tostring(h))
    for _, method in ipairs { "exec", "run", "rows", "row", "transaction" } do
      assert.error_matches(function() h[method](h, "SELECT 1") end, "the database is closed")
    end
    assert.is_false(getmetatable(h))
    do
      local scoped <close> = assert(db.open(path))
      assert(scoped:row "SELECT 1")
    end
    assert.same({ "x.db" }, sys.list(dir))
    local dropped = assert(db.open(path))
    assert(dropped:row "SELECT 1")
    dropped = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.same({ "x.db" }, sys.list(dir))
  end)

  it("that is there keeps its mode", function()
    local other = dir .. "/other.db"
    assert(sys.write_file(other, "", tonumber("640", 8)))
    local opened <close> = assert(db.open(other))
    assert(opened:exec "CREATE TABLE t(x)")
    assert.equal(tonumber("640", 8), sys.stat(other).mode)
    assert.equal(tonumber("640", 8), sys.stat(other .. "-wal").mode)
  end)

  it("has small pages when it is new, and a log that is bounded in bytes", function()
    make_numbers()
    assert.equal(2048, h:row "PRAGMA page_size".page_size)
    local old = dir .. "/old.db"
    os.execute(("sqlite3 '%s' 'PRAGMA page_size = 16384; CREATE TABLE n(i, v)'"):format(old))
    local opened <close> = assert(db.open(old))
    assert.equal(16384, opened:row "PRAGMA page_size".page_size)
    for name, handle in pairs { [path] = h, [old] = opened } do
      for i = 1, 80 do
        assert(handle:transaction(false, function()
          return handle:run("INSERT INTO n VALUES(?, ?)", i, ("x"):rep(100000))
        end))
      end
      assert.is_true(sys.stat(name .. "-wal").size < 5e6, sys.stat(name .. "-wal").size)
    end
  end)

  it("is a file, whatever its name is", function()
    local status, out = script([[
      for _, name in ipairs { ":memory:", "file:x?mode=memory", "-x" } do
        local h <close> = assert(db.open(name))
        assert(h:exec "CREATE TABLE t(x)")
        print(name, require "moontap.native.sys".stat(name).size > 0)
      end]], { cwd = dir }).wait()
    assert.equal(0, status)
    assert.equal(":memory:\ttrue\nfile:x?mode=memory\ttrue\n-x\ttrue\n", out)
  end)

  it("that cannot be opened says why", function()
    local err = fails("io", "SQLITE_CANTOPEN", db.open(dir .. "/none/x.db"))
    assert.equal(("open database %s/none/x.db: No such file or directory"):format(dir),
      err.message)
    assert.is_nil(err.retryable)
    err = fails("io", "SQLITE_CANTOPEN", db.open(dir .. "/none.db", { read_only = true }))
    assert.matches("none.db: .*No such file or directory", err.message)
    fails("io", "SQLITE_CANTOPEN", db.open(dir))
    local long = ("d"):rep(200)
    assert(sys.mkdir_p(dir .. "/" .. long))
    err = fails("io", "SQLITE_CANTOPEN", db.open(("%s/%s/none/x.db"):format(dir, long)))
    assert.matches("none/x.db: No such file or directory", err.message, 1, true)
    assert.error_matches(function() db.open "" end, "empty path")
    assert.error_matches(function() db.open "a\0b" end, "NUL")
    assert.error_matches(function() db.open(path, { readonly = true }) end,
      "unknown option 'readonly'")
    assert.error_matches(function() db.open(path, { busy_timeout = -1 }) end, "busy_timeout")
    assert.error_matches(function() db.open(path, { rows_max = 0 }) end, "rows_max")
  end)

  it("may be opened for reading only", function()
    make_numbers()
    assert(h:run "INSERT INTO n VALUES(1, 'x')")
    local reader <close> = assert(db.open(path, { read_only = true }))
    assert.same({ i = 1, v = "x" }, reader:row "SELECT * FROM n")
    assert(h:run "INSERT INTO n VALUES(2, 'y')")
    assert.equal(2, #reader:rows "SELECT * FROM n")
    local err = fails("io", "SQLITE_READONLY", reader:run "INSERT INTO n VALUES(3, 'z')")
    assert.matches("write to database " .. path, err.message, 1, true)
    fails("io", "SQLITE_READONLY", reader:exec "DROP TABLE n")
    fails("io", "SQLITE_READONLY", reader:transaction(true, function()
      return reader:run "DELETE FROM n"
    end))
    assert.equal(2, #h:rows "SELECT * FROM n")
  end)

  it("is none when it is another file, or was damaged", function()
    for name, text in pairs { text = "hello", long = ("no database "):rep(1000) } do
      local file = dir .. "/" .. name
      assert(sys.write_file(file, text))
      for _, read_only in ipairs { false, true } do
        local err = fails("io", "SQLITE_NOTADB", db.open(file, { read_only = read_only }))
        assert.matches("open database .*file is not a database", err.message)
      end
      assert.equal(text, sys.read_file(file))
    end
    make_numbers()
    for i = 1, 200 do assert(h:run("INSERT INTO n VALUES(?, ?)", i, ("x"):rep(500))) end
    h:close()
    local data = sys.read_file(path)
    assert(sys.write_file(path, data:sub(1, 4096) .. ("\xaa"):rep(#data - 4096)))
    h = assert(db.open(path))
    fails("io", "SQLITE_CORRUPT", h:rows "SELECT * FROM n")
    fails("io", "SQLITE_CORRUPT", h:transaction(true, function()
      return h:run "INSERT INTO n VALUES(1000, 1)"
    end))
  end)
end)

describe("several at once", function()
  before_each(make_numbers)

  it("one writer is waited for as long as was said", function()
    local other <close> = assert(db.open(path, { busy_timeout = 0.05 }))
    local _, err
    assert(h:transaction(true, function()
      _, err = other:run "INSERT INTO n VALUES(1, 1)"
      local _, second = other:transaction(true, function() return true end)
      assert.equal("SQLITE_BUSY", second.code)
      assert.same({}, other:rows "SELECT * FROM n") -- reading goes on
      return true
    end))
    assert.equal("io", err.kind)
    assert.equal("SQLITE_BUSY", err.code)
    assert.is_true(err.retryable)
    assert.equal(1, (other:run "INSERT INTO n VALUES(1, 1)"))
  end)

  it("two processes lose nothing", function()
    assert(h:run "INSERT INTO n VALUES(0, 0)")
    local code = [[
      local h <close> = assert(db.open(path))
      for i = 1, 100 do
        assert(h:transaction(i % 10 == 0, function()
          local was = h:row "SELECT v FROM n WHERE i = 0".v
          h:run("INSERT INTO n(v) VALUES(?)", was)
          return h:run("UPDATE n SET v = ? WHERE i = 0", was + 1)
        end))
      end]]
    local processes = { script(code), script(code) }
    for _, process in ipairs(processes) do
      local status, _, err = process.wait()
      assert.equal("", err)
      assert.equal(0, status)
    end
    assert.equal(200, h:row "SELECT v FROM n WHERE i = 0".v)
    assert.equal(200, h:row "SELECT count(DISTINCT v) AS n FROM n WHERE i > 0".n)
    is_sound()
  end)

  it("many open a new database together", function()
    local processes = {}
    for i = 1, 6 do
      processes[i] = script [[
        local h <close> = assert(db.open(path .. "2"))
        assert(h:exec "CREATE TABLE IF NOT EXISTS t(x)")
        assert(h:run "INSERT INTO t VALUES(1)")]]
    end
    for _, process in ipairs(processes) do
      local status, _, err = process.wait()
      assert.equal("", err)
      assert.equal(0, status)
    end
    assert.equal("6", sqlite3("SELECT count(*) FROM t", path .. "2"))
  end)
end)

describe("a process that is killed", function()
  it("leaves whole transactions, and all that it was told are committed", function()
    make_numbers()
    local code = [[
      local point = require "moontap.native.host".point
      local h = assert(db.open(path))
      for i = 1, 1000 do
        assert(h:transaction(i % 2 == 0, function()
          h:run("INSERT INTO n VALUES(?, 'first')", 2 * i)
          point "between"
          return h:run("INSERT INTO n VALUES(?, 'second')", 2 * i + 1)
        end))
        io.write(i, "\n")
        io.flush()
        point "after"
      end]]
    for _, where in ipairs { "between:1", "between:20", "after:1", "after:30" } do
      assert(h:exec "DELETE FROM n")
      local status, out = script(code, { env = { MOONTAP_KILL_AT = where } }).wait()
      assert.equal(137, status)
      local told = tonumber(out:match "(%d+)\n$") or 0
      assert.equal(tonumber(where:match "%d+") - (where:find "between" and 1 or 0), told)
      assert.equal(2 * told, h:row "SELECT count(*) AS n FROM n".n)
      is_sound()
      assert(h:transaction(true, function() return h:run "INSERT INTO n VALUES(1, 'next')" end))
    end
  end)
end)

describe("a full disk", function()
  local CODE = [[
    local h = assert(db.open "small/x.db")
    assert(h:exec "CREATE TABLE n(v)")
    local committed, err = 0
    for _ = 1, 1000 do
      local ok
      ok, err = h:transaction(true, function()
        local done, why = h:run("INSERT INTO n VALUES(?)", ("x"):rep(5000))
        if not done then return nil, why end
        return h:run("INSERT INTO n VALUES(?)", ("y"):rep(5000))
      end)
      if not ok then break end
      committed = committed + 2
    end
    print(err.kind, err.code, h:row "SELECT count(*) AS n FROM n".n - committed)
    print(h:row "PRAGMA integrity_check".integrity_check)
    assert(h:exec "PRAGMA wal_checkpoint" or true)
    h:close()
    h = assert(db.open("small/x.db"))
    print(h:row "SELECT count(*) AS n FROM n".n - committed)]]

  before_each(function() assert(sys.mkdir_p(dir .. "/small")) end)

  local function run(argv, before)
    for _, word in ipairs { "bash", "-c", before .. ' exec "$0" run -e "$1"', command.moontap,
                            'local db = require "moontap.native.db"\n' .. CODE } do
      argv[#argv + 1] = word
    end
    local status, out, err = command.run(argv, { cwd = dir })
    assert.equal("", err)
    assert.equal(0, status)
    return out
  end

  it("takes back what did not fit, and keeps what did", function()
    if not os.execute "unshare -rm true 2>/dev/null" then
      pending "no name spaces here"
      return
    end
    assert.equal("io\tSQLITE_FULL\t0\nok\n0\n",
      run({ "unshare", "-rm" }, "mount -t tmpfs -o size=400k none small &&"))
  end)

  it("is told by a limit on file sizes in the same way", function()
    assert.equal("io\tSQLITE_IOERR\t0\nok\n0\n", run({}, "ulimit -f 100;"))
  end)
end)

describe("digests", function()
  it("are SHA-256", function()
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      db.digest "abc")
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      db.digest "")
    assert.equal("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      db.digest "\0")
  end)

  it("of values are those of what string.pack writes", function()
    assert.equal(db.digest(("<s4i8ds4"):pack("a", -7, 1.5, "\0b")),
      db.digest_values("a", -7, 1.5, "\0b"))
    assert.equal(db.digest "", db.digest_values())
    local many = {}
    for i = 1, 16 do many[i] = ("x"):rep(i) end
    assert.equal(db.digest(("<" .. ("s4"):rep(16)):pack(table.unpack(many))),
      db.digest_values(table.unpack(many)))
    many[17] = "y"
    assert.error_matches(function() db.digest_values(table.unpack(many)) end, "too many values")
    assert.error_matches(function() db.digest_values {} end, "number expected")
  end)

  it("of a file are those of its bytes", function()
    local file = dir .. "/file"
    for _, text in ipairs { "", "abc", ("a\0b"):rep(100000) } do
      assert(sys.write_file(file, text))
      assert.equal(db.digest(text), db.file_digest(file))
      local pipe <close> = io.popen("sha256sum " .. file)
      assert.equal(db.digest(text), pipe:read("a"):match "^%x+")
    end
    local value, err = db.file_digest(dir .. "/none")
    assert.is_nil(value)
    assert.is_true(errors.is(err, "io"))
    assert.equal(("read %s/none: No such file or directory"):format(dir), err.message)
    assert.is_true(errors.is(select(2, db.file_digest(dir)), "io"))
    assert.error_matches(function() db.file_digest "a\0b" end, "NUL")
  end)
end)
