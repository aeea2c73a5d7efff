-- Schedules as scripts see them: the vectors, refusals, options, zones, and files of zones that
-- change under a schedule.

local clock = require "moontap.clock"
local command = require "support.command"
local cron = require "moontap.cron"
local errors = require "moontap.errors"
local tempdir = require "support.tempdir"

local function read_lines(name)
  local text = assert(command.read_file(("%s/tests/vectors/%s"):format(command.source, name)))
  return text:gmatch "([^\n]*)\n"
end

local function parse(...)
  local schedule, err = cron.parse(...)
  return assert(schedule, tostring(err))
end

local function format_all(times)
  local out = {}
  for i, t in ipairs(times) do out[i] = clock.format(t) end
  return table.concat(out, " ")
end

local function at(text)
  return assert(clock.parse(text))
end

describe("the vectors", function()
  for line in read_lines "cron.tsv" do
    local id, expr, tz, from, n, expected =
      line:match "^(%w+)\t([^\t]*)\t(%S+)\t(%S+)\t(%d+)\t([^\t]*)"
    if id then
      it(("%s: %s in %s"):format(id, expr, tz), function()
        local schedule, err = cron.parse(expr, tz)
        if expected == "ERR" or expected == "NEVER" then
          assert.is_nil(schedule)
          assert.is_string(err.field)
          return
        end
        local times = assert(schedule, tostring(err)):next(at(from), tonumber(n))
        assert.equal(expected, format_all(times))
        for i = #times, 2, -1 do assert.equal(times[i - 1], schedule:prev(times[i])) end
        local t = at(from)
        for i = 1, #times do
          t = schedule:next(t)
          assert.equal(times[i], t)
        end
      end)
    end
  end

  it("refuse what they say", function()
    local count = 0
    for line in read_lines "cron-reject.txt" do
      local schedule, err = cron.parse(line)
      assert.is_nil(schedule, line)
      assert.is_true(errors.is(err, "usage"))
      assert.is_string(err.field)
      count = count + 1
    end
    assert.equal(18, count)
  end)
end)

