-- retention: the files behind the records. Only what lies in captures/ACCOUNT/ of the state
-- directory is ours to remove: a file that was written where the user said is the user's, and so
-- is whatever a link leads to.

local clock = require "moontap.clock"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local sys = require "moontap.native.sys"

local M = {}

M.DAYS = 30
local DAY <const> = 86400
local SLACK <const> = DAY -- by which clocks and purges that overlap may differ

---@class moontap.retention.Report
---@field removed { path: string, bytes: integer, id?: string, case?: string }[]
---@field left { path: string, reason: string, id?: string }[] old, and not ours to remove
---@field purged integer captures whose records went
---@field held integer old ones that are held
---@field details integer
---@field audit integer
---@field intents integer records of creates that came to nothing, and of what was purged long ago

---@class moontap.retention.Options
---@field is_dry? boolean only says what would be removed
---@field is_automatic? boolean nobody asked for it; the audit says so
---@field pause? fun() lets others run; called between two steps

-- Where files are ours; nil when there are none so far.
local function home_of(state)
  return (sys.real_path(state.dir .. "/captures"))
end

-- Why the file at `path` is not to be removed; nil when it is.
local function obstacle(home, path)
  local dir = path:match "^(.*)/[^/]+$"
  if not home or not dir or dir:match "^(.*)/[^/]+$" ~= home then return "it lies elsewhere" end
  if sys.lstat(dir) and sys.real_path(dir) ~= dir then return "its directory is a link" end
  local stat = sys.lstat(path)
  return stat and stat.type ~= "file" and "it is a " .. stat.type or nil
end

-- Removes one file of ours; what is gone already needs no more. Returns its size.
local function remove(state, path)
  local kept, err = state:is_file_kept(path)
  if kept == nil then return nil, err end
  local stat = sys.lstat(path)
  if kept or not stat then return false end
  local ok
  ok, err = sys.remove(path)
  if not ok then return nil, err end
  host.point "purge_removed"
  return stat.size
end

local function note_removed(report, path, bytes, row)
  table.insert(report.removed, { path = path, bytes = bytes, id = row.id, case = row.case_id })
end

-- One capture that is old enough.
local function purge_capture(run, account, row)
  local report, home = run.report, home_of(run.state)
  local reason = row.file and obstacle(home, row.file)
  if run.is_dry then
    local stat = row.file and not reason and sys.lstat(row.file)
    if stat then note_removed(report, row.file, stat.size, row) end
  else
    local is_purged, err = account:mark_purged(row, run.is_automatic)
    if not is_purged then return is_purged, err end
    host.point "purge_marked"
    if row.file and not reason then
      local bytes, why = remove(run.state, row.file)
      if bytes == nil then return nil, why end
      if bytes then note_removed(report, row.file, bytes, row) end
    end
  end
  report.purged = report.purged + 1
  if reason and sys.lstat(row.file) then
    table.insert(report.left, { path = row.file, reason = reason, id = row.id })
  end
  return true
end

-- Files that an earlier purge has written down and did not come to remove. What a purge that was
-- complete has gone through needs no second look.
local function remove_leftovers(run, account)
  local rows, err = account:leftovers(run.complete_at)
  if not rows then return nil, err end
  local home = home_of(run.state)
  for _, row in ipairs(rows) do
    if sys.lstat(row.file) and not obstacle(home, row.file) then
      local bytes, why = sys.lstat(row.file).size, nil
      if not run.is_dry then bytes, why = remove(run.state, row.file) end
      if bytes == nil then return nil, why end
      if bytes then note_removed(run.report, row.file, bytes, row) end
    end
  end
  return true
end

local function is_old(path, before)
  local stat = sys.lstat(path)
  return stat and stat.type == "file" and stat.mtime < before and stat.size
end

-- Is it called as captures are that we place, or the beginning of one?
local function is_capture_name(name)
  name = name:gsub("^sim%-", "")
  return name:match "^%x+%.pcap$" or name:match "^%x+%.pcap%.part%-%w+$"
end

local function is_copy_of_state(name)
  return name:match "^state%.db%.before%-%d+%-%d+" or name:match "^state%.db%.broken%-%d+"
end

local function remove_stray(run, path, bytes)
  local ok, err = true, nil
  if not run.is_dry then ok, err = sys.remove(path) end
  if not ok then return nil, err end
  note_removed(run.report, path, bytes, {})
  return true
end

