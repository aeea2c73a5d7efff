-- outside
-- Many creates: one after another without growing, and a thousand at once without doubling one.
-- The long version: MOONTAP_CREATES=100000 tools/test spec.growth

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local CREATES = tonumber(os.getenv "MOONTAP_CREATES") or 4000
local AT_ONCE = 1000
local GROWTH_MAX_KIB = 600

local dir

local function start_simulator(...)
  local process = command.start({ command.moontap, "sim", "--port-file", dir .. "/port",
    "--knob", "simple_interval=0", "--knob", "rate_limit=0", "--knob", "retention_max=5000", ... },
    { cwd = dir, limit = 600 })
  finally(function() process.stop() end)
  command.poll(function() return command.read_file(dir .. "/port") end)
  local env = { MOONTAP_GATE = "off" }
  for name, value in process.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
  return env
end

local function run(code, env)
  local status, out, err = command.run({ command.moontap, "run", "-e", code },
    { cwd = dir, env = env, limit = 600 })
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

describe("creates", function()
  it("do not make the process grow, " .. CREATES .. " of them", function()
    local env = start_simulator("--knob", "retention=1", "--speed", "1000")
    local out = run(([[
local function kib()
  for _ = 1, 3 do collectgarbage() end
  for line in io.lines "/proc/self/status" do
    local n = line:match "^VmRSS:%%s*(%%d+)"
    if n then return tonumber(n) end
  end
end
local function create(n)
  for _ = 1, n do
    assert(pcaps.create { type = "simple", time_limit = 300, packet_limit = 10000 })
  end
end
local n = %d
create(n // 4)
local before = kib()
create(n - n // 4)
print(kib() - before)
]]):format(CREATES), env)
    if not os.getenv "ASAN_OPTIONS" then -- it keeps what was freed
      assert.is_true(tonumber(out) < GROWTH_MAX_KIB, "grew by KiB: " .. out)
    end
  end)

  it("a thousand at once are a thousand captures, whatever gets lost", function()
    local env = start_simulator("--fault", "create:cut_after,rate=0.03",
      "--fault", "create:throttled,rate=0.05", "--fault", "list:error_html,rate=0.05")
    local out = run(([[
local tasks, ids, made, unknown = {}, {}, 0, 0
for i = 1, %d do
  tasks[i] = moontap.spawn(pcaps.create, { type = "simple", time_limit = 1 + i %% 300,
    packet_limit = 10, filter_v1 = { source_address = "10.0." .. i // 250 .. "." .. i %% 250 } })
end
for _, task in ipairs(tasks) do
  local cap, err = task:join()
  if cap then
    assert(not ids[cap.id])
    ids[cap.id], made = true, made + 1
  else
    assert(err.kind == "unknown_outcome", err) -- the list shows only 50
    unknown = unknown + 1
  end
end
print(made, made + unknown)
]]):format(AT_ONCE), env)
    local _, state = command.run({ command.moontap, "sim", "state", "--json" }, { env = env })
    local made, all = out:match "^(%d+)\t(%d+)\n$"
    assert.is_true(tonumber(made) > 0.9 * AT_ONCE, out)
    assert.equal(AT_ONCE, tonumber(all))
    assert.equal(AT_ONCE, assert(json.decode(state)).captures) -- each was made, and once
  end)
end)