describe("a schedule", function()
  it("says when it is next, strictly after a time", function()
    local s = parse "*/15 * * * *"
    local t = at "2026-01-01T00:00:00Z"
    assert.equal(t + 900, s:next(t))
    assert.equal("integer", math.type(s:next(t)))
    assert.equal(t, s:next(t - 1))
    assert.equal(t + 900, s:next(t + 0.5))
    assert.equal(t + 900, s:next(t + 899.9))
    assert.same({ t + 900, t + 1800 }, s:next(t, 2))
    for _, n in ipairs { 1, 127, 128, 129, 256, 1000 } do
      local list = s:next(t, n)
      assert.equal(n, #list)
      assert.equal(t + 900 * n, list[n])
    end
  end)

  it("says when it was last, strictly before a time", function()
    local s = parse "*/15 * * * *"
    local t = at "2026-01-01T00:00:00Z"
    assert.equal(t - 900, s:prev(t))
    assert.equal(t, s:prev(t + 0.5))
    assert.equal(t, s:prev(t + 1))
  end)

  it("has an end, as years do", function()
    local s = parse "0 0 1 1 *"
    assert.is_nil(s:next(at "9999-06-01T00:00:00Z"))
    assert.same({}, s:next(at "9999-06-01T00:00:00Z", 5))
    assert.equal(3, #s:next(at "9996-06-01T00:00:00Z", 5))
    assert.is_nil(s:prev(at "0001-01-01T00:00:00Z"))
    assert.equal(at "0001-01-01T00:00:00Z", s:prev(at "0001-01-01T00:00:01Z"))
  end)

  it("refuses times that are none", function()
    local s = parse "* * * * *"
    for _, t in ipairs { math.huge, -math.huge, 0 / 0, math.maxinteger, math.mininteger, 1e18 } do
      for _, method in ipairs { "next", "prev", "nominals" } do
        assert.error_matches(function() s[method](s, t) end, "outside the years 1 to 9999")
      end
    end
    assert.error_matches(function() s:next() end, "number expected")
    assert.error_matches(function() s:next(0, 0) end, "expected 1 to 1000000")
    assert.error_matches(function() s:next(0, 1000001) end, "expected 1 to 1000000")
    assert.error_matches(function() s.next(io.stdout, 0) end, "moontap.schedule expected")
  end)

  it("is described", function()
    assert.equal("at 02:30 on Monday to Friday (Europe/Berlin)",
      parse("30 2 * * mon-fri", "Europe/Berlin"):describe())
    assert.equal("every 15 minutes (UTC)", parse "*/15 * * * *":describe())
    assert.equal("every 15 minutes (UTC)",
      parse("*/15 * * * *", "Asia/Tokyo", { dst = "utc" }):describe())
    assert.equal("every 1m30s, counted from 1970-01-01T00:00:00Z", parse "@every 90s":describe())
    assert.equal("schedule (0 0 * * 0, UTC)", tostring(parse "@weekly"))
  end)

  it("warns", function()
    assert.same({}, parse "*/15 * * * *":warnings())
    local warnings = parse "*/7 0 */2 * mon":warnings()
    assert.equal(3, #warnings)
    assert.matches("^minute: ", warnings[1])
    assert.matches("^dom: ", warnings[2])
    assert.matches("^dom and dow: ", warnings[3])
  end)

  it("lists the local times that collapse into one fire", function()
    local s = parse("*/15 2 * * *", "America/New_York")
    assert.same({}, s:nominals(at "2026-03-08T07:00:00Z")) -- a star: not made up for
    s = parse("0,30 2 * * *", "America/New_York")
    local names, count = s:nominals(at "2026-03-08T07:00:00Z")
    assert.same({ "2026-03-08T02:00:00", "2026-03-08T02:30:00" }, names)
    assert.equal(2, count)
    assert.same({ "2026-03-09T02:00:00" }, s:nominals(at "2026-03-09T06:00:00Z"))
    assert.same({}, s:nominals(at "2026-03-09T06:00:01Z"))
    s = parse("0-59 0-23 30 12 *", "Pacific/Apia") -- a whole day
    names, count = s:nominals(at "2011-12-30T10:00:00Z")
    assert.equal(100, #names)
    assert.equal(1440, count)
  end)
end)

describe("a schedule whose state ends", function()
  it("is closed for finalizers that come later", function()
    local status, out, err = command.run { command.moontap, "run", "-e", [[
      local s
      local late = setmetatable({}, { __gc = function() print(pcall(s.next, s, 0)) end })
      s = assert(require "moontap.cron".parse("@daily", "Europe/Berlin"))
      local early = setmetatable({}, { __gc = function() print(pcall(s.next, s, 0)) end })
      print(late ~= early)
    ]] }
    assert.equal(0, status, err)
    assert.equal("true\ntrue\t82800\nfalse\tthe schedule was closed\n", out)
  end)

  it("goes on while a finalizer asks too", function()
    local s = parse "* * * * *"
    local calls = 0
    for _ = 1, 50 do
      setmetatable({}, { __gc = function() calls = calls + #s:next(0, 200) end })
    end
    assert.equal(20000, #s:next(0, 20000))
    collectgarbage()
    assert.equal(10000, calls)
  end)
end)

describe("options", function()
  it("say what happens where the clock jumps", function()
    local from = at "2026-03-08T06:00:00Z"
    local function first(dst)
      return clock.format(parse("30 2 * * *", "America/New_York", { dst = dst }):next(from))
    end
    assert.equal("2026-03-08T07:00:00Z", first(nil))
    assert.equal("2026-03-08T07:00:00Z", first "cron")
    assert.equal("2026-03-09T06:30:00Z", first "skip")
    assert.equal("2026-03-09T02:30:00Z", first "utc")
  end)

  it("draw from a name, the same each time", function()
    local function resolve(name)
      return parse("H H(1-4) H * *", nil, { name = name }):resolved()
    end
    assert.equal(resolve "nightly", resolve "nightly")
    assert.not_equal(resolve "nightly", resolve "hourly")
    local s = parse("H H(1-4) H * *", nil, { name = "nightly" })
    assert.same(parse(s:resolved()):next(0, 10), s:next(0, 10))
    local _, err = cron.parse "0 H * * *"
    assert.equal("hour", err.field)
    assert.matches("option name", err.hint)
  end)

  it("draw from a seed, the same each time", function()
    local function resolve(seed)
      return parse("~ 1~5 * * *", nil, { seed = seed }):resolved()
    end
    local seen, count = {}, 0
    for seed = 1, 100 do
      assert.equal(resolve(seed), resolve(seed))
      count = count + (seen[resolve(seed)] and 0 or 1)
      seen[resolve(seed)] = true
    end
    assert.is_true(count > 70)
    local _, err = cron.parse "~ * * * *"
    assert.equal("minute", err.field)
    assert.matches("option seed", err.hint)
  end)

  it("move @every", function()
    assert.same({ 90, 180 }, parse "@every 90s":next(0, 2))
    assert.same({ 20, 110 }, parse("@every 90s", nil, { phase = "20s" }):next(0, 2))
    assert.same({ 20, 110 }, parse("@every 90s", nil, { phase = 110 }):next(0, 2))
    assert.equal(-70, parse("@every 90s", nil, { phase = 20 }):prev(0))
  end)

  it("are refused when nobody knows them", function()
    local function refused(pattern, ...)
      local args = table.pack(...)
      local ok, err = pcall(function() cron.parse(table.unpack(args, 1, args.n)) end)
      assert.is_false(ok)
      assert.matches("^[^:]*cron_spec.lua:%d+: cron.parse: " .. pattern, tostring(err))
    end
    refused('unknown option "sed"; did you mean "seed"', "* * * * *", nil, { sed = 1 })
    refused('unknown option "1"', "* * * * *", nil, { "utc" })
    refused('dst: expected "cron", "skip" or "utc", got local', "* * * * *", nil,
      { dst = "local" })
    refused("name: expected a string", "* * * * *", nil, { name = 5 })
    refused("seed: expected an integer", "* * * * *", nil, { seed = 1.5 })
    refused("phase: expected a length", "@every 90s", nil, { phase = "1.5s" })
    refused("phase: expected a length", "@every 90s", nil, { phase = -1 })
    refused("expected a table of options, got string", "* * * * *", nil, "utc")
    refused("expected the name of a zone, got number", "* * * * *", 5)
    refused("expected an expression, got nil", nil)
  end)
end)

describe("a zone", function()
  it("is UTC unless given, as an argument or in front", function()
    assert.equal("UTC", parse "0 9 * * *":zone())
    assert.equal("Europe/Berlin", parse("0 9 * * *", "Europe/Berlin"):zone())
    assert.equal("Europe/Berlin", parse "CRON_TZ=Europe/Berlin 0 9 * * *":zone())
    assert.equal("Europe/Berlin", parse "TZ=Europe/Berlin @daily":zone())
    assert.equal("Europe/Berlin", parse("TZ=Europe/Berlin @daily", "Europe/Berlin"):zone())
    local _, err = cron.parse("TZ=Europe/Berlin @daily", "UTC")
    assert.equal("tz", err.field)
  end)

  it("is refused when there is none of that name, or it is a path", function()
    for _, name in ipairs { "Europe/Wien", "", "/etc/passwd", "../../../etc/passwd", "localtime",
                            "right/UTC", "posix/UTC", "Europe/../UTC", "UTC\0", "tzdata.zi",
                            ("x"):rep(5000) } do
      local s, err = cron.parse("* * * * *", name)
      assert.is_nil(s, name)
      assert.is_true(errors.is(err, "usage"))
      assert.equal("tz", err.field)
      assert.is_string(err.hint)
    end
    local _, err = cron.parse("* * * * *", "europe/berlin")
    assert.equal("did you mean Europe/Berlin?", err.hint)
    assert.equal("tz: no time zone is called europe/berlin; did you mean Europe/Berlin?",
      tostring(err))
  end)

  it("follows its file, which TZDIR finds", function()
    local script = [[
      local cron, sys = require "moontap.cron", require "moontap.native.sys"
      local path = arg[1] .. "/Here"
      local function put(name)
        assert(sys.write_file(path, assert(sys.read_file("/usr/share/zoneinfo/" .. name))))
      end
      put "Asia/Tokyo"
      local s = assert(cron.parse("0 9 * * *", "Here"))
      print(s:next(0) // 3600)
      put "Asia/Kolkata"
      moontap.sleep(2)
      print(s:next(0) // 1800)
      sys.remove(path)
      moontap.sleep(2)
      print(s:next(0) // 1800, s:warnings()[1])
      put "Asia/Tokyo"
      moontap.sleep(2)
      print(s:next(0) // 3600, #s:warnings())
      print(cron.parse("0 9 * * *", "Asia/Tokyo") == nil) -- not in this directory
    ]]
    tempdir.with(function(dir)
      local status, out, err = command.run(
        { command.moontap, "run", "--sim", "--virtual-time", "-e", script, dir },
        { env = { TZDIR = dir } })
      assert.equal(0, status, err)
      assert.equal("24\n7\n7\ttz: the file of Here is gone or broken; what was read before holds\n"
        .. "24\t0\ntrue\n", out)
    end)
  end)
end)
