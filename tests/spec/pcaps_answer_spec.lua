-- clock: virtual
-- The reader of answers: every form of JSON, and nothing else.

local api = require "support.pcaps_api"
local json = require "moontap.json"

local body
local server

before_each(function()
  server = api.start(function() return api.json(200, body) end)
end)
after_each(api.stop)

local function read(text)
  body = text
  return server.client.get("x", { max_retries = 0 })
end

describe("an answer is read", function()
  it("with escapes, surrogate pairs and blanks", function()
    local cap = assert(read(' { "messages" : [ ] ,\n"result"\t: '
      .. '{"a":"\\u00e4\\ud83d\\ude00\\"\\\\\\/\\b\\n",'
      .. ' "b" : "" , "\\u0063" : "plain ä" } , "success" : true } '))
    assert.equal("ä😀\"\\/\b\n", cap.a)
    assert.equal("", cap.b)
    assert.equal("plain ä", cap.c)
  end)

  it("with a replacement for half of a surrogate pair", function()
    local cap = assert(read('{"result":{"a":"<\\ud800>","b":"\\udc00\\u0041","c":"\\ud800\\u0041",'
      .. '"d":"\\ud800\\ud83d\\ude00","e":"\\uDBFF","f":"kept"}}'))
    assert.same({ "<\u{FFFD}>", "\u{FFFD}A", "\u{FFFD}A", "\u{FFFD}😀", "\u{FFFD}", "kept" },
      { cap.a, cap.b, cap.c, cap.d, cap.e, cap.f })
  end)

  it("with integers as integers", function()
    local cap = assert(read('{"result":{"a":-0,"b":80.0,"c":1e3,"d":1.5,"e":9007199254740993,'
      .. '"f":123456789012345678901234567890,"g":-42}}'))
    assert.same({ 0, 80, 1000, 1.5, 9007199254740993, 123456789012345678901234567890.0, -42 },
      { cap.a, cap.b, cap.c, cap.d, cap.e, cap.f, cap.g })
    for _, name in ipairs { "a", "b", "c", "e", "g" } do
      assert.equal("integer", math.type(cap[name]))
    end
  end)

  it("without nulls", function()
    local cap = assert(read(
      '{"result":{"d":1,"d":null,"a":null,"b":[1,null,[null],2],"c":{"d":null}}}'))
    assert.is_nil(cap.d)
    assert.is_nil(cap.a)
    assert.same({ 1, {}, 2 }, cap.b)
    assert.same({}, cap.c)
  end)

  it("only when it is whole and sound", function()
    for _, bad in ipairs {
      "{", "[]", "null", '{"result":{}', '{"result":{}}x', '{"result":{},}', '{"result":{"a":01}}',
      '{"result":{"a":1.}}', '{"result":{"a":.5}}', '{"result":{"a":+1}}', '{"result":{"a":1e}}',
      '{"result":{"a":"\n"}}', '{"result":{"a":"\\x"}}', '{"result":{"a":"\\u12g4"}}',
      '{"result":{"a":"\\ud800\\u00"}}',
      '{"result":{"a":tru}}', '{"result":{"a":NaN}}', '{"result":{"a":0x10}}', '{"result":{a:1}}',
      '{"result":{"a" 1}}', '{"result":{"a":"x}}', '{"result":{"a":"x\0y"}}', '{"result":[1 2]}',
      '{"messages":[tru],"result":{}}', '{"result":' .. ("["):rep(100) .. ("]"):rep(100) .. "}",
      '{"result":{"a":' .. ("1"):rep(100) .. "}}",
    } do
      local cap, err = read(bad)
      assert.is_nil(cap, bad)
      assert.equal("http", err.kind)
      assert.equal(200, err.status)
    end
  end)

  it("as the general reader does, whatever the bytes", function()
    local whole = '{"success":true,"errors":[],"messages":[{"code":1000,"message":"m"}],"result":'
      .. '{"id":"6680","n":[1,2.5,-3e2,null,true,false],'
      .. '"filter_v1":{"protocol":17,"s":"\\u00e4\\n"}}}'
    local read_too = 0
    for seed = 1, 1500 do
      local at = seed * 7919 % #whole + 1
      local byte = string.char(("\"\\{}[],:0e.-tn u\0\xff"):byte(seed % 18 + 1))
      local text = seed % 3 == 0 and whole:sub(1, at) or
        seed % 3 == 1 and whole:sub(1, at - 1) .. byte .. whole:sub(at + 1) or
        whole:sub(1, at - 1) .. byte .. whole:sub(at)
      local cap = read(text)
      if cap then
        local general = json.decode(text)
        assert.is_table(general, text)
        cap.colo_name = nil
        assert.same(general.result, setmetatable(cap, nil), text)
        read_too = read_too + 1
      end
    end
    assert.is_true(read_too > 100)
  end)
end)
