-- What is too old goes by itself. A simulator under virtual time lives in January, so what it
-- captured is older than 30 days by the real clock; another one, of its own process, lives now.

local command = require "support.command"
local hands = require "support.hands"
local json = require "moontap.json"
local sys = require "moontap.native.sys"

local place

before_each(function()
  place = hands.new()
  place:start_simulator()
end)
after_each(function() place:close() end)

local seed = 0 -- each capture has an id of its own

-- A capture of January; what it was answered with.
local function old(...)
  seed = seed + 1
  local status, out, err = command.run({ command.moontap, "capture", "--sim", "--virtual-time",
    "--state", "st", "--json", "--seed", tostring(seed), "--dst", "203.0.113.10", "--limit", "5",
    ... }, { cwd = place.dir })
  assert.equal(0, status, err)
  return json.decode(out)
end

local function exists(cap)
  return sys.lstat(place.dir .. "/" .. cap.file) ~= nil
end

-- A capture of now, beside which the old ones go; its standard error.
local function capture(env)
  for name, value in pairs(place.env) do
    if not (env or {})[name] then env = env or {} env[name] = value end
  end
  local status, out, err = command.run({ command.moontap, "capture", "--speed", hands.SPEED,
    "--state", "st", "--json", hands.with_filter("--limit", "5") }, { cwd = place.dir, env = env })
  return err, status, status == 0 and json.decode(out)
end

-- As if the last purge were of yesterday.
local function wait_a_day()
  place:query "UPDATE marks SET at = at - 86400 WHERE name = 'purging'"
end

-- Captures until a purge was done; one that was too short for it leaves it to the next.
local function capture_to_the_end()
  command.poll(function()
    capture()
    return place:query "SELECT at > 0 FROM marks WHERE name = 'purging'" == "1\n"
  end, "a whole purge")
end

local function verify()
  return (place:succeeds("audit", "verify", "--state", "st"))
end

describe("what is too old", function()
  it("goes beside a capture, once a day, and the audit says so", function()
    local one = old("--case", "INC-7")
    local err, status, young = capture()
    assert.same({ "", 0 }, { err, status })
    assert.is_false(exists(one))
    assert.is_true(exists(young))
    capture_to_the_end()
    local two = old()
    capture()
    assert.is_true(exists(two))
    wait_a_day()
    capture_to_the_end()
    assert.is_false(exists(two))
    assert.equal("2\n", place:query("SELECT count(*) FROM audit "
      .. "WHERE event = 'capture.purged' AND json_extract(data, '$.automatic') = 1"))
    verify()
  end)

  it("stays while it is held, or is kept longer", function()
    local held, kept = old(), old()
    place:succeeds("hold", "--state", "st", held.id)
    local _, err = place:succeeds("purge", "--state", "st", "--keep", "forever")
    assert.matches("kept for ever", err)
    capture()
    assert.is_true(exists(held) and exists(kept))
    place:succeeds("purge", "--state", "st", "--keep", "31d", "--dry-run")
    assert.is_true(exists(kept))
    assert.equal("0.0\n", place:query "SELECT at FROM marks WHERE name = 'keep'")
    place:succeeds("purge", "--state", "st", "--keep", "31d")
    assert.is_true(exists(held))
    assert.is_false(exists(kept))
    assert.equal("2\n", place:query("SELECT count(*) FROM audit WHERE event = 'retention.changed'"))
  end)

  it("does not fail the command when it cannot be removed", function()
    local one = old()
    place:query [[CREATE TRIGGER stuck BEFORE UPDATE OF purged ON captures
      WHEN NEW.purged IS NOT NULL BEGIN SELECT RAISE(ABORT, 'stuck'); END]]
    local err, status = capture()
    assert.equal(0, status)
    assert.matches("^moontap: [^\n]*too old[^\n]*stuck[^\n]*\n$", err)
    assert.is_true(exists(one))
    assert.equal("", (capture())) -- not before tomorrow
    place:query "DROP TRIGGER stuck"
    wait_a_day()
    capture_to_the_end()
    assert.is_false(exists(one))
  end)

  it("goes while a daemon runs", function()
    local one = old()
    assert(sys.mkdir_p(place.dir .. "/pb"))
    local daemon = command.start({ command.moontap, "cron", "--state", "st", "pb" },
      { cwd = place.dir, env = place.env })
    finally(function() daemon.stop() end)
    command.poll(function() return not exists(one) end, "the purge")
  end)

  it("is not left to nobody by a command that ends before it is done", function()
    old()
    place:query([[WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      INSERT INTO captures (account, id, seen, is_done) SELECT account, 'f' || i, seen, 1
      FROM captures, n]])
    place:succeeds("run", "--state", "st", "-e", [[
      local keeping = require "moontap.keeping"
      local task = keeping.watch(assert(require "moontap.state".current()))
      moontap.sleep(0.001)
      keeping.stop(task)
      require "moontap.state".close()]])
    assert.equal("0.0\n", place:query "SELECT at FROM marks WHERE name = 'purging'")
    capture_to_the_end()
    assert.equal("0\n", place:query("SELECT count(*) FROM captures WHERE purged IS NULL AND seen "
      .. "< 1770000000"))
  end)
end)

