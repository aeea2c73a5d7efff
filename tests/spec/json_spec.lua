-- json: text to values and back.

local errors = require "moontap.errors"
local json = require "moontap.json"

describe("json.encode", function()
  it("sorts keys and writes no spaces", function()
    assert.equal('{"a":{"x":true,"y":[1,2,3]},"b":"text","c":1.5}',
      json.encode { c = 1.5, b = "text", a = { y = { 1, 2, 3 }, x = true } })
  end)

  it("gives equal text for equal values", function()
    local first, second = {}, {}
    for i = 1, 200 do first["key" .. i] = i end
    for i = 200, 1, -1 do second["key" .. i] = i end
    assert.equal(json.encode(first), json.encode(second))
  end)

  it("writes integral numbers as integers", function()
    assert.equal("[80,80,-3,0,9007199254740992]", json.encode { 80, 80.0, -3.0, -0.0, 2.0 ^ 53 })
  end)

  it("writes other numbers so that they come back the same", function()
    for _, x in ipairs { 0.1, 1 / 3, 1e300, 5e-324, math.pi, -123.456, 2 ^ 70 } do
      assert.equal(x, json.decode(json.encode(x)))
    end
  end)

  it("writes an empty table as an object, a marked one as a list", function()
    assert.equal('{"list":[],"object":{}}', json.encode { object = {}, list = json.array {} })
    assert.equal("[]", json.encode(json.array()))
    assert.equal("[1]", json.encode(json.array { 1 }))
  end)

  it("writes null where it is asked for", function()
    assert.equal('{"result":null}', json.encode { result = json.null })
    assert.equal("null", json.encode(nil))
  end)

  it("escapes what has to be, and keeps the text valid", function()
    assert.equal([["\"\\/\n\u0000é\ufffd"]], json.encode('"\\/\n\0é\xff'))
    assert.equal([[{"\n":1}]], json.encode { ["\n"] = 1 })
  end)

  it("indents when asked to", function()
    assert.equal('{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}',
      json.encode({ a = { 1, {} }, b = json.array {} }, { pretty = true }))
  end)

  it("refuses what JSON cannot hold, and says where", function()
    local cases = {
      { { a = { b = { 1, 2, print } } }, "a.b[3]: a function cannot be written as JSON" },
      { { x = 0 / 0 }, "x: NaN cannot be written as JSON" },
      { { { x = math.huge } }, "[1].x: an infinite number cannot be written as JSON" },
      { { list = { 1, nil, 3, 4 } }, "list: the " },
      { { list = { 1, x = 2 } }, "list: the table has holes, or list items and other keys" },
      { { [3] = 1 }, "a number key that does not belong to a list" },
      { { [true] = 1 }, "a key that is not a string" },
      { io.stderr, "a userdata cannot be written as JSON" },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(json.encode, case[1])
      assert.is_false(ok)
      assert.matches("json: " .. case[2], message, 1, true)
    end
  end)

  it("refuses a cycle, but not a table that occurs twice", function()
    local shared = { 1 }
    assert.equal('{"a":[1],"b":[1]}', json.encode { a = shared, b = shared })
    local cycle = { inner = {} }
    cycle.inner.outer = cycle
    assert.error_matches(function() json.encode(cycle) end, "inner.outer: a cycle", 1, true)
  end)

  it("refuses to go deeper than 64 levels", function()
    local deep = {}
    for _ = 1, 63 do deep = { deep } end
    assert.has_no.errors(function() json.encode(deep) end)
    assert.error_matches(function() json.encode { deep } end, "nested too deeply")
  end)

  it("works again after an error", function()
    pcall(json.encode, { a = { b = print } })
    assert.equal('{"a":1}', json.encode { a = 1 })
  end)
end)

describe("json.decode", function()
  it("makes integral numbers integers", function()
    local value = json.decode '{"a":80.0,"b":[1,2.5,-3],"c":{"d":1e3}}'
    assert.same({ a = 80, b = { 1, 2.5, -3 }, c = { d = 1000 } }, value)
    assert.equal("integer", math.type(value.a))
    assert.equal("float", math.type(value.b[2]))
    assert.equal("integer", math.type(value.c.d))
  end)

  it("leaves nulls out", function()
    assert.same({ b = {}, c = { 1, 2 }, d = {} },
      json.decode '{"a":null,"b":{"x":null},"c":[null,1,null,2,null],"d":[null]}')
    assert.is_nil(json.decode "null")
  end)

  it("keeps false and empty things", function()
    assert.same({ a = false, b = "", c = {}, d = 0 }, json.decode '{"a":false,"b":"","c":[],"d":0}')
    assert.is_false(json.decode "false")
  end)

  it("returns nil and an error that names the position", function()
    for _, text in ipairs { "", "[1,2", "{'a':1}", "nope", '{"a":1}x', "[nan]", "[0x10]", "\0",
                             "[1]\0", '["a\0b"]' } do
      local value, err = json.decode(text)
      assert.is_nil(value)
      assert.is_true(errors.is(err, "io"))
      assert.matches("^bad JSON: .* at character %d+", err.message)
    end
  end)

  it("refuses to go deeper than 64 levels", function()
    assert.is_table(json.decode(("["):rep(64) .. ("]"):rep(64)))
    local value, err = json.decode(("["):rep(65) .. ("]"):rep(65))
    assert.is_nil(value)
    assert.matches("too many nested", err.message)
  end)

  it("raises on what is no text", function()
    assert.error_matches(function() json.decode {} end, "string expected")
  end)

  it("reads what encode writes", function()
    local value = { id = "x", filter_v1 = { protocol = 17 }, colos = { "ams", "fra" }, n = 0.25 }
    assert.same(value, json.decode(json.encode(value)))
    assert.same(value, json.decode(json.encode(value, { pretty = true })))
  end)
end)

describe("json.array", function()
  it("refuses a table that has a metatable of its own", function()
    assert.error_matches(function() json.array(setmetatable({}, {})) end, "another metatable")
    local list = json.array { 1 }
    assert.equal(list, json.array(list))
  end)
end)
