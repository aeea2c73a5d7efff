-- outside
-- The daemon where its files fail it: a disk that is full for some time, a state that is broken
-- when it starts, a zone that changes.

local clock = require "moontap.clock"
local command = require "support.command"
local daemons = require "support.daemon"
local lfs = require "lfs"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

describe("a full disk under the daemon", function()
  -- A file system of its own, which only the daemon sees: others look through its root.
  local function start_on_small_disk()
    assert(lfs.mkdir(place.dir .. "/state"))
    local line = ("mount -t tmpfs -o size=3m none '%s/state' && exec \"$@\""):format(place.dir)
    local process = place:start { prefix = { "unshare", "-rm", "bash", "-c", line, "bash" } }
    place.inside = { "nsenter", "-t", tostring(process.pid), "-U", "-m", "--preserve-credentials" }
    return process, ("/proc/%d/root%s/state"):format(process.pid, place.dir)
  end

  -- Takes all the room there is, until `is_enough`.
  local function fill(disk, is_enough)
    local f <close> = assert(io.open(disk .. "/fill", "wb"))
    f:setvbuf "no"
    place:await("what a full disk does", function()
      repeat until not f:write(("x"):rep(4096))
      return is_enough()
    end)
  end

  it("starts nothing that is not written down, and decides it once when there is room", function()
    if not os.execute "unshare -rm true 2>/dev/null" then return end -- no name spaces here
    place:playbook("tick", "moontap.sleep(0.3)", 'overlap = "queue", max_queue = 1000,',
      "* * * * * *")
    place:playbook("long", "moontap.sleep(3)")
    local process, disk = start_on_small_disk()
    place:await_runs("tick", 1)
    place:succeeds("trigger", "long")
    place:await("the long run", function()
      local one = place:runs "long"[1]
      return one and one.started
    end)
    local words = "due times could not be decided, which is tried again: "
    fill(disk, function() return process.stderr():find(words, 1, true) end)
    local before = place:runs "tick"
    place:await("tries, and the end of the long run", function()
      return place:get("/metrics"):find('runs_total{playbook="long",result="ok"} 1', 1, true)
        and select(2, process.stderr():gsub(words, "")) >= 3
    end)
    assert.equal(#before, #place:runs "tick")
    assert.is_false(process.has_ended())
    assert(os.remove(disk .. "/fill"))
    place:await_runs("tick", #before + 3)

    local dues = place:history "tick"
    local is_decided = false -- the newest may still wait for the run before them
    for i, due in ipairs(dues) do
      is_decided = is_decided or due.verdict ~= nil
      assert.equal(is_decided and "fired" or nil, due.verdict)
      assert.is_true(i == 1 or due.nominal == dues[i - 1].nominal - 1)
    end
    local seen = {}
    for _, one in ipairs(place:runs "tick") do
      assert.is_nil(seen[one.due])
      seen[one.due] = true
      assert.is_true(one.state == "ok" or not one.ended, one.state)
    end
    assert.equal("ok", place:await_runs("long", 1)[1].state)
    place:stop()
  end)
end)

describe("a broken state under the daemon", function()
  it("is moved aside and said, and schedules go on from now", function()
    place:playbook("tick", "", 'catchup = { policy = "all", window = "1h" },', "* * * * * *")
    place:start()
    place:await_runs("tick", 2)
    local last = place:history("tick")[1].nominal
    place:kill()
    local state = place.dir .. "/state/moontap"
    for _, suffix in ipairs { "-wal", "-shm" } do os.remove(state .. "/state.db" .. suffix) end
    do
      local f <close> = assert(io.open(state .. "/state.db", "r+b"))
      f:write(("nonsense"):rep(512))
    end
    place:await("a time that is missed", function() return clock.now() > last + 3 end)
    local began = clock.now()
    local process = place:start()
    assert.matches("state.db is broken .* it was moved to %S+state%.db%.broken%-%d+%-%d+",
      process.stderr())
    place:await_runs("tick", 2)
    for _, due in ipairs(place:history "tick") do
      assert.equal("fired", due.verdict)
      assert.is_true(due.nominal > began - 1, "made up for what nobody knows of any more")
      assert.is_nil(due.reason)
    end
    local kept = false
    for name in lfs.dir(state) do kept = kept or name:find "^state%.db%.broken" ~= nil end
    assert.is_true(kept)
    place:stop()
  end)
end)

describe("a zone whose file changes under the daemon", function()
  it("moves the next due time, and that is written down", function()
    local zones = place.dir .. "/zones"
    assert(lfs.mkdir(zones))
    local function set_zone(name)
      assert.equal(0, (command.run { "cp", "/usr/share/zoneinfo/" .. name, zones .. "/Here.new" }))
      assert(os.rename(zones .. "/Here.new", zones .. "/Here"))
    end
    set_zone "Asia/Tokyo"
    place:playbook("yearly", "", 'tz = "Here",')
    local process = place:start { env = { TZDIR = zones } }
    set_zone "Asia/Kolkata"
    local text = place:await("the change", function()
      process.signal "HUP" -- which looks at once; else it is seen within a minute
      return place:succeeds("history", "--events"):match "zone +yearly +[^\n]*"
    end)
    assert.matches("Here has changed: the next due time moved from %d+%-12%-31T15:00:00Z to "
      .. "%d+%-12%-31T18:30:00Z", text)
    place:stop()
  end)
end)
