-- clock: virtual
-- The scenarios that ship: what is seen in them, when, and that other tools read it.

local attacks = require "moontap.sim.attacks"
local clock = require "moontap.clock"
local scenario = require "moontap.sim.scenario"
local support = require "support.sim"

-- For each: a filter as somebody writes it who has seen the attack, the same for tcpdump, and an
-- expression that tells the attack from the rest of what that lets through.
local ATTACKS = {
  ["udp-flood"] = { { destination_address = "203.0.113.20", destination_port = 443, protocol = 17 },
    "dst host 203.0.113.20 and udp dst port 443", "net 198.19.192.0/18 or net 198.51.100.128/25" },
  ["syn-flood"] = { { destination_address = "203.0.113.20", destination_port = 443, protocol = 6 },
    "dst host 203.0.113.20 and tcp dst port 443", "tcp[13] == 2" },
  ["dns-amplification"] = { { destination_address = "203.0.113.25", source_port = 53 },
    "dst host 203.0.113.25 and src port 53", "udp src port 53 and greater 200" },
  ["carpet-bombing"] = { { protocol = 17 }, "udp", "src net 198.19.192.0/18" },
  ["gre-tunnel"] = { { source_address = "198.51.100.12", protocol = 47 },
    "src host 198.51.100.12 and proto 47", "ip[9] == 47" },
}

local function start(name, options)
  options = options or {}
  options.scenario = name
  options.knobs = support.with({ simple_interval = 0 }, options.knobs or {})
  return support.start(finally, options)
end

local function count(bytes, expression)
  local told = support.pipe("tcpdump --count -nr FILE '" .. expression .. "'", bytes)
  return tonumber(told:match "^(%d+) packet") -- not lines: what is shown of one may take several
end

local function now() return math.floor(clock.now()) end

