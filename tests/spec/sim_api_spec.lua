-- clock: virtual
-- The simulated API: who may ask, what is refused and how, and how captures live.

local clock = require "moontap.clock"
local support = require "support.sim"

local FULL = { type = "full", system = "magic-transit", time_limit = 60, colo_name = "ORD",
               destination_conf = support.BUCKET,
               filter_v1 = { destination_address = "203.0.113.10" } }
local NOWHERE = { filter_v1 = { source_address = "10.9.8.7" } }

describe("authentication", function()
  local function list(client, headers)
    return client:call("GET", "pcaps", nil, headers)
  end

  it("takes the token, or email and key", function()
    local client = support.start(finally)
    assert.equal(200, list(client).status)
    assert.equal(200, list(client, { ["x-auth-email"] = client.sim.api_email,
                                     ["x-auth-key"] = client.sim.api_key }).status)
  end)

  it("refuses a wrong token, also beside a right key", function()
    local client = support.start(finally)
    local headers = { authorization = "Bearer wrong", ["x-auth-key"] = client.sim.api_key,
                      ["x-auth-email"] = client.sim.api_email }
    assert.equal(9109, client:refused(403, "GET", "pcaps", nil, headers).code)
  end)

  it("refuses a wrong key and missing credentials", function()
    local client = support.start(finally)
    local headers = { ["x-auth-email"] = client.sim.api_email, ["x-auth-key"] = "wrong" }
    assert.equal(9103, client:refused(403, "GET", "pcaps", nil, headers).code)
    headers["x-auth-email"] = nil
    assert.equal(9106, client:refused(400, "GET", "pcaps", nil, headers).code)
    assert.equal(9106, client:refused(400, "GET", "pcaps", nil, {}).code)
  end)

  it("names the header that is malformed in error_chain", function()
    local client = support.start(finally)
    for _, header in ipairs { 'Bearer "quoted"', "Bearer two words", "Bearer a\n", "Basic eDp5" } do
      local problem = client:refused(400, "GET", "pcaps", nil, { authorization = header })
      assert.equal(6003, problem.code)
      assert.equal(6111, problem.error_chain[1].code)
    end
  end)

  it("refuses another account", function()
    local client = support.start(finally)
    local path = "/client/v4/accounts/" .. ("0"):rep(32) .. "/pcaps"
    assert.equal(9109, client:refused(403, "GET", path).code)
  end)

  it("lets a read-only token read only", function()
    local client = support.start(finally, { read_token = "reader" })
    local headers = { authorization = "Bearer reader" }
    assert.equal(200, list(client, headers).status)
    assert.equal(10000, client:refused(403, "POST", "pcaps", support.SIMPLE, headers).code)
  end)
end)

describe("routes", function()
  it("answers an unknown one with 7003", function()
    local client = support.start(finally)
    for _, path in ipairs { "pcap", "pcaps/", "pcaps//stop", "pcaps/x/y", "/accounts/x/pcaps",
                            "/client/v4/user", "pcaps/" .. ("a"):rep(33) } do
      assert.equal(7003, client:refused(404, "GET", path).code)
    end
  end)

  it("answers a wrong method with 405 and the right ones", function()
    local client = support.start(finally)
    local _, reply = client:refused(405, "DELETE", "pcaps")
    assert.equal("GET, POST", reply.headers["Allow"])
    client:refused(405, "POST", "pcaps/x/stop")
    client:refused(405, "GET", "pcaps/ownership/validate")
  end)

  it("gives every answer a cf-ray, a date and the rate limit", function()
    local client = support.start(finally)
    local first = client:call("GET", "pcaps").headers
    local second = client:call("GET", "nothing").headers
    assert.matches("^%x+%-%u%u%u$", first["CF-Ray"])
    assert.not_equal(first["CF-Ray"], second["CF-Ray"])
    assert.equal('"default";r=1199;t=300', first["Ratelimit"])
    assert.equal('"default";r=1198;t=300', second["Ratelimit"])
    assert.equal('"burst";q=1200;w=300', second["Ratelimit-Policy"])
    assert.matches("^%u%l%l, %d%d %u%l%l %d%d%d%d %d%d:%d%d:%d%d GMT$", first["Date"])
    assert.is_nil(first["Retry-After"])
  end)

  it("refuses everything when the rate limit is used up, until the window ends", function()
    local client = support.start(finally, { knobs = { rate_limit = 2 } })
    client:ok("GET", "pcaps")
    client:ok("GET", "pcaps")
    moontap.sleep(100)
    local _, reply = client:refused(429, "GET", "pcaps")
    assert.equal("200", reply.headers["Retry-After"])
    moontap.sleep(200)
    client:ok("GET", "pcaps")
  end)
end)

