-- Prints the milliseconds that cancelling takes while the name server stays silent.

local clock = require "moontap.clock"
local task = moontap.spawn(function() return pcaps.list() end)
moontap.sleep(0.2)
assert(task:status() ~= "done", "the look-up must still be under way")
local start = clock.now()
task:cancel()
pcall(task.join, task)
print((clock.now() - start) * 1e3)
