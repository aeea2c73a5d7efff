-- clock: virtual
-- The clocks, date-times and durations, and that time and randomness are effects.

local clock = require "moontap.clock"
local duration = require "moontap.duration"
local effects = require "moontap.effects"
local random = require "moontap.random"
local task = require "moontap.native.task"

describe("the clock", function()
  it("moves only when everybody waits", function()
    local now, boot = clock.now(), clock.boot()
    for _ = 1, 1000 do assert.equal(now, clock.now()) end
    task.sleep(90.5)
    assert.near(now + 90.5, clock.now(), 1e-6)
    assert.near(boot + 90.5, clock.boot(), 1e-6)
  end)

  it("is an effect", function()
    local undo = effects.wrap("time.now", function(next) return next() + 1000 end)
    local later = clock.now()
    undo()
    assert.equal(clock.now() + 1000, later)
    undo = effects.wrap("time.boot", function() return 7 end)
    assert.equal(7, clock.boot())
    undo()
  end)
end)

describe("date-times", function()
  it("are written in UTC, with a fraction only when there is one", function()
    assert.equal("2026-01-01T12:00:00Z", clock.format(1767268800))
    assert.equal("2026-01-01T12:00:00.250000Z", clock.format(1767268800.25))
    assert.equal("1969-12-31T23:59:59Z", clock.format(-1))
  end)

  it("are read with any zone", function()
    assert.equal(1767268800.5, clock.parse "2026-01-01T13:00:00.5+01:00")
    assert.equal(1767268800, clock.parse(clock.format(1767268800)))
    for _, text in ipairs { "", "yesterday", "2026-01-01", "2026-01-01T12:00:00",
                            "2026-02-30T00:00:00Z" } do
      assert.is_nil(clock.parse(text))
    end
  end)

  it("keep microseconds", function()
    local text = "2026-01-01T12:00:00.123456Z"
    assert.equal(text, clock.format(clock.parse(text)))
  end)

  it("have years 1 to 9999", function()
    assert.error_matches(function() clock.format(1e15) end, "outside the years")
    assert.error_matches(function() clock.format(0 / 0) end, "outside the years")
  end)
end)

describe("durations", function()
  it("are read as people write them", function()
    for text, seconds in pairs { ["90"] = 90, ["1.5s"] = 1.5, ["5m"] = 300, ["1h30m"] = 5400,
                                 ["250ms"] = 0.25, ["2d"] = 172800 } do
      assert.equal(seconds, duration.parse(text))
    end
    assert.equal(60, duration.parse(60))
    assert.equal("integer", math.type(duration.parse "5m"))
  end)

  it("are nil when they are none", function()
    for _, value in ipairs { "", "x", "-5m", "5 m", "401d", -1, 0 / 0, math.huge, true, {} } do
      assert.is_nil(duration.parse(value))
    end
  end)

  it("are written the short way", function()
    assert.equal("1h30m", duration.format(5400))
    assert.equal("2.5s", duration.format(2.5))
    assert.equal("0s", duration.format(0))
    assert.error_matches(function() duration.format(-1) end, "expected 0 to 400 days")
  end)
end)

describe("randomness", function()
  it("is an effect", function()
    local undo = effects.wrap("random", function() return 0.5 end)
    assert.equal(0.5, random.uniform())
    undo()
    undo = effects.wrap("random.bytes", function(_, n) return ("x"):rep(n) end)
    assert.equal("xxxx", random.bytes(4))
    undo()
  end)

  it("stays within its bounds", function()
    for _ = 1, 100 do
      local x = random.uniform()
      assert.is_true(x >= 0 and x < 1)
      local i = random.integer(3, 5)
      assert.is_true(i >= 3 and i <= 5 and math.type(i) == "integer")
    end
    assert.equal(0, #random.bytes(0))
    assert.equal(65536, #random.bytes(65536))
    assert.not_equal(random.bytes(16), random.bytes(16))
    assert.error_matches(function() random.bytes(65537) end, "expected 0 to 65536")
  end)

  it("follows from the seed once there is one", function()
    local function draw() return { random.uniform(), random.integer(1, 1e9), random.bytes(8) } end
    random.seed(42)
    local first = draw()
    random.seed(42)
    assert.same(first, draw())
    random.seed(43)
    assert.not_same(first, draw())
  end)
end)
