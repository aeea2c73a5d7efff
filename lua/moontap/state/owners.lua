-- owners: which process wrote what, and whether it is still there. A process holds a lock on a
-- file of its own in owners/; the lock goes away with the process, however that ends.

local clock = require "moontap.clock"
local hex = require "moontap.hex"
local origin = require "moontap.origin"
local sys = require "moontap.native.sys"

local M = {}

local PRIVATE <const> = 448 -- 0700
local LONG_AGO <const> = 86400 -- seconds
local TIDY_MAX <const> = 10    -- processes that one start looks after
local LOOKED_AT_MAX <const> = 500

---@class moontap.state.Owner
---@field id string
---@field who string the user
---@field lock? any held once others can know of this process

local function file_of(state, id)
  return ("%s/owners/%s"):format(state.dir, id)
end

---This process, which nobody knows of yet.
---@return moontap.state.Owner
function M.new()
  local id = hex.encode(sys.random_bytes(8))
  return { id = id, who = sys.user() }
end

-- Processes that were killed long ago and whose end nobody has noted: what they wrote stays, and
-- counts as left by a run that failed.
local function tidy(state)
  local db, left = state.db, TIDY_MAX
  local rows = db:rows("SELECT id FROM owners WHERE ended IS NULL AND started < ? LIMIT ?",
    clock.now() - LONG_AGO, LOOKED_AT_MAX)
  for _, row in ipairs(rows or {}) do
    if left == 0 then return end
    if not M.is_alive(state, row.id) then
      left = left - 1
      local ok = db:run("UPDATE owners SET ended = ?, failed = 1 WHERE id = ?", clock.now(), row.id)
      if ok then os.remove(file_of(state, row.id)) end
    end
  end
end

---Makes this process known, once, before it writes anything that is its own.
---@param state moontap.State
---@return any ok
---@return table|nil err
function M.declare(state)
  local owner = state.owner
  if owner.lock then return true end
  local ok, err = sys.mkdir_p(state.dir .. "/owners", PRIVATE)
  if not ok then return nil, err end
  local lock
  lock, err = sys.lock(file_of(state, owner.id))
  if not lock then return nil, err end
  ok, err = state.db:transaction(false, function()
    return state.db:run("INSERT INTO owners (id, pid, host, command, started) "
      .. "VALUES (?, ?, ?, ?, ?)", owner.id, sys.getpid(), sys.host_name(), origin.command(),
      clock.now())
  end)
  if not ok then
    lock:release()
    os.remove(file_of(state, owner.id))
    return nil, err
  end
  owner.lock = lock
  tidy(state)
  return true
end

---Says that this process has ended in its own way.
---@param state moontap.State
---@param failed? boolean
function M.finish(state, failed)
  local owner = state.owner
  if not owner.lock then return end
  local ok = state.db:transaction(false, function()
    return state.db:run("UPDATE owners SET ended = ?, failed = ? WHERE id = ?", clock.now(),
      failed and 1 or 0, owner.id)
  end)
  -- unsaid, the next process takes it for one that was killed: the lock says so
  owner.lock:release()
  owner.lock = nil
  if ok then os.remove(file_of(state, owner.id)) end
end

---Is the process `id` still there?
---@param state moontap.State
---@param id string
---@return boolean
function M.is_alive(state, id)
  if state.owner and id == state.owner.id then return true end
  local path = file_of(state, id)
  if not sys.stat(path) then return false end
  local lock = sys.lock(path)
  if not lock then return true end
  os.remove(path)
  lock:release()
  return false
end

---A process that works on the state in `dir`, which this one does not yet.
---@param db any
---@param dir string
---@return { pid: integer, command: string }|false|nil
---@return table|nil err
function M.find_alive(db, dir)
  local rows, err = db:rows "SELECT id, pid, command FROM owners WHERE ended IS NULL"
  if not rows then return nil, err end
  for _, row in ipairs(rows) do
    if M.is_alive({ dir = dir }, row.id) then return row end
  end
  return false
end

return M
