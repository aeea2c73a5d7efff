-- Clients: arguments, credentials, what goes over the wire and what comes back.

local api = require "support.pcaps_api"
local config = require "moontap.config"
local json = require "moontap.json"
local pcaps = require "pcaps"
local sys = require "moontap.native.sys"

local FULL = { type = "full", time_limit = 60, colo_name = "ORD",
               destination_conf = "s3://bucket?region=x" }

after_each(api.stop)

local function raises(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  return err
end

describe("arguments", function()
  it("raise with the caller's line and all problems", function()
    local err = raises(function() pcaps.create { type = "simple", time_limit = 301 } end)
    assert.matches("pcaps_client_spec%.lua:%d+: pcaps%.create: 2 problems", err)
    assert.matches("\n  time_limit: expected integer 1%.%.300 for a simple capture, got 301", err)
    assert.matches("\n  packet_limit: is required", err)
  end)

  it("raise before credentials are asked for", function()
    raises(pcaps.get, "")
    raises(pcaps.get, "..")
    raises(pcaps.stop, ("x"):rep(33))
    raises(pcaps.download, api.ID, 5)
    raises(pcaps.ownership.delete, "a\nb")
    raises(pcaps.ownership.create, {})
    raises(pcaps.ownership.validate, { destination_conf = "s3://bucket" })
  end)

  it("refuse unknown options with a near match", function()
    assert.matches("options%.timeuot: unknown option; did you mean timeout%?",
      raises(pcaps.list, { timeuot = 5 }))
    assert.matches("options%.timeout: expected a duration", raises(pcaps.list, { timeout = "x" }))
    assert.matches("options%.max_retries", raises(pcaps.list, { max_retries = -1 }))
    assert.matches("api_tokn: unknown option; did you mean api_token%?",
      raises(pcaps.client, { api_tokn = "x" }))
    assert.matches("timeout: expected a duration", raises(pcaps.client, { timeout = {} }))
  end)

  it("are found by their names, and a name that is none is no nil", function()
    assert.matches("pcaps has no member 'lst'; did you mean 'list'%?",
      raises(function() return pcaps.lst() end))
    assert.matches("pcaps%.ownership has no member 'creat'; did you mean 'create'%?",
      raises(function() return pcaps.ownership.creat {} end))
  end)

  it("tell a colon from a dot", function()
    local client = pcaps.client { account_id = "a" }
    assert.matches("with a dot", raises(client.create, client, api.SIMPLE))
  end)

  it("let IPv6 through only when asked", function()
    local server = api.start { api.capture() }
    local params = { type = "simple", time_limit = 1, packet_limit = 1,
                     filter_v1 = { source_address = "2001:db8::1" } }
    assert.matches("allow_ipv6", raises(server.client.create, params))
    assert(server.client.create(params, { allow_ipv6 = true }))
    assert.equal("2001:db8::1", json.decode(server.requests[1].body).filter_v1.source_address)
  end)
end)

describe("a request", function()
  it("is the body in the order of the schema, with the token", function()
    local server = api.start { api.capture() }
    assert(server.client.create {
      type = "simple", time_limit = "5m", packet_limit = 10000.0,
      filter_v1 = { protocol = "udp", destination_port = 53, destination_address = "192.0.2.1" } })
    local request = server.requests[1]
    assert.equal("POST", request.method)
    assert.equal("/client/v4/accounts/acc/pcaps", request.path)
    assert.equal("Bearer " .. api.TOKEN, request.headers.authorization)
    assert.equal("application/json", request.headers["content-type"])
    assert.equal('{"type":"simple","system":"magic-transit","time_limit":300,"packet_limit":10000,'
      .. '"filter_v1":{"destination_address":"192.0.2.1","destination_port":53,"protocol":17}}',
      request.body)
  end)

  it("carries email and key when there is no token", function()
    local server = api.start { api.ok {} }
    local client = assert(pcaps.client { base_url = api.URL, account_id = "acc",
      api_email = " ops@example.com\n", api_key = "key123" })
    assert(client.list())
    local request = server.requests[1]
    assert.equal("ops@example.com", request.headers["x-auth-email"])
    assert.equal("key123", request.headers["x-auth-key"])
    assert.is_nil(request.headers.authorization)
    assert.equal("/accounts/acc/pcaps", request.path)
  end)

  it("encodes ids", function()
    local server = api.start { api.capture() }
    assert(server.client.get("a/b c%?"))
    assert.equal("/client/v4/accounts/acc/pcaps/a%2Fb%20c%25%3F", server.requests[1].target)
  end)
end)

describe("an answer", function()
  it("becomes plain values, unknown fields kept", function()
    local server = api.start { api.json(200, [[{"success":true,"errors":null,"messages":["old"],
      "result":{"id":"x","packets_captured":80.0,"colo":"ORD","error_message":null,
      "filter_v1":{"protocol":17},"brand_new":{"a":[1,2]}}}]]) }
    local cap = assert(server.client.get("x"))
    assert.equal("integer", math.type(cap.packets_captured))
    assert.equal("ORD", cap.colo_name)
    assert.is_nil(cap.error_message)
    assert.same({ a = { 1, 2 } }, cap.brand_new)
    assert.equal("8f00ba4-ORD", cap:ray())
    local names = {}
    for name in pairs(cap) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "brand_new", "colo", "colo_name", "filter_v1", "id", "packets_captured" }, names)
  end)

  it("may be a list that is null", function()
    local server = api.start { api.json(200, '{"success":true,"result":null}') }
    assert.same({}, server.client.list())
    assert.same({}, server.client.ownership.list())
  end)

  it("makes every item of a list a capture", function()
    local server = api.start { api.ok { { id = "a", status = "complete", type = "simple" },
                                        { id = "b", status = "odd" } } }
    local list = assert(server.client.list())
    assert.is_true(list[1]:done())
    assert.is_false(list[2]:done())
    assert.equal("capture a (simple, complete)", tostring(list[1]))
  end)

  it("lists the newest capture first, whatever the API's order", function()
    local server = api.start { api.ok { { id = "a", submitted = "2026-01-01T00:00:00.5Z" },
      { id = "b" }, { id = "c", submitted = "2026-01-02T00:00:00.1Z" } } }
    local ids = {}
    for i, cap in ipairs(assert(server.client.list())) do ids[i] = cap.id end
    assert.same({ "c", "a", "b" }, ids)
  end)

  it("of an ownership is a plain table", function()
    local server = api.start { api.ok { id = "o", status = "pending", validated = "" } }
    local owner = assert(server.client.ownership.create { destination_conf = "gs://bucket/dir" })
    assert.equal("", owner.validated)
    assert.is_nil(getmetatable(owner))
    assert(server.client.ownership.validate {
      destination_conf = "gs://bucket/dir", ownership_challenge = "content" })
    assert.equal("/client/v4/accounts/acc/pcaps/ownership/validate", server.requests[2].path)
    assert.equal('{"destination_conf":"gs://bucket/dir","ownership_challenge":"content"}',
      server.requests[2].body)
  end)
