-- clock: virtual
-- Due times, verdicts and runs on the virtual clock: days and months in seconds.

local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local effects = require "moontap.effects"
local engine = require "moontap.cron.engine"
local errors = require "moontap.errors"
local playbook = require "moontap.cron.playbook"
local states = require "moontap.state"
local tempdir = require "support.tempdir"

local dir, state

before_each(function()
  dir = tempdir.new()
  state = assert(states.open_at(dir))
end)
after_each(function()
  state:close()
  tempdir.remove(dir)
end)

local function make(changes)
  local data = { api = 1, on = { cron = "* * * * *" }, run = function() end }
  for key, value in pairs(changes or {}) do data[key] = value end
  local made, problems = playbook.check(data, "some.lua")
  assert.same({}, problems)
  made.version = "1"
  return made
end

-- An engine with these playbooks; `run` stands for a playbook's process.
local function start(playbooks, run)
  local one = engine.new { state = state, run = run or function() return true end }
  assert(one:set(playbooks))
  assert(one:settle())
  return one
end

-- Lets it run for so many seconds.
local function run_for(one, seconds)
  local going = moontap.spawn(function() one:run() end)
  moontap.sleep(seconds)
  one:drain(0)
  going:join()
end

local function history(name)
  local rows = assert(dues.history(state, { playbook = name, limit = 100000 }))
  local list = {}
  for i = #rows, 1, -1 do list[#list + 1] = rows[i] end
  return list
end

local function verdicts(name)
  local counts = {}
  for _, row in ipairs(history(name)) do
    local verdict = row.verdict or "none"
    counts[verdict] = (counts[verdict] or 0) + row.count
  end
  return counts
end

local function to_minute()
  moontap.sleep(60 - clock.now() % 60 - 1)
end

