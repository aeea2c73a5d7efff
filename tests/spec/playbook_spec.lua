-- The table of a playbook, and what playbooks may do.

local playbook = require "moontap.cron.playbook"
local prefix = require "moontap.gate.prefix"
local rules = require "moontap.gate.rules"

local function good(changes)
  local data = { api = 1, on = { cron = "*/5 * * * *" }, run = function() end }
  for key, value in pairs(changes or {}) do data[key] = value end
  return data
end

local function problems_of(data)
  local made, problems = playbook.check(data, "dir/some.lua")
  assert.is_nil(made)
  local lines = {}
  for i, problem in ipairs(problems) do lines[i] = problem.path .. ": " .. problem.message end
  return table.concat(lines, "\n")
end

describe("a playbook", function()
  it("has its name from its file, and defaults", function()
    local made, problems = playbook.check(good(), "dir/some.lua")
    assert.same({}, problems)
    assert.equal("some", made.name)
    assert.same({ "skip", 1200, 1, "last", 3600, "skip", true }, { made.overlap, made.timeout,
      made.max_queue, made.catchup.policy, made.catchup.window, made.on_lost, made.enabled })
  end)

  it("may say everything", function()
    local made, problems = playbook.check(good {
      name = "team/night", account = "prod", tz = "Europe/Berlin", dst = "skip", jitter = "30s",
      timeout = "5m", overlap = "queue", max_queue = 3, on_lost = "retry", priority = 5,
      on = { cron = { "0 2 * * *", "0 14 * * *" } }, uses = "full", enabled = false,
      catchup = { policy = "all", window = "2h", max = 5 }, ping = "https://hc.example/abc",
      retry = { attempts = 3, base = "10s", factor = 3, cap = "5m", on = { "network" } },
      grants = { pcaps = { types = { "simple" }, destinations = { "203.0.113.0/24" } } },
    }, "x.lua")
    assert.same({}, problems)
    assert.same({ "0 2 * * *", "0 14 * * *" }, made.expressions)
    assert.same({ "full" }, made.uses)
    assert.equal(7200, made.catchup.window)
    assert.equal(3, made.retry.attempts)
  end)

  it("is told all its problems at once, each with its path", function()
    local text = problems_of { api = 2, on = { cron = { "5/10 * * * *", 7 }, alrt = 1 },
      timeout = "soon", overlp = "skip", catchup = { windw = 3, policy = "lst" }, when = {},
      grants = { pcaps = { types = { "simpel" }, destinations = { "999.1.1.1" } } } }
    for _, part in ipairs {
      "api: expected api = 1, got 2", "catchup.policy: expected none, last, all",
      'catchup.windw: unknown field; did you mean "window"?', "on.alrt: this version has no",
      "on.cron[1]: ", "5-59/10", "on.cron[2]: expected an expression, got 7",
      'overlp: unknown field; did you mean "overlap"?', "run: expected a function, got nil",
      "timeout: expected a length of time", "when: belongs to triggers",
      "grants.pcaps.types[1]: unknown", "grants.pcaps.destinations[1]: no address",
    } do
      assert.truthy(text:find(part, 1, true), part .. "\nin\n" .. text)
    end
  end)

  it("survives values of any type in every field", function()
    local odd = { 1, -1, 1.5, "x", "", true, false, {}, { 1 }, { a = 1 }, print, math.huge }
    for _, field in ipairs { "account", "api", "catchup", "dst", "enabled", "grants", "jitter",
      "max_queue", "name", "on", "on_lost", "overlap", "ping", "priority", "retry", "run",
      "timeout", "tz", "uses" } do
      for _, value in ipairs(odd) do
        local _, problems = playbook.check(good { [field] = value }, "x.lua")
        assert.is_table(problems)
      end
    end
    for _, value in ipairs(odd) do assert.is_table(select(2, playbook.check(value, "x.lua"))) end
  end)
end)

