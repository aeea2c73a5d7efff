-- retries: when an attempt of a run that failed is tried again.

local clock = require "moontap.clock"
local random = require "moontap.random"
local asked_pause = require "pcaps.retry".asked_pause

local M = {}

local PAUSE_MAX <const> = 7 * 86400

local FINAL <const> = { denied = true, usage = true, cancelled = true }

local function is_tried_again(retry, kind)
  if not retry.on then return not FINAL[kind] end
  for _, listed in ipairs(retry.on) do
    if listed == kind then return true end
  end
  return false
end

local function seconds(value)
  value = tonumber(value)
  return value and value >= 0 and value < math.huge and value or nil
end

-- How long the error says that nothing will come of it: by the server's word, or by the account's
-- slot. It came through the playbook, so that it may hold anything.
local function least_pause(err)
  local asked = asked_pause(err) or seconds(err.retry_after) or 0
  local free_at = seconds(err.free_at)
  return math.min(PAUSE_MAX, math.max(asked, free_at and free_at - clock.now() or 0))
end

---@param job moontap.cron.Job
---@param err table
---@param next_due number|nil of its playbook
---@return number|nil at
---@return string|nil why it is not tried again, when that is worth a word
function M.at(job, err, next_due)
  local retry = job.playbook.retry
  if job.attempt >= retry.attempts or not is_tried_again(retry, err.kind) then return nil end
  local pause = math.min(retry.cap, retry.base * retry.factor ^ (job.attempt - 1))
  local at = clock.now() + math.max(random.uniform() * pause, least_pause(err))
  if next_due and at >= next_due and not retry.past_next then
    return nil, "not tried again: the next due time comes first"
  end
  return at
end

return M
