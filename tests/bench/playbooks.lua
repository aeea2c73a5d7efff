-- playbooks.lua load COUNT: writes COUNT playbooks, loads and schedules them; prints the seconds,
-- the megabytes of memory, and the seconds of loading them anew when one has changed.
-- playbooks.lua due COUNT: lets COUNT playbooks be due in the same second; prints the 99th
-- percentile of the seconds from their due time to their start.

local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local engine = require "moontap.cron.engine"
local files = require "moontap.cron.files"
local runner = require "moontap.cron.runner"
local states = require "moontap.state"
local sys = require "moontap.native.sys"

local mode, count = arg[1], assert(math.tointeger(tonumber(arg[2])))
local dir = assert(sys.tempdir "moontap-bench-")
local over <close> = setmetatable({}, { __close = function() sys.remove_tree(dir) end }) -- luacheck: ignore

local function write(expression)
  assert(sys.mkdir_p(dir .. "/pb", 448))
  for i = 1, count do
    assert(sys.write_file(("%s/pb/p%d.lua"):format(dir, i), ('return { api = 1, on = { cron = "%s" },'
      .. ' run = function(ctx) return ctx.nominal end }'):format(expression(i)), 384))
  end
end

local state = assert(states.open_at(dir .. "/state"))
local one = engine.new { state = state, runs_max = 64, run = runner.new { dir = state.dir } }

local function load_all(before)
  local list = assert(files.load({ dir .. "/pb" }, before))
  assert(one:set(files.playbooks(list)))
  return list
end

local function memory()
  return tonumber(sys.read_file("/proc/self/status", 65536):match "VmRSS:%s*(%d+)") / 1024
end

if mode == "load" then
  write(function(i) return ("%d %d * * *"):format(i % 60, i // 60 % 24) end)
  local began = clock.boot()
  local list = load_all()
  print(("%.3f"):format(clock.boot() - began))
  print(("%.1f"):format(memory()))
  assert(sys.write_file(dir .. "/pb/p1.lua",
    'return { api = 1, on = { cron = "5 5 5 * *" }, run = print }', 384))
  began = clock.boot()
  load_all(list)
  print(("%.3f"):format(clock.boot() - began))
else
  local at = clock.now() // 1 + 5 + count // 200
  local when = os.date("!%S %M %H * * *", at // 1 | 0)
  write(function() return when end)
  load_all()
  assert(clock.now() < at, "loading took too long")
  local going = moontap.spawn(function() one:run() end)
  local rows
  repeat
    moontap.sleep(0.2)
    rows = assert(dues.runs(state, { limit = count }))
    local ended = 0
    for _, row in ipairs(rows) do ended = ended + (row.ended and 1 or 0) end
  until ended == count
  one:drain(0)
  going:join()
  local lags = {}
  for i, row in ipairs(rows) do lags[i] = row.started - row.nominal end
  table.sort(lags)
  print(("%.3f"):format(lags[math.ceil(#lags * 0.99)]))
end
state:close()
