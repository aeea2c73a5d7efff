-- state: what outlives a run, for all processes of this machine: intents, slots, captures, the
-- audit chain. A database of SQLite in the state directory stands behind it; nobody outside this
-- folder sees SQL. The rest of the program works with an account of the store (account.lua):
-- operations that each are one transaction, so that a store shared by several machines could
-- stand in.

local audit = require "moontap.state.audit"
local clock = require "moontap.clock"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local log = require "moontap.log"
local migrations = require "moontap.state.migrations"
local owners = require "moontap.state.owners"
local place = require "pcaps.store"
local sys = require "moontap.native.sys"

local M = {}

local PRIVATE <const> = 448 -- 0700
local BUSY <const> = 10     -- seconds that a writer waits for the others
local BROKEN <const> = { SQLITE_CORRUPT = true, SQLITE_NOTADB = true }

---@class moontap.State
---@field path string of the database
---@field dir string the state directory
---@field db any moontap.native.db
---@field owner moontap.state.Owner this process
local State = {}
State.__index = State

local function failure(what, path, err)
  return errors.new(err.kind or "io", ("state: %s %s: %s"):format(what, path, err.message),
    { code = err.code, retryable = err.retryable, path = path })
end

-- What an older program must not touch is refused; what an older one has left is brought up.
local function migrate(handle, path)
  local row, err = handle:row "PRAGMA user_version"
  if not row then return nil, err end
  local version, newest = row.user_version, #migrations.STEPS
  if version == newest then return true end
  if version > newest then
    return nil, errors.new("io", ("it was written by a newer moontap (version %d of its tables, "
      .. "this program knows %d): update moontap, or give another directory with --state")
      :format(version, newest))
  end
  if version > 0 then
    local ok
    ok, err = handle:run("VACUUM INTO ?", ("%s.before-%d-%d"):format(path, newest,
      math.floor(clock.now())))
    if not ok then return nil, err end
  end
  return handle:transaction(true, function()
    local now = handle:row "PRAGMA user_version" -- another process may have been faster
    for step = (now and now.user_version or version) + 1, newest do
      local ok, problem = handle:exec(migrations.STEPS[step])
      if not ok then return nil, problem end
    end
    return handle:exec(("PRAGMA user_version = %d"):format(newest))
  end)
end

local function open_once(path)
  local handle, err = db.open(path, { busy_timeout = BUSY })
  if not handle then return nil, err end
  local found
  found, err = handle:row "PRAGMA quick_check(1)"
  if found and found.quick_check ~= "ok" then
    found, err = nil, errors.new("io", found.quick_check, { code = "SQLITE_CORRUPT" })
  end
  local ok = found
  if found then ok, err = migrate(handle, path) end
  if ok then return handle end
  handle:close()
  return nil, err
end

-- A file that is none of ours any more is kept for whoever can mend it.
local function move_aside(path)
  local aside = ("%s.broken-%d"):format(path, math.floor(clock.now()))
  local ok, err = sys.rename(path, aside)
  if not ok then return nil, err end
  for _, suffix in ipairs { "-wal", "-shm" } do
    if sys.stat(path .. suffix) then sys.rename(path .. suffix, aside .. suffix) end
  end
  return aside
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
    local aside, why = move_aside(path)
    if not aside then return nil, failure("move aside the broken", path, why) end
    log.error("state: %s is broken (%s); it was moved to %s. What it knew of captures is lost to "
      .. "this program: look with `moontap captures`", path, err.message, aside)
    handle, err = open_once(path)
  end
  if not handle then return nil, failure("open", path, err) end
  local state = setmetatable({ path = path, dir = dir, db = handle, accounts = {} }, State)
  state.owner, err = owners.begin(state)
  if not state.owner then
    handle:close()
    return nil, err
  end
  return state
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

---The account of the store that is at this address of the API.
---@param base_url string
---@param account_id string
---@return moontap.state.Account|nil
---@return table|nil err
function State:account(base_url, account_id)
  local name = base_url .. " " .. account_id
  local account = self.accounts[name]
  if account then return account end
  local ok, err = self.db:run("INSERT OR IGNORE INTO accounts (base_url, account_id) VALUES (?, ?)",
    base_url, account_id)
  if not ok then return nil, err end
  local row
  row, err = self.db:row("SELECT id FROM accounts WHERE base_url = ? AND account_id = ?",
    base_url, account_id)
  if not row then return nil, err end
  account = require "moontap.state.account".new(self, row.id)
  account.base_url, account.account_id = base_url, account_id
  self.accounts[name] = account
  return account
end

---All accounts that anything is known of.
---@return moontap.state.Account[]|nil
---@return table|nil err
function State:list_accounts()
  local rows, err = self.db:rows "SELECT base_url, account_id FROM accounts ORDER BY id"
  if not rows then return nil, err end
  local list = {}
  for i, row in ipairs(rows) do
    list[i], err = self:account(row.base_url, row.account_id)
    if not list[i] then return nil, err end
  end
  return list
end

---Checks the audit chain: see audit.lua.
---@return table|nil report
---@return table|nil err
function State:verify_audit()
  return audit.verify(self)
end

---@param failed? boolean
function State:close(failed)
  owners.finish(self, failed)
  self.db:close()
end

return M
