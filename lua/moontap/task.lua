-- Several tasks at once: moontap.all, moontap.race, moontap.timeout. Each starts children of the
-- running task and leaves none behind.

local M = {}

local durations = require "moontap.duration"
local native = require "moontap.native.task"

local function start(fns, what)
  if type(fns) ~= "table" then
    error(("bad argument #1 to '%s' (list of functions expected, got %s)"):format(
      what, type(fns)), 3)
  end
  for i, fn in ipairs(fns) do
    if type(fn) ~= "function" then
      error(("bad argument #1 to '%s' (item %d is a %s, expected function)"):format(
        what, i, type(fn)), 3)
    end
  end
  local tasks = {}
  for i, fn in ipairs(fns) do tasks[i] = native.spawn(fn) end
  return tasks
end

local function stop(tasks, why)
  for _, task in ipairs(tasks) do task:cancel(why) end
  native.join_all(tasks)
end

--- Runs all functions at the same time and waits for all of them.
---@param fns function[]
---@return table|nil results the first result of each function, in its place
---@return any err what a function returned behind a nil; the others are cancelled then
---@return integer|nil index which function that was
--- Raises what one of them raises, after the others were cancelled.
---
---     local caps = assert(moontap.all {
---       function() return pcaps.get(a) end,
---       function() return pcaps.get(b) end,
---     })
function M.all(fns)
  local running, place = start(fns, "all"), {}
  for i in ipairs(running) do place[i] = i end
  local results = {}
  while #running > 0 do
    local i = native.join_any(running)
    local task, index = table.remove(running, i), table.remove(place, i)
    local ok, result, err = pcall(task.join, task)
    if not ok or (result == nil and err ~= nil) then
      stop(running, "another task of the same moontap.all failed")
      if not ok then error(result, 0) end
      return nil, err, index
    end
    results[index] = result
  end
  return results
end

--- Runs all functions at the same time; the first that ends wins, the others are cancelled.
---@param fns function[] at least one
---@return any ... the results of the winner
--- Raises what the winner raises.
---
---     local who = moontap.race {
---       function() cap:wait() return "done" end,
---       function() moontap.sleep("30s") return "too slow" end,
---     }
function M.race(fns)
  local tasks = start(fns, "race")
  if #tasks == 0 then error("bad argument #1 to 'race' (the list is empty)", 2) end
  local winner = table.remove(tasks, native.join_any(tasks))
  stop(tasks, "another task of the same moontap.race was first")
  return winner:join()
end

--- Runs `fn(...)` with a deadline. Deadlines nest: an inner one never outlives an outer one.
---@param duration number|string seconds, or text such as "5m"
---@param fn function
---@return any ... what fn returned; nil and an error of kind "timeout" when time was up
--- Raises what fn raises.
---
---     local ok, err = moontap.timeout("30s", function() return cap:wait() end)
function M.timeout(duration, fn, ...)
  if type(fn) ~= "function" then
    error(("bad argument #2 to 'timeout' (function expected, got %s)"):format(type(fn)), 2)
  end
  local seconds = durations.parse(duration)
  if not seconds then
    error("bad argument #1 to 'timeout' (expected seconds or a duration such as \"5m\")", 2)
  end
  return native.spawn({ timeout = seconds }, fn, ...):join()
end

return M