describe("a body", function()
  local function problems(client, body)
    local _, _, answer = client:refused(400, "POST", "pcaps", body)
    local pointers = {}
    for i, problem in ipairs(answer.errors) do
      pointers[i] = problem.source and problem.source.pointer
    end
    table.sort(pointers)
    return pointers, answer.errors
  end

  it("must be a JSON object of bearable size", function()
    local client = support.start(finally)
    for _, body in ipairs { "", "{", "[]", '"x"', "null", "[{}]" } do
      assert.same({}, problems(client, body))
    end
    client:refused(413, "POST", "pcaps", (" "):rep(70000) .. "{}")
  end)

  it("is told all its problems at once, each with its pointer", function()
    local client = support.start(finally)
    assert.same({ "/system", "/time_limit", "/type" }, problems(client, "{}"))
    assert.same({ "/packet_limit", "/time_limit" },
      problems(client, support.with(support.SIMPLE, { time_limit = 301, packet_limit = 10001 })))
    assert.same({ "/packet_limit", "/time_limit" },
      problems(client, support.with(support.SIMPLE, { time_limit = 1.5, packet_limit = "9" })))
    assert.same({ "/packet_limit" },
      problems(client, support.with(support.SIMPLE, { packet_limit = false })))
    assert.same({ "/byte_limit", "/time_limit" },
      problems(client, support.with(FULL, { byte_limit = 1000000001, time_limit = 86401 })))
    assert.same({ "/colo_name", "/destination_conf" },
      problems(client, support.with(FULL, { colo_name = false, destination_conf = false })))
    assert.same({ "/system" },
      problems(client, support.with(support.SIMPLE, { system = "magic-wan" })))
  end)

  it("is told about filters that cannot be", function()
    local client = support.start(finally)
    local function filter(fields)
      return problems(client, support.with(support.SIMPLE, { filter_v1 = fields }))
    end
    assert.same({ "/filter_v1/destination_port" }, filter { destination_port = 65536 })
    assert.same({ "/filter_v1/source_port" }, filter { source_port = "dns" })
    assert.same({ "/filter_v1/protocol" }, filter { protocol = 256 })
    assert.same({ "/filter_v1/destination_address", "/filter_v1/source_address" },
      filter { source_address = "example.com", destination_address = "203.0.113.0/24" })
  end)

  it("may hold integral floats and unknown fields", function()
    local client = support.start(finally)
    local capture = client:ok("POST", "pcaps", '{"type":"simple","system":"magic-transit",'
      .. '"time_limit":300.0,"packet_limit":1e4,"byte_limit":7,"new_field":{"x":null}}')
    assert.equal(300, capture.time_limit)
    assert.equal("integer", math.type(capture.time_limit))
  end)

  it("is checked before any limit", function()
    local client = support.start(finally)
    client:create()
    problems(client, support.with(support.SIMPLE, { time_limit = 0 }))
    client:refused(429, "POST", "pcaps", support.SIMPLE)
  end)

  it("has an offset_time within the last day", function()
    local client = support.start(finally, { knobs = { simple_interval = 0 } })
    local function offset(seconds)
      return support.with(support.SIMPLE, { offset_time = clock.format(clock.now() + seconds) })
    end
    assert.same({ "/offset_time" }, problems(client, offset(-86401)))
    assert.same({ "/offset_time" }, problems(client, offset(60)))
    assert.same({ "/offset_time" },
      problems(client, support.with(support.SIMPLE, { offset_time = "yesterday" })))
    local capture = client:ok("POST", "pcaps", offset(-86399))
    assert.equal(clock.now() - 86399, clock.parse(capture.offset_time))
  end)
end)

