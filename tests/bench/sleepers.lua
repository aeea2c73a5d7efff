-- sleepers.lua TASKS ROUNDS SPREAD: prints the bytes of anonymous memory that a sleeping task
-- holds, then the microseconds of processor time that one sleep and its end cost. SPREAD is the
-- time in seconds over which the tasks of one round end; 0: all at once.

local count, rounds = assert(math.tointeger(arg[1])), assert(math.tointeger(arg[2]))
local spread = assert(tonumber(arg[3]))
local clock = require "moontap.clock"

local function anonymous_kib()
  collectgarbage()
  collectgarbage()
  local file <close> = assert(io.open("/proc/self/smaps_rollup"))
  for line in file:lines() do
    local kib = line:match("^Anonymous:%s+(%d+)")
    if kib then return tonumber(kib) end
  end
end

local start = 0

local function sleeper(i)
  local share = spread * i / count
  for round = 0, rounds do
    moontap.sleep(math.max(0, start + round + share - clock.boot()))
  end
end

local before = anonymous_kib()
start = clock.boot() + 1
for i = 1, count do moontap.spawn(sleeper, i * 7919 % count) end
moontap.sleep(0.1)
print((anonymous_kib() - before) * 1024 / count)

moontap.sleep(start + 0.9 - clock.boot() + spread)
local cpu = os.clock()
moontap.sleep(rounds - 1)
print((os.clock() - cpu) * 1e6 / (count * (rounds - 1)))
os.exit(0)
