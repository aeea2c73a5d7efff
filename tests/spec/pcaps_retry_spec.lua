-- clock: virtual
-- When an operation is tried again, and that a POST never is while its outcome is open.

local api = require "support.pcaps_api"
local clock = require "moontap.clock"
local effects = require "moontap.effects"
local json = require "moontap.json"
local pcaps = require "pcaps"

local HTML = { status = 502, headers = { ["Content-Type"] = "text/html", ["cf-ray"] = "9ed9e-AMS" },
               body = "<html>\n <h1>Bad\tgateway</h1></html>" }

after_each(api.stop)

describe("a read", function()
  it("is tried again until it succeeds", function()
    local server = api.start { HTML, api.fail(500, 1000, "no"), api.capture() }
    local cap = assert(server.client.get(api.ID))
    assert.equal("pending", cap.status)
    assert.equal(3, #server.requests)
  end)

  it("stops after max_retries and says how often it was tried", function()
    local server = api.start { HTML }
    local cap, err = server.client.list { max_retries = 2 }
    assert.is_nil(cap)
    assert.equal(3, #server.requests)
    assert.equal("http", err.kind)
    assert.equal(502, err.status)
    assert.equal(3, err.attempts)
    assert.is_true(err.retryable)
    assert.equal("list: status 502 and no answer of the API: <html> <h1>Bad gateway</h1></html>"
      .. " (tried 3 times) (cf-ray 9ed9e-AMS)", tostring(err))
  end)

  it("waits as long as retry-after says", function()
    local server = api.start { api.fail(429, 971, "slow", { ["retry-after"] = "20" }), api.ok {} }
    assert(server.client.list())
    local pause = server.requests[2].at - server.requests[1].at
    assert.is_true(pause >= 20 and pause < 21)
  end)

  it("understands retry-after as a date", function()
    local server
    server = api.start(function(_, n)
      if n > 1 then return api.ok {} end
      return api.fail(429, 971, "slow", {
        ["retry-after"] = os.date("!%a, %d %b %Y %H:%M:%S GMT", math.floor(clock.now()) + 30) })
    end)
    assert(server.client.list())
    local pause = server.requests[2].at - server.requests[1].at
    assert.is_true(pause >= 29 and pause < 32)
  end)

  it("gives up at once when the pause would not fit into the deadline", function()
    local server = api.start { api.fail(429, 971, "slow", { ["retry-after"] = "3600" }) }
    local before = clock.boot()
    local list, err = server.client.list { deadline = "2m" }
    assert.is_nil(list)
    assert.equal(429, err.status)
    assert.equal(1, #server.requests)
    assert.is_true(clock.boot() - before < 1)
  end)

  it("is not tried again when the refusal is for good", function()
    local server = api.start { api.fail(404, 1011, "not found") }
    local cap, err = server.client.get(api.ID)
    assert.is_nil(cap)
    assert.equal("api", err.kind)
    assert.equal(1011, err.code)
    assert.equal("yes", err.sent)
    assert.is_false(err.retryable)
    assert.equal("get " .. api.ID .. " refused: 404 [1011] not found (cf-ray 8f00ba4-ORD)",
      tostring(err))
    assert.equal(1, #server.requests)
  end)

  it("ends by its timeout when the server stays silent", function()
    local server = api.start { { status = 200, cut = "silent" } }
    local before = clock.boot()
    local list, err = server.client.list { timeout = 5, max_retries = 0 }
    assert.is_nil(list)
    assert.equal("timeout", err.kind)
    assert.is_true(clock.boot() - before >= 5)
  end)
end)

describe("a create", function()
  local function unknown(reply)
    local server = api.start { reply }
    local cap, err = server.client.create(api.SIMPLE, { timeout = 5 })
    assert.is_nil(cap)
    assert.equal("unknown_outcome", err.kind)
    assert.is_false(err.retryable)
    assert.equal(1, api.count(server, "POST"))
    return err
  end

  it("is never sent twice while its outcome is open", function()
    assert.equal("http", unknown(HTML).cause)
    assert.equal("api", unknown(api.fail(503, 1000, "busy")).cause)
    assert.equal("http", unknown(api.json(200, "{\"success\":tr")).cause)
    assert.equal("http", unknown(api.json(200, { success = true })).cause)
    assert.equal("http", unknown { status = 200, body = "" }.cause)
    assert.equal("timeout", unknown { status = 200, cut = "silent" }.cause)
    unknown { status = 200, cut = "before" }
    unknown { status = 200, cut = "middle", body = "{}" }
    unknown(api.fail(408, 1000, "timeout"))
  end)

  it("is final when it was refused clearly", function()
    local server = api.start { api.fail(400, 1004, "must be at most 300", nil, "/time_limit") }
    local cap, err = server.client.create(api.SIMPLE)
    assert.is_nil(cap)
    assert.equal("api", err.kind)
    assert.equal("create refused: 400 [1004] /time_limit: must be at most 300 (cf-ray 8f00ba4-ORD)",
      tostring(err))
    assert.equal("/time_limit", err.errors[1].source.pointer)
    assert.equal(1, #server.requests)
  end)

  it("is refused by success = false, whatever the status", function()
    local server = api.start { api.fail(200, 1234, "no") }
    local cap, err = server.client.create(api.SIMPLE)
    assert.is_nil(cap)
    assert.equal("api", err.kind)
    assert.equal(200, err.status)
  end)

  it("waits for the slot with the window where it was", function()
    local server = api.start {
      api.fail(429, 1009, "one a minute", { ["retry-after"] = "45" }), api.capture() }
    local asked = clock.now()
    assert(server.client.create(api.SIMPLE))
    assert.equal(2, #server.requests)
    assert.is_nil(json.decode(server.requests[1].body).offset_time)
    local offset = clock.parse(json.decode(server.requests[2].body).offset_time)
    assert.is_true(math.abs(offset - asked) < 1)
  end)

  it("waits for the slot without a retry-after too, long enough for a minute", function()
    local server
    server = api.start(function(request)
      if request.at - server.requests[1].at < 60 then return api.fail(429, 1009, "one a minute") end
      return api.capture()
    end)
    assert(server.client.create(api.SIMPLE))
  end)

  it("is an error of kind quota when the slot does not get free in time", function()
    local server = api.start { api.fail(429, 1009, "one a minute") }
    local _, err = server.client.create(api.SIMPLE, { max_retries = 1 })
    assert.equal("quota", err.kind)
    assert.equal(429, err.status)
    assert.is_true(err.retryable)
  end)

  it("does not let a pause make its window too old", function()
    local server = api.start {
      api.fail(429, 1009, "one a minute", { ["retry-after"] = "45" }), api.capture() }
    assert(server.client.create { type = "simple", time_limit = 60, packet_limit = 1,
                                  offset_time = "-24h" })
    assert.equal(2, #server.requests)
  end)

  it("is an unknown outcome when the answer names no id", function()
    for _, result in ipairs { {}, { id = 12 }, { id = "" } } do
      local server = api.start { api.ok(result) }
      local cap, err = server.client.create(api.SIMPLE)
      assert.is_nil(cap)
      assert.equal("unknown_outcome", err.kind)
      assert.equal(1, api.count(server, "POST"))
    end
  end)

  it("keeps a relative offset_time fixed over a pause", function()
    local server = api.start {
      api.fail(429, 1009, "one a minute", { ["retry-after"] = "45" }), api.capture() }
    local params = { type = "simple", time_limit = 60, packet_limit = 1, offset_time = "-10m" }
    assert(server.client.create(params))
    local first, second = json.decode(server.requests[1].body), json.decode(server.requests[2].body)
    assert.is_true(math.abs(clock.parse(first.offset_time) - clock.parse(second.offset_time)) < 1)
  end)

  it("waits for the full slot on 409, and a simple one does not", function()
    local full = { type = "full", time_limit = 60, colo_name = "ORD",
                   destination_conf = "s3://bucket?region=x" }
    local server = api.start { api.fail(409, 1010, "busy"), api.capture { type = "full" } }
    assert.equal("full", assert(server.client.create(full)).type)
    server = api.start { api.fail(409, 1010, "busy") }
    local _, err = server.client.create(api.SIMPLE)
    assert.equal("api", err.kind)
    assert.equal(1, #server.requests)
  end)

  it("shows no secret in an error that repeats the bucket", function()
    local secret = "r2://b?account-id=1&secret-access-key=hunter2"
    local server = api.start { api.fail(400, 1007, "bad bucket " .. secret) }
    local _, err = server.client.ownership.create { destination_conf = secret }
    assert.is_nil(tostring(err):find("hunter2", 1, true))
    assert.is_nil(json.encode(err.errors):find("hunter2", 1, true))
    assert.matches("r2://b%?%*%*%*", tostring(err))
  end)
end)

describe("what an answer repeats of a bucket's keys", function()
  local SENT = "r2://b?account-id=1&access-key-id=AKIDNUMBER1&secret-access-key=hunter2"
  local told = {
    ["without its scheme"] = "no bucket: b?access-key-id=AKIDNUMBER1&secret-access-key=hunter2",
    ["alone"] = "the key hunter2 of AKIDNUMBER1 is not known",
    ["escaped in JSON"] = "\\u0068unter2 and \\u0041KIDNUMBER1",
    ["encoded for a URL"] = "b%3Faccess-key-id%3DAKIDNUMBER1%26secret-access-key%3Dhunter2",
  }
  for how, text in pairs(told) do
    it("is hidden when it stands " .. how, function()
      local server = api.start { api.json(400, ('{"success":false,"errors":[{"code":1007,'
        .. '"message":"%s"}],"messages":[],"result":null}'):format(text)) }
      local _, err = server.client.ownership.create { destination_conf = SENT }
      for _, seen in ipairs { tostring(err), err.message, json.encode(err.errors) } do
        assert.is_nil(seen:find("hunter2", 1, true))
        assert.is_nil(seen:find("AKIDNUMBER1", 1, true))
      end
    end)
  end
end)

describe("ownership.delete", function()
  it("is done when a second try no longer finds it", function()
    local server = api.start { HTML, api.fail(404, 1018, "gone") }
    assert.is_true(assert(server.client.ownership.delete(api.ID)))
    assert.equal("DELETE", server.requests[2].method)
  end)

  it("fails when the first try does not find it", function()
    local server = api.start { api.fail(404, 1018, "gone") }
    local ok, err = server.client.ownership.delete(api.ID)
    assert.is_nil(ok)
    assert.equal(404, err.status)
  end)
end)

describe("stop", function()
  it("takes an empty 204 for done, and is tried again", function()
    local server = api.start { HTML, { status = 204, headers = {} } }
    assert.is_true(assert(server.client.stop(api.ID)))
    assert.equal("PUT", server.requests[2].method)
    assert.equal("/client/v4/accounts/acc/pcaps/" .. api.ID .. "/stop", server.requests[2].path)
    assert.equal("", server.requests[2].body)
  end)
end)

describe("refused credentials", function()
  it("are an error of their own kind that names the permission", function()
    local server = api.start { api.fail(403, 10000, "Authentication error") }
    local _, err = server.client.create(api.SIMPLE)
    assert.equal("credentials", err.kind)
    assert.matches("Write PCAPs API", tostring(err))
    _, err = server.client.list()
    assert.matches("Read PCAPs API", tostring(err))
    assert.equal(2, #server.requests)
  end)
end)

describe("effects", function()
  it("let a wrapper see the call and answer in its place", function()
    local seen
    local undo = effects.wrap("pcaps.create", function(_, client, params, options)
      seen = { client, params, options }
      return { id = "made-up" }
    end)
    local server = api.start { api.capture() }
    local options = { timeout = 5 }
    local cap = server.client.create(api.SIMPLE, options)
    undo()
    assert.equal("made-up", cap.id)
    assert.equal(server.client, seen[1])
    assert.equal(api.SIMPLE, seen[2])
    assert.equal(options, seen[3])
    assert.equal(0, #server.requests)
  end)

  it("exist for all nine operations, and pauses go through them", function()
    local names = {}
    for _, name in ipairs(effects.names()) do names[name] = true end
    for _, op in ipairs { "create", "list", "get", "stop", "download", "ownership.create",
                          "ownership.list", "ownership.delete", "ownership.validate" } do
      assert.is_true(names["pcaps." .. op])
    end
    local slept = 0
    local undo = effects.wrap("sleep", function(_, seconds) slept = slept + seconds end)
    local server = api.start { api.fail(429, 971, "slow", { ["retry-after"] = "20" }), api.ok {} }
    assert(server.client.list())
    undo()
    assert.is_true(slept >= 20)
  end)

  it("come after the check of the arguments", function()
    local undo = effects.wrap("pcaps.create", function() return { id = "made-up" } end)
    local ok, err = pcall(pcaps.create, { type = "simple" })
    undo()
    assert.is_false(ok)
    assert.matches("2 problems", err)
  end)
end)

describe("a create that is cancelled on its way", function()
  it("says that a capture may have been opened", function()
    local server = api.start(function() return { cut = "silent" } end)
    local task = moontap.spawn(function()
      return server.client.create { type = "simple", time_limit = 1, packet_limit = 1 }
    end)
    moontap.sleep(0.1)
    local caught
    local outer = moontap.spawn(function()
      local ok, err = pcall(server.client.create,
        { type = "simple", time_limit = 1, packet_limit = 1 })
      caught = not ok and err
    end)
    moontap.sleep(0.1)
    task:cancel()
    outer:cancel("enough")
    outer:join()
    assert.equal("cancelled", caught.kind)
    assert.equal("maybe", caught.sent)
    assert.matches("^enough; a create was under way, its outcome is unknown", tostring(caught))
    assert.equal(2, #server.requests)
  end)
end)

describe("an error", function()
  it("does not repeat a secret that the answer repeats", function()
    local server = api.start { api.fail(400, 6003, "bad header: Bearer " .. api.TOKEN,
      { ["cf-ray"] = api.TOKEN }) }
    local _, err = server.client.list()
    for _, text in ipairs { tostring(err), err.message, err.ray, json.encode(err.errors) } do
      assert.is_nil(text:find(api.TOKEN, 1, true))
    end
    server = api.start { { status = 502, headers = {}, body = "<p>" .. api.TOKEN .. "</p>" } }
    _, err = server.client.list { max_retries = 0 }
    assert.is_nil(tostring(err):find(api.TOKEN, 1, true))
  end)

  it("is one line of bounded length, without control characters", function()
    local server = api.start { api.fail(400, 1000, "a\nmoontap: forged\27[31m" .. ("x"):rep(9999),
      { ["cf-ray"] = "8f00 ba4" }) }
    local _, err = server.client.list()
    assert.is_nil(tostring(err):find "%c")
    assert.is_true(#tostring(err) < 1000)
    assert.equal("8f00?ba4", err.ray)
  end)
end)