describe("a simple capture", function()
  it("is pending, then done within two seconds, and says just what it should", function()
    local client = support.start(finally)
    local filter = { destination_address = "203.0.113.10", protocol = 17 }
    local capture = client:create { filter_v1 = filter }
    assert.equal("pending", capture.status)
    assert.matches("^%x+$", capture.id)
    assert.equal(32, #capture.id)
    assert.equal("4", capture.id:sub(13, 13))
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ$", capture.submitted)
    client:refused(409, "GET", "pcaps/" .. capture.id .. "/download")
    moontap.sleep(1.9)
    assert.same({ id = capture.id, type = "simple", system = "magic-transit", status = "success",
                  submitted = capture.submitted, offset_time = capture.submitted,
                  time_limit = 300, filter_v1 = filter }, client:ok("GET", "pcaps/" .. capture.id))
  end)

  it("can be asked for once a minute, as retry-after says", function()
    local client = support.start(finally)
    client:create()
    moontap.sleep(12.5)
    local _, reply = client:refused(429, "POST", "pcaps", support.SIMPLE)
    assert.equal("48", reply.headers["Retry-After"])
    moontap.sleep(47.5)
    client:create()
  end)

  it("cannot be stopped", function()
    local client = support.start(finally)
    client:refused(400, "PUT", "pcaps/" .. client:create().id .. "/stop")
  end)

  it("passes compressed time faster", function()
    local client = support.start(finally, { speed = 60 })
    local capture = client:create()
    local _, reply = client:refused(429, "POST", "pcaps", support.SIMPLE)
    assert.equal("1.000", reply.headers["Retry-After"])
    moontap.sleep(0.05)
    assert.equal("success", client:ok("GET", "pcaps/" .. capture.id).status)
    moontap.sleep(1)
    client:create()
  end)

  it("that nobody asked for is unknown", function()
    local client = support.start(finally)
    client:refused(404, "GET", "pcaps/0123")
    client:refused(404, "GET", "pcaps/0123/download")
    client:refused(404, "PUT", "pcaps/0123/stop")
  end)
end)

describe("the list of captures", function()
  it("is empty first, a list all the same", function()
    local client = support.start(finally)
    local reply = client:call("GET", "pcaps")
    assert.matches('"result":%[%]', reply.body)
  end)

  it("shows the newest 50", function()
    local client = support.start(finally, { knobs = { simple_interval = 0 } })
    local ids = {}
    for i = 1, 53 do
      ids[i] = client:create().id
      moontap.sleep(0.001)
    end
    local result, answer = client:ok("GET", "pcaps")
    assert.equal(50, #result)
    assert.equal(ids[53], result[1].id)
    assert.equal(ids[4], result[50].id)
    assert.same({ count = 50, page = 1, per_page = 50, total_count = 53 }, answer.result_info)
  end)

  it("forgets what is too old to be remembered", function()
    local client = support.start(finally, { knobs = { simple_interval = 0, retention_max = 2 } })
    local first = client:create()
    client:create()
    client:create()
    client:refused(404, "GET", "pcaps/" .. first.id)
    assert.equal(2, #client:ok("GET", "pcaps"))
  end)
end)

describe("a full capture", function()
  local function status(client, id)
    local capture = client:ok("GET", "pcaps/" .. id)
    return capture.status, capture.packets_captured, capture
  end

  it("needs a validated bucket and a colo that exists", function()
    local client = support.start(finally)
    local problem = client:refused(400, "POST", "pcaps", FULL)
    assert.equal("/destination_conf", problem.source.pointer)
    client:validate_bucket()
    problem = client:refused(400, "POST", "pcaps", support.with(FULL, { colo_name = "xyz99" }))
    assert.equal("/colo_name", problem.source.pointer)
    client:create(nil, FULL)
  end)

  it("passes through its states, counts up, and leaves several files", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create(nil, FULL)
    assert.equal("pending", capture.status)
    assert.equal(0, capture.packets_captured)
    moontap.sleep(12)
    local state, early = status(client, capture.id)
    assert.equal("running", state)
    assert.is_true(early > 0)
    moontap.sleep(20)
    local _, later = status(client, capture.id)
    assert.is_true(later > early)
    moontap.sleep(30.5)
    assert.equal("conversion_pending", (status(client, capture.id)))
    assert.same({}, client:bucket_files(capture.id))
    moontap.sleep(1)
    assert.equal("conversion_running", (status(client, capture.id)))
    moontap.sleep(2)
    local _, count, done = status(client, capture.id)
    assert.same({ id = capture.id, type = "full", system = "magic-transit", status = "success",
                  submitted = capture.submitted, time_limit = 60, filter_v1 = FULL.filter_v1,
                  colo_name = "ORD", destination_conf = support.BUCKET,
                  packets_captured = count }, done)
    local files, total = client:bucket_files(capture.id), 0
    assert.is_true(#files > 1)
    for _, name in ipairs(files) do
      assert.matches("^pcap_" .. capture.id .. ".*%.pcap$", name)
      local f <close> = assert(io.open(client:bucket_path(name), "rb"))
      local file = support.read_pcap(f:read "a")
      assert.equal(65535, file.snaplen)
      total = total + #file
      for _, packet in ipairs(file) do
        assert.equal(packet.length, #packet.bytes)
      end
    end
    assert.equal(count, total)
    client:refused(400, "GET", "pcaps/" .. capture.id .. "/download")
  end)

  it("is the only one that may be open", function()
    local client = support.start(finally)
    client:validate_bucket()
    local first = client:create(nil, FULL)
    client:refused(409, "POST", "pcaps", FULL)
    moontap.sleep(30)
    client:refused(409, "POST", "pcaps", FULL)
    client:create()
    moontap.sleep(32.5)
    assert.equal("conversion_pending", (status(client, first.id)))
    client:create(nil, FULL)
  end)

  it("ends at its packet limit", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create({ packet_limit = 100 }, FULL)
    moontap.sleep(7)
    local state, count = status(client, capture.id)
    assert.equal("success", state)
    assert.equal(100, count)
  end)

  it("ends at its byte limit", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create({ byte_limit = 20000 }, FULL)
    moontap.sleep(12)
    local state, count, done = status(client, capture.id)
    assert.equal("success", state)
    assert.equal(20000, done.byte_limit)
    local bytes, packets = 0, 0
    for _, name in ipairs(client:bucket_files(capture.id)) do
      local f <close> = assert(io.open(client:bucket_path(name), "rb"))
      for _, packet in ipairs(support.read_pcap(f:read "a")) do
        bytes, packets = bytes + packet.length, packets + 1
      end
    end
    assert.equal(count, packets)
    assert.is_true(bytes <= 20000 and bytes > 19800)
  end)

  it("ends when it is stopped, which may be said again", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create(nil, FULL)
    moontap.sleep(10)
    assert.equal(204, client:call("PUT", "pcaps/" .. capture.id .. "/stop").status)
    local stopped = client:ok("GET", "pcaps/" .. capture.id)
    assert.equal("conversion_pending", stopped.status)
    assert.matches("Z$", stopped.stop_requested)
    moontap.sleep(0.5)
    local again = client:call("PUT", "pcaps/" .. capture.id .. "/stop")
    assert.equal(204, again.status)
    assert.equal("", again.body)
    moontap.sleep(3)
    local state, count, done = status(client, capture.id)
    assert.equal("success", state)
    assert.equal(stopped.stop_requested, done.stop_requested)
    assert.equal(stopped.packets_captured, count)
    assert.equal(204, client:call("PUT", "pcaps/" .. capture.id .. "/stop").status)
  end)

  it("fails when it saw no packet", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create(NOWHERE, FULL)
    moontap.sleep(66)
    local state, count, done = status(client, capture.id)
    assert.equal("failed", state)
    assert.equal(0, count)
    assert.matches("No packets matched", done.error_message)
    assert.same({}, client:bucket_files(capture.id))
  end)

  it("sees all its packets in compressed time, none of them ahead of the clock", function()
    local function run(speed)
      local client = support.start(finally, { speed = speed })
      client:validate_bucket()
      local capture = client:create({ filter_v1 = { protocol = 1 } }, FULL)
      moontap.sleep(66 / speed)
      local _, count = status(client, capture.id)
      for _, name in ipairs(client:bucket_files(capture.id)) do
        local f <close> = assert(io.open(client:bucket_path(name), "rb"))
        for _, packet in ipairs(support.read_pcap(f:read "a")) do
          assert.is_true(packet.us <= clock.now() * 1e6)
        end
      end
      return count
    end
    local slow, fast = run(1), run(60)
    assert.is_true(math.abs(slow - fast) < slow / 2)
  end)

  it("fails when the bucket cannot be written to", function()
    local client = support.start(finally)
    client:validate_bucket()
    local capture = client:create(nil, FULL)
    local name = client:bucket_path "pcap_" .. capture.id
    for _, server in ipairs { "ord02-01", "ord02-02", "ord02-03", "ord07-01", "ord07-02" } do
      require "lfs".mkdir(name .. "_" .. server .. ".pcap.part")
    end
    moontap.sleep(66)
    local state, _, done = status(client, capture.id)
    assert.equal("failed", state)
    assert.matches("bucket", done.error_message)
  end)
end)

describe("ownership", function()
  local function add(client, conf)
    return client:ok("POST", "pcaps/ownership", { destination_conf = conf or support.BUCKET })
  end
  local function answer(challenge, conf)
    return { destination_conf = conf or support.BUCKET, ownership_challenge = challenge }
  end

  it("puts a challenge into the bucket and wants its content back", function()
    local client = support.start(finally)
    local entry = add(client)
    assert.equal("pending", entry.status)
    assert.equal("", entry.validated)
    assert.equal(support.BUCKET, entry.destination_conf)
    assert.equal("1", entry.id:sub(13, 13))
    local content = client:read_challenge(entry)
    assert.matches("^[%w_-]+%.[%w_-]+%.[%w_-]+$", content)
    local valid = client:ok("POST", "pcaps/ownership/validate", answer(content .. "\n"))
    assert.equal("success", valid.status)
    assert.equal(entry.id, valid.id)
    assert.is_truthy(clock.parse(valid.validated))
    assert.same({ valid }, (client:ok("GET", "pcaps/ownership")))
  end)

  it("refuses the file's name, another bucket's content, and the answer for no bucket", function()
    local client = support.start(finally)
    local entry = add(client)
    local other = "gs://other-bucket"
    add(client, other)
    local content = client:read_challenge(entry)
    for _, wrong in ipairs { answer(entry.filename), answer(content, other), answer("x") } do
      local problem = client:refused(400, "POST", "pcaps/ownership/validate", wrong)
      assert.equal("/ownership_challenge", problem.source.pointer)
    end
    local problem = client:refused(404, "POST", "pcaps/ownership/validate",
      answer(content, "gs://third-bucket"))
    assert.equal("/destination_conf", problem.source.pointer)
    client:refused(400, "POST", "pcaps/ownership/validate", { destination_conf = other })
    assert.equal("pending", client:ok("GET", "pcaps/ownership")[1].status)
  end)

  it("refuses what is no bucket that can be used", function()
    local client = support.start(finally)
    for _, conf in ipairs { "s3://bucket", "azure://bucket", "s3:///dir?region=x", "bucket",
                            "gs://bucket/../../etc", "gs://bucket/a/./b",
                            "r2://bucket?account-id=1", "gs://b/x\0y",
                            "s3://bucket?region=x&endpoint=example.com" } do
      local problem = client:refused(400, "POST", "pcaps/ownership", { destination_conf = conf })
      assert.equal("/destination_conf", problem.source.pointer)
    end
    client:refused(400, "POST", "pcaps/ownership", {})
    assert.same({}, (client:ok("GET", "pcaps/ownership")))
  end)

  it("knows an R2 bucket again without its keys", function()
    local client = support.start(finally, { knobs = { echo_secrets = false } })
    local place = "r2://cap-bucket?account-id=0af1"
    local entry = add(client, place .. "&access-key-id=AKID&secret-access-key=SECRET")
    assert.equal(place, entry.destination_conf)
    local f <close> = assert(io.open(client.sim.bucket .. "/r2/cap-bucket/" .. entry.filename))
    client:ok("POST", "pcaps/ownership/validate", answer(f:read "a", place))
    client:create({ destination_conf = place }, FULL)
  end)

  it("lets a challenge run out", function()
    local client = support.start(finally)
    local content = client:read_challenge(add(client))
    moontap.sleep(604801)
    client:refused(400, "POST", "pcaps/ownership/validate", answer(content))
  end)

  it("ends with a delete", function()
    local client = support.start(finally)
    local entry = client:validate_bucket()
    assert.equal(204, client:call("DELETE", "pcaps/ownership/" .. entry.id).status)
    client:refused(404, "DELETE", "pcaps/ownership/" .. entry.id)
    client:refused(400, "POST", "pcaps", FULL)
  end)
end)

describe("knobs", function()
  local knobs = require "moontap.sim.knobs"

  it("are all explained and hold their own defaults", function()
    assert.is_truthy(knobs.make())
    for _, knob in ipairs(knobs.list()) do
      assert.is_true(#knob.doc > 10, knob.name)
      assert.is_truthy(knobs.make { [knob.name] = knob.default }, knob.name)
      assert.equal(knob.name, (knobs.parse(knob.name .. "=" .. tostring(knob.default))))
    end
    assert.is_truthy(knobs.make(knobs.LENIENT))
  end)

  it("refuse what they cannot be", function()
    for _, wrong in ipairs { { nonsense = 1 }, { list_max = 0 }, { list_max = 1.5 },
                             { list_order = "random" }, { never_finish = "yes" } } do
      local made, problem = knobs.make(wrong)
      assert.is_nil(made)
      assert.matches("^knob ", problem)
    end
    assert.is_nil((knobs.parse "list_max=many"))
    assert.is_nil((knobs.parse "list_max"))
    assert.is_nil((require "moontap.sim".start { transport = "inproc", knobs = { nonsense = 1 } }))
  end)

  it("change words, states and shapes", function()
    local client = support.start(finally, { knobs = {
      first_status = "unknown", final_status = "complete", simple_conversion = true,
      simple_ready = 3, echo_packet_limit = true, simple_limit_status = 403,
      simple_retry_after = false } })
    local capture = client:create()
    assert.equal("unknown", capture.status)
    assert.equal(10000, capture.packet_limit)
    local _, reply = client:refused(403, "POST", "pcaps", support.SIMPLE)
    assert.is_nil(reply.headers["Retry-After"])
    moontap.sleep(1.5)
    assert.equal("conversion_pending", client:ok("GET", "pcaps/" .. capture.id).status)
    moontap.sleep(1)
    assert.equal("conversion_running", client:ok("GET", "pcaps/" .. capture.id).status)
    moontap.sleep(1)
    assert.equal("complete", client:ok("GET", "pcaps/" .. capture.id).status)
  end)

  it("keep captures from ever ending", function()
    local client = support.start(finally, { knobs = { never_finish = true } })
    local capture = client:create()
    moontap.sleep(3600)
    assert.equal("pending", client:ok("GET", "pcaps/" .. capture.id).status)
  end)

  it("taken together are lenient", function()
    local client = support.start(finally, { lenient = true })
    local ids = client:ok("GET", "/accounts/any/pcaps/023e105f4ecef8ad9ca31a8372d0c353")
    assert.equal("success", ids.status)
    local reply = client:call("GET", "pcaps/023e105f4ecef8ad9ca31a8372d0c353/download")
    assert.equal(200, reply.status)
    assert.equal(204, client:call("PUT", "pcaps/0123/stop").status)
    assert.equal(204, client:call("DELETE", "pcaps/ownership/0123").status)
    client:create { offset_time = "2020-01-01T08:00:00Z" }
    client:create()
    client:create(nil, FULL)
    client:create({ colo_name = "xyz01" }, FULL)
    assert.equal("success", client:ok("POST", "pcaps/ownership/validate", {
      destination_conf = support.BUCKET, ownership_challenge = "ownership-challenge-1.txt",
    }).status)
  end)
end)

describe("a simulator", function()
  it("says how to reach it", function()
    local client = support.start(finally, { account_id = "acct", api_token = "tok" })
    assert.equal("CLOUDFLARE_BASE_URL=http://sim.internal/client/v4\n"
      .. "CLOUDFLARE_ACCOUNT_ID=acct\nCLOUDFLARE_API_TOKEN=tok\n", client.sim:exports())
  end)

  it("takes its own bucket directory away when it closes, but not one that it was given", function()
    local lfs = require "lfs"
    local client = support.start(finally)
    client:validate_bucket()
    client.sim:close()
    client.sim:close()
    assert.is_nil(lfs.attributes(client.sim.bucket))
    local given = os.tmpname()
    os.remove(given)
    client = support.start(finally, { bucket = given })
    client.sim:close()
    assert.is_truthy(lfs.attributes(given))
    lfs.rmdir(given)
  end)

  it("refuses a scenario that is none", function()
    local start = require "moontap.sim".start
    for _, wrong in ipairs { "no-such", "/no/such/file.lua", {}, { sites = {} },
        { sites = { { name = "a", metro = "A" } }, services = { { name = "x" } } } } do
      local sim, err = start { transport = "inproc", scenario = wrong }
      assert.is_nil(sim)
      assert.equal("usage", err.kind)
    end
  end)
end)
