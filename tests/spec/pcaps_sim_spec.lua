-- All nine operations against the simulator, over a real connection.

local config = require "moontap.config"
local pcaps = require "pcaps"
local sim = require "moontap.sim"
local sys = require "moontap.native.sys"

local server, dir

setup(function()
  dir = assert(sys.tempdir("pcaps"))
  config.speed = 100
  server = assert(sim.start { seed = 1, bucket = dir, speed = 100, listen = "127.0.0.1:0" })
end)
teardown(function()
  server:close()
  config.speed = nil
end)

local function client(options)
  local settings = { base_url = server.base_url, account_id = server.account_id }
  options = options or { api_token = server.api_token }
  for name, value in pairs(options) do settings[name] = value end
  return assert(pcaps.client(settings))
end

describe("against the simulator", function()
  it("the example of the API's page is five lines", function()
    config.sim = server
    local chunk = assert(load(([[
      local client = assert(pcaps.client { account_id = "023e105f4ecef8ad9ca31a8372d0c353" })
      local cap = assert(client.create {
        packet_limit = 10000, system = "magic-transit", time_limit = 300, type = "simple",
      })
      return cap]]), "=example", "t", { pcaps = pcaps, assert = assert }))
    local cap = chunk()
    config.sim = nil
    assert.equal(300, cap.time_limit)
    assert.equal(cap, assert(cap:wait()))
    local path = assert(cap:download(dir .. "/first.pcap"))
    local f <close> = assert(io.open(path, "rb"))
    assert.equal("\xd4\xc3\xb2\xa1", f:read(4))
  end)

  it("a second simple capture waits for its slot", function()
    local cap = assert(client().create { type = "simple", time_limit = 60, packet_limit = 100 })
    assert.equal(cap.id, assert(client().get(cap.id)).id)
    local list = assert(client().list())
    assert.is_true(#list >= 2)
  end)

  it("a bucket is validated, used and given up", function()
    local c = client()
    local bucket = "s3://bucket/dir?region=us-east-1"
    local owner = assert(c.ownership.create { destination_conf = bucket })
    assert.equal("pending", owner.status)
    local f = assert(io.open(dir .. "/s3/bucket/dir/" .. owner.filename))
    local content = f:read("a")
    f:close()
    local wrong, err = c.ownership.validate {
      destination_conf = bucket, ownership_challenge = "no" }
    assert.is_nil(wrong)
    assert.equal("api", err.kind)
    local valid = assert(c.ownership.validate { destination_conf = bucket,
                                                ownership_challenge = content })
    assert.equal("success", valid.status)
    local cap = assert(c.create { type = "full", time_limit = 300, colo_name = "ORD",
                                  destination_conf = bucket })
    assert(cap:stop())
    cap:wait { timeout = "30s" }
    assert.is_true(cap:done())
    assert.equal(1, #assert(c.ownership.list()))
    assert.is_true(assert(c.ownership.delete(owner.id)))
    assert.equal(0, #assert(c.ownership.list()))
  end)

  it("a wrong token is refused", function()
    local list, err = client({ api_token = "wrong-token-000000000000000000000000000" }).list()
    assert.is_nil(list)
    assert.equal("credentials", err.kind)
    assert.is_string(err.ray)
  end)

  it("email and key are accepted", function()
    assert(client({ api_email = server.api_email, api_key = server.api_key }).list())
  end)
end)
