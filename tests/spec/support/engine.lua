-- Engines on the virtual clock, for specs that look at due times and verdicts.

local assert = require "luassert"
local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local engine = require "moontap.cron.engine"
local playbook = require "moontap.cron.playbook"

local M = {}

--- A checked playbook; by default it is due each minute.
function M.make(changes)
  local data = { api = 1, on = { cron = "* * * * *" }, run = function() end }
  for key, value in pairs(changes or {}) do data[key] = value end
  local made, problems = playbook.check(data, "some.lua")
  assert.same({}, problems)
  made.version = "1"
  return made
end

--- An engine with these playbooks; `run` stands for a playbook's process.
function M.start(state, playbooks, run, options)
  options = options or {}
  options.state, options.run = state, run or function() return true end
  local one = engine.new(options)
  assert(one:set(playbooks))
  assert(one:settle())
  return one
end

--- Lets it run for so many seconds.
function M.run_for(one, seconds)
  local going = moontap.spawn(function() one:run() end)
  moontap.sleep(seconds)
  one:drain(0)
  going:join()
end

--- All due times with their verdicts, the oldest first.
function M.history(state, name)
  local rows = assert(dues.history(state, { playbook = name, limit = 100000 }))
  local list = {}
  for i = #rows, 1, -1 do list[#list + 1] = rows[i] end
  return list
end

--- Sleeps until a second before the next minute.
function M.to_minute()
  moontap.sleep(60 - clock.now() % 60 - 1)
end

return M
