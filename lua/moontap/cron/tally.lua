-- tally: counts what the engine does, for /metrics. Nothing here can fail a run.

local clock = require "moontap.clock"

local M = {}

local Tally = {}
Tally.__index = Tally

M.RESULTS = { "ok", "failed", "cancelled", "lost" }
M.TRIGGERS = { "cron", "manual", "start" }
M.SKIPS = { "mutex", "overlap", "paused", "queue", "other" }
M.BUCKETS = { 1, 5, 10, 30, 60, 120, 300, 600, 1200, 3600 }

local function zeros(names)
  local counts = {}
  for _, name in ipairs(names) do counts[name] = 0 end
  return counts
end

local function make_record()
  local one = { results = zeros(M.RESULTS), skips = zeros(M.SKIPS), missed = 0, retries = 0,
                in_flight = 0, last_success = 0, lag = 0, durations = {}, duration_sum = 0,
                duration_count = 0, triggers = zeros(M.TRIGGERS), waits = 0, waited = 0,
                slots_lost = 0 }
  for i in ipairs(M.BUCKETS) do one.durations[i] = 0 end
  return one
end

local NOTHING <const> = make_record()

---@return table tally
function M.new()
  return setmetatable({
    playbooks = {}, steps = { forward = 0, back = 0 }, tick = 0,
    reload_ok = 1, reload_at = clock.now(),
  }, Tally)
end

---What was counted of a playbook, to be read: zeros when that is nothing.
---@param name string
---@return table
function Tally:of(name)
  return self.playbooks[name] or NOTHING
end

-- To be changed.
function Tally:know(name)
  local one = self.playbooks[name]
  if not one then
    one = make_record()
    self.playbooks[name] = one
  end
  return one
end

function Tally:verdict(name, outcome)
  local one = self:know(name)
  if outcome.verdict == "missed" then
    one.missed = one.missed + 1
  elseif outcome.verdict == "skipped" then
    local word = (outcome.reason or ""):match "^%a+" or "other"
    if one.skips[word] == nil then word = "other" end
    one.skips[word] = one.skips[word] + 1
  end
end

function Tally:started(job)
  local one = self:know(job.playbook.name)
  one.in_flight = one.in_flight + 1
  one.lag = math.max(0, clock.now() - job.planned)
  if job.attempt > 1 then one.retries = one.retries + 1 end
  one.triggers[job.trigger] = (one.triggers[job.trigger] or 0) + 1
end

function Tally:ended(job, outcome, seconds)
  local one = self:know(job.playbook.name)
  one.in_flight = one.in_flight - 1
  one.results[outcome.state] = (one.results[outcome.state] or 0) + 1
  if outcome.state == "ok" then one.last_success = clock.now() end
  one.duration_sum, one.duration_count = one.duration_sum + seconds, one.duration_count + 1
  for i, bound in ipairs(M.BUCKETS) do
    if seconds <= bound then one.durations[i] = one.durations[i] + 1 end
  end
end

---What the creates of a playbook tell of slots.
---@param name string
---@return { waited: fun(seconds: number), lost: fun() }
function Tally:quota(name)
  local one = self:know(name)
  return {
    waited = function(seconds) one.waits, one.waited = one.waits + 1, one.waited + seconds end,
    lost = function() one.slots_lost = one.slots_lost + 1 end,
  }
end

function Tally:lost(name)
  local one = self:know(name)
  one.results.lost = one.results.lost + 1
end

function Tally:stepped(by)
  local way = by > 0 and "forward" or "back"
  self.steps[way] = self.steps[way] + 1
end

function Tally:ticked(now)
  self.tick = now
end

---@param ok boolean
function Tally:reloaded(ok)
  self.reload_ok, self.reload_at = ok and 1 or 0, clock.now()
end

return M
