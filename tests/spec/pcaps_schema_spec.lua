-- The schema as scripts and the simulator see it.

local schema = require "moontap.native.schema"

local NOW = 1790000000

local function problems(op, params, side, options)
  local texts = {}
  for i, problem in ipairs(schema.check(op, params, side or "client", options or { now = NOW })) do
    texts[i] = problem.path .. ": " .. problem.message
  end
  return texts
end

describe("schema.check", function()
  it("accepts the example of the API's page, on both sides", function()
    local params = { packet_limit = 10000, system = "magic-transit", time_limit = 300,
                     type = "simple" }
    assert.same({}, problems("create", params))
    assert.same({}, problems("create", params, "server"))
  end)

  it("finds all problems at once and says where", function()
    assert.same({
      "time_limit: expected integer 1..300 for a simple capture, got 600",
      "byte_limit: belongs to full captures; this one is simple",
      "filter_v1.destination_port: expected integer 0..65535, got string \"http\"",
      "filter_v1.source_adress: unknown field; did you mean source_address?",
    }, problems("create", {
      type = "simple", packet_limit = 1, time_limit = 600, byte_limit = 1,
      filter_v1 = { destination_port = "http", source_adress = "192.0.2.1" },
    }))
  end)

  it("says how to write what came in quotes", function()
    assert.same({
      'time_limit: expected integer 1..300 for a simple capture, got string "5 minutes"; '
        .. 'a duration is written "90s" or "5m"',
      'packet_limit: expected integer 1..10000, got string "53"; leave out the quotes',
    }, problems("create", { type = "simple", packet_limit = "53", time_limit = "5 minutes" }))
  end)

  it("refuses bytes that JSON could not carry as they are", function()
    local params = { destination_conf = "s3://b/d", ownership_challenge = "a\255b" }
    assert.same({ "ownership_challenge: is not UTF-8 text" },
      problems("ownership.validate", params))
  end)

  it("gives JSON pointers", function()
    local found = schema.check("create", { type = "simple", time_limit = 1, packet_limit = 1,
      filter_v1 = { protocol = 256 } }, "client")
    assert.equal("/filter_v1/protocol", found[1].pointer)
  end)

  it("takes integral floats as integers, and no other number", function()
    local params = { type = "simple", time_limit = 300.0, packet_limit = 1.5 }
    assert.same({ "packet_limit: expected integer 1..10000, got 1.5" }, problems("create", params))
    params.packet_limit = 0 / 0
    assert.equal(1, #problems("create", params))
  end)

  it("keeps the client's own rules from the server", function()
    local params = { type = "simple", system = "magic-transit", time_limit = 1, packet_limit = 1,
      filter_v1 = { source_address = "2001:db8::/32", source_port = 70000 }, extra = true }
    assert.same({}, problems("create", params, "server"))
    assert.equal(3, #problems("create", params))
  end)

  it("survives keys that are no names", function()
    local found = problems("create", { "simple", [true] = 1 })
    assert.same({ "[1]: unknown field", "[boolean]: unknown field" },
      { found[#found - 1], found[#found] })
  end)

  it("raises on an unknown operation, side or type of parameters", function()
    assert.error_matches(function() schema.check("crate", {}, "client") end, "unknown operation")
    assert.error_matches(function() schema.check("create", {}, "middle") end, "invalid option")
    assert.error_matches(function() schema.check("create", 1, "client") end, "table expected")
  end)
end)

describe("schema.normalize", function()
  it("gives what goes to the API", function()
    assert.same({
      type = "simple", system = "magic-transit", time_limit = 300, packet_limit = 10,
      offset_time = "2026-09-21T14:03:20Z", filter_v1 = { protocol = 17 },
    }, schema.normalize("create", { type = "simple", time_limit = "5m", packet_limit = 10.0,
      offset_time = "-10m", filter_v1 = { protocol = "UDP" } }, { now = NOW }))
  end)

  it("gives nil and the problems", function()
    local params, found = schema.normalize("create", { type = "full" })
    assert.is_nil(params)
    assert.equal(3, #found)
  end)
end)

describe("schema.encode", function()
  it("gives the JSON of what normalize gives, or the problems", function()
    local json = require "moontap.json"
    for _, params in ipairs {
      { type = "simple", time_limit = "5m", packet_limit = 10.0, offset_time = "-10m",
        filter_v1 = { protocol = "UDP" } },
      { type = "full", time_limit = 60, byte_limit = 1000, colo_name = "ams01",
        destination_conf = "s3://b/d?region=\"x\\" },
    } do
      assert.same(schema.normalize("create", params, { now = NOW }),
        json.decode(schema.encode("create", params, { now = NOW })))
    end
    local text, found = schema.encode("create", { type = "full" })
    assert.is_nil(text)
    assert.equal(3, #found)
    local long = ("s3://b/%s"):format(("x"):rep(70000))
    assert.error_matches(function()
      schema.encode("ownership.create", { destination_conf = long })
    end, "longer than 65536 bytes")
  end)
end)

describe("schema.fields", function()
  it("describes every field with a text and a source", function()
    for _, op in ipairs { "create", "ownership.create", "ownership.validate", "get" } do
      for _, field in ipairs(schema.fields(op)) do
        assert.is_string(field.path)
        assert.is_true(#field.doc > 10)
        assert.is_string(field.source)
      end
    end
  end)

  it("marks which bounds are the client's", function()
    local by_path = {}
    for _, field in ipairs(schema.fields("create")) do by_path[field.path] = field end
    assert.is_false(by_path.packet_limit.client_bounds)
    assert.is_true(by_path["filter_v1.protocol"].client_bounds)
    assert.equal(86400, by_path.time_limit.full_max)
    assert.same({ "full" }, by_path.colo_name.types)
  end)
end)

describe("schema.redact", function()
  it("hides the query of bucket URIs", function()
    assert.equal("bucket r2://b?*** is gone", schema.redact "bucket r2://b?access-key-id=1 is gone")
  end)
end)
