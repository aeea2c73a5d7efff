-- logs: how much of the logs of runs is kept in all. When it is too much, the oldest logs of runs
-- that went well go first; those of others only when that is not enough.

local dues = require "moontap.state.dues"
local log = require "moontap.log"
local sys = require "moontap.native.sys"

local M = {}

local MAX <const> = 512 << 20 -- bytes of all logs
local LESS <const> = 0.9      -- of it is left, so that not each run makes room

local Logs = {}
Logs.__index = Logs

---@param state moontap.State
---@param max? integer bytes
---@return table logs
function M.new(state, max)
  -- total: nil, until it was measured
  return setmetatable({ state = state, dir = state.dir .. "/logs", max = max or MAX }, Logs)
end

---What lies there, in bytes.
---@return integer
function Logs:measure()
  local total = 0
  for _, name in ipairs(sys.list(self.dir) or {}) do
    local stat = sys.stat(self.dir .. "/" .. name)
    total = total + (stat and stat.size or 0)
  end
  return total
end

local function make_room(self)
  self.total = self:measure()
  if self.total <= self.max then return true end
  local rows, err = dues.logged(self.state)
  if not rows then return nil, err end
  local gone = {}
  for _, row in ipairs(rows) do
    if self.total <= self.max * LESS then break end
    local stat = sys.stat(row.log)
    if stat then
      sys.remove(row.log)
      self.total = self.total - stat.size
    end
    gone[#gone + 1] = row.id
  end
  return dues.forget_logs(self.state, gone)
end

---A log was closed; others may have to go for it.
---@param path string
function Logs:added(path)
  local stat = self.total and sys.stat(path)
  if stat then self.total = self.total + stat.size end
  if self.total and self.total <= self.max then return end
  local ok, err = make_room(self)
  if not ok then log.error("cron: the oldest logs could not be removed: %s", err.message) end
end

return M
