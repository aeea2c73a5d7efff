-- child.lua COUNT: prints the milliseconds from the start of a playbook's process to the first
-- line of the playbook, the mean of COUNT.

local runner = require "moontap.child.runner"
local clock = require "moontap.clock"

local count = assert(math.tointeger(arg[1]))
local playbook = "moontap.effects.call 'begun' return { run = function() end }"

local function start()
  local began, took = clock.now(), nil
  assert(select("#", runner.run {
    files = { ["a.lua"] = playbook }, entry = "a.lua",
    effects = { begun = function() took = clock.now() - began end },
  }) == 0)
  return took
end

start()
local sum = 0
for _ = 1, count do sum = sum + start() end
print(sum * 1000 / count)
