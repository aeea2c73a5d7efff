-- Names of playbooks, and `moontap why` for each thing that can become of a due time.

local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local daemons = require "support.daemon"
local states = require "moontap.state"

local place, state

before_each(function() place = daemons.new() end)
after_each(function()
  if state then state:close() end
  state = nil
  place:close()
end)

local function open() state = assert(states.open_at(place.dir .. "/state/moontap")) end

local function why(at, status)
  local got, out, err = place:run("why", "net/a.b-c", clock.format(at))
  assert.equal(status or 0, got, err)
  return out
end

describe("why", function()
  it("tells each verdict with its reason", function()
    open()
    local playbook = { name = "net/a.b-c", overlap = "skip", uses = {}, version = "1",
                       max_queue = 1 }
    assert(dues.open_cursors(state, { { playbook = playbook.name, fingerprint = "x", seed = 1 } }))
    local now = clock.now() // 1 | 0
    local function decide(ago, fields)
      local item = { playbook = playbook, nominal = now + ago, planned = now + ago }
      for key, value in pairs(fields or {}) do item[key] = value end
      assert(dues.decide(state, { item }))
    end
    decide(100)
    decide(110)
    decide(120, { verdict = "missed", reason = "the daemon was away" })
    decide(200, { verdict = "missed", reason = "too late", through = now + 300, count = 11 })
    assert(dues.pause(state, playbook.name, "50% of a/b\27[31m"))
    decide(400)
    assert(dues.resume(state, playbook.name))
    assert.matches("fired\n  run 1, attempt 1: claimed\n$", why(now + 100))
    assert.matches("skipped: overlap: run 1 goes on\n$", why(now + 110))
    assert.matches("missed: the daemon was away\n$", why(now + 120))
    assert.matches("missed: too late\n  one of 11 up to " .. clock.format(now + 300),
      why(now + 250), 1, true)
    assert.matches("skipped: paused: 50% of a/b?[31m\n", why(now + 400), 1, true)
    playbook.overlap = "queue"
    decide(500)
    assert.matches("waits for its turn\n$", why(now + 500))
    assert.matches("no such time, or its history was purged", why(now + 450, 1))
    assert.matches("nothing was decided yet", why(now + 9000, 1))
    assert.matches("its schedule counts from", why(now - 9000, 1))
    state:close()
    open() -- another process, which finds a run that nobody carries on
    assert(dues.settle_lost(state, function() return false end))
    assert.matches("lost: run 1 was lost: the daemon died\n  run 1, attempt 1: lost",
      why(now + 100), 1, true)
  end)

  it("tells of a pause that is made up for later", function()
    open()
    assert(dues.open_cursors(state,
      { { playbook = "net/a.b-c", fingerprint = "x", seed = 1 } }))
    assert(dues.set_cursor(state, "net/a.b-c", clock.now() - 100))
    assert(dues.pause(state, "net/a.b-c", "a rest"))
    assert.matches("it is paused (a rest): that is decided when it goes on",
      why(clock.now() - 50, 1), 1, true)
  end)
end)

describe("a playbook's name", function()
  it("may have slashes and dots, on every way", function()
    place:write("pb/x.lua", 'return { api = 1, name = "net/a.b-c", on = { cron = "0 0 1 1 *" }, '
      .. 'run = function() print "here" end }')
    place:start()
    local one, log = place:once "net/a.b-c"
    assert.equal("net/a.b-c", one.playbook)
    assert.matches("here", log)
    assert.equal(1, #place:list("history", "--json", "net/a.b-c"))
    assert.matches('runs_total{playbook="net/a.b-c",result="ok"} 1\n', place:get "/metrics", 1,
      true)
    place:succeeds("pause", "net/a.b-c", "--note", "50% of it")
    assert.matches("50% of it", place:succeeds("history", "--events"), 1, true)
  end)

  it("has none of the signs that would have to be quoted, wherever it comes from", function()
    place:playbook("two words", "")
    place:playbook("100%", "")
    place:playbook("good", "", [[name = "a b",]])
    local status, out = place:run("check", place.dir .. "/pb")
    assert.equal(1, status)
    assert.matches('name: "two words", from the file, is none of letters', out, 1, true)
    assert.matches('name: "100%", from the file, is none of letters', out, 1, true)
    assert.matches("name: expected a name of letters", out, 1, true)
    assert.matches("3 playbooks, 3 with errors", out)
  end)
end)
