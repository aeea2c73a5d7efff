-- clock: virtual
-- Faults as they are on the wire, the rules that say who meets them, and the control path.

local clock = require "moontap.clock"
local faults = require "moontap.sim.faults"
local json = require "moontap.json"
local support = require "support.sim"

local client

local function start(options)
  options = options or {}
  options.knobs = support.with({ simple_interval = 0 }, options.knobs or {})
  client = support.start(finally, options)
  return client
end

local function fault(spec)
  return assert(client.sim:fault(spec))
end

local function made()
  return client.sim.state.newest
end

local function create()
  return client:call("POST", "pcaps", support.SIMPLE)
end

describe("a fault", function()
  it("answers instead of the operation, or after it, as its kind says", function()
    for name, want in pairs {
      throttled = { 429, 0 }, throttled_silent = { 429, 0 }, error_json = { 500, 0 },
      error_html = { 502, 0 }, not_success = { 200, 0 }, truncated_json = { 200, 1 },
      malformed_json = { 200, 1 }, null_result = { 200, 1 }, wrong_types = { 200, 1 },
      unknown_status = { 200, 1 }, empty = { 200, 1 }, huge_json = { 200, 1 },
    } do
      start()
      fault("create:" .. name)
      local reply = create()
      assert.equal(want[1], reply.status, name)
      assert.equal(want[2], made(), name)
    end
  end)

  it("closes the connection before, after or amidst", function()
    for name, want in pairs { cut_before = { "before", 0 }, cut_after = { "before", 1 },
                              cut_middle = { "middle", 1 }, silent = { "silent", 0 },
                              ["silent,done=true"] = { "silent", 1 } } do
      start()
      fault("create:" .. name)
      assert.equal(want[1], create().cut, name)
      assert.equal(want[2], made(), name)
    end
  end)

  it("spoils what is answered", function()
    start()
    local id = client:ok("POST", "pcaps", support.SIMPLE).id
    local function get(spec)
      client.sim:clear_faults()
      fault("get:" .. spec)
      return client:call("GET", "pcaps/" .. id)
    end
    assert.matches("^<html>", get("error_html,status=503").body)
    assert.equal(503, get("error_html,status=503").status)
    assert.is_nil(json.decode(get("truncated_json").body))
    assert.is_nil(json.decode(get("malformed_json").body))
    assert.is_true(#get("huge_json,bytes=2000000").body > 2000000)
    assert.equal("queued", json.decode(get("unknown_status").body).result.status)
    assert.equal("odd", json.decode(get("unknown_status,status=odd").body).result.status)
    assert.is_nil(json.decode(get("null_result").body).result)
    local twisted = json.decode(get("wrong_types").body).result
    assert.equal(id, twisted.id)
    assert.equal(7, twisted.status)
    assert.equal("2", get("throttled").headers["Retry-After"])
    assert.is_nil(get("throttled_silent").headers["Retry-After"])
    assert.is_false(json.decode(get("not_success").body).success)
  end)

  it("holds up a request, or its answer", function()
    start()
    fault "create:latency,seconds=5"
    local before = clock.boot()
    local pending = moontap.spawn(create)
    moontap.sleep(4)
    assert.equal(0, made())
    pending:join()
    assert.equal(1, made())
    assert.is_true(clock.boot() - before >= 5)
    client.sim:clear_faults()
    fault "create:late_answer,seconds=5"
    pending = moontap.spawn(create)
    moontap.sleep(1)
    assert.equal(2, made())
    pending:join()
  end)

  it("gives a capture a fate", function()
    start { knobs = { any_bucket = true } }
    fault "create:never_ends,count=1"
    local full = { type = "full", system = "magic-transit", time_limit = 1, colo_name = "ORD",
                   destination_conf = support.BUCKET }
    local id = client:ok("POST", "pcaps", full).id
    moontap.sleep(3600)
    assert.equal("running", client:ok("GET", "pcaps/" .. id).status)
    client:refused(409, "POST", "pcaps", full)
    assert.equal(204, client:call("PUT", "pcaps/" .. id .. "/stop").status)
    moontap.sleep(60)
    assert.not_equal("running", client:ok("GET", "pcaps/" .. id).status)
    fault "create:fails,message=no disk,count=1"
    id = client:ok("POST", "pcaps", support.SIMPLE).id
    local failed = client:ok("GET", "pcaps/" .. id)
    assert.equal("failed", failed.status)
    assert.equal("no disk", failed.error_message)
    client:refused(404, "GET", "pcaps/" .. id .. "/download")
  end)

  it("damages a file", function()
    start()
    local id = client:ok("POST", "pcaps", support.SIMPLE).id
    moontap.sleep(2)
    local whole = client:call("GET", "pcaps/" .. id .. "/download").body
    for _, name in ipairs { "truncated_download", "corrupted_download", "foreign_download" } do
      client.sim:clear_faults()
      fault("download:" .. name)
      local reply = client:call("GET", "pcaps/" .. id .. "/download")
      assert.equal(200, reply.status)
      assert.not_equal(whole, reply.body)
    end
  end)
end)

describe("a rule", function()
  local function pattern(spec, n)
    local seen = {}
    fault(spec)
    for i = 1, n do seen[i] = client:call("GET", "pcaps").status == 200 and "." or "x" end
    return table.concat(seen)
  end

  it("is met always, n times, or later", function()
    start()
    assert.equal("xxxx", pattern("list:error_json", 4))
    client.sim:clear_faults()
    assert.equal("xx..", pattern("list:error_json,count=2", 4))
    client.sim:clear_faults()
    assert.equal("..x.", pattern("list:error_json,count=1,after=2", 4))
  end)

  it("is met at its rate, and by the same requests for the same seed", function()
    local function run(seed)
      start { seed = seed }
      return pattern("*:error_html,rate=0.3", 200)
    end
    local first = run(7)
    assert.equal(first, run(7))
    assert.not_equal(first, run(8))
    local _, met = first:gsub("x", "")
    assert.is_true(met > 40 and met < 80)
  end)

  it("leaves other operations alone, and the first one that fires wins", function()
    start()
    local one, two = fault "list:error_json,count=1", fault "*:error_html"
    assert.equal(500, client:call("GET", "pcaps").status)
    assert.equal(502, client:call("GET", "pcaps").status)
    assert.equal(1, one.fired)
    assert.equal(1, two.fired)
    client.sim:clear_faults()
    fault "get:error_json"
    assert.equal(200, client:call("GET", "pcaps").status)
  end)

  it("that is none is refused with what could be meant", function()
    start()
    for spec, text in pairs {
      [""] = "expected OPERATION:FAULT", ["create"] = "expected OPERATION:FAULT",
      ["crate:silent"] = "did you mean create?", ["create:slient"] = "did you mean silent?",
      ["get:truncated_download"] = "does not apply to get",
      ["get:silent,rate=2"] = "rate: expected 0 to 1", ["get:silent,rate=x"] = "expected a number",
      ["get:silent,count=0"] = "count: expected 1", ["get:silent,count"] = "expected NAME=VALUE",
      ["get:silent,rate=1,count=1"] = "one of rate and count",
      ["get:error_html,stauts=503"] = "did you mean status?",
      ["get:error_html,status=99"] = "expected 200 to 599",
    } do
      local rule, problem = client.sim:fault(spec)
      assert.is_nil(rule)
      assert.is_truthy(problem:find(text, 1, true), problem)
      assert.is_nil(problem:find "\n")
    end
    assert.is_nil((client.sim:fault { op = 5 }))
    assert.is_nil((client.sim:fault { op = "get", fault = {} }))
  end)
end)

describe("the control path", function()
  local JSON = { ["content-type"] = "application/json", host = "127.0.0.1:1" }

  local function control(method, path, body, headers)
    local reply = client:call(method, "/_sim" .. path, body,
      support.with(JSON, headers or {}))
    return reply, reply.body ~= "" and json.decode(reply.body) or nil
  end

  it("shows the world, and takes faults and knobs", function()
    start()
    local _, state = control("GET", "")
    assert.equal("baseline", state.scenario)
    assert.same({}, state.faults)
    local reply, rule = control("POST", "/faults", { op = "list", fault = "error_json", count = 1 })
    assert.equal(200, reply.status)
    assert.equal("list", rule.op)
    assert.equal(500, client:call("GET", "pcaps").status)
    _, state = control("GET", "/faults")
    assert.equal(1, state[1].fired)
    assert.equal(204, control("DELETE", "/faults").status)
    control("POST", "/faults", { spec = "list:error_html" })
    assert.equal(502, client:call("GET", "pcaps").status)
    control("DELETE", "/faults")
    assert.equal(200, control("POST", "/knobs", { list_max = 3 }).status)
    assert.equal(3, client.sim.state.knobs.list_max)
    assert.equal(1, select(2, control("GET", "")).requests.list - 1)
  end)

  it("is not counted, and meets no faults", function()
    start { knobs = { rate_limit = 1 } }
    fault "*:error_json"
    for _ = 1, 5 do assert.equal(200, control("GET", "").status) end
  end)

  it("starts and stops attacks", function()
    start { scenario = "udp-flood" }
    local _, list = control("POST", "/attacks", { name = "flood", action = "start", seconds = 5 })
    assert.equal("active", list[1].state)
    _, list = control("POST", "/attacks", { name = "flood", action = "stop" })
    assert.not_equal("active", list[1].state)
    local reply, told = control("POST", "/attacks", { name = "flod", action = "stop" })
    assert.equal(400, reply.status)
    assert.matches("did you mean flood", told.error)
  end)

  it("refuses what pages in a browser could send, and nonsense", function()
    start()
    assert.equal(403, control("GET", "", nil, { origin = "http://evil.example" }).status)
    assert.equal(403, control("GET", "", nil, { host = "evil.example:80" }).status)
    assert.equal(415, control("POST", "/faults", "{}", { ["content-type"] = "text/plain" }).status)
    assert.equal(405, control("PUT", "/faults", "{}").status)
    assert.equal(404, control("GET", "/nothing").status)
    for _, body in ipairs { "", "{", "[]", "7", '{"op":1}', '{"spec":""}', '{"rate":9e999}' } do
      assert.equal(400, control("POST", "/faults", body).status, body)
    end
    assert.equal(400, control("POST", "/knobs", { nonsense = 1 }).status)
    assert.equal(400, control("POST", "/attacks", { action = "dance" }).status)
    assert.same({}, select(2, control("GET", "")).faults)
  end)
end)

describe("docs/simulator.md", function()
  it("lists all faults and knobs with their defaults", function()
    local source = os.getenv "MOONTAP_SOURCE" or "."
    local file <close> = assert(io.open(source .. "/docs/simulator.md"))
    local text = file:read "a"
    for _, kind in ipairs(faults.kinds()) do
      assert.is_truthy(text:find("| `" .. kind.name .. "`", 1, true), kind.name)
    end
    for _, knob in ipairs(require "moontap.sim.knobs".list()) do
      local row = ("| `%s` | `%s` |"):format(knob.name, tostring(knob.default))
      assert.is_truthy(text:find(row, 1, true), row)
    end
    for _, name in ipairs(require "moontap.sim.scenario".names()) do
      assert.is_truthy(text:find("| `" .. name .. "`", 1, true), name)
    end
  end)
end)
