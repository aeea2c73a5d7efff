-- What this machine has written down, as its commands show it: captures, slots, audit; and the
-- state when its place or its tables are not as they should be. moontap against a simulator of its
-- own process.

local command = require "support.command"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local SPEED <const> = 100
local SIMPLE <const> = [[{ type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_address = "203.0.113.10", protocol = 17 } }]]
local CREATE <const> = ("print(assert(pcaps.create(%s)).id)"):format(SIMPLE)

local dir, simulator, env

local function start_simulator(...)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", tostring(SPEED), ... }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

before_each(function()
  dir = tempdir.new()
  env = { XDG_STATE_HOME = dir .. "/state" }
end)
after_each(function()
  if simulator then simulator.stop() end
  simulator = nil
  tempdir.remove(dir)
end)

local function with(changes)
  local copy = {}
  for name, value in pairs(env) do copy[name] = value end
  for name, value in pairs(changes or {}) do copy[name] = value end
  return copy
end

local function run(code, changes)
  return command.run({ command.moontap, "run", "--speed", tostring(SPEED), "-e", code },
    { cwd = dir, env = with(changes), limit = 120 })
end

local function succeeds(code, changes)
  local status, out, err = run(code, changes)
  assert.equal(0, status, err)
  return out
end

local function query(sql)
  local status, out, err = command.run { "sqlite3", dir .. "/state/moontap/state.db", sql }
  assert.equal(0, status, err)
  return out
end

describe("a create that shares", function()
  it("does not stand in the way of the one whose capture it waits for", function()
    start_simulator()
    succeeds(([[
assert(pcaps.create(%s))
local function ask(priority)
  return function()
    return assert(pcaps.create(%s, { share = true, priority = priority, deadline = "20s" })).id
  end
end
local ids = assert(moontap.all { ask(1), ask(20) })
assert(ids[1] == ids[2])]]):format(SIMPLE, SIMPLE))
    assert.equal("20\n", query "SELECT priority FROM intents WHERE follows IS NULL AND id > 1")
  end)
end)

describe("the state", function()
  it("is readable by its owner only", function()
    start_simulator()
    succeeds(CREATE)
    assert.equal(384, sys.stat(dir .. "/state/moontap/state.db").mode)
    assert.equal(448, sys.stat(dir .. "/state/moontap").mode)
  end)

  it("forgets processes that asked for nothing, and keeps those that did", function()
    start_simulator()
    succeeds(CREATE)
    for _ = 1, 3 do succeeds "assert(pcaps.list())" end
    assert.equal("1\n", query "SELECT count(*) FROM owners")
    assert.equal(137, (run("assert(pcaps.list()) require 'moontap.native.host'.point 'wanted'",
      { MOONTAP_KILL_AT = "wanted" })))
    assert.equal("2\n", query "SELECT count(*) FROM owners")
    assert.equal(1, #sys.list(dir .. "/state/moontap/owners"))
    query "UPDATE owners SET started = started - 100000"
    succeeds "assert(pcaps.list())"
    assert.equal("1\n", query "SELECT count(*) FROM owners")
    assert.equal(0, #sys.list(dir .. "/state/moontap/owners"))
  end)
end)