describe("the scenario", function()
  for name, case in pairs(ATTACKS) do
    it(name .. " shows its attack while it goes on, to the filter that fits", function()
      local client = start(name)
      local quiet = client:capture { filter_v1 = case[1], time_limit = 20 }
      moontap.sleep(200)
      local loud = client:capture { filter_v1 = case[1], time_limit = 20 }
      local all = count(loud, case[2])
      assert.equal(#support.read_pcap(loud), all)
      assert.is_true(all > 500, "few packets: " .. all)
      assert.is_true(count(loud, case[3]) > 0.9 * all)
      assert.is_true(#support.read_pcap(quiet) < 0.2 * all)
    end)
  end

  for _, name in ipairs(scenario.names()) do
    it(name .. " gives the same bytes for the same seed, and whole packets", function()
      local data = assert(scenario.load(name))
      local options = { seed = 5, knobs = { simple_snaplen = 65535 } }
      local first, second = start(name, options), start(name, options)
      moontap.sleep(120)
      local at = clock.format(clock.now())
      local params = { time_limit = 30, packet_limit = 2000, offset_time = at }
      local bytes = first:capture(params)
      assert.equal(bytes, second:capture(params))
      assert.not_equal(bytes, start(name, { seed = 6 }):capture(params))
      local told = support.pipe("tcpdump -vvnr FILE 2>&1", bytes)
      for _, word in ipairs { "malformed", "bad cksum", "incorrect", "[|ip", "[|udp", "[|tcp" } do
        assert.is_nil(told:find(word, 1, true), word)
      end
      assert.is_string(data.name)
    end)
  end

  it("gre-tunnel hides its packets from filters on ports", function()
    local client = start "gre-tunnel"
    moontap.sleep(100)
    local inner = client:capture { filter_v1 = { destination_port = 9987 }, time_limit = 20 }
    assert.equal(0, #support.read_pcap(inner))
    local outer = client:capture { filter_v1 = { protocol = 47 }, time_limit = 20 }
    assert.is_true(select(2, support.pipe("tcpdump -nr FILE", outer):gsub("GREv0", "")) > 500)
  end)

  it("slow-scan is found by a full capture, if hardly by a sampled one", function()
    local client = start("slow-scan", { knobs = { any_bucket = true } })
    local id = client:ok("POST", "pcaps", { type = "full", system = "magic-transit",
      time_limit = 3600, colo_name = "ORD", destination_conf = support.BUCKET,
      filter_v1 = { source_address = "192.0.2.130" } }).id
    moontap.sleep(3700)
    local seen = client:ok("GET", "pcaps/" .. id).packets_captured
    assert.is_true(seen >= 0)
    local all = assert(scenario.compile(scenario.load "slow-scan", 1, now()))
    assert.equal("active", attacks.list(all, now() + 10)[1].state)
  end)
end)

describe("an attack", function()
  local FLOW = { name = "x", clients = "bots", address = "203.0.113.20", protocol = "udp",
                 pps = 100, packets = { {} } }

  local function world(changes)
    return assert(scenario.compile({ base = "baseline", name = "t",
      clients = { bots = { prefixes = { "198.19.192.0/24" }, count = 9 } },
      attacks = { support.with(FLOW, changes) } }, 1, 1000))
  end

  local function state(w, second)
    return attacks.list(w, second)[1].state
  end

  it("follows its timetable", function()
    local w = world { start = 10, duration = 5 }
    assert.equal("waiting", state(w, 1009))
    assert.equal("active", state(w, 1010))
    assert.equal("active", state(w, 1014))
    assert.equal("over", state(w, 1015))
    w = world { start = 10, duration = 5, every = 20 }
    assert.equal("waiting", state(w, 1020))
    assert.equal("active", state(w, 1032))
    assert.equal(1050, attacks.list(w, 1040)[1].starts)
    assert.equal("active", state(world { start = 0 }, 5000))
  end)

  it("starts and stops by command, and the past stays as it was", function()
    local w = world {}
    assert.equal("waiting", state(w, 2000))
    assert(attacks.start(w, "x", 2000))
    assert.equal("active", state(w, 2500))
    assert(attacks.stop(w, "x", 2600))
    assert.equal("over", state(w, 2600))
    assert.equal("active", state(w, 2599))
    assert(attacks.start(w, "x", 3000, 10))
    assert.equal("active", state(w, 3009))
    assert.equal("over", state(w, 3010))
    w = world { start = 10, duration = 100, every = 200 }
    assert(attacks.stop(w, "x", 1050))
    assert.equal("active", state(w, 1049))
    assert.equal("waiting", state(w, 1060))
    assert.equal("active", state(w, 1210))
  end)

  it("that does not exist is told with those that do", function()
    local ok, problem = attacks.start(world {}, "y", 1)
    assert.is_nil(ok)
    assert.matches("known: x", problem)
    assert.is_nil((attacks.start(world {}, "x", 1, -5)))
    assert.is_nil((attacks.stop(world {}, nil, 1)))
  end)
end)

describe("a scenario file", function()
  local function refused(data)
    local made, problem = scenario.compile(data, 1, 0)
    assert.is_nil(made)
    assert.is_nil(problem:find "\n")
    return problem
  end

  local function with_attack(changes)
    return { base = "baseline", attacks = { support.with({ name = "x", clients = "eyeballs",
      address = "203.0.113.20", protocol = "udp", pps = 1, packets = { {} } }, changes) } }
  end

  it("is refused with the place of what is wrong", function()
    assert.matches("attacks%[1%]%.pps: expected a number", refused(with_attack { pps = "x" }))
    assert.matches("attacks%[1%]%.pps", refused(with_attack { pps = 1e12 }))
    assert.matches("attacks%[1%]%.pps", refused(with_attack { pps = -1 }))
    assert.matches("attacks%[1%]%.duraton: unknown; did you mean duration",
      refused(with_attack { duraton = 5 }))
    assert.matches("attacks%[1%]%.start", refused(with_attack { start = 1.5 }))
    assert.matches("every", refused(with_attack { start = 1, duration = 9, every = 5 }))
    assert.matches("no clients called", refused(with_attack { clients = "nobody" }))
    assert.matches("inner", refused(with_attack { protocol = "gre", packets = {
      { payload = "inner_udp", size = { 60, 60 } } } }))
    assert.matches("unknown payload", refused(with_attack { packets = { { payload = "tsl" } } }))
    assert.matches("size", refused(with_attack { packets = { { size = "big" } } }))
    assert.matches("base: scenario basline: .*did you mean baseline", refused { base = "basline" })
    assert.matches("sitse: unknown; did you mean sites", refused { base = "baseline", sitse = {} })
    assert.matches("expected a table", refused { base = "baseline", services = { 5 } })
  end)

  it("that never ends is stopped", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write "while true do end"
    file:flush()
    local data, problem = scenario.load(path)
    os.remove(path)
    assert.is_nil(data)
    assert.matches("takes too long", problem)
  end)
end)