describe("the engine", function()
  it("fires each due time once, a week in seconds", function()
    to_minute()
    local began, fired, lag = clock.now(), 0, 0
    local one = start({ make { on = { cron = "*/10 * * * *" } } }, function(job)
      fired = fired + 1
      lag = math.max(lag, clock.now() - job.nominal)
      moontap.sleep(30)
      return true
    end)
    run_for(one, 7 * 86400)
    local rows = history()
    assert.equal(7 * 144, #rows)
    assert.equal(7 * 144, fired)
    assert.is_true(lag < 0.1)
    for i, row in ipairs(rows) do
      assert.equal("fired", row.verdict)
      assert.equal(0, row.nominal % 600)
      if i > 1 then assert.equal(600, row.nominal - rows[i - 1].nominal) end
    end
    assert.is_true(rows[1].nominal > began)
  end)

  it("spreads with jitter that is the same each time and never meets the next", function()
    local one = make { on = { cron = "* * * * *" }, jitter = "10m" }
    local list = require "moontap.cron.times".new(one, 1)
    local seen, at = {}, 0
    for _ = 1, 200 do
      local nominal = list:next(at)
      local planned = list:planned(nominal)
      assert.equal(planned, list:planned(nominal))
      assert.is_true(planned >= nominal and planned < nominal + 60)
      seen[planned - nominal] = true
      at = nominal
    end
    local n = 0
    for _ in pairs(seen) do n = n + 1 end
    assert.is_true(n > 150)
  end)

  it("skips what overlaps, and says with what", function()
    to_minute()
    run_for(start({ make() }, function() moontap.sleep(150) return true end), 10 * 60)
    local rows = history()
    assert.equal("fired", rows[1].verdict)
    assert.equal("skipped", rows[2].verdict)
    assert.matches("^overlap: run %d+ goes on$", rows[2].reason)
    assert.equal("skipped", rows[3].verdict)
    assert.equal("fired", rows[4].verdict)
  end)

  it("lets one wait with overlap = \"queue\", and more with max_queue", function()
    to_minute()
    run_for(start({ make { overlap = "queue" } }, function() moontap.sleep(150) return true end),
      6 * 60)
    local counts = verdicts()
    assert.is_true(counts.skipped >= 1)
    assert.matches("^queue: 1 wait already", history()[3].reason or history()[4].reason)
    local starts = {}
    for _, row in ipairs(assert(dues.runs(state, { limit = 100 }))) do
      table.insert(starts, 1, row.started)
    end
    assert.is_true(starts[2] - starts[1] >= 150)
    assert.is_true(starts[2] - starts[1] < 151)
  end)

  it("cancels the one before with overlap = \"cancel\"", function()
    to_minute()
    local ended = {}
    run_for(start({ make { overlap = "cancel" } }, function(job)
      local ok, err = pcall(moontap.sleep, 1000)
      ended[#ended + 1] = job.nominal
      if not ok then error(err, 0) end
      return true
    end), 5 * 60)
    assert.is_true(#ended >= 4)
    local runs = assert(dues.runs(state, { limit = 100 }))
    assert.equal("cancelled", runs[#runs].state)
    for _, row in ipairs(history()) do assert.equal("fired", row.verdict) end
  end)

  it("lets them all go with overlap = \"allow\"", function()
    to_minute()
    local most, now = 0, 0
    run_for(start({ make { overlap = "allow" } }, function()
      now = now + 1
      most = math.max(most, now)
      moontap.sleep(200)
      now = now - 1
      return true
    end), 10 * 60)
    assert.equal(4, most)
  end)

  it("leaves places to others when the runs of a playbook pile up", function()
    to_minute()
    local now, most, others = 0, 0, 0
    local piled = make { name = "piled", overlap = "allow", on = { cron = "* * * * * *" } }
    local calm = make { name = "calm", on = { cron = "* * * * *" } }
    local one = start({ piled, calm }, function(job)
      if job.playbook.name == "calm" then
        others = others + 1
        assert.is_true(clock.now() - job.planned < 1)
        return true
      end
      now = now + 1
      most = math.max(most, now)
      moontap.sleep(3600)
      now = now - 1
      return true
    end)
    run_for(one, 3 * 60)
    assert.equal(16, most) -- of 64
    assert.equal(3, others)
    assert.is_nil(verdicts "calm".skipped)
  end)

  it("lets one at a time use what both name", function()
    to_minute()
    local now, most = 0, 0
    local function work()
      now = now + 1
      most = math.max(most, now)
      moontap.sleep(20)
      now = now - 1
      return true
    end
    run_for(start({ make { name = "a", uses = { "slot" }, overlap = "queue" },
                    make { name = "b", uses = "slot", overlap = "queue" },
                    make { name = "c", uses = "slot" } }, work), 5 * 60)
    assert.equal(1, most)
    assert.equal(nil, verdicts("a").skipped)
    assert.equal(nil, verdicts("b").skipped)
    assert.matches("^mutex: slot is in use by run %d+ of [ab]$", history("c")[1].reason)
  end)

  it("tries again as a numbered attempt under the same due time", function()
    to_minute()
    local seen = {}
    run_for(start({ make { on = { cron = "0 * * * *" }, retry = { attempts = 3, base = "10s" } } },
      function(job)
        seen[#seen + 1] = job.attempt
        if job.attempt < 3 then return nil, errors.new("network", "no route") end
        return true
      end), 3600)
    assert.same({ 1, 2, 3 }, seen)
    assert.equal(1, #history())
    assert.equal(3, history()[1].attempts)
    local runs = assert(dues.runs(state, { limit = 10 }))
    assert.same({ "ok", "failed", "failed" }, { runs[1].state, runs[2].state, runs[3].state })
  end)

  it("does not try again past the next due time, and says so", function()
    to_minute()
    run_for(start({ make { retry = { attempts = 9, base = "1h", factor = 1 } } },
      function() return nil, errors.new("network", "no route") end), 10 * 60)
    local has_said = false
    for _, run in ipairs(assert(dues.runs(state, { limit = 99 }))) do
      has_said = has_said or run.error:find("the next due time comes first", 1, true) ~= nil
    end
    assert.is_true(has_said)
  end)

  it("makes up for what was missed as its playbook says", function()
    local hour = { cron = "*/5 * * * *" }
    local list = {
      make { name = "none", on = hour, catchup = "none" },
      make { name = "last", on = hour },
      make { name = "all", on = hour, overlap = "allow",
             catchup = { policy = "all", window = "1h", max = 4 } },
    }
    local one = start(list)
    run_for(one, 600)
    local before = { all = verdicts("all").fired, last = verdicts("last").fired }
    moontap.sleep(2 * 3600 + 100)
    local late = {}
    run_for(start(list, function(job)
      late[job.playbook.name] = (late[job.playbook.name] or 0) + (job.late_by > 10 and 1 or 0)
      return true
    end), 60)
    assert.equal(nil, late.none)
    assert.equal(1, late.last)
    assert.equal(4, late.all)
    assert.equal(before.all + 4, verdicts("all").fired)
    for _, name in ipairs { "none", "last", "all" } do
      local rows = history(name)
      for i = 2, #rows do assert.equal(300, rows[i].nominal - rows[i - 1].nominal, name) end
    end
    assert.matches("catchup is \"none\"", history("none")[#history("none")].reason)
    assert.matches("catch%-up window", history("all")[4].reason)
  end)

  it("keeps a verdict for a year of seconds that were missed", function()
    local list = { make { on = { cron = "* * * * * *" } } }
    run_for(start(list), 5)
    moontap.sleep(40000)
    run_for(start(list), 2)
    local rows, at = history(), nil
    local total = 0
    for _, row in ipairs(rows) do
      if at then assert.equal(at + 1, row.nominal) end
      at = row.through or row.nominal
      total = total + row.count
    end
    assert.is_true(total >= 40000)
    assert.is_true(#rows < 5000)
  end)

  it("counts from now when a schedule changes, and moves nothing when it does not", function()
    local one = start { make { on = { cron = "0 * * * *" } } }
    run_for(one, 2 * 3600)
    assert.equal(2, #history())
    moontap.sleep(3 * 3600)
    run_for(start { make { on = { cron = "30 * * * *" } } }, 60)
    assert.equal(2, #history())
    run_for(start { make { on = { cron = "30 * * * *" }, timeout = "1m" } }, 3600)
    assert.equal(3, #history())
  end)

  it("reloads as a whole: what did not change keeps its time, what is running its code", function()
    to_minute()
    local versions = {}
    local one = start({ make { name = "a", jitter = "30s" }, make { name = "gone" } },
      function(job)
        versions[#versions + 1] = job.playbook.version
        return true
      end)
    local going = moontap.spawn(function() one:run() end)
    moontap.sleep(90)
    local _, planned = one:next_of "a"
    local changed = make { name = "a", jitter = "30s" }
    changed.version = "2"
    assert(one:set { changed, make { name = "new" } })
    assert.equal(planned, select(2, one:next_of "a"))
    assert.is_nil(one:next_of "gone")
    moontap.sleep(120)
    one:drain(0)
    going:join()
    assert.equal("1", versions[1])
    assert.truthy(table.concat(versions, " "):find("2", 1, true))
    assert.is_true(#history("new") >= 1)
    assert.is_true(#history("gone") <= 2)
  end)

  it("gives a paused playbook's due times their verdict", function()
    to_minute()
    local one = start { make() }
    assert(dues.pause(state, "some", "until Monday"))
    run_for(one, 180)
    for _, row in ipairs(history()) do
      assert.equal("skipped", row.verdict)
      assert.equal("paused: until Monday", row.reason)
    end
    assert.is_true(#history() >= 2)
    assert.is_true(assert(dues.resume(state, "some", "done")))
    run_for(start { make() }, 120)
    assert.equal("fired", history()[#history()].verdict)
  end)

  it("runs what is asked for beside the schedule, also while paused", function()
    local jobs = {}
    assert(dues.pause(state, "some", "quiet"))
    local one = start({ make { on = { cron = "0 0 1 1 *" } } }, function(job)
      jobs[#jobs + 1] = job.trigger
      return true
    end)
    assert(dues.trigger(state, "some"))
    run_for(one, 10)
    assert.same({ "manual" }, jobs)
  end)

  it("pauses a playbook that the API forbids something", function()
    to_minute()
    run_for(start({ make() }, function(job)
      job.forbidden = errors.new("api", "no permission", { status = 403 })
      return nil, job.forbidden
    end), 180)
    assert.matches("^403: no permission", assert(dues.pauses(state)).some.note)
    assert.equal("skipped", history()[2].verdict)
  end)

  it("calls runs lost whose process died, and tries them again if they say so", function()
    for _, on_lost in ipairs { "skip", "retry" } do
      local name = "with-" .. on_lost
      local one = make { name = name, on = { cron = "0 0 1 1 *" }, on_lost = on_lost }
      assert(dues.open_cursors(state, { { playbook = name, fingerprint = "x", seed = 1 } }))
      local out = assert(dues.decide(state, { { playbook = one, nominal = clock.now() // 1,
        planned = clock.now() } }))
      assert.equal("fired", out[1].verdict)
      assert(state.db:run("UPDATE runs SET owner = 'dead' WHERE id = ?", out[1].run))
      local attempts = {}
      run_for(start({ one }, function(job)
        attempts[#attempts + 1] = job.attempt
        return true
      end), 5)
      local rows = history(name)
      assert.equal(on_lost == "retry" and "fired" or "lost", rows[1].verdict)
      assert.same(on_lost == "retry" and { 2 } or {}, attempts)
    end
    assert.equal(0, state.db:row("SELECT count(*) AS n FROM mutexes").n)
  end)

  it("never starts a due time twice, whoever decides", function()
    local one = make()
    assert(dues.open_cursors(state, { { playbook = "some", fingerprint = "x", seed = 1 } }))
    local item = { playbook = one, nominal = 600, planned = 600 }
    assert.equal("fired", assert(dues.decide(state, { item }))[1].verdict)
    assert.is_true(assert(dues.decide(state, { item }))[1].is_known)
    assert.equal(1, #history())
  end)

  it("takes a clock that is set forward for time away, and one set back for nothing", function()
    to_minute()
    local offset = 0
    local undo = effects.wrap("time.now", function(next) return next() + offset end)
    local one = start { make { on = { cron = "*/5 * * * *" } } }
    local going = moontap.spawn(function() one:run() end)
    moontap.sleep(700)
    local fired = verdicts().fired
    offset = 8 * 3600
    one:wake()
    moontap.sleep(1)
    local counts = verdicts()
    assert.equal(fired + 1, counts.fired)
    assert.is_true(counts.missed >= 90)
    offset = 0
    one:wake()
    moontap.sleep(700)
    one:drain(0)
    going:join()
    local nominals = {}
    for _, row in ipairs(history()) do
      assert.is_nil(nominals[row.nominal])
      nominals[row.nominal] = true
    end
    local events = {}
    for _, row in ipairs(assert(dues.happenings(state, 10))) do
      table.insert(events, 1, row.event)
    end
    assert.same({ "clock", "clock", "cursor" }, events)
    undo()
  end)

  it("keeps a thousand playbooks, hundreds of them due in one second", function()
    to_minute()
    local list = {}
    for i = 1, 1000 do
      list[i] = make { name = "p" .. i,
        on = { cron = i <= 300 and "0 13 * * *" or "H H * * *" } }
    end
    local count = 0
    local one = engine.new { state = state, runs_max = 1000, run = function()
      count = count + 1
      return true
    end }
    assert(one:set(list))
    run_for(one, 86400)
    assert.equal(1000, count)
  end)

  it("decides later what could not be written down, and once", function()
    to_minute()
    local decide, failures = dues.decide, 0
    dues.decide = function(...)
      if failures < 3 then
        failures = failures + 1
        return nil, errors.new("io", "the disk is full")
      end
      return decide(...)
    end
    local fired = {}
    local one = start({ make { on = { cron = "*/5 * * * *" }, overlap = "allow",
      catchup = { policy = "all", window = "1d", max = 100 } } }, function(job)
      assert.is_nil(fired[job.nominal])
      fired[job.nominal] = true
      return true
    end)
    run_for(one, 6 * 3600)
    dues.decide = decide
    assert.equal(3, failures)
    local rows = history()
    for i, row in ipairs(rows) do
      assert.equal("fired", row.verdict)
      if i > 1 then assert.equal(300, row.nominal - rows[i - 1].nominal) end
    end
    assert.is_true(#rows >= 70)
  end)

  it("starts what cannot be noted as started later, and notes each end in the end", function()
    to_minute()
    local real, failures, calls = { started = dues.started, ended = dues.ended }, {}, {}
    for name, fn in pairs(real) do
      failures[name], calls[name] = 0, 0
      dues[name] = function(...)
        calls[name] = calls[name] + 1
        if calls[name] % 2 == 0 and calls[name] <= 6 then
          failures[name] = failures[name] + 1
          return nil, errors.new("io", "the disk is full")
        end
        return fn(...)
      end
    end
    local seen = {}
    local one = start({ make { on = { cron = "*/5 * * * *" }, overlap = "allow" } }, function(job)
      assert.is_nil(seen[job.run])
      seen[job.run] = true
      return true
    end)
    run_for(one, 3600)
    dues.started, dues.ended = real.started, real.ended
    assert.same({ started = 3, ended = 3 }, failures)
    local rows = assert(dues.runs(state, { limit = 100 }))
    assert.equal(12, #rows)
    for _, row in ipairs(rows) do
      assert.is_true(seen[row.id])
      assert.equal("ok", row.state)
    end
  end)

  it("notes in one transaction what starts together, and what ends together", function()
    to_minute()
    local list, calls, most, now = {}, { started = 0, ended = 0 }, 0, 0
    for i = 1, 300 do list[i] = make { name = "p" .. i } end
    local real = { started = dues.started, ended = dues.ended }
    for name, fn in pairs(real) do
      dues[name] = function(...)
        calls[name] = calls[name] + 1
        return fn(...)
      end
    end
    run_for(start(list, function()
      now = now + 1
      most = math.max(most, now)
      moontap.sleep(1)
      now = now - 1
      return true
    end), 30)
    dues.started, dues.ended = real.started, real.ended
    assert.equal(64, most)
    assert.same({ ok = 300 }, (function()
      local states_seen = {}
      for _, row in ipairs(assert(dues.runs(state, { limit = 1000 }))) do
        states_seen[row.state] = (states_seen[row.state] or 0) + 1
      end
      return states_seen
    end)())
    assert.is_true(calls.started <= 10 and calls.ended <= 10, ("%d and %d"):format(calls.started,
      calls.ended))
  end)

  it("purges history and leaves the cursors", function()
    local one = start { make() }
    run_for(one, 6 * 3600)
    local before = assert(dues.cursor(state, "some")).cursor
    moontap.sleep(100 * 86400)
    assert(dues.purge(state))
    assert.equal(200, #history())
    assert.equal(before, assert(dues.cursor(state, "some")).cursor)
  end)
end)