describe("a prefix", function()
  it("holds what lies in it, in both families", function()
    local cases = {
      { "203.0.113.0/24", "203.0.113.9", true }, { "203.0.113.0/24", "203.0.114.9", false },
      { "203.0.113.0/25", "203.0.113.200", false }, { "0.0.0.0/0", "1.2.3.4", true },
      { "203.0.113.0/24", "203.0.112.0/23", false }, { "203.0.113.0/24", "203.0.113.128/25", true },
      { "2001:db8::/32", "2001:db8:1::5", true }, { "2001:db8::/32", "2001:db9::1", false },
      { "::/0", "1.2.3.4", false }, { "2001:db8::/33", "2001:db8:8000::", false },
    }
    for _, case in ipairs(cases) do
      assert.equal(case[3], prefix.contains(assert(prefix.parse(case[1])),
        assert(prefix.parse(case[2]))), case[1] .. " " .. case[2])
    end
  end)

  it("is refused when it is none", function()
    for _, text in ipairs { "", "1.2.3", "1.2.3.256", "1.2.3.4/33", "01.2.3.4", "::1::", ":::",
      "1:2:3:4:5:6:7:8:9", "2001:db8::/129", "g::", "1.2.3.4/", "::ffff:1.2.3" } do
      assert.is_nil(prefix.parse(text), text)
    end
  end)
end)

