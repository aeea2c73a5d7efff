-- clock: virtual
-- A playbook's process under the host's virtual clock: its time is the host's, it costs none, and
-- what happens there and here happens in the order of the clock.

local clock = require "moontap.clock"
local loader = require "moontap.child.loader"
local runner = require "moontap.child.runner"

local function run(body, effects, timeout)
  return runner.run {
    files = { ["a.lua"] = "return { run = function(ctx) " .. body .. "\nend }" }, entry = "a.lua",
    effects = effects, limits = { timeout = timeout or 7200, cpu = 2 },
  }
end

describe("a playbook's process under virtual time", function()
  it("sleeps for hours at once", function()
    local began = clock.now()
    local slept = run "local t = os.time() moontap.sleep(3600) return os.time() - t"
    assert.equals(3600, slept)
    assert.is_true(math.abs(clock.now() - began - 3600) < 0.01)
  end)

  it("has its deadlines on that clock", function()
    local kind, took = run [[
      local t = os.time()
      local _, err = moontap.timeout("10m", moontap.sleep, 3000)
      return err.kind, os.time() - t]]
    assert.equals("timeout", kind)
    assert.equals(600, took)
    local began = clock.now()
    local _, err = run("moontap.sleep(3600)", nil, 60)
    assert.equals("timeout", err.kind)
    assert.is_true(clock.now() - began < 61)
  end)

  it("takes turns with the host in the order of the clock", function()
    local seen = {}
    local function note(name) seen[#seen + 1] = name .. " " .. math.floor(clock.now() % 3600) end
    local start = clock.now()
    local own = moontap.spawn(function()
      moontap.sleep(3600 - start % 3600 + 15) note "host"
      moontap.sleep(20) note "host"
    end)
    assert(run([[
      local note, slow = moontap.effects.caller "note", moontap.effects.caller "slow"
      moontap.sleep(3600 - os.time() % 3600 - 1)
      moontap.sleep(1)
      note "child"
      moontap.all {
        function() moontap.sleep(10) note "a" moontap.sleep(20) note "a" end,
        function() slow(20) note "b" end,
      }
      return true]], { note = note, slow = function(n) moontap.sleep(n) return true end }))
    own:join()
    assert.same({ "child 0", "a 10", "host 15", "b 20", "a 30", "host 35" }, seen)
  end)

  it("may be many", function()
    local runs = {}
    for i = 1, 8 do
      runs[i] = function() return run(("moontap.sleep(%d) return os.time()"):format(i * 100)) end
    end
    local began = math.floor(clock.now())
    for i, at in ipairs(moontap.all(runs)) do
      assert.is_true(math.abs(at - began - i * 100) <= 1)
    end
  end)

  it("is ended by its processor limit when it stops the clock", function()
    local began = clock.now()
    local _, err = run "while true do end"
    assert.equals("cpu", err.kind)
    assert.is_true(clock.now() - began < 1)
  end)

  it("evaluates files", function()
    local got = assert(loader.load { files = {
      ["1.lua"] = "return { 1 }", ["2.lua"] = "moontap.sleep(60) return { 2 }",
      ["3.lua"] = "return { 3 }",
    } })
    assert.same({ 1 }, got["1.lua"].data)
    assert.equals("timeout", got["2.lua"].err.kind)
    assert.same({ 3 }, got["3.lua"].data)
  end)

end)
