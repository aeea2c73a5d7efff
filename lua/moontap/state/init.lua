-- state: what outlives a run, for all processes of this machine: intents, slots, captures, the
-- audit chain. A database of SQLite in the state directory stands behind it; nobody outside this
-- folder sees SQL. The rest of the program works with an account of the store (account.lua):
-- operations that each are one transaction, so that a store shared by several machines could
-- stand in.

local address = require "pcaps.address"
local audit = require "moontap.state.audit"
local clock = require "moontap.clock"
local config = require "moontap.config"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local locks = require "moontap.lock"
local log = require "moontap.log"
local migrations = require "moontap.state.migrations"
local owners = require "moontap.state.owners"
local place = require "pcaps.store"
local printable = require "moontap.printable"
local sys = require "moontap.native.sys"

local M = {}

local PRIVATE <const> = 448 -- 0700
local PRIVATE_FILE <const> = 384 -- 0600
local BUSY <const> = 10     -- seconds that a writer waits for the others
local OPENINGS <const> = 6  -- times that who comes waits so long, as where hundreds come at once
local BACK_UP <const> = 600 -- … that a copy may take
local CHECKED_AGAIN <const> = 86400 -- seconds
local BROKEN <const> = { SQLITE_CORRUPT = true, SQLITE_NOTADB = true }

---@class moontap.State
---@field path string of the database
---@field dir string the state directory
---@field db any moontap.native.db
---@field owner moontap.state.Owner this process
---@field identity string of the database's file when it was opened
local State = {}
State.__index = State

local function failure(what, path, err)
  return errors.new(err.kind or "io", ("state: %s %s: %s"):format(what, path, err.message),
    { code = err.code, retryable = err.retryable, path = path })
end