describe("a purge that is killed", function()
  -- What the records say is there, and nothing else, is there.
  local function check_files()
    for file in place:query("SELECT file FROM captures WHERE purged IS NULL"):gmatch "[^\n]+" do
      assert.is_truthy(sys.lstat(file), file)
    end
    for file in place:query("SELECT file FROM captures WHERE purged IS NOT NULL"):gmatch "[^\n]+" do
      assert.is_nil(sys.lstat(file), file)
    end
    verify()
  end

  it("beside a command is finished by the next day's", function()
    for _, point in ipairs { "purge_begun", "purge_marked", "purge_removed" } do
      local one = old()
      wait_a_day()
      local _, status = capture { MOONTAP_KILL_AT = point }
      assert.equal(137, status, point)
      verify()
      wait_a_day()
      capture_to_the_end()
      assert.is_false(exists(one), point)
      check_files()
    end
  end)

  it("among the records is finished by the next", function()
    local n, status = 0, 137
    while status == 137 do
      n = n + 1
      old("--why", "the reason why")
      status = command.run({ command.moontap, "purge", "--state", "st" },
        { cwd = place.dir, env = { MOONTAP_KILL_AT = "purge_piece:" .. n } })
      check_files()
    end
    assert.equal(0, status)
    assert.is_true(n > 4)
    assert.equal("0\n",
      place:query "SELECT count(*) FROM intents WHERE coalesce(params, who, why) IS NOT NULL")
    assert.equal("0\n",
      place:query "SELECT count(*) FROM audit WHERE data LIKE '%reason why%'")
  end)

  it("while a create that was lost is settled on a full disk loses neither", function()
    local one = old()
    local SIMPLE <const> = "{ type = 'simple', time_limit = 60, packet_limit = 5 }"
    local function run(prefix, code, point)
      local env = { MOONTAP_KILL_AT = point or false }
      for name, value in pairs(place.env) do env[name] = value end
      return command.run({ "bash", "-c", prefix .. ' exec "$0" run --state st --speed '
        .. hands.SPEED .. ' -e "$1"', command.moontap, code }, { cwd = place.dir, env = env })
    end
    assert.equal(137, (run("", ("pcaps.create(%s)"):format(SIMPLE), "answered")))
    local status, _, err = run("ulimit -f 1;", "assert(pcaps.list()) "
      .. ("assert(pcaps.create(%s))"):format(SIMPLE))
    assert.equal(1, status, err) -- what cannot be written down is not sent
    assert.equal("1\n", place:query "SELECT count(*) FROM intents WHERE settled IS NULL")
    assert.equal(137, (run("", "assert(pcaps.list())", "reconciled")))
    assert.equal(1, (command.run({ "bash", "-c", 'ulimit -f 1; exec "$0" purge --state st',
      command.moontap }, { cwd = place.dir })))
    check_files()
    assert.is_true(exists(one))
    capture_to_the_end()
    assert.is_false(exists(one))
    check_files()
    assert.equal("adopted\n", place:query(
      "SELECT state FROM intents WHERE account = 2 ORDER BY id LIMIT 1"))
    local listed, known = json.decode((place:succeeds("captures", "--json", "--state", "st"))), 0
    for _, cap in ipairs(listed) do
      assert.is_true(cap.ours)
      if cap.listed then known = known + 1 end
    end
    assert.is_true(known >= 2)
  end)
end)
