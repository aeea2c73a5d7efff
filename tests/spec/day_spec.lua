-- outside
-- A day of twenty scripts in five processes on one account, with faults in one of twenty exchanges
-- and a process killed every hour. The simulator's time is compressed; its list and the state say
-- afterwards whether anything was lost, doubled, too early or left out.
-- Longer: MOONTAP_DAYS=10 tools/test spec.day; another course of things: MOONTAP_SEED=7.
-- Where everything is slow, under a sanitizer or an aggressive collector, it is a part of a day.

local clock = require "moontap.clock"
local command = require "support.command"
local fast_sim = require "support.fast_sim"
local tempdir = require "support.tempdir"

local SPEED <const> = 1440 -- a day in a minute
local IS_SLOW <const> = (os.getenv "ASAN_OPTIONS" or os.getenv "MOONTAP_GC_STRESS") ~= nil
local DAYS <const> = tonumber(os.getenv "MOONTAP_DAYS") or IS_SLOW and 0.25 or 1
local SEED <const> = tonumber(os.getenv "MOONTAP_SEED") or 1
local PROCESSES <const> = 5
local SCRIPTS <const> = 4 -- of a process
local HOUR <const> = 3600 / SPEED
local FAULTS <const> = { "create:cut_before,rate=0.01", "create:cut_after,rate=0.01",
  "create:error_html,done=true,rate=0.01", "create:cut_middle,rate=0.01",
  "create:error_json,rate=0.01", "get:error_html,rate=0.05", "list:cut_before,rate=0.05",
  "download:cut_middle,rate=0.05" }

-- Each create has ports of its own, by which its capture is known: process and script, number.
local SCRIPT <const> = [[
local process, ends = tonumber(arg[1]), tonumber(arg[2])
local clock = require "moontap.clock"
math.randomseed(process)
local function work(script)
  local n = 0
  while clock.now() < ends do
    n = n + 1
    local cap = pcaps.create({ type = "simple", time_limit = 60, packet_limit = 5,
      filter_v1 = { destination_port = n, source_port = process * 8 + script } },
      { deadline = 120, timeout = 5, why = process .. "." .. script .. "." .. n })
    if cap and cap:wait { timeout = 5 } then cap:download() end
    moontap.sleep(math.random() * 20 * 60 / %d)
  end
end
for script = 1, %d do moontap.spawn(function() work(script) end) end
]]

local dir, sim

before_each(function()
  dir = tempdir.new()
  local faults = {}
  for _, fault in ipairs(FAULTS) do table.move({ "--fault", fault }, 1, 2, #faults + 1, faults) end
  sim = fast_sim.start(dir, SPEED, "--seed", tostring(SEED), table.unpack(faults))
end)
after_each(function()
  sim:stop()
  tempdir.remove(dir)
end)

-- A process of scripts; each one started gets a number of its own.
local started = 0

local function start(ends)
  started = started + 1
  local process = command.start({ command.moontap, "run", "--speed", tostring(SPEED), "-e",
    SCRIPT:format(SPEED, SCRIPTS), "--", tostring(started), tostring(ends) },
    { cwd = dir, env = sim.env, limit = DAYS * 24 * HOUR + 600 })
  process.number, process.began = started, clock.now()
  return process
end

-- Lets `days` go by; returns the numbers of the processes that had hours to live, and how many were
-- killed.
local function live(days)
  math.randomseed(SEED)
  local ends = clock.now() + days * 24 * HOUR
  local processes, survivors, killed = {}, {}, 0
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
    local status, _, err = process.wait()
    assert.equal(0, status, err)
    if process.began < ends - 3 * HOUR then survivors[#survivors + 1] = process.number end
  end
  return survivors, killed
end

-- A create that was killed a moment ago may still arrive.
local function list_settled()
  local caps
  command.poll(function()
    caps = sim:list_all()
    return sim:query "SELECT count(*) FROM intents WHERE settled IS NULL" == "0\n"
  end, "an outcome of each create")
  return caps
end

local function is_none(sql)
  assert.equal("0\n", sim:query("SELECT count(*) FROM " .. sql))
end

local function check_outcomes()
  is_none [[(SELECT subject, count(*) AS n FROM audit
    WHERE event IN ('create.done', 'create.adopted', 'create.unknown', 'create.refused',
      'create.abandoned', 'create.shared') GROUP BY subject HAVING n <> 1)]]
  is_none [[intents i WHERE NOT EXISTS (SELECT 1 FROM audit
    WHERE subject = 'intent ' || i.id AND event = 'create.' || i.state)]]
  assert.equal("ok\n", sim:query "PRAGMA integrity_check")
  assert.equal(0, (command.run({ command.moontap, "audit", "verify" }, { env = sim.env })))
end

-- None was opened twice, and each that was opened is known.
local function check_captures(caps)
  local seen, known = {}, {}
  for id in sim:query "SELECT id FROM captures WHERE intent IS NOT NULL":gmatch "%x+" do
    known[id] = true
  end
  assert.is_true(#caps >= 100 * DAYS, #caps)
  for _, cap in ipairs(caps) do
    local key = cap.filter_v1.destination_port .. " " .. cap.filter_v1.source_port
    assert.is_nil(seen[key], key)
    seen[key] = true
    assert.is_true(known[cap.id], cap.id .. " is not in the journal")
  end
end

-- Nobody who asked later was sent earlier, and each script that had the time came through.
local function check_turns(survivors)
  is_none [[(SELECT cast(substr(subject, 8) AS INTEGER) AS id, min(seq) AS first FROM audit
    WHERE event = 'create.sending' GROUP BY subject) AS sent JOIN (SELECT
    cast(substr(subject, 8) AS INTEGER) AS id, min(seq) AS first FROM audit
    WHERE event = 'create.sending' GROUP BY subject) AS later
    ON later.id > sent.id AND later.first < sent.first]]
  for _, process in ipairs(survivors) do
    for script = 1, SCRIPTS do
      local done = sim:query(([[SELECT count(*) FROM intents
        WHERE state IN ('done', 'adopted') AND why LIKE '%d.%d.%%']]):format(process, script))
      assert.is_true(tonumber(done) >= 1, ("script %d of process %d"):format(script, process))
    end
  end
  is_none "intents WHERE error_kind = 'quota'"
end

it("a day of many scripts loses nothing, doubles nothing and lets everybody through", function()
  local survivors, killed = live(DAYS)
  assert.is_true(killed >= 1)
  local caps = list_settled()
  check_outcomes()
  check_captures(caps)
  is_none "audit WHERE data LIKE '%refused: 429%'" -- none before the account allowed it
  check_turns(survivors)
end)
