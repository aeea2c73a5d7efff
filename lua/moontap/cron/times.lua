-- times: when a playbook is due. Several schedules make one list; jitter follows from the name and
-- the due time alone, so that it is the same after a restart. Pure.

local parser = require "moontap.cron.schedules"

local M = {}

local Times = {}
Times.__index = Times

-- FNV-1a, finished as SplitMix does it.
local function hash(text)
  local h = -3750763034362895579 -- 0xcbf29ce484222325
  for i = 1, #text do h = (h ~ text:byte(i)) * 0x100000001b3 end
  h = (h ~ (h >> 30)) * -4658895280553007687 -- 0xbf58476d1ce4e5b9
  h = (h ~ (h >> 27)) * -7723592293110705685 -- 0x94d049bb133111eb
  return h ~ (h >> 31)
end

-- 0 up to, not including, 1.
local function fraction(text)
  return (hash(text) >> 11) * (1.0 / (1 << 53))
end

---What makes the schedule of a playbook: a change of it starts anew.
---@param playbook moontap.cron.Playbook
---@return string
function M.fingerprint(playbook)
  return table.concat({ playbook.dst, playbook.tz or "", playbook.enabled and "on" or "off",
    table.unpack(playbook.expressions) }, "\n")
end

---A seed for `~` that follows from nothing but is drawn once.
---@param name string
---@param bytes string random ones
---@return integer
function M.seed(name, bytes)
  return hash(name .. bytes) & 0x7fffffffffffffff
end

---@param playbook moontap.cron.Playbook that was checked
---@param seed integer
---@return table times
function M.new(playbook, seed)
  local schedules = {}
  for i, expression in ipairs(playbook.expressions) do
    schedules[i] = assert(parser.parse(expression, playbook, seed))
  end
  return setmetatable({ name = playbook.name, jitter = playbook.jitter, schedules = schedules,
                        enabled = playbook.enabled }, Times)
end

---The first due time after `t`, or nil.
---@param t number
---@return integer|nil
function Times:next(t)
  if not self.enabled then return nil end
  local first
  for _, schedule in ipairs(self.schedules) do
    local at = schedule:next(t)
    if at and (not first or at < first) then first = at end
  end
  return first
end

---When a due time is carried out: with its jitter, always before the next one.
---@param nominal number
---@return number
function Times:planned(nominal)
  if self.jitter <= 0 then return nominal end
  local after = self:next(nominal)
  local room = after and math.min(self.jitter, after - nominal) or self.jitter
  return nominal + (fraction(("%s\n%d"):format(self.name, nominal // 1)) * room * 1000) // 1 / 1000
end

---Due times after `from`, up to and with `to`, at most `max`.
---@param from number
---@param to number
---@param max integer
---@return integer[]
function Times:list(from, to, max)
  local list, at = {}, from
  while #list < max do
    at = self:next(at)
    if not at or at > to then break end
    list[#list + 1] = at
  end
  return list
end

---@return string[]
function Times:warnings()
  local list = {}
  for _, schedule in ipairs(self.schedules) do
    for _, warning in ipairs(schedule:warnings()) do list[#list + 1] = warning end
  end
  return list
end

---@return string[] a line each schedule
function Times:describe()
  local lines = {}
  for i, schedule in ipairs(self.schedules) do lines[i] = schedule:describe() end
  return lines
end

---The name of its zone.
---@return string
function Times:zone()
  return self.schedules[1] and self.schedules[1]:zone() or "UTC"
end

return M
