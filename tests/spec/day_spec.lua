-- A day of twenty scripts in five processes on one account, with faults in one of twenty exchanges
-- and a process killed every hour. The simulator's time is compressed; its list and the state say
-- afterwards whether anything was lost, doubled, too early or left out.
-- Longer: MOONTAP_DAYS=10 tools/test spec.day; another course of things: MOONTAP_SEED=7.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local SPEED <const> = 1440 -- a day in a minute
local DAYS <const> = tonumber(os.getenv "MOONTAP_DAYS") or 0.5
local SEED <const> = tonumber(os.getenv "MOONTAP_SEED") or 1
local PROCESSES <const> = 5
local SCRIPTS <const> = 4 -- of a process
local HOUR <const> = 3600 / SPEED
local FAULTS <const> = { "create:cut_before,rate=0.01", "create:cut_after,rate=0.01",
  "create:error_html,done=true,rate=0.01", "create:cut_middle,rate=0.01",
  "create:error_json,rate=0.01", "get:error_html,rate=0.05", "list:cut_before,rate=0.05",
  "download:cut_middle,rate=0.05" }

-- Each create has a port of its own, by which its capture is known: process, script and number.
local SCRIPT <const> = [[
local process, ends = tonumber(arg[1]), tonumber(arg[2])
local clock = require "moontap.clock"
math.randomseed(process)
local function work(script)
  local n = 0
  while clock.now() < ends do
    n = n + 1
    local cap = pcaps.create({ type = "simple", time_limit = 60, packet_limit = 5,
      filter_v1 = { destination_port = process * 100 + n, source_port = script } },
      { deadline = 120, timeout = 5, why = process .. "." .. script .. "." .. n })
    if cap and cap:wait { timeout = 5 } then cap:download() end
    moontap.sleep(math.random() * 20 * 60 / %d)
  end
end
for script = 1, %d do moontap.spawn(function() work(script) end) end
]]

local dir, env

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

