-- What a playbook's process can and cannot do (docs/sandbox.md): playbooks that try to read
-- secrets, to reach files and the network, to eat memory and time, to flood and to forge. Each
-- attempt fails and is reported with its reason, while the host's other tasks keep their time.

local native = require "moontap.native.child"
local runner = require "moontap.child.runner"

local caged = os.getenv("MOONTAP_TEST_BIN") .. "/caged"

local function output_of(command)
  local pipe <close> = assert(io.popen(command .. " 2>&1"))
  return pipe:read "a"
end

local is_real = not output_of(caged .. " none"):find "seccomp 0"

local LIMITS = { memory = 16 << 20, cpu = 2, timeout = 200, grace = 0.2, log_max = 65536 }

-- Runs `code` as the body of a playbook's `run`. Returns result, err, info, lines.
local function run(code, limits, effects)
  local lines = {}
  local result = table.pack(runner.run {
    files = { ["attack.lua"] = "return { run = function(ctx) " .. code .. " end }" },
    entry = "attack.lua", ctx = {}, effects = effects,
    limits = setmetatable(limits or {}, { __index = LIMITS }),
    on_log = function(line) lines[#lines + 1] = line end,
  })
  return result[1], result[2], result[3], lines
end

-- Meanwhile another task of the host sleeps again and again: it has its turns.
local function beside(fn)
  local turns = 0
  local watch = moontap.spawn(function()
    while true do
      moontap.sleep(0.005)
      turns = turns + 1
    end
  end)
  local results = table.pack(fn())
  watch:cancel()
  pcall(watch.join, watch)
  assert.is_true(turns >= 3, turns .. " turns")
  return table.unpack(results, 1, results.n)
end

describe("the process of a playbook", function()
  it("is refused every system call but those it needs", function()
    local text = output_of(caged .. " calls")
    if not is_real then return assert.truthy(text:find "landlock 0 seccomp 0") end
    assert.truthy(text:find("seccomp 1", 1, true))
    assert.truthy(text:find("left works", 1, true))
    local refused, allowed = text:match "refused (%d+) allowed (%d+)"
    assert.equals("0", allowed, text)
    assert.is_true(tonumber(refused) > 70)
  end)

  it("is killed for a system call of another architecture", function()
    if not is_real or output_of "uname -m" ~= "x86_64\n" then return end
    local _, how, signal = os.execute(caged .. " foreign >/dev/null 2>&1")
    assert.same({ "signal", 31 }, { how == "exit" and "signal" or how, signal % 128 })
    _, how, signal = os.execute(caged .. " i386 >/dev/null 2>&1")
    assert.truthy((how == "exit" and signal or signal + 128) > 128)
  end)

  it("has only libraries that touch nothing", function()
    local names = assert(run [[
      local found = {}
      for _, name in ipairs { "package", "dofile", "loadfile", "cjson", "arg" } do
        if rawget(_G, name) ~= nil then found[#found + 1] = name end
      end
      for name in pairs(io) do
        if not ("lines open type"):find(name) then found[#found + 1] = "io." .. name end
      end
      for name in pairs(os) do
        if not ("clock date difftime time"):find(name) then found[#found + 1] = "os." .. name end
      end
      for name in pairs(debug) do
        if name ~= "traceback" then found[#found + 1] = "debug." .. name end
      end
      if string.dump then found[#found + 1] = "string.dump" end
      return found ]])
    assert.same({}, names)
  end)

  it("loads no native module and none of the host's that reach outside", function()
    local found = assert(run [[
      local found = {}
      for name in ("sys host http pcaps child channel server term"):gmatch "%a+" do
        if pcall(require, "moontap.native." .. name) then found[#found + 1] = name end
      end
      for _, name in ipairs { "moontap.hostlibs", "moontap.log", "package",
          "lfs", "socket", "pcaps.client", "pcaps.credentials", "moontap.child.session" } do
        if pcall(require, name) then found[#found + 1] = name end
      end
      return found ]])
    assert.same({}, found)
  end)

  it("loads no bytecode", function()
    local why = assert(run [[
      local ok, why = load("\27Lua\x54\0\x19\x93\r\n\x1a\n", "x", "b")
      local again = select(2, load(function() return nil end, "x", "bt"))
      return tostring(ok) .. " " .. tostring(why) ]])
    assert.equals("nil attempt to load a binary chunk (mode is 't')", why)
    local _, err = runner.run {
      files = { ["a.lua"] = string.dump(function() end) }, entry = "a.lua", limits = LIMITS }
    assert.truthy(err)
  end)

  it("cannot be seen through its environment or its descriptors", function()
    if not is_real then return end
    local child = assert(native.spawn {})
    local pid = child:pid()
    local environ = io.open("/proc/" .. pid .. "/environ")
    local text = environ and environ:read "a" or ""
    assert.is_nil(text:find("CLOUDFLARE", 1, true))
    assert.is_nil(text:find("HOME=", 1, true))
    child:close()
  end)

  it("finds nothing that another run has left or drawn", function()
    local code = [[
      local places = { _G, string, math, moontap, pcaps, getmetatable(""),
        require "moontap.errors", require "moontap.json" }
      local seen = {}
      for i, place in ipairs(places) do
        seen[i] = tostring(rawget(place, "mark"))
        rawset(place, "mark", true)
      end
      return { seen = table.concat(seen, " "), drawn = math.random(0) } ]]
    local first, second = assert(run(code)), assert(run(code))
    assert.equals("nil" .. (" nil"):rep(7), first.seen)
    assert.equals(first.seen, second.seen)
    assert.not_equals(first.drawn, second.drawn)
  end)

  it("stays within its memory", function()
    local result, err, info = beside(function()
      return run [[local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end]]
    end)
    assert.is_nil(result)
    assert.equals("memory", err.kind)
    assert.is_true(info.max_rss < 64 << 20 or not is_real)
  end)

  it("cannot grow beyond it by catching the error", function()
    local result, err = beside(function()
      return run([[
        local t = {}
        local function eat() for i = 1, math.huge do t[#t + 1] = ("y"):rep(100000) .. i end end
        while true do pcall(eat) end]], { cpu = 1 })
    end)
    assert.is_nil(result)
    assert.truthy(err.kind == "cpu" or err.kind == "memory", err.kind)
    local _
    _, err = run [[return ("x"):rep(1 << 40)]]
    assert.truthy(err.kind == "memory" or err.message:find "too large", tostring(err))
  end)

  local eaters = {
    ["a loop"] = "while true do end",
    ["a loop that catches everything"] =
      "while true do pcall(function() while true do end end) end",
    ["a pattern"] =
      [[local s = ("a"):rep(3000) return s:find(("a-"):rep(30) .. "b")]],
    ["a finalizer"] =
      [[setmetatable({}, { __gc = function() while true do end end }) collectgarbage()]],
    ["a coroutine that never yields"] = [[coroutine.wrap(function() while true do end end)()]],
    ["coroutines that resume each other"] = [[
      while true do local co = coroutine.wrap(function() coroutine.yield() end) co() co() end]],
    ["a task that does not wait"] =
      [[moontap.spawn(function() while true do end end) moontap.sleep(9)]],
    ["a metamethod"] = [[
      local t = setmetatable({}, { __index = function() while true do end end }) return t.x]],
    ["a sort whose order is no order"] = [[
      local t = {} for i = 1, 1000 do t[i] = i end
      while true do pcall(table.sort, t, function() return true end) end]],
  }
  for name, code in pairs(eaters) do
    it("is stopped at its processor limit: " .. name, function()
      local result, err, info = beside(function() return run(code, { cpu = 1 }) end)
      assert.is_nil(result)
      assert.equals("cpu", err.kind, tostring(err))
      assert.equals("cpu", err.reason)
      assert.is_true(info.cpu >= 0.3 and info.cpu < 3, tostring(info.cpu))
    end)
  end

  it("is stopped at its deadline, waiting or not", function()
    local _, err = beside(function() return run("moontap.sleep(60)", { timeout = 0.1 }) end)
    assert.equals("timeout", err.kind)
    assert.equals("cancelled", err.reason)
    _, err = beside(function()
      return run("while true do pcall(moontap.sleep, 1) end", { timeout = 0.1, cpu = 30 })
    end)
    assert.equals("timeout", err.kind)
    _, err = beside(function() return run("while true do end", { timeout = 0.1, cpu = 30 }) end)
    assert.equals("timeout", err.kind)
    assert.truthy(err.message:find("told to stop", 1, true) or err.reason == "deadline"
      or err.reason == "cancelled", tostring(err))
    _, err = beside(function()
      return run([[while true do pcall(function() while true do end end) end]],
        { timeout = 0.1, cpu = 30 })
    end)
    assert.equals("timeout", err.kind)
    _, err = beside(function()
      return run([[setmetatable({}, { __gc = function() while true do end end }) collectgarbage()]],
        { timeout = 0.1, cpu = 30 })
    end)
    assert.equals("timeout", err.kind)
    assert.equals("deadline", err.reason)
  end)

  it("may print much, of which beginning and end are kept", function()
    local result, err, _, lines = beside(function()
      return run("for i = 1, 20000 do print('line', i) end return true")
    end)
    assert.is_true(result, tostring(err))
    assert.truthy(lines[1]:find "line\t1$")
    assert.truthy(lines[#lines]:find "line\t20000$")
    local bytes, gap = 0, 0
    for _, line in ipairs(lines) do
      bytes = bytes + #line + 1
      if line:find("lines left out", 1, true) then gap = gap + 1 end
    end
    assert.equals(1, gap)
    assert.is_true(bytes < 70000)
  end)

  it("is killed when its output floods", function()
    local _, err, info, lines = beside(function()
      return run("local s = ('z'):rep(5000) while true do print(s) end", { output_max = 4 << 20 })
    end)
    assert.equals("output", err.kind, tostring(err))
    assert.is_true(info.output.left_out > 0 and #lines < 100)
  end)

  it("is killed when it floods with empty lines", function()
    local _, err, info = beside(function() return run("while true do print() end") end)
    assert.equals("output", err.kind, tostring(err))
    assert.is_true(info.output.lines < 500000)
  end)

  it("cannot put control characters or a forged line into the log", function()
    local _, _, _, lines = run [[print "a\27[2Jb\rc\0d"  print(("w"):rep(20000)) return 1]]
    assert.truthy(lines[1]:find "^%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z a%?%[2Jb%?c%?d$")
    assert.equals(4, #lines)
  end)

  local effects = { ping = function(x) return x end }

  it("is killed when its calls flood", function()
    -- under an aggressive collector the host answers some hundred a second
    local most = os.getenv "MOONTAP_GC_STRESS" and 40 or 500
    local _, err = beside(function()
      return run([[while true do moontap.effects.call("ping", 1) end]], { per_second = most },
        effects)
    end)
    assert.equals("frames", err.kind, tostring(err))
    assert.truthy(err.message:find(("more than %d frames in a second"):format(most), 1, true))
  end)

  it("is killed when its calls are long and many", function()
    local _, err = beside(function()
      return run([[local s = ("s"):rep(900000)
        while true do moontap.effects.call("drop", s) end]], nil, { drop = function() end })
    end)
    assert.truthy(err.kind == "frames" or err.kind == "cpu", tostring(err))
  end)

  it("is killed when it has too many calls in flight", function()
    local _, err = run([[
      for i = 1, 20 do moontap.spawn(function() moontap.effects.call "hang" end) end
      moontap.sleep(5)]], { waits = 8 }, { hang = function() moontap.sleep(60) end })
    assert.equals("frames", err.kind, tostring(err))
    assert.truthy(err.message:find("more than 8 calls at a time", 1, true))
  end)

  it("is told when what it sends is too long, too deep, or cannot cross", function()
    local result = assert(run([[
      local call = moontap.effects.call
      local deep = {} for i = 1, 100 do deep = { deep } end
      local a, err = call("ping", ("x"):rep(5000))
      local out = { tostring(err) }
      for _, value in ipairs { deep, print, "\xff", coroutine.create(print) } do
        out[#out + 1] = select(2, pcall(call, "ping", value)):match "ping: (.*)"
      end
      return out]], { frame_max = 4096 }, effects))
    assert.equals("a frame of 5044 bytes (4096 are allowed)", result[1])
    assert.equals(5, #result, table.concat(result, "\n"))
  end)

  it("cannot call what it was not given", function()
    local _, err = run([[return moontap.effects.call("file.open", "/etc/passwd")]], nil, effects)
    assert.truthy(err.message:find("effect 'file.open' has no implementation", 1, true))
    _, err = run([[return require "moontap.child.rpc".call("file.open", "/etc")]], nil, effects)
    assert.equals("frames", err.kind)
    assert.truthy(err.message:find("a call of 'file.open', which there is not", 1, true))
  end)

  it("cannot take the host's clock or another playbook along", function()
    local answers = moontap.all {
      function() return select(2, run("while true do end", { cpu = 1 })).kind end,
      function() return (run("moontap.sleep(0.3) return 'unharmed'")) end,
    }
    assert.same({ "cpu", "unharmed" }, answers)
  end)
end)

describe("frames that no playbook can send, but a broken process could", function()
  local check = require "moontap.child.check"
  local cases = {
    { "nonsense", "no JSON object" },
    { "[1", "no JSON object" },
    { "7", "no JSON object" },
    { ("["):rep(100), "no JSON object" },
    { "{}", "a frame without an id" },
    { '{"id":"1","call":"ping","args":{"n":0}}', "a frame without an id" },
    { '{"id":0,"call":"ping","args":{"n":0}}', "a frame without an id" },
    { '{"id":1.5,"call":"ping","args":{"n":0}}', "a frame without an id" },
    { '{"id":2,"call":"ping"}', "a malformed call" },
    { '{"id":2,"call":7,"args":{"n":0}}', "a malformed call" },
    { '{"id":2,"call":"ping","args":{"n":99}}', "a malformed call" },
    { '{"id":2,"call":"ping","args":{"n":1,"2":1}}', "a malformed call" },
    { '{"id":2,"call":"ping","args":{"n":0},"x":1}', "a malformed call" },
    { '{"id":2,"call":"exec","args":{"n":0}}', "a call of 'exec', which there is not" },
    { '{"id":1,"call":"ping","args":{"n":0}}', "call 1, after call 1" },
    { '{"id":9,"drop":true}', "a malformed end of a call" },
    { '{"id":1,"drop":1}', "a malformed end of a call" },
    { '{"done":true}', "an end with malformed results" },
    { '{"done":1,"values":{"n":0}}', "a malformed end" },
    { '{"done":true,"err":{"kind":1,"message":"x"}}', "an end with a malformed error" },
    { '{"done":true,"err":{"kind":"x","message":"x"},"values":{"n":0}}',
      "an end with a malformed error" },
  }
  for _, case in ipairs(cases) do
    it("end it: " .. case[1]:sub(1, 60), function()
      local reader = check.new({ ping = print }, 2)
      assert(reader.read '{"id":1,"call":"ping","args":{"n":0}}')
      local frame, why = reader.read(case[1])
      assert.is_nil(frame)
      assert.equals(case[2], why)
    end)
  end
end)
