-- outside
-- `--tz`: commands print times in a zone, and read those without one as of that zone.

local clock = require "moontap.clock"
local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local dir

setup(function()
  dir = tempdir.new()
  local f <close> = assert(io.open(dir .. "/often.lua", "w"))
  f:write 'return { api = 1, on = { cron = "*/15 * * * *" }, run = function() end }'
end)
teardown(function() tempdir.remove(dir) end)

local function moontap(...)
  return command.run({ command.moontap, ... }, { cwd = dir })
end

local function schedule(tz, from, to)
  local status, out, err = moontap("schedule", "--json", "--tz", tz, "--from", from, "--to", to,
    "often.lua")
  return status == 0 and json.decode(out) or nil, err
end

-- How date of the system writes an instant in a zone.
local function by_date(tz, seconds)
  local _, out = command.run({ "date", "-d", ("@%d"):format(seconds), "+%FT%T%:z" },
    { env = { TZ = tz } })
  return (out:gsub("%s", ""):gsub("%+00:00$", "Z"))
end

describe("--tz", function()
  it("writes times as date of the system does", function()
    for _, case in ipairs {
      { "Europe/Vienna", "2026-10-25T00:00:00Z" }, -- the hour that comes twice
      { "America/New_York", "2026-03-08T06:30:00Z" }, -- the one that never comes
      { "Asia/Kolkata", "2026-01-01T00:00:00Z" }, { "Europe/London", "2026-03-29T00:30:00Z" },
      { "America/St_Johns", "2050-07-01T00:00:00Z" },
    } do
      local tz, from = table.unpack(case)
      local rows = assert(schedule(tz, from, clock.format(clock.parse(from) + 6000)))
      assert.equal(7, #rows)
      for i, row in ipairs { rows[1], rows[4], rows[7] } do
        local at = clock.parse(from) + (i - 1) * 2700
        assert.equal(by_date(tz, at), row.nominal)
        assert.equal(at, clock.parse(row.nominal))
      end
    end
  end)

  it("is the zone of times that have none", function()
    local rows = assert(schedule("Asia/Kolkata", "2026-01-01", "2026-01-01T00:20"))
    assert.equal("2026-01-01T00:00:00+05:30", rows[1].nominal)
    assert.equal(2, #rows)
    rows = assert(schedule("Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T00:20:00Z"))
    assert.equal("2026-01-01T05:30:00+05:30", rows[1].nominal)
  end)

  it("asks which, where a time comes twice or never", function()
    local rows, err = schedule("Europe/Vienna", "2026-10-25T02:30", "2026-10-26")
    assert.is_nil(rows)
    assert.matches("2026-10-25T02:30:00 comes twice in Europe/Vienna, as "
      .. "2026-10-25T02:30:00+02:00 and 2026-10-25T02:30:00+01:00", err, 1, true)
    rows, err = schedule("Europe/Vienna", "2026-03-29T02:30", "2026-03-30")
    assert.is_nil(rows)
    assert.matches("clocks in Europe/Vienna never show 2026-03-29T02:30:00", err, 1, true)
  end)

  it("is the zone of a window of captures", function()
    local status, out = moontap("capture", "--sim", "--virtual-time", "--dst", "203.0.113.10",
      "--from", "04:10", "--to", "04:12", "--tz", "Asia/Kolkata")
    assert.equal(0, status)
    assert.matches("window +2026%-01%-01T04:10:00%+05:30 to 2026%-01%-01T04:12:00%+05:30", out)
    status, out = moontap("capture", "--sim", "--virtual-time", "--dst", "203.0.113.10",
      "--from", "23:00Z", "--to", "23:02Z", "--tz", "Asia/Kolkata")
    assert.equal(0, status)
    assert.matches("window +2026%-01%-01T04:30:00%+05:30 to 2026%-01%-01T04:32:00%+05:30", out)
  end)

  it("refuses what is no zone before anything is done", function()
    for _, name in ipairs { "Europe/Wien", "../etc/passwd", "" } do
      local status, _, err = moontap("captures", "--sim", "--tz", name)
      assert.equal(2, status)
      assert.matches("moontap: --tz: ", err, 1, true)
    end
  end)

  it("leaves the API's own fields in JSON as they came", function()
    local status, out = moontap("captures", "--sim", "--json", "--tz", "Asia/Kolkata")
    assert.equal(0, status)
    assert.same({}, json.decode(out))
    status, out = moontap("capture", "--sim", "--virtual-time", "--json", "--dst", "203.0.113.10",
      "--tz", "Asia/Kolkata")
    assert.equal(0, status)
    assert.matches("Z$", json.decode(out).submitted)
  end)
end)
