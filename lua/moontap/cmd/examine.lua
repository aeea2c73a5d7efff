-- examine: the checks of `moontap doctor`. Each adds what it found: a name, ok, warn or fail, one
-- line, and for programs the same as data.

local accounts = require "moontap.accounts"
local clock = require "moontap.clock"
local credentials = require "pcaps.credentials"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local httpdate = require "pcaps.httpdate"
local json = require "moontap.json"
local place = require "pcaps.store"
local schema = require "moontap.native.schema"
local sys = require "moontap.native.sys"
local tzdb = require "moontap.tzdb"

local M = {}

local TIMEOUT <const> = 15     -- seconds of one request
local SKEW_MAX <const> = 2     -- … by which the clocks may differ
local SPACE_WARN <const> = 512 << 20
local SPACE_FAIL <const> = 16 << 20
local PRIVATE <const> = 63     -- 0077: bits of others
local PARTS <const> = {
  { "libcurl", "moontap.native.http", function(http) return http.version end },
  { "SQLite", "moontap.native.db", function(db) return db.version end },
}

---@class moontap.cmd.Check
---@field name string
---@field status "ok"|"warn"|"fail"
---@field message string
---@field data? table
---@field is_credentials? boolean

---@class moontap.cmd.Examination
---@field checks moontap.cmd.Check[]
local Examination = {}
Examination.__index = Examination

