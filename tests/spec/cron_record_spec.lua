-- clock: virtual
-- What an engine makes of errors, pauses and starts; what it keeps, and for how long.

local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local engines = require "support.engine"
local errors = require "moontap.errors"
local states = require "moontap.state"
local tempdir = require "support.tempdir"

local dir, state
local make, run_for = engines.make, engines.run_for

local function start(...) return engines.start(state, ...) end

before_each(function()
  dir = tempdir.new()
  state = assert(states.open_at(dir))
end)
after_each(function()
  state:close()
  tempdir.remove(dir)
end)

describe("a retry", function()
  -- Seconds between the two attempts of a run that fails with an error of these fields.
  local function pause(fields)
    local at = {}
    local retry = { attempts = 2, base = "1s" }
    local one = start({ make { on = { cron = "0 0 1 1 *" }, retry = retry } },
      function()
        at[#at + 1] = clock.now()
        if #at > 1 then return true end
        fields = type(fields) == "function" and fields() or fields
        return nil, errors.new("quota", "not now", fields)
      end)
    assert(dues.trigger(state, "some"))
    run_for(one, 4000)
    return at[2] and at[2] - at[1]
  end

  it("waits as long as the server has asked for", function()
    local waited = pause { retry_after = "120" }
    assert.is_true(waited >= 120 and waited < 123, tostring(waited))
    waited = pause(function()
      return { retry_after = os.date("!%a, %d %b %Y %H:%M:%S GMT", (clock.now() + 300) // 1 | 0) }
    end)
    assert.is_true(waited >= 299 and waited < 303, tostring(waited))
  end)

  it("waits until the account's slot is free", function()
    local waited = pause(function() return { free_at = clock.now() + 600 } end)
    assert.is_true(waited >= 600 and waited < 603, tostring(waited))
  end)

  it("is not led astray by what a playbook makes up", function()
    for _, fields in ipairs { { free_at = 0 / 0 }, { free_at = "soon" }, { retry_after = {} },
                              { free_at = -1 }, { retry_after = "-5" } } do
      local waited = pause(fields)
      assert.is_true(waited < 3, tostring(waited))
    end
    assert.is_nil(pause { retry_after = ("9"):rep(400) })
    local runs = assert(dues.runs(state, { limit = 1 }))
    assert.is_true(runs[1].at - clock.now() <= 7 * 86400)
  end)
end)

describe("a pause", function()
  local HOURLY <const> = { on = { cron = "0 * * * *" },
                           catchup = { policy = "all", window = "1d" } }

  -- The verdicts of a pause of five hours, and how many runs there were when it had ended.
  local function pause(changes, while_paused)
    local fields = {}
    for _, source in ipairs { HOURLY, changes } do
      for key, value in pairs(source) do fields[key] = value end
    end
    moontap.sleep(3600 - clock.now() % 3600 - 1)
    local runs = 0
    local function count() runs = runs + 1 return true end
    local one = start({ make(fields) }, count)
    run_for(one, 10)
    assert(dues.pause(state, "some", "a rest"))
    if not while_paused then run_for(start({ make(fields) }, count), 5 * 3600) end
    if while_paused then moontap.sleep(5 * 3600) end
    assert(dues.resume(state, "some"))
    run_for(start({ make(fields) }, count), 10)
    local counts = {}
    for _, row in ipairs(engines.history(state)) do
      counts[row.verdict] = (counts[row.verdict] or 0) + row.count
    end
    return counts, runs
  end

  it("is not made up for", function()
    local counts, runs = pause {}
    assert.same({ fired = 1, skipped = 5 }, counts)
    assert.equal(1, runs)
  end)

  it("is not made up for where no daemon ran meanwhile", function()
    assert.same({ fired = 1 }, (pause({}, true)))
  end)

  it("is made up for with catchup_on_resume, as time away is", function()
    local counts, runs = pause { catchup_on_resume = true, overlap = "allow" }
    assert.same({ fired = 6 }, counts)
    assert.equal(6, runs)
  end)

  it("is made up for likewise where no daemon ran meanwhile, within bounds", function()
    assert.same({ fired = 4, missed = 2 }, (pause({ catchup_on_resume = true, overlap = "allow",
      catchup = { policy = "all", window = "1d", max = 2 } }, true)))
  end)

  it("ends while the engine runs", function()
    moontap.sleep(3600 - clock.now() % 3600 - 1)
    local one = start { make { on = { cron = "0 * * * *" }, catchup_on_resume = true } }
    local going = moontap.spawn(one.run, one)
    assert(dues.pause(state, "some", "a rest"))
    moontap.sleep(1800)
    assert.same({}, engines.history(state))
    assert(dues.resume(state, "some"))
    one.is_dirty = true -- another process has written
    one:wake()
    moontap.sleep(1)
    one:drain(0)
    going:join()
    assert.matches("made up for", engines.history(state)[1].reason)
  end)
end)

describe("on_start", function()
  it("runs once after each start of the machine, with or without a schedule", function()
    local sys, seen = require "moontap.native.sys", {}
    local function run(job)
      seen[#seen + 1] = ("%s %s"):format(job.playbook.name, job.trigger)
      return true
    end
    local function all()
      return { make { name = "both", on_start = true, on = { cron = "0 0 1 1 *" } },
               make { name = "off", on_start = true, enabled = false },
               make { name = "only", on_start = true, on = {} } }
    end
    run_for(start(all(), run), 10)
    table.sort(seen)
    assert.same({ "both start", "only start" }, seen)
    run_for(start(all(), run), 10)
    assert.equal(2, #seen)
    local boot_id = sys.boot_id
    finally(function() sys.boot_id = boot_id end)
    sys.boot_id = function() return "another" end
    run_for(start(all(), run), 10)
    assert.equal(4, #seen)
    sys.boot_id = boot_id
    run_for(start(all(), run), 10)
    assert.equal(6, #seen)
    assert.equal("the machine has started", engines.history(state, "only")[1].reason)
  end)

  it("is what @reboot is refused for, and a trigger", function()
    local playbook = require "moontap.cron.playbook"
    local function problems(data)
      data.api, data.run = 1, function() end
      local _, list = playbook.check(data, "some.lua")
      return list
    end
    assert.matches("on_start = true", problems({ on = { cron = "@reboot" } })[1].message, 1, true)
    assert.same({}, problems { on_start = true })
    assert.equal("on", problems({ on_start = false })[1].path)
    assert.equal("on_start", problems({ on_start = "yes", on = { cron = "@daily" } })[1].path)
  end)
end)

describe("logs", function()
  it("are kept up to a size, those of failures longest", function()
    local logs, sys = require "moontap.cron.logs", require "moontap.native.sys"
    local runlog = require "moontap.cron.runlog"
    local kept = logs.new(state, 10000)
    local one = engines.start(state, { make {} }, function(job)
      local lines = runlog.new(dir, job)
      lines:write(("x"):rep(900))
      lines:close()
      kept:added(job.log)
      if job.run <= 4 then return nil, errors.new("script", "bad luck") end
      return true
    end, { log_of = function(run) return runlog.path(dir, run) end })
    run_for(one, 30 * 60)
    local runs, names = assert(dues.runs(state, { limit = 100 })), {}
    for _, run in ipairs(runs) do
      assert.equal(run.log ~= "", sys.stat(runlog.path(dir, run.id)) ~= nil)
      if run.log ~= "" then table.insert(names, 1, run.id) end
      assert.equal(run.log ~= "", runlog.read(dir, run) ~= nil)
    end
    assert.equal(30, #runs)
    assert.is_true(kept:measure() <= 10000)
    assert.same({ 1, 2, 3, 4, 25, 26, 27, 28, 29, 30 }, names)
  end)
end)
