-- cron.lua EXPRESSION ZONE COUNT: one fire after the other, from 2026 on.

local cron = require "moontap.cron"

local schedule = assert(cron.parse(arg[1], arg[2]))
local t = 1767225599 -- the second before 2026 in UTC
for _ = 1, tonumber(arg[3]) do t = schedule:next(t) end
print(t)
