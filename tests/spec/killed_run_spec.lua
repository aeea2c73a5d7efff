-- outside
-- The process of a run is killed, at every point of its life: the attempt is recorded with its
-- reason, the due time keeps its one verdict, the next attempt comes, and no capture is lost,
-- doubled or left running.

local daemons = require "support.daemon"

local SIMPLE <const> = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } })
assert(cap:wait())
assert(cap:download())
print "whole"]]

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

-- The attempts of the only due time, which was triggered and has `count` of them.
local function attempts_of(playbook, count)
  place:succeeds("trigger", playbook)
  local runs = place:await_runs(playbook, count)
  assert.equal(count, #runs)
  local due = place:history(playbook)
  assert.equal(1, #due)
  assert.equal("fired", due[1].verdict)
  for i, one in ipairs(runs) do assert.equal(i, one.attempt) end
  return runs
end

local function assert_killed(one)
  assert.equal("failed", one.state)
  assert.equal("crash", one.error_kind)
  assert.matches("the playbook's process was killed", one.error)
  assert.matches("moontap: failed: crash: the playbook's process was killed", place:log(one))
end

-- What the simulator has is what the journal knows, and nothing is open.
local function assert_journal_is_whole()
  local caps = place:captures() -- settles what is open
  assert.equal("0", place:query "SELECT count(*) FROM intents WHERE settled IS NULL")
  assert.equal("0", place:query "SELECT count(*) FROM intents WHERE state = 'unknown'")
  for id in pairs(caps) do
    assert.equal("1", place:query(("SELECT count(*) FROM intents WHERE capture = '%s'"):format(id)))
  end
  return caps
end

describe("a run whose process is killed", function()
  it("at any point is tried again as its playbook says; no capture is lost or doubled", function()
    local points <const> = { "child.spawned", "child.started", "child.called", "child.answered",
      "child.called:2", "child.called:3" }
    place:simulate()
    place:playbook("tick", SIMPLE, 'retry = { attempts = 100, base = "1ms" },')
    place:start { env = { MOONTAP_KILL_AT = table.concat(points, ",") } }
    local runs = attempts_of("tick", #points + 1)
    for i = 1, #points do assert_killed(runs[i]) end
    assert.equal("ok", runs[#runs].state)
    assert.matches("Z whole\n", place:log(runs[#runs]))
    assert.equal("0", place:query "SELECT count(*) FROM mutexes")
    local created = tonumber(place:query "SELECT count(*) FROM intents WHERE sent IS NOT NULL")
    local n = 0
    for _ in pairs(assert_journal_is_whole()) do n = n + 1 end
    assert.is_true(n >= 1 and n <= created, n .. " of " .. created)
  end)

  it("after it has said how it ended has ended so", function()
    place:simulate()
    place:playbook("tick", 'print "said" return nil, "no luck"', "retry = 1,")
    place:playbook("good", 'print "said"', "retry = 2,")
    place:start { env = { MOONTAP_KILL_AT = "child.done,child.done" } }
    assert.equal("no luck", attempts_of("tick", 1)[1].error)
    assert.equal("ok", attempts_of("good", 1)[1].state)
  end)

  it("is not tried again where its playbook does not say so", function()
    place:playbook("once", "moontap.sleep(60)", 'uses = "thing",')
    place:playbook("other", "moontap.sleep(60)",
      'uses = "thing", retry = { attempts = 3, on = { "network" } },')
    place:start { env = { MOONTAP_KILL_AT = "child.started,child.started" } }
    assert_killed(attempts_of("once", 1)[1])
    assert_killed(attempts_of("other", 1)[1])
  end)

  it("leaves no full capture running, whatever its grants are, unless it was detached", function()
    place:simulate("--fault", "create:late_answer,seconds=0.5")
    place:validate_bucket()
    local body = "local cap = assert(pcaps.create(%s%s)) moontap.sleep(600)"
    local grants = ("grants = { %s },"):format(
      (daemons.FULL_GRANTS:gsub("types", 'verbs = { "create" }, types')))
    place:playbook("full", body:format(daemons.FULL, ""), grants)
    place:playbook("kept", body:format(daemons.FULL, ", { detach = true }"), grants)
    place:write("policy.lua", ('return { ["*"] = { %s } }'):format(daemons.FULL_GRANTS))
    place:start { args = { "--policy", place.dir .. "/policy.lua" }, env = {
      -- while the answer is under way, and when it has come
      MOONTAP_KILL_AT = "child.called,child.answered,child.answered" } }
    for i = 1, 2 do
      place:succeeds("trigger", "full")
      assert_killed(place:await_runs("full", i)[i])
      -- the daemon has seen to it by itself
      assert.equal(tostring(i),
        place:query "SELECT count(*) FROM captures WHERE stop_asked IS NOT NULL")
    end
    local caps = assert_journal_is_whole()
    local stopped, left = 0, 0
    for _, cap in pairs(caps) do stopped = stopped + (cap.stop_requested and 1 or 0) end
    assert.equal(2, stopped)
    place:succeeds("trigger", "kept")
    assert_killed(place:await_runs("kept", 1)[1])
    for id, cap in pairs(place:captures()) do
      if not caps[id] then
        left = left + 1
        assert.is_nil(cap.stop_requested)
      end
    end
    assert.equal(1, left)
  end)
end)