describe("rules", function()
  local function simple(filter)
    return { type = "simple", time_limit = 60, packet_limit = 100, filter_v1 = filter }
  end
  local function full(changes)
    local params = { type = "full", colo_name = "ams01", time_limit = 60, byte_limit = 1000,
      destination_conf = "s3://logs/x?region=a", filter_v1 = { destination_port = 53 } }
    for key, value in pairs(changes or {}) do params[key] = value end
    return params
  end

  it("without grants: simple captures with a filter", function()
    local set = rules.join("a", nil, nil)
    assert.is_nil(rules.refuses_create(set, simple { destination_port = 53 }))
    assert.matches("a filter only", rules.refuses_create(set, simple()))
    assert.matches("a filter only", rules.refuses_create(set, simple {}))
    assert.matches("need an entry of the operator's policy", rules.refuses_create(set, full()))
    assert.matches("none granted", rules.refuses_http(set, "example.org"))
    assert.matches("others need grants.files",
      select(2, rules.root_of(set, "writing", "/tmp/x")))
  end)

  it("stop what runs of the same playbook opened; others' where the operator says so", function()
    local others = { pcaps = { verbs = { "create", "stop", "stop.others" } } }
    local own = { pcaps = { verbs = { "stop" } } }
    local function refused(header, policy, is_own)
      return rules.refuses_stop(rules.join("a", header, policy), "1", is_own)
    end
    assert.is_nil(refused(nil, nil, true))
    assert.matches("verb stop.others", refused(nil, nil, false), 1, true)
    assert.matches("verb stop.others", refused(others, nil, false), 1, true)
    assert.matches("verb stop.others", refused(others, { ["*"] = {} }, false), 1, true)
    assert.matches("verb stop.others", refused(others, { ["*"] = own }, false), 1, true)
    assert.is_nil(refused(nil, { ["*"] = others }, false))
    assert.is_nil(refused(others, { ["*"] = others }, false))
    assert.matches("the playbook's grants: pcaps.verbs", refused(own, { ["*"] = others }, false))
    assert.matches("pcaps.verbs", refused({ pcaps = { verbs = {} } }, nil, true))
  end)

  it("say which rule refuses, and whose it is", function()
    local header = { pcaps = { destinations = { "203.0.113.0/24" }, max_time_limit = 100 } }
    local policy = { ["net-*"] = { pcaps = { destinations = { "203.0.113.0/25" } } } }
    local set = rules.join("net-a", header, policy)
    local function refused(address) return rules.refuses_create(set, simple {
      destination_address = address }) end
    assert.is_nil(refused "203.0.113.5")
    assert.matches("refused by the operator's policy %(net%-%*%): pcaps.destinations",
      refused "203.0.113.200")
    assert.matches("refused by the playbook's grants: pcaps.destinations", refused "198.51.100.1")
    assert.matches("the capture has no destination_address", rules.refuses_create(set, simple {
      source_address = "203.0.113.5" }))
    assert.matches("no entry for it", rules.refuses_create(rules.join("other", nil, policy),
      full { filter_v1 = { destination_address = "203.0.113.5" } }))
  end)

  it("let files be only where header and policy say", function()
    local header = { files = { "/srv/", "/var/lists" } }
    local function root(policy, path)
      return rules.root_of(rules.join("a", header, policy), "reading", path)
    end
    assert.equal("/srv", (root(nil, "/srv/x")))
    assert.is_nil((root(nil, "/etc/x")))
    assert.is_nil((root({ b = { files = { "/srv" } } }, "/srv/x")))
    assert.is_nil((root({ a = {} }, "/srv/x")))
    assert.equal("/srv", (root({ a = { files = { "/srv" } } }, "/srv/in/x")))
    assert.equal("/srv/in", (root({ a = { files = { "/", "/srv/in/" } } }, "/srv/in/x")))
    assert.equal("", (root({ a = { files = { "/" } } }, "/srv/x")))
    assert.is_nil((root({ a = { files = { "/" } } }, "/etc/passwd")))
    assert.is_nil((root({ a = { files = { "/srv" } } }, "/srvx")))
    assert.is_nil((root({ a = { files = { "/srv" } } }, "/srv")))
    assert.is_nil((root({ a = { files = { "/srv" } } }, "srv/x")))
    assert.matches("what every user of the machine may read",
      rules.warnings(rules.join("a", header, nil))[1])
    assert.matches("files need each entry",
      rules.warnings(rules.join("a", header, { ["*"] = {} }))[1])
    assert.same({}, rules.warnings(rules.join("a", header, { ["*"] = { files = { "/srv" } } })))
  end)

  it("let full captures be only as the operator says", function()
    local grants = { pcaps = { types = { "full" }, colos = { "ams01" }, max_byte_limit = 1000,
      per_day = 2 }, buckets = { "logs" } }
    local set = rules.join("a", { pcaps = { types = { "simple", "full" } } }, { a = grants })
    assert.is_nil(rules.refuses_create(set, full()))
    assert.equal(2, (rules.per_day(set)))
    assert.matches("colos: fra01", rules.refuses_create(set, full { colo_name = "fra01" }))
    assert.matches("max_byte_limit: 1001", rules.refuses_create(set, full { byte_limit = 1001 }))
    assert.matches("buckets: other", rules.refuses_create(set, full {
      destination_conf = "s3://other/x" }))
    local own = rules.join("a", grants, nil)
    assert.matches("need an entry of the operator's policy", rules.refuses_create(own, full()))
    grants.pcaps.per_day = nil
    assert.matches("need an entry", rules.refuses_create(set, full()))
  end)
end)

describe("the operator's policy", function()
  local policy = require "moontap.gate.policy"
  local tempdir = require "support.tempdir"

  local function read(text)
    return tempdir.with(function(dir)
      local f <close> = assert(io.open(dir .. "/policy.lua", "w"))
      f:write(text)
      f:close()
      return policy.read(dir .. "/policy.lua")
    end)
  end

  it("is data, and has no globals", function()
    assert.same({ ["a-*"] = { pcaps = { types = { "full" } } } },
      read 'return { ["a-*"] = { pcaps = { types = { "full" } } } }')
    for text, why in pairs {
      ["return { a = { pcaps = os.getenv 'x' } }"] = "global 'os'",
      ["return 5"] = "it returns a number",
      ["while true do end"] = "it does not end",
      ["return {"] = "near <eof>",
      ["return { a = { pcap = {} } }"] = 'a"].pcap: unknown field; did you mean "pcaps"',
      ["return { {} }"] = "expected the pattern of a name",
    } do
      local _, err = read(text)
      assert.matches(why, err.message, 1, true)
    end
  end)
end)
