-- outside
-- The playbooks that ship with the product, and what schedule and check say of others.

local command = require "support.command"
local daemons = require "support.daemon"
local json = require "moontap.json"
local lfs = require "lfs"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local root = command.source
if root:sub(1, 1) ~= "/" then root = lfs.currentdir() .. "/" .. root end

describe("the playbooks that ship", function()
  local BUCKET <const> = [[
local bucket = "s3://captures/nightly?region=eu-central-1"
local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
local f = assert(io.open("bucket/s3/captures/nightly/" .. ownership.filename))
assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = f:read "a" })]]

  it("mean something, without a warning of check but for full captures", function()
    local facts = json.decode(place:succeeds("check", "--json", root .. "/scripts/playbooks"))
    assert.equal(4, #facts)
    for _, one in ipairs(facts) do
      assert.is_true(one.ok)
      assert.equal(one.name == "full-at-night" and 1 or 0, #one.warnings)
      assert.equal(5, #one.next)
    end
  end)

  it("do what they say", function()
    place:simulate()
    place:write("policy.lua", [[return { ["full-*"] = { pcaps = { types = { "full" },
      colos = { "ams01", "fra06" }, max_time_limit = 300, max_byte_limit = 500000000, per_day = 1 },
      buckets = { "captures" } },
      ["nightly-*"] = {}, ["hourly-*"] = {}, ["ownership-*"] = {} }]])
    place:succeeds("run", "-e", BUCKET)
    local _, _, err = place:run("check", root .. "/scripts/playbooks", "--policy",
      place.dir .. "/policy.lua")
    assert.equal("", err)
    command.run { "cp", "-r", root .. "/scripts/playbooks/.", place.dir .. "/pb" }
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    local names = { "nightly-baseline", "ownership-audit", "hourly-spot-check", "full-at-night" }
    for _, name in ipairs(names) do place:succeeds("trigger", name) end
    for _, one in ipairs(place:await_runs(nil, 4)) do
      assert.equal("ok", one.state, ("%s: %s"):format(one.playbook, one.error))
    end
    local one = place:once "full-at-night"
    assert.equal("denied", one.error_kind)
    assert.matches("per_day: 1 were opened today", one.error)
  end)
end)

describe("schedule", function()
  it("lists due times with their zone, and who waits for the same slot", function()
    place:playbook("a", "", 'tz = "Europe/Berlin",', "30 2 * * *")
    place:playbook("b", "", nil, "30 1 * * *")
    local rows = json.decode(place:succeeds("schedule", "--json", "--from", "2026-10-24", "--to",
      "2026-10-27", place.dir .. "/pb"))
    local lines = {}
    for i, row in ipairs(rows) do
      lines[i] = ("%s %s %s %s"):format(row.nominal, row.playbook, row.zone,
        table.concat(row.contends, "+"))
    end
    assert.same({
      "2026-10-24T00:30:00Z a Europe/Berlin ", "2026-10-24T01:30:00Z b UTC ",
      "2026-10-25T00:30:00Z a Europe/Berlin ", "2026-10-25T01:30:00Z b UTC ",
      "2026-10-26T01:30:00Z a Europe/Berlin b", "2026-10-26T01:30:00Z b UTC a",
    }, lines)
  end)

  it("and check tell CI of a file that cannot be used", function()
    place:write("pb/bad.lua", "return { api = 1, on = { alert = 'x' }, run = 1 }")
    local status, out = place:run("check", place.dir .. "/pb")
    assert.equal(1, status)
    assert.matches("error     on.alert: this version has no such trigger", out)
    assert.equal(1, (place:run("schedule", place.dir .. "/pb")))
  end)
end)