end)

describe("credentials", function()
  local dir, saved

  before_each(function()
    dir = assert(sys.tempdir("pcaps"))
    saved = { base_url = config.base_url, account_id = config.account_id,
              token_file = config.token_file, sim = config.sim }
  end)
  after_each(function()
    for _, name in ipairs { "base_url", "account_id", "token_file", "sim" } do
      config[name] = saved[name]
    end
  end)

  local function token_file(text, mode)
    local path = dir .. "/token"
    os.remove(path)
    assert(sys.write_file(path, text, tonumber(mode, 8)))
    return path
  end

  local function refused(options)
    options.account_id, options.base_url = "acc", api.URL
    local client, err = pcaps.client(options)
    assert.is_nil(client)
    assert.equal("credentials", err.kind)
    return tostring(err)
  end

  it("may come from a file that the group can read", function()
    local server = api.start { api.ok {} }
    local client = assert(pcaps.client { account_id = "acc", base_url = api.URL,
                                         token_file = token_file("  tok-123\n", "640") })
    assert(client.list())
    assert.equal("Bearer tok-123", server.requests[1].headers.authorization)
  end)

  it("may come from a pipe, and wait for who writes it", function()
    local server = api.start { api.ok {} }
    local pipe = dir .. "/pipe"
    assert(os.execute("mkfifo -m 600 " .. pipe))
    assert(os.execute("(sleep 0.2; printf 'tok-pipe\\n') >" .. pipe .. " &"))
    local client = assert(pcaps.client { account_id = "acc", base_url = api.URL,
                                         token_file = pipe })
    assert(client.list())
    assert.equal("Bearer tok-pipe", server.requests[1].headers.authorization)
  end)

  it("that the API refuses are told with their account and origin", function()
    api.start { api.fail(403, 9109, "Unauthorized") }
    local file = token_file("tok-123\n", "600")
    local client = assert(pcaps.client { account_id = "acc", base_url = api.URL,
                                         token_file = file })
    local _, err = client.list()
    assert.equal("credentials", err.kind)
    assert.is_truthy(tostring(err):find("account acc, credentials from token file " .. file, 1,
      true))
  end)

  it("are refused from a file that everybody can read", function()
    assert.matches("chmod", refused { token_file = token_file("tok", "644") })
  end)

  it("are refused when they would break the header, and never shown", function()
    for _, bad in ipairs { "", "  \n", "hunter2\r\nX: y", '"hunter2"', "hunter2 hunter2",
                           "hunter\1" } do
      assert.is_nil(refused({ api_token = bad }):find("hunter", 1, true))
      assert.is_nil(refused({ token_file = token_file(bad, "600") }):find("hunter", 1, true))
    end
    assert.matches("API key is missing", refused { api_email = "ops@example.com" })
    refused { token_file = dir .. "/none" }
  end)

  it("that are missing say what to do", function()
    local text = refused { api_email = "ops@example.com" }
    for _, part in ipairs { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY",
                            "--sim" } do
      assert.is_truthy(text:find(part, 1, true))
    end
    local read, write = text:find("Read PCAPs API", 1, true), text:find("Write PCAPs API", 1, true)
    assert.is_true(read < write)
  end)

  it("never go in clear to another machine", function()
    local client, err = pcaps.client { account_id = "a", api_token = "t",
                                       base_url = "http://example.com/client/v4" }
    assert.is_nil(client)
    assert.matches("in clear", tostring(err))
    assert.is_nil((pcaps.client { account_id = "a", api_token = "t",
                                  base_url = "https://u:p@example.com" }))
  end)

  it("do not show in tostring", function()
    local server = api.start { api.ok {} }
    assert.equal("pcaps client (account acc at http://sim.internal)", tostring(server.client))
    assert.equal("pcaps client (not set up yet)", tostring(pcaps.client { account_id = "a" }))
    assert.is_false(getmetatable(server.client))
  end)

  it("of the embedded simulator override all others", function()
    local server = api.start { api.ok {} }
    config.sim = { base_url = api.URL, account_id = "simacc", api_token = "simtoken" }
    local client = assert(pcaps.client { account_id = "real", api_token = "real",
                                         base_url = "https://example.com" })
    assert(client.list())
    assert.equal("/accounts/simacc/pcaps", server.requests[1].path)
    assert.equal("Bearer simtoken", server.requests[1].headers.authorization)
    assert.equal("simacc", client.account_id)
  end)
end)

describe("a full capture", function()
  it("needs its colo and bucket", function()
    local server = api.start { api.capture { type = "full", colo_name = "ORD" } }
    local cap = assert(server.client.create(FULL))
    assert.equal("capture " .. api.ID .. " (full, ORD, pending)", tostring(cap))
    assert.matches("colo_name: is required", raises(server.client.create,
      { type = "full", time_limit = 1, destination_conf = "s3://b" }))
  end)
end)