-- Removes what is old, is called so, and that no record knows.
local function remove_strays(run, dir, is_ours)
  for _, name in ipairs(sys.list(dir) or {}) do
    local path = dir .. "/" .. name
    run.pause()
    local bytes = is_ours(name) and is_old(path, run.before)
    if bytes then
      local kept, err = run.state:is_file_kept(path)
      if kept == nil then return nil, err end
      if not kept then
        local ok, why = remove_stray(run, path, bytes)
        if not ok then return nil, why end
      end
    end
  end
  return true
end

-- What downloads that were killed have left, and databases that were set aside.
local function remove_all_strays(run)
  local home = home_of(run.state)
  for _, name in ipairs(home and sys.list(home) or {}) do
    local dir = home .. "/" .. name
    if (sys.lstat(dir) or {}).type == "directory" then
      local ok, err = remove_strays(run, dir, is_capture_name)
      if not ok then return nil, err end
    end
  end
  return remove_strays(run, run.state.dir, is_copy_of_state)
end

local function purge_account(run, account)
  local rows, err = account:expired(run.before)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do
    run.pause()
    if row.held_at then
      run.report.held = run.report.held + 1
    else
      local ok, why = purge_capture(run, account, row)
      if ok == nil then return nil, why end
    end
  end
  return remove_leftovers(run, account)
end

local function purge_all(run)
  local accounts, err = run.state:list_accounts()
  if not accounts then return nil, err end
  local ok
  for _, account in ipairs(accounts) do
    ok, err = purge_account(run, account)
    if not ok then return nil, err end
  end
  ok, err = remove_all_strays(run)
  if not ok or run.is_dry then return ok, err end
  local gone
  gone, err = run.state:purge_records(run)
  if not gone then return nil, err end
  for name, count in pairs(gone) do run.report[name] = count end
  return run.state:set_mark("purged", run.began)
end

---Removes what is older than `age`, of all accounts.
---@param state moontap.State
---@param age number seconds
---@param options? moontap.retention.Options
---@return moontap.retention.Report|nil
---@return table|nil err
function M.purge(state, age, options)
  options = options or {}
  local report = { removed = {}, left = {}, purged = 0, held = 0, details = 0, audit = 0,
                   intents = 0 }
  local now = clock.now()
  local complete_at, err = state:mark "purged"
  if complete_at == nil then return nil, err end
  local is_known = complete_at and complete_at <= now -- else the clock was set back since
  local run = { state = state, before = now - age, began = now, report = report,
    complete_at = is_known and complete_at - SLACK or 0, is_dry = options.is_dry,
    is_automatic = options.is_automatic, pause = options.pause or function() end }
  local ok
  ok, err = purge_all(run)
  if not ok then return nil, err end
  return report
end

---How long captures are kept: what was set, else 30 days.
---@param state moontap.State
---@return number|false|nil seconds; false: for ever
---@return table|nil err
function M.kept_for(state)
  local seconds, err = state:mark "keep"
  if seconds == nil then return nil, err end
  if not seconds then return M.DAYS * DAY end
  return seconds > 0 and seconds
end

---Sets how long captures are kept, for all who work with this state.
---@param state moontap.State
---@param seconds number|false false: for ever
---@return any ok
---@return table|nil err
function M.keep_for(state, seconds)
  return state:set_mark("keep", seconds or 0, "retention.changed")
end

-- Holding -----------------------------------------------------------------------------------

-- Calls `method` of the account that knows a capture.
local function change_one(state, id, method, why)
  local accounts, err = state:list_accounts()
  if not accounts then return nil, err end
  for _, account in ipairs(accounts) do
    local row, problem = account:capture(id)
    if problem then return nil, problem end
    if row then return account[method](account, id, why) end
  end
  return nil, errors.new("io", ("capture %s: this machine knows of none"):format(id))
end

---The captures of a case, of all accounts.
---@param state moontap.State
---@param case string
---@return string[]|nil ids
---@return table|nil err also when there is none
function M.captures_of(state, case)
  local accounts, err = state:list_accounts()
  if not accounts then return nil, err end
  local ids = {}
  for _, account in ipairs(accounts) do
    local found, problem = account:captures_of(case)
    if not found then return nil, problem end
    table.move(found, 1, #found, #ids + 1, ids)
  end
  if #ids == 0 then
    return nil, errors.new("io", ("case '%s': this machine knows no capture of it"):format(case))
  end
  return ids
end

---@param state moontap.State
---@param id string
---@param why? string
---@return any ok
---@return table|nil err
function M.hold(state, id, why)
  return change_one(state, id, "hold", why)
end

---@param state moontap.State
---@param id string
---@return any ok
---@return table|nil err
function M.release(state, id)
  return change_one(state, id, "unhold")
end

return M
