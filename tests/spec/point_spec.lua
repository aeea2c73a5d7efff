-- point: places where a test ends the process as a power failure would.

local command = require "support.command"
local host = require "moontap.native.host"

-- What a script that passes points prints, and its status, when it is to be killed `at` one.
local function run(code, at)
  local head = 'local point = require "moontap.native.host".point\n'
    .. "io.stdout:setvbuf 'no'\n"
  local status, out, err = command.run({ command.moontap, "run", "-e", head .. code },
    { env = { MOONTAP_KILL_AT = at } })
  assert.equal("", err)
  return out, status
end

local LOOP = [[for i = 1, 5 do point "a" io.write(i) point "b" end]]

describe("a point", function()
  it("does nothing unless it was asked for", function()
    assert.is_true(host.point "anything")
    assert.same({ "12345", 0 }, { run(LOOP) })
    assert.same({ "12345", 0 }, { run(LOOP, "") })
    assert.same({ "12345", 0 }, { run(LOOP, "c") })
    assert.same({ "12345", 0 }, { run(LOOP, "a:6") })
    assert.error_matches(function() host.point() end, "string expected")
  end)

  it("ends the process there, at once", function()
    assert.same({ "", 137 }, { run(LOOP, "a") })
    assert.same({ "1", 137 }, { run(LOOP, "b") })
    assert.same({ "12", 137 }, { run(LOOP, "a:3") })
    assert.same({ "123", 137 }, { run(LOOP, "b:3") })
    local code = [[
      local guard <close> = setmetatable({}, { __close = function() io.write "closed" end })
      pcall(point, "x")]]
    assert.same({ "", 137 }, { run(code, "x") })
  end)

  it("is waited for after the one before it, and may be another process's end", function()
    local code = [[
      local pipe <close> = io.popen "echo $$; exec sleep 60"
      local pid = pipe:read "n"
      for i = 1, 4 do point "a" point("b", pid) io.write(i) end
      print(pipe:close())]]
    assert.same({ "1234nil\tsignal\t9\n", 0 }, { run(code, "b") })
    assert.same({ "12", 137 }, { run(code, "b,a:2") })
    assert.same({ "", 137 }, { run(code, "a,b") })
    assert.same({ "123", 137 }, { run(code, "b:2,b,a") })
  end)

  it("asks for the process only when it is waited for", function()
    local code = [[
      local asked, pid = 0, 0
      local function get() asked = asked + 1 return pid end
      point("a", get) point("b", get) io.write(asked)
      local pipe <close> = io.popen "echo $$; exec sleep 60"
      pid = pipe:read "n"
      print(point("b", get))
      print(asked, pipe:close())]]
    assert.same({ "1true\ttrue\n2\tnil\tsignal\t9\n", 0 }, { run(code, "b") })
  end)

  it("may have any name", function()
    for name, at in pairs { ["a b"] = "a b", ["slot:taken"] = "slot:taken", ["x:1"] = "x:1:1",
                            ["end:"] = "end:", ["\xc3\xa4"] = "\xc3\xa4:1" } do
      local _, status = run(("point %q"):format(name), at)
      assert.equal(137, status, at)
    end
  end)
end)
