-- What `moontap check` says a playbook may do in all is what the rules let it do.

local command = require "support.command"
local effective = require "moontap.gate.effective"
local json = require "moontap.json"
local prefix = require "moontap.gate.prefix"
local rules = require "moontap.gate.rules"
local tempdir = require "support.tempdir"

local PREFIXES <const> = { "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24", "10.1.2.3" }
local ADDRESSES <const> = { "10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "192.0.2.1", "8.8.8.8" }
local TYPES <const>, VERBS <const> = { "simple", "full" }, { "create", "list", "stop" }
local COLOS <const>, BUCKETS <const> = { "ORD", "AMS" }, { "one", "two" }
local HOSTS <const> = { "a.example", "B.example" }
local DIRECTORIES <const> = { "/", "/srv", "/srv/in/", "/srv/in/deep", "/var" }
local PATHS <const> = { "/srv/x", "/srv/in/x", "/srv/in/deep/x", "/srvx", "/var/x", "/etc/x" }

local state = 1
local function random(n)
  state = (state * 1103515245 + 12345) % 2147483648
  return state // 65536 % n + 1
end

local function some(list)
  if random(3) == 1 then return nil end
  local picked = {}
  for _, item in ipairs(list) do
    if random(2) == 1 then picked[#picked + 1] = item end
  end
  return picked
end

local function grants()
  return {
    pcaps = random(5) > 1 and {
      types = some(TYPES), destinations = some(PREFIXES), sources = some(PREFIXES),
      verbs = some(VERBS), colos = some(COLOS), max_byte_limit = random(2) == 1 and 1000 or nil,
      max_time_limit = random(2) == 1 and 50 * random(3) or nil,
      per_day = random(2) == 1 and random(9) or nil,
    } or nil,
    buckets = some(BUCKETS), http = some(HOSTS), files = some(DIRECTORIES),
  }
end

local function has(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

local function within(list, address)
  for _, item in ipairs(list or { address }) do
    if prefix.contains(prefix.parse(item), prefix.parse(address)) then return true end
  end
  return false
end

local function below(list, path)
  for _, dir in ipairs(list) do
    if path:sub(1, #dir) == dir then return true end
  end
  return false
end

local function lets_create(all, params)
  local filter, is_full = params.filter_v1, params.type == "full"
  return has(all.types, params.type) and within(all.destinations, filter.destination_address)
    and within(all.sources, filter.source_address)
    and (not all.max_time_limit or params.time_limit <= all.max_time_limit)
    and (not is_full or has(all.colos, params.colo_name)
      and has(all.buckets, params.destination_conf:match "//(%w+)"))
end

local ROUNDS <const> = os.getenv "MOONTAP_GC_STRESS" and 600 or 3000

describe("the effective set", function()
  it("is what the rules let pass, whatever the layers say", function()
    local passed = 0
    for round = 1, ROUNDS do
      local policy = random(4) > 1
        and { ["*"] = grants(), ["a-*"] = random(2) == 1 and grants() or nil }
      local set = rules.join("a-b", random(4) > 1 and grants() or nil, policy or nil)
      local all = effective.of(set)
      local params = {
        type = TYPES[random(2)], time_limit = 40 * random(4), byte_limit = 500, packet_limit = 5,
        colo_name = COLOS[random(2)], destination_conf = ("s3://%s/x"):format(BUCKETS[random(2)]),
        filter_v1 = { destination_address = ADDRESSES[random(#ADDRESSES)],
                      source_address = ADDRESSES[random(#ADDRESSES)] },
      }
      local why = rules.refuses_create(set, params)
      assert.equal(why == nil, lets_create(all, params), ("%d: %s"):format(round, why))
      passed = passed + (why and 0 or 1)
      local verb, host = VERBS[random(3)], HOSTS[random(2)]:lower()
      assert.equal(rules.refuses_verb(set, verb) == nil, not all.verbs or has(all.verbs, verb))
      assert.equal(rules.refuses_http(set, host) == nil, has(all.http, host))
      assert.equal(rules.per_day(set), all.per_day)
      local path = PATHS[random(#PATHS)]
      assert.equal(rules.root_of(set, "reading", path) ~= nil, below(all.files, path))
    end
    assert.is_true(passed > ROUNDS / 30)
  end)

  it("is what check shows", function()
    local dir = tempdir.new()
    local function write(name, text)
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
    end
    write("p.lua", [[return { api = 1, on = { cron = "0 3 * * *" }, run = function() end, grants = {
      pcaps = { types = { "simple", "full" }, destinations = { "203.0.113.0/24" } } } }]])
    write("policy",
      'return { ["*"] = { pcaps = { destinations = { "203.0.0.0/16" }, per_day = 5 } } }')
    local words = { command.moontap, "check", "--policy", "policy", "p.lua" }
    local _, out = command.run(words, { cwd = dir })
    assert.matches("\n  may +types simple; destinations 203.0.113.0/24; per_day 5; http none; "
      .. "files none\n", out)
    words[#words + 1] = "--json"
    _, out = command.run(words, { cwd = dir })
    assert.same({ "simple" }, json.decode(out)[1].effective.types)
    tempdir.remove(dir)
  end)
end)
