-- outside
-- The night in which clocks are put back, and the one in which they go ahead, as one daemon lives
-- through each of them. Under libfaketime the clock goes on as it should, and jumps from shortly
-- before one due time to shortly before the next, as if the machine had slept meanwhile. Other
-- specs have the corners.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local LIBRARY <const> = select(2, command.run { "sh", "-c",
  "ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 2>/dev/null" })
  :match "[^\n]+"

-- Where the clock jumps to, and what is due soon after, in the calendar of UTC.
local JUMPS <const> = { "00:29:57", "00:59:57", "01:29:57", "01:59:57" }
local NIGHTS <const> = {
  ["2026-10-25"] = { { "00:30 fixed", "00:30 wild" }, { "01:00 wild" }, { "01:30 wild" },
                     { "02:00 wild" } },
  ["2026-03-29"] = { { "00:30 wild" }, { "01:00 fixed", "01:00 wild" }, { "01:30 wild" },
                     { "02:00 wild" } },
}

describe("a night of the changed clock", function()
  local dir, nights

  before_each(function() dir, nights = tempdir.new(), {} end)
  after_each(function()
    for _, night in pairs(nights) do night.process.stop() end
    tempdir.remove(dir)
  end)

  local function write(name, text)
    local f <close> = assert(io.open(dir .. "/" .. name, "w"))
    f:write(text)
  end

  local function playbook(name, expression)
    -- a machine that stands still for a while makes it late, not wrong
    write(("pb/%s.lua"):format(name), ("return { api = 1, on = { cron = %q }, catchup = 'all', "
      .. "tz = 'Europe/Vienna', overlap = 'queue', max_queue = 9, run = function() end }")
      :format(expression))
  end

  local function set_clock(day, time)
    write(day .. ".new", ("@%s %s\n"):format(day, time))
    assert(os.rename(("%s/%s.new"):format(dir, day), ("%s/%s.clock"):format(dir, day)))
  end

  local function moontap(...)
    local _, out = command.run({ command.moontap, ... }, { cwd = dir })
    return out
  end

  local function begin(day)
    local night = { state = dir .. "/state-" .. day }
    set_clock(day, "00:20:00")
    night.process = command.start({ command.moontap, "cron", "--state", night.state, "pb" }, {
      cwd = dir, env = { TZ = "UTC", LD_PRELOAD = LIBRARY, FAKETIME_NO_CACHE = "1",
        FAKETIME_TIMESTAMP_FILE = ("%s/%s.clock"):format(dir, day) } })
    command.poll(function() return night.process.stderr():find "2 playbooks" end,
      "a daemon that has begun")
    return night
  end

  -- What was due so far, with what became of it.
  local function dues(night)
    local list = {}
    for i, due in ipairs(json.decode(moontap("history", "--json", "--state", night.state))) do
      list[i] = ("%s %s %s"):format(due.nominal:sub(12, 16), due.playbook,
        due.verdict)
    end
    table.sort(list)
    return list
  end

  it("fires what is fixed once, and what is not by the hour that passes", function()
    if os.getenv "ASAN_OPTIONS" then return end -- a sanitizer's library has to be the first one
    assert.is_string(LIBRARY, "the package libfaketime is missing")
    assert.is_true(os.execute("mkdir " .. dir .. "/pb"))
    playbook("fixed", "30 2 * * *")
    playbook("wild", "*/30 * * * *")
    for day in pairs(NIGHTS) do nights[day] = begin(day) end
    local expected = { ["2026-10-25"] = {}, ["2026-03-29"] = {} }
    for i, time in ipairs(JUMPS) do
      for day, night in pairs(nights) do
        set_clock(day, time)
        night.process.signal "HUP" -- the kernel's clocks stand where they stood
      end
      for day, night in pairs(nights) do
        for _, due in ipairs(NIGHTS[day][i]) do table.insert(expected[day], due .. " fired") end
        command.poll(function() return #dues(night) >= #expected[day] end, "what is due then")
        assert.same(expected[day], dues(night), day)
      end
    end
  end)
end)