local function refuse_newer(version)
  return nil, errors.new("io", ("it was written by a newer moontap (version %d of its tables, "
    .. "this program knows %d): update moontap, or give another directory with --state")
    :format(version, #migrations.STEPS), { code = "NEWER" })
end

local function refuse_odd(version)
  return nil, errors.new("io", ("its tables have version %d, which no moontap has written: move it "
    .. "away, or give another directory with --state"):format(version), { code = "ODD" })
end

-- A copy of what is there, which only its owner can read. An empty file is what SQLite asks for.
-- It has a handle of its own, for it takes the longer the more there is.
local function back_up(path, newest)
  local copy = ("%s.before-%d-%d-%d"):format(path, newest, math.floor(clock.now()), sys.getpid())
  local ok, err = sys.write_file(copy, "", PRIVATE_FILE)
  if not ok then return nil, err end
  local handle
  handle, err = db.open(path, { busy_timeout = BACK_UP })
  if handle then
    ok, err = handle:run("VACUUM INTO ?", copy)
    handle:close()
  end
  if not (handle and ok) then os.remove(copy) end
  return handle and ok and copy or nil, err
end

-- Does the steps that are missing, and `prepare` before them. Nobody else writes meanwhile.
local function take_steps(handle, prepare)
  local newest = #migrations.STEPS
  return handle:transaction(true, function()
    local now, why = handle:row "PRAGMA user_version" -- another process may have been faster
    if not now then return nil, why end
    if now.user_version > newest then return refuse_newer(now.user_version) end
    if now.user_version == newest then return true end
    local ok, problem = prepare()
    if not ok then return nil, problem end
    for step = now.user_version + 1, newest do
      ok, problem = handle:exec(migrations.STEPS[step])
      if not ok then return nil, problem end
    end
    return handle:exec(("PRAGMA user_version = %d"):format(newest))
  end)
end

local function refuse_older(who, what)
  return nil, errors.new("io", ("it is of an older moontap, %s: %s first"):format(who, what),
    { code = "OLDER" })
end

-- A program that still is the older one would find its tables gone.
local function refuse_under_older(handle, path)
  if config.command ~= "cron" then -- which holds the lock itself
    local held, err = locks.take "cron"
    if not held and not errors.is(err, "skipped") then return nil, err end
    if not held then return refuse_older("whose daemon still works on it", "restart that") end
    held:release()
  end
  local other, err = owners.find_alive(handle, path:match "^(.*)/")
  if not other then return other == false, err end
  return refuse_older(("which still works on it (process %d, %s)"):format(other.pid,
    printable(other.command)), "let that end")
end

-- Brings up what an older program has left. On a handle of its own, for it takes the longer the
-- more there is. The copy stays for 30 days.
local function update(path, newest)
  local handle, err = db.open(path, { busy_timeout = BACK_UP })
  if not handle then return nil, err end
  local ok, copy
  ok, err = take_steps(handle, function()
    local free, why = refuse_under_older(handle, path)
    if not free then return nil, why end
    copy, why = back_up(path, newest)
    return copy, why
  end)
  handle:close()
  if not ok and copy then os.remove(copy) end
  return ok, err
end

-- What an older program must not touch is refused; what an older one has left is brought up.
local function migrate(handle, path)
  local row, err = handle:row "PRAGMA user_version"
  if not row then return nil, err end
  local version, newest = row.user_version, #migrations.STEPS
  if version == newest then return true end
  if version > newest then return refuse_newer(version) end
  if version < 0 then return refuse_odd(version) end
  if version == 0 then return take_steps(handle, function() return true end) end
  return update(path, newest)
end

-- Looks through the whole file, once a day: that takes the longer the more is in it. What is broken
-- in between is met by the statement that reads it.
local function check(handle)
  local now = clock.now()
  local mark, err = handle:row "SELECT at FROM marks WHERE name = 'checked'"
  if mark == nil then return nil, err end
  if mark and mark.at <= now and now - mark.at < CHECKED_AGAIN then return true end
  local found
  found, err = handle:row "PRAGMA quick_check(1)"
  if not found and err.kind ~= "timeout" then return nil, err end
  if not found then
    log.warn("state: %s; `moontap doctor` looks through it", err.message)
  elseif found.quick_check ~= "ok" then
    return nil, errors.new("io", found.quick_check, { code = "SQLITE_CORRUPT" })
  end
  return handle:run("INSERT INTO marks (name, at) VALUES ('checked', ?1) ON CONFLICT (name) "
    .. "DO UPDATE SET at = ?1", now)
end

local function open_once(path)
  local handle, err = db.open(path, { busy_timeout = BUSY })
  if not handle then return nil, err end
  local ok
  for _ = 1, OPENINGS do
    ok, err = migrate(handle, path)
    if ok then ok, err = check(handle) end
    if ok then return handle end
    if not err.retryable then break end
  end
  handle:close()
  return nil, err
end

-- A file that is none of ours any more is kept for whoever can mend it.
local function move_aside(path)
  local aside = ("%s.broken-%d-%d"):format(path, math.floor(clock.now()), sys.getpid())
  local ok, err = sys.rename(path, aside)
  if not ok then return nil, err end
  for _, suffix in ipairs { "-wal", "-shm" } do
    if sys.stat(path .. suffix) then sys.rename(path .. suffix, aside .. suffix) end
  end
  return aside
end

-- One process at a time: another may have made a new one since.
local function mend(path)
  local lock = sys.lock(path .. ".mending")
  if not lock then
    return nil, errors.new("io", "another process is moving the broken file aside; try again")
  end
  local mended <close> = setmetatable({}, { __close = function() -- luacheck: ignore mended
    os.remove(path .. ".mending")
    lock:release()
  end })
  local handle, err = open_once(path)
  if handle or not BROKEN[err.code] then return handle, err end
  local aside, why = move_aside(path)
  if not aside then return nil, failure("move aside the broken", path, why) end
  log.error("state: %s is broken (%s); it was moved to %s. What it knew of captures is lost to "
    .. "this program: look with `moontap captures`", path, err.message, aside)
  return open_once(path)
end

---Opens the state in `dir`, and makes it when it is not there.
---@param dir string
---@return moontap.State|nil
---@return table|nil err
function M.open_at(dir)
  local ok, err = sys.mkdir_p(dir, PRIVATE)
  if not ok then return nil, err end
  local path = dir .. "/state.db"
  local handle
  handle, err = open_once(path)
  if not handle and BROKEN[err.code] then
    handle, err = mend(path)
  end
  if not handle then return nil, failure("open", path, err) end
  return setmetatable({ path = path, dir = dir, db = handle, accounts = {}, owner = owners.new(),
    identity = (sys.stat(path) or {}).identity }, State)
end

-- A state that is only read. What an older program has left has to be brought up first.
local function open_to_read(path, dir)
  local handle, err = db.open(path, { busy_timeout = BUSY, read_only = true })
  if not handle then return nil, err end
  local row
  row, err = handle:row "PRAGMA user_version"
  local newest = #migrations.STEPS
  if row and row.user_version == newest then return handle end
  handle:close()
  if not row then return nil, err end
  if row.user_version > newest then return refuse_newer(row.user_version) end
  if row.user_version < 0 then return refuse_odd(row.user_version) end
  local state
  state, err = M.open_at(dir)
  if not state then return nil, err end
  state:close()
  return db.open(path, { busy_timeout = BUSY, read_only = true })
end

---The state of `dir`, to look at: nothing is made there, and this process does not become known.
---@param dir? string the state directory when absent
---@return moontap.State|nil
---@return table|nil err of code "ENOENT" when there is none yet
function M.reader(dir)
  local err
  if not dir then
    dir, err = place.directory()
    if not dir then return nil, err end
  end
  local path = dir .. "/state.db"
  local stat
  stat, err = sys.stat(path)
  if not stat then
    if not err.message:find("No such file", 1, true) then return nil, failure("read", path, err) end
    return nil, errors.new("io", ("state: nothing was written down in %s yet"):format(dir),
      { code = "ENOENT", path = path })
  end
  local handle
  handle, err = open_to_read(path, dir)
  if not handle then return nil, failure("read", path, err) end
  return setmetatable({ path = path, dir = dir, db = handle, accounts = {} }, State)
end

local current -- of this process

---The state of this process, opened when it is first asked for.
---@return moontap.State|nil
---@return table|nil err
function M.current()
  if current then return current end
  local dir, err = place.directory()
  if not dir then return nil, err end
  current, err = M.open_at(dir)
  return current, err
end

---Whether there is a state already; nothing is made.
---@return boolean
function M.exists()
  local dir = place.directory()
  return dir ~= nil and sys.stat(dir .. "/state.db") ~= nil
end

---Whether the state of this process was opened.
---@return boolean
function M.is_open()
  return current ~= nil
end

---Closes the state of this process. `failed`: what it opened and what still runs is to be stopped
---by whoever comes next, unless that was done.
---@param failed? boolean
function M.close(failed)
  if not current then return end
  local state = current
  current = nil
  state:close(failed)
end

-- The account that a row of its table is.
local function account_of(self, row)
  local account = self.accounts[row.id]
  if not account then
    account = require "moontap.state.account".new(self, row.id)
    account.base_url, account.account_id = row.base_url, row.account_id
    self.accounts[row.id] = account
  end
  return account
end

---The account of the store that is at this address of the API, if anything is known of it, however
---it was spelled when that was written down.
---@param base_url string
---@param account_id string
---@return moontap.state.Account|false|nil
---@return table|nil err
function State:find_account(base_url, account_id)
  local rows, err = self.db:rows "SELECT id, base_url, account_id FROM accounts ORDER BY id"
  if not rows then return nil, err end
  base_url, account_id = address.base_url(base_url), address.account_id(account_id)
  for _, row in ipairs(rows) do
    if address.base_url(row.base_url) == base_url
      and address.account_id(row.account_id) == account_id then return account_of(self, row) end
  end
  return false
end

---The account of the store that is at this address of the API.
---@param base_url string
---@param account_id string
---@return moontap.state.Account|nil
---@return table|nil err
function State:account(base_url, account_id)
  local account = self:find_account(base_url, account_id)
  if account then return account end
  local ok, err = self.db:transaction(false, function()
    return self.db:run("INSERT OR IGNORE INTO accounts (base_url, account_id) VALUES (?, ?)",
      address.base_url(base_url), address.account_id(account_id))
  end)
  if not ok then return nil, err end
  return self:find_account(base_url, account_id) or nil
end

---All accounts that anything is known of.
---@return moontap.state.Account[]|nil
---@return table|nil err
function State:list_accounts()
  local rows, err = self.db:rows "SELECT id, base_url, account_id FROM accounts ORDER BY id"
  if not rows then return nil, err end
  local list = {}
  for i, row in ipairs(rows) do list[i] = account_of(self, row) end
  return list
end

---Checks the audit chain: see audit.lua.
---@return table|nil report
---@return table|nil err
function State:verify_audit()
  return audit.verify(self)
end

---Rows of the audit chain, some at a time: see audit.lua.
---@param since? number
---@param after? integer
---@return table[]|nil
---@return table|nil err
function State:audit_rows(since, after)
  return audit.rows(self, since, after)
end

---A number that changes when another handle or process has written.
---@return integer|nil
---@return table|nil err
function State:version()
  local row, err = self.db:row "PRAGMA data_version"
  return row and row.data_version or nil, err
end

---How the database is, for those who look after it.
---@return { integrity: string, journal_mode: string, tables: integer, open_intents: integer,
---  unknown: integer, dead: string[], left_open: integer }|nil `dead`: processes whose end nobody
---  has noted, `left_open`: open intents of theirs
---@return table|nil err
function State:health()
  local found, err = self.db:row("SELECT (SELECT count(*) FROM intents WHERE settled IS NULL) "
    .. "AS open_intents, (SELECT count(*) FROM intents WHERE state = 'unknown') AS unknown")
  if not found then return nil, err end
  for key, pragma in pairs { integrity = "quick_check", journal_mode = "journal_mode",
                             tables = "user_version" } do
    local row
    row, err = self.db:row("PRAGMA " .. pragma)
    if not row then return nil, err end
    found[key] = row[pragma]
  end
  local open
  open, err = self.db:rows("SELECT o.id, o.pid, o.command, (SELECT count(*) FROM intents i "
    .. "WHERE i.owner = o.id AND i.settled IS NULL) AS intents FROM owners o "
    .. "WHERE o.ended IS NULL OR o.id IN (SELECT owner FROM intents WHERE settled IS NULL)")
  if not open then return nil, err end
  found.dead, found.left_open = {}, 0
  for _, row in ipairs(open) do
    if not owners.is_alive(self, row.id) then
      found.left_open = found.left_open + row.intents
      found.dead[#found.dead + 1] = row.pid == 0 and "a caller that did not wait"
        or ("%s (process %d)"):format(row.command, row.pid)
    end
  end
  return found
end

-- Records that are purged, and marks of what is done once in a while: see retention.lua.
for _, name in ipairs { "mark", "purge_records", "set_mark", "take_mark" } do
  State[name] = function(...) return require "moontap.state.retention"[name](...) end
end

---Whether a capture that was not purged has its file at `path`.
---@param path string
---@return boolean|nil
---@return table|nil err
function State:is_file_kept(path)
  local row, err = self.db:row(
    "SELECT 1 AS n FROM captures WHERE file = ? AND purged IS NULL", path)
  if row == nil then return nil, err end
  return row ~= false
end

---Is the database still where others look for it? What is written to a file that was removed or
---replaced is lost.
---@return boolean|nil
---@return table|nil err
function State:check_place()
  if self.identity and sys.is_same_file(self.path, self.identity) then return true end
  return nil, errors.new("io", ("state: %s was removed or replaced since this process began: "
    .. "start it again"):format(self.path))
end

---@param failed? boolean
function State:close(failed)
  if self.owner then owners.finish(self, failed) end
  self.db:close()
end

return M