local function start_simulator()
  local argv = { command.moontap, "sim", "--port-file", dir .. "/port", "--speed", tostring(SPEED),
    "--seed", tostring(SEED), "--knob", "list_max=1000", "--knob", "rate_limit=0" }
  for _, fault in ipairs(FAULTS) do
    argv[#argv + 1] = "--fault"
    argv[#argv + 1] = fault
  end
  local process = command.start(argv, { cwd = dir, limit = 600 })
  finally(function() process.stop() end)
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in process.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

local function query(sql)
  local status, out, err = command.run { "sqlite3", dir .. "/state/moontap/state.db", sql }
  assert.equal(0, status, err)
  return out
end

-- A process of scripts; each one started gets a number of its own.
local started = 0

local function start(ends)
  started = started + 1
  return command.start({ command.moontap, "run", "--speed", tostring(SPEED), "-e",
    SCRIPT:format(SPEED, SCRIPTS), "--", tostring(started), tostring(ends) },
    { cwd = dir, env = env, limit = 600 })
end

-- Lets `days` go by; returns how many processes were killed.
local function live(days)
  local clock = require "moontap.clock"
  math.randomseed(SEED)
  local ends = clock.now() + days * 24 * HOUR
  local processes, killed = {}, 0
  for i = 1, PROCESSES do processes[i] = start(ends) end
  while clock.now() < ends - HOUR do
    moontap.sleep(HOUR)
    local i = math.random(PROCESSES)
    processes[i].signal "KILL"
    processes[i].wait()
    killed = killed + 1
    processes[i] = start(ends)
  end
  for _, process in ipairs(processes) do
    local status, _, err = process.wait(300)
    assert.equal(0, status, err)
  end
  return killed
end

-- The captures that the simulator has; whatever was open is settled by that.
local function listed()
  command.run({ command.moontap, "sim", "fault", "clear" }, { env = env })
  local status, out, err = command.run({ command.moontap, "run", "--speed", tostring(SPEED), "-e",
    'print(require "moontap.json".encode(assert(pcaps.list())))' }, { cwd = dir, env = env })
  assert.equal(0, status, err)
  return json.decode(out)
end

it("a day of many scripts loses nothing, doubles nothing and lets everybody through", function()
  start_simulator()
  local killed = live(DAYS)
  assert.is_true(killed >= 1)
  local caps = listed()
  if query "SELECT count(*) FROM intents WHERE settled IS NULL" ~= "0\n" then
    moontap.sleep(1) -- a create that was killed a moment ago may still arrive
    caps = listed()
  end

  -- each create has one outcome
  assert.equal("0\n", query "SELECT count(*) FROM intents WHERE settled IS NULL")
  assert.equal("0\n", query [[SELECT count(*) FROM (SELECT subject, count(*) AS n FROM audit
    WHERE event IN ('create.done', 'create.adopted', 'create.unknown', 'create.refused',
      'create.abandoned', 'create.shared') GROUP BY subject HAVING n <> 1)]])
  assert.equal("ok\n", query "PRAGMA integrity_check")

  -- none was opened twice, and each that was opened is known
  local seen, known = {}, {}
  for id in query "SELECT id FROM captures WHERE intent IS NOT NULL":gmatch "%x+" do
    known[id] = true
  end
  assert.is_true(#caps >= 20, #caps)
  for _, cap in ipairs(caps) do
    local key = cap.filter_v1.destination_port .. " " .. cap.filter_v1.source_port
    assert.is_nil(seen[key], key)
    seen[key] = true
    assert.is_true(known[cap.id], cap.id .. " is not in the journal")
  end

  -- none was sent before the account allowed it
  assert.equal("0\n", query "SELECT count(*) FROM audit_data WHERE data LIKE '%refused: 429%'")

  -- nobody starves: each script of the processes that lived to the end came through
  local least = tonumber(query(([[SELECT min(n) FROM (SELECT count(*) AS n FROM intents i
    JOIN details d ON d.intent = i.id WHERE i.state IN ('done', 'adopted') GROUP BY
    substr(d.why, 1, instr(d.why, '.') + 1))]])))
  assert.is_true(least >= 1, tostring(least))
  local late = query "SELECT count(*) FROM intents WHERE error_kind = 'quota'"
  assert.equal("0\n", late)
end)

it("two hundred processes that ask at once are served in turn, the dead left out", function()
  local AT_ONCE <const> = os.getenv "ASAN_OPTIONS" and 40 or 200 -- slow ones are fewer
  start_simulator()
  command.run({ command.moontap, "sim", "fault", "clear" }, { env = env })
  local line = [[for i in $(seq %d); do "$0" run --speed %d -e "$1" & pids+=($!); done
sleep 0.5; kill -9 "${pids[3]}" "${pids[50]}"
ok=0; for pid in "${pids[@]}"; do wait "$pid" && ok=$((ok + 1)); done; echo $ok]]
  local status, out, err = command.run({ "bash", "-c", line:format(AT_ONCE, SPEED), command.moontap,
    "assert(pcaps.create({ type = 'simple', time_limit = 60, packet_limit = 5 }, "
    .. "{ deadline = 200 }))" }, { cwd = dir, env = env, limit = 300 })
  assert.equal(0, status, err)
  local ok = tonumber(out)
  assert.is_true(ok >= AT_ONCE - 2, err)
  local caps = listed()
  assert.is_true(#caps >= ok and #caps <= AT_ONCE)
  assert.equal("0\n", query "SELECT count(*) FROM intents WHERE settled IS NULL")
  -- in the order of asking
  assert.equal("0\n", query("SELECT count(*) FROM intents a JOIN intents b ON b.id = a.id + 1 "
    .. "WHERE b.sent < a.sent"))
  assert.equal("0\n", query "SELECT count(*) FROM intents WHERE attempts > 1")
end)