function Examination:add(name, status, message, data)
  local check = { name = name, status = status, message = message, data = data }
  self.checks[#self.checks + 1] = check
  return check
end

-- The failure of a call, whose kind decides about the exit status.
function Examination:fail(name, err, hint)
  local check = self:add(name, "fail", tostring(err) .. (hint and "; " .. hint or ""),
    { kind = err.kind, status = err.status, code = err.code, ray = err.ray })
  check.is_credentials = err.kind == "credentials" or err.status == 401 or err.status == 403
  return check
end

-- Parts ------------------------------------------------------------------------------------

function Examination:look_at_program()
  self:add("moontap", "ok", ("version %s, build %s, %s"):format(host.version, host.build_id,
    _VERSION), { version = host.version, build = host.build_id, lua = _VERSION:match "[%d.]+" })
  for _, part in ipairs(PARTS) do
    local ok, module = pcall(require, part[2])
    local version = ok and part[3](module) or nil
    self:add(part[1], ok and "ok" or "fail", ok and (version and "version " .. version or "loads")
      or "does not load: " .. tostring(module):match "[^\n]*", { version = version })
  end
end

function Examination:look_at_zones()
  local version = tzdb.version()
  local is_there = version ~= "unknown" or require "moontap.cron".parse("@daily", "Europe/Berlin")
  self:add("tz database", is_there and "ok" or "warn", is_there and "version " .. version
    or "no zones but UTC: install tzdata", { version = version })
end

local PROBE <const> = "return { run = function() return moontap.version end }"

-- What playbooks are shut in with; a process is started for it, as for a run.
function Examination:look_at_walls()
  local walls = require "moontap.native.child".walls()
  local version, err = require "moontap.child.runner".run {
    files = { ["probe.lua"] = PROBE }, entry = "probe.lua", limits = { timeout = TIMEOUT },
  }
  local data = { landlock = walls.landlock, seccomp = walls.seccomp, works = version ~= nil }
  if not version then return self:add("sandbox", "fail", err.message, data) end
  if not walls.is_real then
    data.tested = false
    return self:add("sandbox", "warn", "this build has no walls: playbooks are not shut in", data)
  end
  local landlock = walls.landlock > 0 and ("Landlock %d"):format(walls.landlock)
    or "no Landlock (the kernel has none; the list alone lets nothing be opened)"
  self:add("sandbox", "ok", "playbooks are shut in: a list of system calls, " .. landlock, data)
end

-- Account ------------------------------------------------------------------------------------

function Examination:look_at_accounts()
  local list, file = accounts.list()
  if not list then
    if errors.is(file) then
      self:add("accounts", "warn", file.message)
    else
      self:add("accounts", "ok", "no accounts file; accounts by name need one")
    end
    return
  end
  local parts, data, status = {}, json.array {}, "ok"
  for i, entry in ipairs(list) do
    parts[i] = entry.name .. (entry.err and " (" .. entry.err.message .. ")" or "")
    if entry.err then status = "warn" end
    data[i] = { name = entry.name, problem = entry.err and entry.err.message,
                account_id = entry.account and entry.account.account_id,
                base_url = entry.account and entry.account.base_url }
  end
  self:add("accounts", status, ("%s: %s"):format(file, #parts > 0 and table.concat(parts, ", ")
    or "names none"), { file = file, accounts = data })
end

-- Returns the settings when there is something to ask the API with.
function Examination:look_at_credentials()
  local settings, err = credentials.resolve {}
  if not settings then
    self:fail("credentials", err)
    return nil
  end
  local origin = credentials.origin(settings)
  self:add("API", "ok", settings.base_url, { base_url = settings.base_url })
  if settings.account_id then
    local name = settings.account and settings.account.name
    self:add("account", "ok", settings.account_id .. (name and (" (%s)"):format(name) or ""),
      { account_id = settings.account_id, name = name })
  else
    self:add("account", "fail", "none: set CLOUDFLARE_ACCOUNT_ID, or give --account or "
      .. "--account-id").is_credentials = true
  end
  local client
  client, err = require "pcaps.client".bare()
  if not client then
    if origin or settings.account_id then self:fail("credentials", err) else
      self:add("credentials", "fail", "none: set CLOUDFLARE_API_TOKEN, or give --account or "
        .. "--token-file").is_credentials = true
    end
    return settings
  end
  self:add("credentials", "ok", "from " .. origin, { origin = origin })
  return settings, client
end

-- API ------------------------------------------------------------------------------------------

local function why_refused(err)
  if err.status == 401 or err.kind == "credentials" and err.message:find "[Ii]nvalid" then
    return "the API does not know these credentials; are they the right ones, and still valid?"
  elseif err.status == 403 then
    return "they lack this permission on this account, or are not valid any more"
  elseif err.status == 404 then
    return "the API knows no such account, or it has no packet captures (Magic Transit with the "
      .. "Advanced Network Firewall)"
  elseif err.status == 429 then
    return "too many requests; in a few minutes it works again"
  elseif err.status == nil then
    return "is the address right, and is there a way to it from here?"
  end
  return nil
end

-- The clocks agree as far as a Date, which has whole seconds, and the time of the answer can tell.
function Examination:compare_clocks(date, before, after)
  local at = httpdate.parse(date)
  if not at then
    self:add("clock", "warn", "the API's answer has no date to compare with")
    return
  end
  local least, most = before - (at + 1), after - at
  local off = least > 0 and least or most < 0 and most or 0
  local data = { seconds = off }
  if math.abs(off) <= SKEW_MAX then
    self:add("clock", "ok", off == 0 and "agrees with the API's"
      or ("%.1f s %s the API's"):format(math.abs(off), off > 0 and "ahead of" or "behind"), data)
  else
    self:add("clock", "warn", ("%s s %s the API's: windows that scripts name by time are off by "
      .. "as much; set the clock (NTP)"):format(("%.0f"):format(math.abs(off)),
      off > 0 and "ahead of" or "behind"), data)
  end
end

function Examination:list_captures(native, client)
  local before = clock.now()
  local caps, date = native.list(client, nil, { timeout = TIMEOUT })
  local after = clock.now()
  if not caps then
    self:fail("captures", date, why_refused(date))
    return
  end
  local running = 0
  for _, cap in ipairs(caps) do
    if type(cap) == "table" and cap.type == "full"
      and (cap.status == "pending" or cap.status == "running") then running = running + 1 end
  end
  self:add("captures", "ok", ("may be listed: %d, %d full ones running"):format(#caps, running),
    { count = #caps, running = running })
  self:compare_clocks(date, before, after)
end

function Examination:list_buckets(native, client)
  local list, err = native.ownership_list(client, nil, { timeout = TIMEOUT })
  if not list then
    self:fail("buckets", err, why_refused(err))
    return
  end
  local parts, data, status = {}, json.array {}, "ok"
  for _, entry in ipairs(list) do
    if type(entry) == "table" then
      local where = schema.redact(tostring(entry.destination_conf or "?"))
      local state = tostring(entry.status or "unknown")
      parts[#parts + 1] = ("%s (%s)"):format(where, state)
      data[#data + 1] = { destination_conf = where, status = state, id = entry.id }
      if state ~= "success" then status = "warn" end
    end
  end
  self:add("buckets", status, "may be listed: " .. (#parts > 0 and table.concat(parts, ", ")
    or "none; full captures need one"), { buckets = data })
end

function Examination:ask_api(client)
  local native = require "moontap.native.pcaps"
  self:list_captures(native, client)
  self:list_buckets(native, client)
  self:add("write", "warn", "untested: whether the token may create and stop captures shows when "
    .. "it does (nothing is created here)", { tested = false })
end

-- State ------------------------------------------------------------------------------------------

local function existing_parent(dir)
  while not sys.stat(dir) do dir = dir:match "^(.*)/[^/]*$" or "" end
  return dir == "" and "/" or dir
end

local function format_size(bytes)
  if bytes >= 1 << 30 then return ("%.1f GB"):format(bytes / (1 << 30)) end
  return ("%.0f MB"):format(bytes / (1 << 20))
end

function Examination:look_at_disk(dir)
  local where = existing_parent(dir)
  local free, err = sys.free_space(where)
  if not free then
    self:add("disk", "warn", tostring(err))
    return
  end
  local status = free < SPACE_FAIL and "fail" or free < SPACE_WARN and "warn" or "ok"
  self:add("disk", status, ("%s free at %s%s"):format(format_size(free), where,
    status == "ok" and "" or "; creates are not sent when they cannot be written down"),
    { free = free, path = where })
end

-- A file can be made there.
function Examination:look_at_directory(dir)
  local stat = sys.stat(dir)
  if not stat then
    local parent = existing_parent(dir)
    if sys.stat(parent).type ~= "directory" then
      self:add("state", "fail", ("%s: %s is no directory; give another one with --state"):format(
        dir, parent), { path = dir })
    else
      self:add("state", "ok", dir .. ": not there yet; the first run makes it", { path = dir })
    end
    return false
  end
  local probe = ("%s/.doctor-%d"):format(dir, sys.getpid())
  local ok, err = sys.write_file(probe, "moontap\n", 384)
  os.remove(probe)
  if not ok then
    self:add("state", "fail", ("%s: captures can be looked at, not created; give another "
      .. "directory with --state"):format(err.message), { path = dir })
  elseif stat.mode & PRIVATE ~= 0 then
    self:add("state", "warn", ("%s can be entered by others: chmod 700 %s"):format(dir, dir),
      { path = dir })
  else
    self:add("state", "ok", dir, { path = dir })
  end
  return true
end

local function database_problem(health, mode)
  if health.integrity ~= "ok" then return "fail", "its file is broken: " .. health.integrity end
  if health.journal_mode ~= "wal" then
    return "warn", ("its journal mode is %s, not wal"):format(health.journal_mode)
  end
  if mode & PRIVATE ~= 0 then return "warn", "others can read it: chmod 600 it" end
  return "ok", ("version %d of its tables, whole, journal mode %s"):format(health.tables,
    health.journal_mode)
end

function Examination:look_at_database(dir)
  local path = dir .. "/state.db"
  local state, err = require "moontap.state".reader(dir)
  if not state then
    local is_new = err.code == "ENOENT"
    self:add("database", is_new and "ok" or "fail", err.message, { path = path })
    return
  end
  local health, problem = state:health()
  if not health then
    self:add("database", "fail", problem.message, { path = path })
    state:close()
    return
  end
  local status, message = database_problem(health, sys.stat(path).mode)
  self:add("database", status, ("%s: %s"):format(path, message), health)
  self:look_at_journal(health)
  self:look_at_chain(state)
  state:close()
end

function Examination:look_at_journal(health)
  local parts = { ("%d creates are open"):format(health.open_intents) }
  if health.unknown > 0 then
    parts[#parts + 1] = ("%d had an unknown outcome"):format(health.unknown)
  end
  if #health.dead > 0 then
    parts[#parts + 1] = health.left_open > 0
      and ("%d of them left by what is gone: %s; the next run settles them"):format(
        health.left_open, table.concat(health.dead, ", "))
      or ("died without leaving one: %s"):format(table.concat(health.dead, ", "))
  end
  self:add("journal", health.left_open > 0 and "warn" or "ok", table.concat(parts, "; "),
    { open_intents = health.open_intents, unknown = health.unknown,
      left_open = health.left_open, dead = json.array(health.dead) })
end

function Examination:look_at_chain(state)
  local report, err = state:verify_audit()
  if not report then
    self:add("audit", "fail", err.message)
  elseif report.problem then
    self:add("audit", "fail", "the chain does not hold: " .. report.problem, { row = report.row })
  else
    self:add("audit", "ok", ("the chain holds: %d rows, %d purged"):format(report.rows,
      report.purged), { rows = report.rows, purged = report.purged, head = report.head })
  end
end

function Examination:look_at_state()
  local dir, err = place.directory()
  if not dir then
    self:add("state", "fail", err.message)
    return
  end
  self:look_at_disk(dir)
  if self:look_at_directory(dir) then self:look_at_database(dir) end
end

---Examines everything.
---@return moontap.cmd.Check[]
function M.run()
  local examination = setmetatable({ checks = {} }, Examination)
  examination:look_at_program()
  examination:look_at_zones()
  examination:look_at_walls()
  examination:look_at_accounts()
  local _, client = examination:look_at_credentials()
  if client then examination:ask_api(client) end
  examination:look_at_state()
  return examination.checks
end

return M
