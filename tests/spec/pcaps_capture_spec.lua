-- clock: virtual
-- Capture objects: waiting, refreshing, stopping.

local api = require "support.pcaps_api"
local clock = require "moontap.clock"
local config = require "moontap.config"

after_each(function()
  api.stop()
  config.speed = nil
end)

local function start(...)
  local server = api.start { api.capture(), ... }
  return assert(server.client.create(api.SIMPLE)), server
end

describe("wait", function()
  it("returns the capture itself, refreshed in place", function()
    local cap, server = start(api.capture { status = "conversion_running" },
      api.capture { status = "unknown" }, api.capture { status = "brand_new_word" },
      api.capture { status = "complete", packets_captured = 0 })
    local same, err = cap:wait()
    assert.equal(cap, same)
    assert.is_nil(err)
    assert.equal("complete", cap.status)
    assert.equal(0, cap.packets_captured)
    assert.equal(5, #server.requests)
  end)

  it("asks nothing when the capture is done", function()
    local server = api.start { api.capture { status = "success" } }
    local cap = assert(server.client.create(api.SIMPLE))
    assert(cap:wait())
    assert.equal(1, #server.requests)
  end)

  it("gives nil and the reason when the capture failed", function()
    local cap = start(api.capture { status = "failed", error_message = "no packets" })
    local result, err = cap:wait()
    assert.is_nil(result)
    assert.equal("api", err.kind)
    assert.equal("capture " .. api.ID .. " failed: no packets", tostring(err))
    assert.equal("no packets", err.error_message)
  end)

  it("ends at its deadline", function()
    local cap = start(api.capture())
    local before = clock.boot()
    local result, err = cap:wait { timeout = "1m" }
    assert.is_nil(result)
    assert.equal("timeout", err.kind)
    assert.matches("still pending after 1m", tostring(err))
    local elapsed = clock.boot() - before
    assert.is_true(elapsed > 59.9 and elapsed < 61)
  end)

  it("has a deadline when none is given", function()
    local cap = start(api.capture())
    local before = clock.boot()
    local _, err = cap:wait()
    assert.equal("timeout", err.kind)
    assert.is_true(clock.boot() - before < 301)
    cap.type, cap.time_limit = "full", 600
    before = clock.boot()
    cap:wait()
    local elapsed = clock.boot() - before
    assert.is_true(elapsed > 1499.9 and elapsed < 1501)
  end)

  it("looks less often as it goes on", function()
    local cap, server = start(api.capture())
    cap:wait { timeout = 60 }
    local first = server.requests[2].at - server.requests[1].at
    local last = server.requests[#server.requests - 1].at - server.requests[#server.requests - 2].at
    assert.is_true(first < 0.6)
    assert.is_true(last > 4.9 and last < 5.1)
  end)

  it("divides its pauses by the speed", function()
    config.speed = 10
    local cap, server = start(api.capture())
    cap:wait { timeout = 6 }
    local last = server.requests[#server.requests - 1].at - server.requests[#server.requests - 2].at
    assert.is_true(last < 0.6)
  end)

  it("survives passing errors, and a capture not known yet", function()
    local cap = start({ status = 502, headers = {}, body = "bad" }, api.fail(404, 1011, "unknown"),
      { status = 200, cut = "before" }, api.capture { status = "success" })
    assert(cap:wait())
    assert.equal("success", cap.status)
  end)

  it("honours retry-after between its looks", function()
    local cap, server = start(api.fail(429, 971, "slow", { ["retry-after"] = "40" }),
      api.capture { status = "success" })
    assert(cap:wait())
    assert.is_true(server.requests[3].at - server.requests[2].at >= 40)
  end)

  it("gives up when the credentials no longer hold", function()
    local cap, server = start(api.fail(403, 10000, "Authentication error"))
    local _, err = cap:wait()
    assert.equal("credentials", err.kind)
    assert.equal(2, #server.requests)
  end)

  it("tells how far it is", function()
    local cap = start(api.capture(), api.capture { status = "success" })
    local seen = {}
    assert(cap:wait { timeout = 30, interval = 1, progress = function(c, elapsed, timeout)
      seen[#seen + 1] = { c.status, elapsed, timeout }
    end })
    assert.equal(2, #seen)
    assert.equal("pending", seen[1][1])
    assert.is_true(seen[1][2] >= 1 and seen[1][2] < 1.1)
    assert.equal(30, seen[1][3])
  end)

  it("can be cancelled, and calls its progress no more then", function()
    local cap = start(api.capture())
    local calls = 0
    local result, err = moontap.timeout(3, function()
      return cap:wait { interval = 1, progress = function() calls = calls + 1 end }
    end)
    assert.is_nil(result)
    assert.equal("timeout", err.kind)
    assert.equal(2, calls)
  end)

  it("refuses options that are none", function()
    local cap = start()
    assert.error_matches(function() cap:wait { timout = 5 } end, "did you mean timeout")
    local _, err = pcall(function() cap:wait { timeout = "soon" } end)
    assert.matches("pcaps_capture_spec%.lua:%d+: wait: timeout: expected a duration", err)
    assert.error_matches(function() cap.wait() end, "with a colon")
  end)
end)

describe("refresh and stop", function()
  it("work on the object", function()
    local cap, server = start(api.capture { status = "running", packets_captured = 7 },
      { status = 204, headers = {} })
    assert.equal(cap, assert(cap:refresh()))
    assert.equal(7, cap.packets_captured)
    assert.equal(cap, assert(cap:stop()))
    assert.equal("PUT", server.requests[3].method)
    assert.is_false(cap:done())
  end)
end)
