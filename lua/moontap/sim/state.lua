-- state: what one simulator is and knows: its clock, knobs, traffic, captures
-- and buckets. All of it lives in memory and goes with the simulator.

local clock = require "moontap.clock"
local rng = require "moontap.sim.rng"

---@class moontap.sim.State
---@field seed integer
---@field speed number by which the API's durations are divided
---@field knobs table<string, any>
---@field world table compiled scenario
---@field account_id string
---@field credentials {token: string, read_token: string|nil, email: string, key: string}
---@field bucket string directory that stands in for all buckets
---@field captures table<integer, table> by number, from oldest to newest
---@field oldest integer
---@field newest integer
---@field capture_by_id table<string, table>
---@field ownerships table[] oldest first
---@field rules moontap.sim.Rule[] faults, in the order in which they are tried
---@field requests table<string, integer> how many of each operation
---@field drawn integer numbers drawn so far, see draw
local State = {}
State.__index = State

local M = {}

---@param fields table what the class lists, without the collections
---@return moontap.sim.State
function M.new(fields)
  local state = setmetatable(fields, State)
  state.captures, state.capture_by_id, state.ownerships = {}, {}, {}
  state.rules, state.requests = {}, {}
  state.oldest, state.newest, state.drawn = 1, 0, 0
  state.window_start, state.window_used = clock.boot(), 0
  return state
end

---Now, in microseconds since 1970.
---@return integer
function State:now_us()
  return math.floor((clock.now() + self.knobs.clock_skew) * 1e6 + 0.5)
end

---Seconds of the API that have passed since BOOT, a reading of clock.boot:
---whole microseconds, so that a minute of waiting is a minute.
---@param boot number
---@return number
function State:elapsed(boot)
  return math.floor((clock.boot() - boot) * self.speed * 1e6 + 0.5) / 1e6
end

---A number that differs at each call and depends on seed, order and time:
---ids do not repeat when a simulator is started again with the same seed.
---@param what string
---@return integer
function State:draw(what)
  self.drawn = self.drawn + 1
  return rng.derive(rng.derive(rng.derive(self.seed, what), self.drawn), self:now_us())
end

---A retry-after header for SECONDS of real time: whole seconds as the API
---sends them, fractions when time is compressed.
---@param seconds number
---@return string
function State:retry_after(seconds)
  if self.speed == 1 then
    return ("%d"):format(math.max(math.ceil(seconds), 1))
  end
  return ("%.3f"):format(math.ceil(seconds * 1000) / 1000)
end

---Lets other tasks run during long work.
function State.pause()
  moontap.sleep(0)
end

---A time as the API writes it: "2026-11-22T10:00:00.000000Z".
---@param us integer microseconds since 1970
---@return string
function M.timestamp(us)
  local whole = clock.format(us // 1000000):gsub("%.%d+", ""):gsub("Z$", "")
  return ("%s.%06dZ"):format(whole, us % 1000000)
end

---Microseconds since 1970 of an RFC 3339 time that was checked.
---@param text string
---@return integer|nil
function M.parse_time(text)
  local seconds = clock.parse(text)
  return seconds and math.floor(seconds * 1e6 + 0.5)
end

local WEEKDAYS <const> = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" }
local MONTHS <const> = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
  "Nov", "Dec" }

---A time as HTTP headers write it.
---@param us integer
---@return string
function M.http_date(us)
  local second = us // 1000000
  local year, month, day, time = clock.format(second):match "^(%d+)-(%d+)-(%d+)T([%d:]+)"
  return ("%s, %s %s %s %s GMT"):format(WEEKDAYS[second // 86400 % 7 + 1], day,
    MONTHS[tonumber(month)], year, time)
end

return M
