-- schedules: the schedules of playbooks. Most say the same as another one does, and share what was
-- parsed: a schedule never changes.

local cron = require "moontap.cron"

local M = {}

local parsed = setmetatable({}, { __mode = "v" }) -- by dst, zone and expression

---A schedule of a playbook.
---@param expression string
---@param playbook { name: string, tz?: string, dst: string }
---@param seed integer
---@return any|nil schedule
---@return table|nil err
--- Raises as moontap.cron.parse.
function M.parse(expression, playbook, seed)
  local tz, dst = playbook.tz, playbook.dst
  -- H and ~ follow from the name and the seed
  local key = not expression:find "[Hh~]" and ("%s\n%s\n%s"):format(dst, tz or "", expression)
  local schedule = key and parsed[key]
  if schedule then return schedule end
  local err
  schedule, err = cron.parse(expression, tz, { dst = dst, name = playbook.name, seed = seed })
  if schedule and key then parsed[key] = schedule end
  return schedule, err
end

return M
