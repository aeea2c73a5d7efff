-- attacks: when the attacks of a scenario are under way. By their timetable, counted from the start
-- of the simulator, or by command. What has passed does not change: a capture that looks back sees
-- an attack that was stopped since.

local address = require "moontap.sim.address"
local schema = require "moontap.native.schema"

local M = {}

local FOREVER <const> = math.maxinteger // 2

---@class moontap.sim.Timetable
---@field first integer|nil second since 1970 of the first occurrence; nil: only by command
---@field duration integer seconds
---@field every integer|nil seconds from one occurrence to the next
---@field spans integer[][] {first second, last second} of those started by command
---@field pauses integer[][] {first second, last second} in which the timetable is overruled

---@param start integer second since 1970 at which the simulator starts
---@param row table an attack of a scenario
---@return moontap.sim.Timetable
function M.timetable(start, row)
  return { first = row.start and start + row.start, duration = row.duration or FOREVER,
           every = row.every, spans = {}, pauses = {} }
end

local function lies_in(list, second)
  for _, span in ipairs(list) do
    if second >= span[1] and second <= span[2] then return span end
  end
  return nil
end

-- The occurrence of the timetable that `second` lies in: its first and last second.
local function occurrence(times, second)
  local first = times.first
  if not first or second < first then return nil end
  if times.every then first = second - (second - first) % times.every end
  if second < first + times.duration then return first, first + times.duration - 1 end
  return nil
end

---Whether the attack is under way in `second`.
---@param times moontap.sim.Timetable
---@param second integer
---@return boolean
function M.is_active(times, second)
  return lies_in(times.spans, second) ~= nil
    or occurrence(times, second) ~= nil and not lies_in(times.pauses, second)
end

local function find(world, name)
  local names = {}
  for _, flow in ipairs(world.flows) do
    if flow.times then
      if flow.name == name then return flow end
      names[#names + 1] = flow.name
    end
  end
  local near = schema.near(tostring(name), names)
  return nil, ("no attack called %s%s (known: %s)"):format(tostring(name),
    near and "; did you mean " .. near .. "?" or "", #names > 0 and table.concat(names, ", ")
      or "none in this scenario")
end

---Starts an attack now.
---@param world table compiled scenario
---@param name string
---@param now integer second since 1970
---@param seconds? integer how long; without it until it is stopped
---@return boolean|nil
---@return string|nil problem
function M.start(world, name, now, seconds)
  local flow, problem = find(world, name)
  if not flow then return nil, problem end
  if seconds ~= nil and not (math.type(seconds) == "integer" and seconds > 0) then
    return nil, "seconds: expected a whole number above 0"
  end
  if not M.is_active(flow.times, now) then
    table.insert(flow.times.spans, { now, now + (seconds or FOREVER) - 1 })
  end
  return true
end

---Stops an attack; one that is not under way stays as it is.
---@param world table
---@param name string
---@param now integer
---@return boolean|nil
---@return string|nil problem
function M.stop(world, name, now)
  local flow, problem = find(world, name)
  if not flow then return nil, problem end
  local times = flow.times
  for _, span in ipairs(times.spans) do
    if now >= span[1] and now <= span[2] then span[2] = now - 1 end
  end
  local first, last = occurrence(times, now)
  if first then table.insert(times.pauses, { now, last }) end
  return true
end

-- When the attack goes on, or goes on next: first and last second; nil when it is over.
local function current(times, now)
  local span = lies_in(times.spans, now)
  if span then return span[1], span[2] end
  local first, last = occurrence(times, now)
  if first and not lies_in(times.pauses, now) then return first, last end
  if times.first and now < times.first then
    return times.first, times.first + times.duration - 1
  elseif times.first and times.every then
    first = now - (now - times.first) % times.every + times.every
    return first, first + times.duration - 1
  end
  return nil
end

local function describe(flow, now)
  local times = flow.times
  local first, last = current(times, now)
  local was = #times.spans > 0 or times.first ~= nil and now >= times.first
  return {
    name = flow.name, vector = flow.vector, pps = flow.pps,
    target = address.format(flow.targets[1]) .. (#flow.targets > 1
      and (" and %d more"):format(#flow.targets - 1) or ""),
    state = M.is_active(times, now) and "active" or not first and was and "over" or "waiting",
    starts = first, ends = last and last < FOREVER and last + 1 or nil,
  }
end

---The attacks of a scenario, in its order.
---@param world table
---@param now integer second since 1970
---@return { name: string, vector: string, target: string, pps: number, state: string,
---  starts: integer|nil, ends: integer|nil }[]
function M.list(world, now)
  local list = {}
  for _, flow in ipairs(world.flows) do
    if flow.times then list[#list + 1] = describe(flow, now) end
  end
  return list
end

return M
