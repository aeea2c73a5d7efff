-- The night in which clocks are put back, and the one in which they go ahead, as the daemon lives
-- through them when libfaketime makes its calendar run fast. Other specs have the corners.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local SPEED <const> = 300
local LIBRARY <const> = select(2, command.run { "sh", "-c",
  "ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 2>/dev/null" })
  :match "[^\n]+"

describe("a night of the changed clock", function()
  local dir, nights

  before_each(function() dir, nights = tempdir.new(), {} end)
  after_each(function()
    for _, night in ipairs(nights) do night.process.stop() end
    tempdir.remove(dir)
  end)

  local function playbook(name, expression)
    local f <close> = assert(io.open(("%s/pb/%s.lua"):format(dir, name), "w"))
    -- a machine that stands still for a while makes it late, not wrong
    f:write(("return { api = 1, on = { cron = %q }, tz = 'Europe/Vienna', overlap = 'queue', "
      .. "max_queue = 9, catchup = 'all', run = function() end }"):format(expression))
  end

  local function history(night)
    local _, out = command.run({ command.moontap, "history", "--json", "--state", night.state },
      { cwd = dir })
    local dues = {}
    for i, due in ipairs(json.decode(out)) do
      dues[i] = ("%s %s %s"):format(os.date("!%H:%M", due.nominal // 1 | 0), due.playbook,
        due.verdict)
    end
    table.sort(dues)
    return dues
  end

  it("fires what is fixed once, and what is not by the hour that passes", function()
    if os.getenv "ASAN_OPTIONS" then return end -- a sanitizer's library has to be the first one
    assert.is_string(LIBRARY, "the package libfaketime is missing")
    assert.is_true(os.execute("mkdir " .. dir .. "/pb"))
    playbook("fixed", "30 2 * * *")
    playbook("wild", "*/30 * * * *")
    for i, began in ipairs { "2026-10-25 00:20:00", "2026-03-29 00:20:00" } do
      local night = { state = dir .. "/state" .. i }
      night.process = command.start({ command.moontap, "cron", "--state", night.state, "pb" }, {
        cwd = dir, env = { TZ = "UTC", LD_PRELOAD = LIBRARY,
          FAKETIME = ("@%s x%d"):format(began, SPEED) } })
      nights[i] = night
    end
    for i, expected in ipairs {
      { "00:30 fixed fired", "00:30 wild fired", "01:00 wild fired", "01:30 wild fired",
        "02:00 wild fired" },
      { "00:30 wild fired", "01:00 fixed fired", "01:00 wild fired", "01:30 wild fired",
        "02:00 wild fired" },
    } do
      local dues
      command.poll(function()
        dues = history(nights[i])
        return dues[#dues] and dues[#dues] >= "02:00"
      end, "the end of the night")
      assert.same(expected, table.move(dues, 1, #expected, 1, {}))
    end
  end)
end)
