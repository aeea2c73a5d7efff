-- A playbook's run in a process of its own: what the playbook has there, what crosses to the host
-- and back, how a run is ended, and that nothing is left behind.

local config = require "moontap.config"
local errors = require "moontap.errors"
local loader = require "moontap.child.loader"
local native = require "moontap.native.child"
local output = require "moontap.child.output"
local pcaps = require "pcaps"
local runner = require "moontap.child.runner"
local simulator = require "moontap.sim"
local sys = require "moontap.native.sys"

local program = os.getenv "MOONTAP_BIN"

local dir

setup(function() dir = sys.tempdir "moontap-child-" end)
teardown(function() sys.remove_tree(dir) end)

local function run(body, options)
  options = options or {}
  options.files = options.files or {}
  options.files["main.lua"] = "return { run = function(ctx) " .. body .. "\nend }"
  options.entry = "main.lua"
  options.limits = options.limits or { timeout = 20, grace = 0.2 }
  return runner.run(options)
end

local function count_descriptors()
  return #sys.list "/proc/self/fd"
end

describe("a run in a process of its own", function()
  it("gets its context and gives its results", function()
    local text, number = run("return ctx.name .. '!', ctx.list[2], nil, true",
      { ctx = { name = "x", list = { 1, 2.5 } } })
    assert.same({ "x!", 2.5 }, { text, number })
    assert.same({ n = 4, 1, nil, nil, false }, table.pack(run "return 1, nil, nil, false"))
    assert.same({ n = 0 }, table.pack(run ""))
  end)

  it("takes arguments and the name of a function", function()
    local ok = runner.run {
      files = { ["a.lua"] = "return { when = function(event, n) return event.rate > n end }" },
      entry = "a.lua", fn = "when", args = { { rate = 5 }, 3 },
    }
    assert.is_true(ok)
    local _, err = runner.run { files = { ["a.lua"] = "return {}" }, entry = "a.lua" }
    assert.equals("a.lua has no function 'run'", err.message)
  end)

  it("fails with what the playbook raises or returns, with its traceback", function()
    local _, err, info = run "local x = nil\nreturn x.y"
    assert.equals("script", err.kind)
    assert.truthy(err.message:find("^main%.lua:2: attempt to index a nil value"))
    assert.truthy(err.traceback:find("main.lua:2: in", 1, true))
    assert.is_true(info.cpu < 2)
    _, err = run "return nil, 'no luck'"
    assert.equals("no luck", err.message)
    _, err = run "error { code = 1 }"
    assert.equals("script", err.kind)
    _, err = run "moontap.spawn(function() error('in a child', 0) end)"
    assert.truthy(err.message:find("in a child", 1, true))
    _, err = run([[error "a\27[31m hunter2"]],
      { mask = function(text) return (text:gsub("hunter2", "***")) end })
    assert.truthy(err.message:find("a?[31m ***", 1, true))
    _, err = run "return undefined_name"
    assert.truthy(err.message:find("undefined global 'undefined_name'", 1, true))
    _, err = run "return function() end"
    assert.equals("usage", err.kind)
    _, err = runner.run { files = { ["a.lua"] = "return {" }, entry = "a.lua" }
    assert.truthy(err.message:find("^a%.lua:1: "))
  end)

  it("requires files of its tree and no others", function()
    local files = { ["lib/one.lua"] = "return { two = require 'lib.two', name = ... }",
                    ["lib/two/init.lua"] = "moontap.sleep(0.001) return 'two'",
                    ["lib/bad.lua"] = "return (" }
    assert.equals("two lib.one", run([[
      local one = require "lib.one"
      assert(one == require "lib.one")
      return one.two .. " " .. one.name]], { files = files }))
    local _, err = run("require 'lib.none'", { files = files })
    assert.truthy(err.message:find("module 'lib.none' not found in the playbook's tree", 1, true))
    _, err = run("require 'lib.bad'", { files = files })
    assert.truthy(err.message:find("error loading module 'lib.bad'", 1, true))
    for _, name in ipairs { "../x", "/etc/passwd", "a..b", ".hidden", "a/b", ("x"):rep(300) } do
      _, err = run(("require %q"):format(name), { files = { ["../x.lua"] = "return 1" } })
      assert.truthy(err.message:find("not found in the playbook's tree", 1, true))
    end
  end)

  it("has tasks, coroutines and deadlines", function()
    assert.same({ 1, 2, "timeout", "fast", 3 }, run [[
      local both = moontap.all {
        function() moontap.sleep(0.01) return 1 end, function() return 2 end }
      local _, err = moontap.timeout(0.01, moontap.sleep, 5)
      local first = moontap.race { function() moontap.sleep(5) end, function() return "fast" end }
      local co = coroutine.wrap(function() moontap.sleep(0.001) coroutine.yield(3) end)
      return { both[1], both[2], err.kind, first, co() }]])
  end)

  it("has the host's clock, the playbook's zone and the host's seed", function()
    local before = os.time()
    local r = run([[return { now = os.time(), zone = os.date("%Z %H", 1751328000),
      noon = os.time { year = 2026, month = 7, day = 1, hour = 12 }, clock = os.clock(),
      dice = math.random(1000000) }]], { tz = "America/New_York", seed = 7 })
    assert.is_true(r.now >= before and r.now <= os.time())
    assert.equals("EDT 20", r.zone)
    assert.equals(1782921600, r.noon)
    assert.equals(r.dice, run("return math.random(1000000)", { seed = 7 }))
  end)

  it("calls effects, each answer to its call", function()
    local effects = {
      slow = function(x) moontap.sleep(0.02) return x, nil, "slow" end,
      fast = function(x) return x end,
      fail = function() return nil, errors.new("api", "refused", { status = 403, ray = "abc" }) end,
      raise = function(x) if type(x) ~= "string" then error("fast: expected a string", 2) end end,
      denied = function() error(errors.new("denied", "not this one")) end,
    }
    assert.same({ 1, "slow", 2, "api", 403, "refused (cf-ray abc)", "denied" }, run([[
      local call = moontap.effects.call
      local a, _, b = call("slow", 1)
      local c = call("fast", 2)
      local _, err = call("fail")
      local _, denied = pcall(call, "denied")
      return { a, b, c, err.kind, err.status, tostring(err), denied.kind }]],
      { effects = effects }))
    assert.same({ 1, 2, 3 }, run([[
      local call = moontap.effects.call
      return moontap.all {
        function() return call("slow", 1) end, function() return call("fast", 2) end,
        function() return call("slow", 3) end }]], { effects = effects }))
    local _, err = run("moontap.effects.call('raise', 1)", { effects = effects })
    assert.truthy(err.message:find("fast: expected a string", 1, true))
  end)

  it("leaves no call behind that nobody waits for", function()
    local ended = {}
    local function hang(name)
      local over <close> = setmetatable({}, { -- luacheck: ignore over
        __close = function() ended[#ended + 1] = name end,
      })
      moontap.sleep(30)
    end
    assert.equals("timeout", run([[
      local _, err = moontap.timeout(0.05, moontap.effects.call, "hang", "dropped")
      moontap.effects.call "sync"
      return err.kind]], { effects = { hang = hang, sync = function() moontap.sleep(0.05) end } }))
    assert.same({ "dropped" }, ended)
    local _, err = run([[
      moontap.spawn(moontap.effects.call, "hang", "killed") moontap.sleep(0.05) error "out"]], {
      effects = { hang = hang },
    })
    assert.truthy(err.message:find("out", 1, true))
    assert.same({ "dropped", "killed" }, ended)
  end)

  it("reads a file that the host hands over, and only reads", function()
    local path = dir .. "/data.bin"
    local f <close> = assert(io.open(path, "wb"))
    f:write(("0123456789"):rep(1000))
    f:close()
    local r = run([[
      local f <close> = assert(moontap.effects.call "open")
      local head = f:read(4)
      local size = f:seek "end"
      f:seek("set", size - 3)
      local missing, err = moontap.effects.call "missing"
      return { head, size, f:read(10), f:read(1) == nil, missing == nil and err.kind }]],
      { effects = { open = function() return runner.file(path) end,
                    missing = function() return runner.file(dir .. "/none") end } })
    assert.same({ "0123", 10000, "789", true, "io" }, r)
  end)

  it("writes its lines with the host's time, masked", function()
    local lines = {}
    assert(run("print('the token is', 'hunter2') print 'unfinished' return 1", {
      on_log = function(line) lines[#lines + 1] = line end,
      mask = function(text) return (text:gsub("hunter2", "***")) end,
    }))
    assert.equals(2, #lines)
    assert.truthy(lines[1]:find "^20%d%d%-.*Z the token is\t%*%*%*$")
  end)

  it("can be asked to end, and does clean up", function()
    local noted
    local _, err = run([[
      local over <close> = setmetatable({}, { __close = function() print "closed" end })
      moontap.effects.call "begun" moontap.sleep(30)]], {
      effects = { begun = function() noted.session:cancel() end },
      on_start = function(session) noted = { session = session } end,
      on_log = function(line) noted.line = line end,
    })
    assert.equals("cancelled", err.kind)
    assert.truthy(noted.line:find "closed$")
    _, err = run("moontap.sleep(30)", { on_start = function(session) session:cancel() end })
    assert.equals("cancelled", err.kind)
  end)

  it("dies at once when the task that runs it is cancelled", function()
    local pid
    local task = moontap.spawn(run, "moontap.sleep(60)",
      { on_start = function(session) pid = session.child:pid() end })
    for _ = 1, 20000 do
      if pid then break end
      moontap.sleep(0.01)
    end
    assert.truthy(sys.stat("/proc/" .. pid))
    task:cancel()
    pcall(task.join, task)
    assert.is_nil((sys.stat("/proc/" .. pid)))
  end)

  it("leaves the end of its log when it is cancelled", function()
    local lines, session = {}, nil
    local task = moontap.spawn(run, [[
      for i = 1, 100 do print(("%03d"):format(i)) end
      moontap.sleep(60)]], {
      limits = { log_max = 300 }, on_log = function(line) lines[#lines + 1] = line end,
      on_start = function(s) session = s end,
    })
    for _ = 1, 20000 do
      if session and session.output.lines == 100 then break end
      moontap.sleep(0.01)
    end
    task:cancel()
    pcall(task.join, task)
    assert.truthy(lines[1]:find " 001$" and lines[#lines]:find " 100$")
  end)

  it("dies with the host", function()
    local code = ([[
      local runner = require "moontap.child.runner"
      runner.run { files = { ["a.lua"] = "return { run = function() while true do end end }" },
        entry = "a.lua", on_start = function(s)
          local f = io.open("%s/pid", "w") f:write(s.child:pid()) f:close() end } ]]):format(dir)
    local command = "exec " .. program .. " run -e '" .. code .. "' & echo $!; wait"
    local host = assert(io.popen(command, "r"))
    local host_pid, child_pid = host:read "n", nil
    for _ = 1, 20000 do
      local f = io.open(dir .. "/pid")
      child_pid = f and f:read "n"
      if f then f:close() end
      if child_pid then break end
      moontap.sleep(0.01)
    end
    local function is_alive()
      local f = io.open("/proc/" .. child_pid .. "/stat")
      if not f then return false end
      local text = f:read "a"
      f:close()
      return not text:find(") Z ", 1, true)
    end
    assert.is_true(is_alive())
    os.execute("kill -KILL " .. host_pid)
    for _ = 1, 20000 do
      if not is_alive() then break end
      moontap.sleep(0.01)
    end
    assert.is_false(is_alive())
    host:close()
  end)

  it("leaves no descriptor, process or memory behind", function()
    local function children()
      local file <close> = assert(io.open(("/proc/self/task/%d/children"):format(sys.getpid())))
      return file:read "a"
    end
    assert(run "return 1")
    collectgarbage()
    local stem = children() -- what runs' processes branch off stays
    assert.matches("^%d+ $", stem)
    local before, bytes = count_descriptors(), collectgarbage "count"
    for i = 1, 200 do
      if i % 4 == 0 then
        native.spawn({}):close()
      elseif i % 4 == 1 then
        local child = native.spawn {}
        child:kill()
        assert.equals("killed", child:wait().reason)
      else
        assert.equals(i, run("return " .. i))
      end
    end
    moontap.sleep(0.01)
    collectgarbage()
    collectgarbage()
    assert.equals(before, count_descriptors())
    assert.is_true(collectgarbage "count" - bytes < 200)
    assert.equals(stem, children())
  end)
end)

describe("captures in a playbook's process", function()
  local sim

  setup(function()
    sim = assert(simulator.start { transport = "inproc", seed = 3, bucket = dir .. "/bucket",
                                   speed = 1000 })
    config.sim, config.state, config.speed = sim, dir .. "/state", 1000
  end)

  teardown(function()
    sim:close()
    config.sim, config.state, config.speed = nil, nil, nil
  end)

  local effects = {
    ["pcaps.create"] = function(...) return pcaps.create(...) end,
    ["pcaps.get"] = function(...) return pcaps.get(...) end,
    ["pcaps.list"] = function(...) return pcaps.list(...) end,
    ["pcaps.stop"] = function(...) return pcaps.stop(...) end,
    ["pcaps.download"] = function(...) return pcaps.download(...) end,
  }

  it("have the methods that they have elsewhere", function()
    local r = assert(run(([[
      local cap = assert(pcaps.create { type = "simple", time_limit = 1, packet_limit = 10,
                                        filter_v1 = { protocol = 17 } })
      local id, ray = cap.id, cap:ray()
      assert(cap:done() == (cap.status == "success")) -- it may be, on a busy machine
      assert(cap:wait { timeout = "1m" })
      assert(cap:refresh())
      local path = assert(cap:download "%s/one.pcap")
      local list = assert(pcaps.list())
      local none, err = pcaps.get(("0"):rep(32))
      local bad, why = pcall(pcaps.create, { type = "simple", tiem_limit = 1 })
      return { id = id, ray = ray, status = cap.status, done = cap:done(), path = path,
               first = list[1].id, text = tostring(list[1]), status404 = err.status,
               why = tostring(why), same = list[1]:done() }]]):format(dir),
      { effects = effects, speed = 1000 }))
    assert.equals(r.id, r.first)
    assert.equals("success", r.status)
    assert.is_true(r.done and r.same)
    assert.truthy(r.ray)
    assert.equals(dir .. "/one.pcap", r.path)
    assert.truthy(sys.stat(r.path))
    assert.equals(404, r.status404)
    assert.truthy(r.text:find "^capture " and r.why:find("tiem_limit", 1, true), r.why)
    assert.is_nil(r.why:find("lua/", 1, true))
  end)
end)

describe("the loader", function()
  it("returns what is data, and problems with their path", function()
    local files = {
      ["good.lua"] = [[return {
        api = 1, on = { cron = { "0 3 * * *" } }, timeout = 1.5, big = 500e3, [true] = "x",
        when = { pps = { ">", 1/0 } }, run = function() end, nested = { 1, 2, x = 3 } }]],
      ["text.lua"] = "return 'no table'",
      ["broken.lua"] = "return {",
      ["raises.lua"] = "error 'no'",
      ["wrong.lua"] = [[
        local t = { on = { coroutine.create(print), "\xff" } } t.again = t return t]],
      ["calls.lua"] = "return { x = moontap.effects.call('pcaps.create', {}) }",
      ["uses.lua"] = "return { lib = require 'lib' }",
      ["sets.lua"] = "leak = 1 string.leak = 1 return { math = math.pi }",
      ["sees.lua"] = "return { string = string.leak == nil, global = rawget(_G, 'leak') == nil }",
    }
    local got = assert(loader.load {
      files = files,
      source = function(name) if name == "lib" then return "return 7", "lib.lua" end end,
    })
    assert.same({ cron = { "0 3 * * *" } }, got["good.lua"].data.on)
    assert.equals(loader.FUNCTION, got["good.lua"].data.run)
    assert.same({ ">", math.huge }, got["good.lua"].data.when.pps)
    assert.same({ 1, 2, x = 3 }, got["good.lua"].data.nested)
    assert.equals("x", got["good.lua"].data[true])
    assert.truthy(got["text.lua"].err.message:find("returns a string", 1, true))
    assert.truthy(got["broken.lua"].err.message:find "^broken%.lua:1:")
    assert.truthy(got["raises.lua"].err.message:find("no", 1, true))
    local paths = {}
    for _, problem in ipairs(got["wrong.lua"].err.problems) do paths[#paths + 1] = problem.path end
    assert.same({ "again", "on[1]", "on[2]" }, paths)
    assert.truthy(got["calls.lua"].err)
    assert.equals(7, got["uses.lua"].data.lib)
    assert.same({ string = true, global = true }, got["sees.lua"].data)
  end)

  it("goes on after a file that loops, eats memory or kills its process", function()
    local files = {
      ["1.lua"] = "while true do end",
      ["2.lua"] = "moontap.sleep(60) return {}",
      ["3.lua"] = "setmetatable({}, { __gc = function() while true do end end }) collectgarbage()",
      ["4.lua"] = "return { fine = true }",
    }
    local got = assert(loader.load { files = files, limits = { timeout = 1 } })
    for i = 1, 3 do assert.equals("timeout", got[i .. ".lua"].err.kind) end
    assert.is_true(got["4.lua"].data.fine)
    files["1.lua"], files["2.lua"] = files["4.lua"],
      "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end"
    got = assert(loader.load { files = files, names = { "1.lua", "2.lua", "4.lua" },
                               limits = { timeout = 60, memory = 8 << 20 } })
    assert.equals("memory", got["2.lua"].err.kind)
    assert.is_true(got["1.lua"].data.fine and got["4.lua"].data.fine)
  end)

  it("evaluates many files in one process", function()
    local files = {}
    for i = 1, 200 do -- where the program lies differs from process to process
      files[("%03d.lua"):format(i)] = ("return { i = %d, at = tostring(rawlen) }"):format(i)
    end
    local got = assert(loader.load { files = files })
    for i = 1, 200 do
      assert.equals(i, got[("%03d.lua"):format(i)].data.i)
      assert.equals(got["001.lua"].data.at, got[("%03d.lua"):format(i)].data.at)
    end
  end)
end)

describe("the handle of a process", function()
  it("waits, sends, receives and ends", function()
    local child = assert(native.spawn { memory = 8 << 20 })
    assert.truthy(tostring(child):find "^child %d+$")
    assert.is_true(child:send '["nonsense"')
    local text, ended = child:receive()
    assert.is_nil(text)
    assert.equals("exited", ended.reason)
    assert.equals(1, ended.status)
    assert.equals("exited", child:wait().reason)
    local out = {}
    for bytes in child.read_output, child do out[#out + 1] = bytes end
    assert.truthy(table.concat(out):find("moontap:", 1, true))
    local _, gone = child:send "x"
    assert.equals("exited", gone.reason)
    child:close()
    child:close()
    assert.equals("child (closed)", tostring(child))
    child:cancel()
    child:kill()
    assert.equals("killed", child:wait().reason)
  end)

  it("makes senders wait for room, any number of them", function()
    local child <close> = assert(native.spawn { frame_max = 1 << 20, send_max = 1 << 20 })
    assert(child:send(require "moontap.child.protocol".encode { start = {
      mode = "run", entry = "a", fn = "run", seed = 1, now = 0, effects = {}, speed = 1,
      args = { n = 0 }, source = "return { run = function() while true do end end }" } }))
    local sent, text = 0, ("x"):rep(1 << 19)
    local senders = {}
    for i = 1, 6 do
      senders[i] = moontap.spawn(function()
        while child:send(text) == true do sent = sent + 1 end
      end)
    end
    local full
    repeat
      full = sent
      moontap.sleep(0.1)
    until sent == full
    assert.is_true(full < 100)
    senders[1]:cancel()
    child:kill "deadline"
    assert.equals("deadline", child:wait().reason)
    for i, sender in ipairs(senders) do
      pcall(sender.join, sender)
      assert.equals(i > 1 and "done" or "cancelled", sender:status())
    end
  end)

  it("refuses options that it does not know", function()
    assert.has_error(function() native.spawn { memroy = 1 } end,
      "child.spawn: unknown option 'memroy'")
    assert.has_error(function() native.spawn { cpu = 0 } end,
      "child.spawn: cpu: expected an integer 1..86400")
    assert.has_error(function() native.spawn { zone = 7 } end)
    assert.has_error(function() native.spawn() end)
  end)
end)

describe("the process that they branch off", function()
  -- Carries a command out on it, "$pid", when it has started.
  local function to_stem(command)
    run ""
    local pipe <close> = assert(io.popen(([[
      for pid in $(cat /proc/$PPID/task/*/children); do
        if grep -q "playbook-[s]tem" /proc/$pid/cmdline; then %s && echo done; fi
      done]]):format(command)))
    assert.equal("done\n", pipe:read "a")
  end

  local function stop_stem() to_stem "kill -STOP $pid" end

  -- Several runs at a time, whose results are those of their code.
  local function start_runs(count)
    local runs = {}
    for i = 1, count do
      runs[i] = moontap.spawn(function() return (run("return " .. i)) end)
    end
    return function()
      for i, one in ipairs(runs) do assert.equal(i, (one:join())) end
    end
  end

  -- Its children that nobody has reaped, or that live on: process ids beside the one it is.
  local function count_children()
    local count = 0
    for _, thread in ipairs(sys.list "/proc/self/task") do
      local file <close> = assert(io.open("/proc/self/task/" .. thread .. "/children"))
      count = count + select(2, file:read "a":gsub("%d+", ""))
    end
    return count
  end

  it("takes no run along that has not begun", function()
    stop_stem()
    local finish = start_runs(5)
    moontap.sleep(0.02) -- they wait for it
    local pipe <close> = assert(io.popen [[
      for pid in $(cat /proc/$PPID/task/*/children); do
        if grep -q "playbook-[s]tem" /proc/$pid/cmdline; then kill -KILL $pid; fi
      done]])
    pipe:read "a"
    finish()
  end)

  it("leaves nothing behind, whenever it is killed", function()
    for _ = 1, 10 do
      to_stem "(kill -KILL $pid &)"
      start_runs(4)()
    end
    run ""
    assert.equal(1, count_children())
  end)

  it("is replaced when it can start nothing any more", function()
    to_stem "prlimit --pid $pid --nofile=4:4"
    assert.equal(1, (run "return 1"))
  end)

  it("is replaced when it hangs and nobody else asks", function()
    stop_stem()
    assert.equal(1, (run("return 1", { limits = { timeout = 60, grace = 0.2 } })))
  end)

  it("holds nobody up for long when it hangs", function()
    stop_stem()
    local result, err = run("return 1", { limits = { timeout = 0.1, grace = 0.1 } })
    assert.is_nil(result)
    assert.equal("not_started", err.reason)
    assert.matches("the process that runs branch off from does not answer$", err.message)
    assert.equal(1, (run "return 1"))
  end)

  it("is replaced when it hangs while files are loaded", function()
    stop_stem()
    local results = assert(loader.load { files = { ["a.lua"] = "return { a = 1 }" },
                                         limits = { timeout = 0.2 } })
    assert.same({ a = 1 }, results["a.lua"].data)
  end)
end)

describe("the word that starts what they branch off", function()
  it("does nothing without a socket, and is no command", function()
    local pipe <close> = assert(io.popen(program .. " playbook-stem:0 1 2>&1 </dev/null"))
    assert.truthy(pipe:read "a":find("playbook-stem:0", 1, true))
  end)
end)

describe("output", function()
  it("keeps the beginning and the end, and cuts long lines", function()
    local lines = {}
    local out = output.new { max = 2000, on_line = function(line) lines[#lines + 1] = line end }
    for i = 1, 500 do out:feed(("%03d\n"):format(i)) end
    out:feed "last without an end"
    local stats = out:finish()
    assert.equals(501, stats.lines)
    assert.truthy(lines[1]:find " 001$" and lines[#lines]:find " last without an end$")
    assert.equals(#lines - 1, stats.lines - stats.left_out)
    lines = {}
    out = output.new { on_line = function(line) lines[#lines + 1] = line end }
    out:feed(("x"):rep(8192 * 2 + 5))
    assert.equals(3, out:finish().lines)
  end)

  it("hides secrets that are spread over lines, and cuts long ones at a word", function()
    local lines, secret = {}, "abcdefghijklmnop"
    local out = output.new {
      secrets = { secret },
      on_line = function(line) lines[#lines + 1] = line:match "Z (.*)$" end,
    }
    out:feed "one abcd\n"
    assert.same({}, lines) -- it may be the beginning of the secret
    out:feed "efgh\n\n"
    out:feed "ijklmnop two\n"
    assert.same({ "one [hidden]", "[hidden]", "", "[hidden] two" }, lines)
    out:feed "three abc\nabcdx\n"
    assert.same({ "three abc", "abcdx" }, table.move(lines, 5, 6, 1, {}))
    out:feed(("%s %s %s\n"):format(("x"):rep(8180), secret, ("y"):rep(100)))
    out:feed "four\nabcdefgh"
    out:finish()
    assert.equals(("x"):rep(8180) .. " ", lines[7])
    assert.equals("[hidden] " .. ("y"):rep(100), lines[8])
    assert.same({ "four", "abcdefgh" }, table.move(lines, 9, 10, 1, {}))
    out = output.new { secrets = { "hidden" }, on_line = function(line) lines[1] = line end }
    out:feed "hidden\n"
    assert.matches("Z %[hidden%]$", lines[1])
  end)
end)
