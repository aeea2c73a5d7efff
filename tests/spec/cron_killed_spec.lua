-- outside
-- The daemon is killed, at every point where it writes.

local command = require "support.command"
local daemons = require "support.daemon"
local lfs = require "lfs"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local CREATE <const> = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } })
print("capture", cap.id)]]

describe("a daemon that is killed", function()
  local POINTS <const> = { "due.deciding", "due.claimed", "run.claimed", "run.started", "sending",
    "answered", "settled", "run.performed", "run.ending", "run.ended" }

  for _, on_lost in ipairs { "skip", "retry" } do
    it("at any point starts nothing twice and loses no capture, on_lost = " .. on_lost, function()
      place:simulate()
      place:playbook("tick", CREATE, ('on_lost = "%s", catchup = "all",'):format(on_lost),
        "*/2 * * * * *")
      for _, point in ipairs(POINTS) do
        local process = place:start { env = { MOONTAP_KILL_AT = point }, no_wait = true }
        assert.equal(137, (process.wait()), point)
        place.daemon = nil
      end
      place:start()
      place:await_runs(nil, 3, "ok")
      place:stop()
      local runs = {}
      for _, due in ipairs(place:history "tick") do assert.truthy(due.verdict) end
      for _, one in ipairs(place:runs()) do
        local of = runs[one.due] or { ok = 0, n = 0 }
        runs[one.due] = of
        of[one.state] = (of[one.state] or 0) + 1
        of.n = of.n + 1
        assert.truthy(one.ended)
      end
      for _, of in pairs(runs) do
        assert.is_true(of.ok <= 1)
        assert.is_true(of.n == 1 or on_lost == "retry")
      end
      -- what the simulator has is what the journal knows
      for _, cap in ipairs(place:list("captures", "--json")) do -- settles what is open
        if cap.listed then assert.is_true(cap.ours, cap.id .. " is not in the journal") end
      end
      assert.equal("0", place:query "SELECT count(*) FROM intents WHERE settled IS NULL")
      assert.equal("0", place:query "SELECT count(*) FROM mutexes")
    end)
  end

  it("leaves no full capture running: the next one stops it at its start", function()
    place:simulate()
    place:validate_bucket()
    place:write("policy.lua", ('return { ["*"] = { %s } }'):format(daemons.FULL_GRANTS))
    place:playbook("full", ("assert(pcaps.create(%s)) print 'opened' moontap.sleep(600)"):format(
      daemons.FULL))
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    place:succeeds("trigger", "full")
    place:await("a capture", function()
      return select(2, place:run("log", "1")):find("opened", 1, true)
    end)
    place:kill()
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    place:await_words("stopped capture")
  end)

  it("takes its runs' processes along", function()
    place:playbook("stuck", 'print "here" while true do end')
    local process = place:start()
    place:succeeds("trigger", "stuck")
    place:await_open_run()
    local children = command.poll(function()
      local text = command.read_file(("/proc/%d/task/%d/children"):format(process.pid, process.pid))
      return text and text:find "%d+ %d+" and text -- what runs branch off, and the run
    end, "a child")
    place:kill()
    for child in children:gmatch "%d+" do
      command.poll(function() return not lfs.attributes("/proc/" .. child) end, "its end")
    end
    place:start()
    assert.equal("lost", place:list("runs", "--json")[1].state)
    assert.equal("lost", place:list("history", "--json")[1].verdict)
  end)
end)
