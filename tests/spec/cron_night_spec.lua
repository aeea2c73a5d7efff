-- outside
-- The daemon in the nights in which the clock jumps.

local clock = require "moontap.clock"
local command = require "support.command"
local daemons = require "support.daemon"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

describe("a night in which the clock jumps", function()
  -- The calendar is moved and nothing else: libfaketime also moves timers of the boot clock, which
  -- then never come.
  local SHIFT <const> = [[
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int bad = (int)syscall(SYS_clock_gettime, id, ts);
    const char *by = getenv("SHIFTED_BY");
    if (bad == 0 && id == CLOCK_REALTIME && by != NULL) ts->tv_sec += atol(by);
    return bad;
}
]]

  local function fired(name)
    local times = {}
    for _, due in ipairs(place:list("history", "--json", name)) do
      if due.verdict == "fired" then table.insert(times, 1, clock.format(due.nominal)) end
    end
    return times
  end

  local function command_ok(...)
    assert.equal(0, (command.run { ... }))
  end

  -- Lets the daemon live from shortly before that moment until it has fired these then. Where it
  -- took longer to start than there was time, it has another try with more.
  local function live_through(moment, names)
    local due, lead, state = assert(clock.parse(moment)), 2, place.dir .. "/state"
    command_ok("mkdir", "-p", state)
    command_ok("cp", "-a", state, place.dir .. "/before")
    while true do
      local by = (due - lead - clock.now()) // 1 | 0
      place:start { env = { LD_PRELOAD = place.dir .. "/shift.so", SHIFTED_BY = tostring(by),
        ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0" } }
      if clock.now() + by < due then break end
      place:kill()
      command_ok("rm", "-r", state)
      command_ok("cp", "-a", place.dir .. "/before", state)
      lead = lead * 2
    end
    command_ok("rm", "-r", place.dir .. "/before")
    for _, name in ipairs(names) do
      place:await(name .. " at " .. moment, function()
        local last = fired(name)
        return last[#last] == moment
      end)
    end
    place:stop()
  end

  before_each(function()
    place:write("shift.c", SHIFT)
    assert.equal(0, (command.run { "cc", "-shared", "-fPIC", "-O1", "-o", place.dir .. "/shift.so",
      place.dir .. "/shift.c" }))
    place:playbook("fixed", "", 'tz = "Europe/Berlin",', "30 2 * * *")
    place:playbook("star", "", 'tz = "Europe/Berlin",', "*/30 * * * *")
  end)

  it("fires once what was due in the hour that is left out", function()
    live_through("2026-03-29T01:00:00Z", { "fixed", "star" })
    assert.same({ "2026-03-29T01:00:00Z" }, fired "fixed")
    assert.same({ "2026-03-29T01:00:00Z" }, fired "star")
    live_through("2026-03-29T01:30:00Z", { "star" })
    assert.same({ "2026-03-29T01:00:00Z" }, fired "fixed")
    assert.same({ "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z" }, fired "star")
  end)

  it("fires once what comes twice, and each time what has a star", function()
    live_through("2026-10-25T00:30:00Z", { "fixed", "star" })
    live_through("2026-10-25T01:30:00Z", { "star" })
    assert.same({ "2026-10-25T00:30:00Z" }, fired "fixed")
    assert.same({ "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z" },
      fired "star")
  end)
end)
