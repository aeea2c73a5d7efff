-- clock: virtual
-- Effects: each function that touches the world can be wrapped, and a whole script runs on
-- virtual time and an API in the same process, without a socket.

local clock = require "moontap.clock"
local config = require "moontap.config"
local effects = require "moontap.effects"
local host = require "moontap.native.host"
local hostlibs = require "moontap.hostlibs"
local http = require "moontap.http"
local lfs = require "lfs"
local pcaps = require "pcaps"
local simulator = require "moontap.sim"

local dir, sim, lab

local function sockets()
  local count = 0
  for name in lfs.dir("/proc/self/fd") do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
    if target and target:find("^socket:") then count = count + 1 end
  end
  return count
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  lfs.mkdir(dir)
  lfs.mkdir(dir .. "/bucket")
  sim = assert(simulator.start { transport = "inproc", seed = 7, bucket = dir .. "/bucket" })
  config.sim, config.state = sim, dir .. "/state"
  lab = pcaps.client {}
end)

teardown(function()
  sim:close()
  config.sim, config.state = nil, nil
  os.execute("rm -rf " .. dir)
end)

-- Calls fn() with every effect wrapped; returns how often each was called.
local function count_calls(fn)
  local counts, undo = {}, {}
  for _, name in ipairs(effects.names()) do
    undo[#undo + 1] = effects.wrap(name, function(next, ...)
      counts[name] = (counts[name] or 0) + 1
      return next(...)
    end)
  end
  local ok, err = pcall(fn)
  for _, off in ipairs(undo) do off() end
  assert(ok, err)
  return counts
end

-- One call for each effect, through the function that scripts use.
local bucket = { destination_conf = "s3://effects/dir?region=us-east-1" }
local use = {
  ["bucket.files"] = function()
    require "moontap.bucket".files { id = "none", destination_conf = bucket.destination_conf }
  end,
  ["bucket.read_challenge"] = function()
    require "moontap.bucket".read_challenge { destination_conf = bucket.destination_conf,
                                              filename = "none" }
  end,
  ["capture.open"] = function() require "moontap.capture".open(dir .. "/nothing") end,
  ["file.open"] = function() hostlibs.io.open("/dev/null"):close() end,
  ["file.remove"] = function() hostlibs.os.remove(dir .. "/nothing") end,
  ["file.rename"] = function() hostlibs.os.rename(dir .. "/nothing", dir .. "/other") end,
  ["file.tmpfile"] = function() hostlibs.io.tmpfile():close() end,
  ["file.tmpname"] = function() os.remove(hostlibs.os.tmpname()) end,
  ["http.request"] = function() http.request { url = sim.base_url .. "/nowhere" } end,
  ["input.read"] = function() hostlibs.io.read(0) end,
  ["pcaps.create"] = function()
    lab.create({ type = "simple", time_limit = 1, packet_limit = 1 }, { max_retries = 0 })
  end,
  ["pcaps.download"] = function() lab.download(("0"):rep(32), dir .. "/none.pcap") end,
  ["pcaps.get"] = function() lab.get(("0"):rep(32)) end,
  ["pcaps.list"] = function() lab.list() end,
  ["pcaps.ownership.create"] = function() lab.ownership.create(bucket) end,
  ["pcaps.ownership.delete"] = function() lab.ownership.delete(("0"):rep(32)) end,
  ["pcaps.ownership.list"] = function() lab.ownership.list() end,
  ["pcaps.ownership.validate"] = function()
    lab.ownership.validate { destination_conf = bucket.destination_conf, ownership_challenge = "x" }
  end,
  ["pcaps.stop"] = function() lab.stop(("0"):rep(32)) end,
  ["process.execute"] = function() hostlibs.os.execute("true") end,
  ["process.exit"] = function() pcall(effects.call, "process.exit", 300) end, -- refused
  ["process.getenv"] = function() hostlibs.os.getenv("HOME") end,
  ["process.popen"] = function() hostlibs.io.popen("true"):close() end,
  ["random"] = function() hostlibs.math.random() end,
  ["random.bytes"] = function() require("moontap.random").bytes(4) end,
  ["random.seed"] = function() require("moontap.random").seed(1) end,
  ["randomseed"] = function() hostlibs.math.randomseed(1) end,
  ["sleep"] = function() moontap.sleep(1) end,
  ["time.boot"] = function() clock.boot() end,
  ["time.now"] = function() clock.now() end,
}

-- One attempt of each operation is an effect of its own.
local attempts = {}
for name, fn in pairs(use) do
  local op = name:match "^pcaps%.(.+)$"
  if op then attempts["api." .. op] = fn end
end
for name, fn in pairs(attempts) do use[name] = fn end

describe("an effect", function()
  it("is seen by a wrapper, whichever it is", function()
    for _, name in ipairs(effects.names()) do
      assert(use[name], "no test uses the effect " .. name)
      assert.is_true((count_calls(use[name])[name] or 0) >= 1, name)
    end
  end)

  it("can be answered by the wrapper", function()
    local undo = effects.wrap("pcaps.create", function(_, _, params)
      return { id = "invented", type = params.type }
    end)
    local cap = pcaps.create { type = "simple", time_limit = 300, packet_limit = 10 }
    undo()
    assert.equal("invented", cap.id)
  end)

  it("has the wrapper set last outermost, and loses just the one taken off", function()
    local seen = {}
    local function note(mark)
      return effects.wrap("sleep", function(next, ...)
        seen[#seen + 1] = mark
        return next(...)
      end)
    end
    local inner, outer = note("inner"), note("outer")
    moontap.sleep(0)
    inner()
    moontap.sleep(0)
    outer()
    moontap.sleep(0)
    assert.same({ "outer", "inner", "outer" }, seen)
  end)

  it("cannot be wrapped when there is none of that name", function()
    assert.error_matches(function() effects.wrap("pcaps.crate", print) end,
      "no effect is called 'pcaps.crate'")
  end)
end)

describe("a cancelled task", function()
  it("starts nothing any more", function()
    local requests = 0
    local native = require "moontap.native.http"
    native.set_inproc("http://counted.internal", function()
      requests = requests + 1
      return { status = 200, body = "{}" }
    end)
    local task = moontap.spawn(function()
      pcall(moontap.sleep, 60)
      pcall(http.request, { url = "http://counted.internal/" })
      pcall(http.request, { url = "http://counted.internal/", method = "POST", body = "x" })
    end)
    moontap.sleep(1)
    task:cancel()
    task:join()
    moontap.sleep(1)
    native.set_inproc("http://counted.internal", nil)
    assert.equal(0, requests)
  end)
end)

describe("the full-capture script", function()
  it("completes its 300 seconds in virtual time without a socket", function()
    local before, started = sockets(), clock.boot()
    local counts = count_calls(function()
      local script = assert(host.load_script("scripts/full-capture.lua", { [0] = "full-capture" }))
      moontap.spawn(script):join()
    end)
    assert.is_true(clock.boot() - started >= 300)
    assert.equal(before, sockets())
    assert.equal(1, counts["pcaps.create"])
    assert.is_true(counts["pcaps.get"] >= 2)
    assert.is_true(counts["pcaps.ownership.validate"] >= 1)
    assert.is_true(counts["time.boot"] >= 1)
    assert.is_true(counts["sleep"] >= 1)
  end)
end)
