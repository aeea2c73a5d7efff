-- The host as its users meet it: the program run on script files, its output and exit status.

local lfs = require "lfs"

local function program()
  local pid = io.open("/proc/self/stat"):read("n")
  local path = assert(io.popen("readlink /proc/" .. pid .. "/exe"))
  return path:read("l")
end

local moontap_bin = program()
local dir

local function write(name, text)
  local file <close> = assert(io.open(dir .. "/" .. name, "w"))
  file:write(text)
end

-- For the shell: `up` waits until the script has made the file "up"; `taken PID` until no signal
-- is pending for that process.
local SHELL_HELP = [[rm -f up && up() { until [ -e up ]; do sleep 0.02; done; } &&
taken() { until grep -q '^ShdPnd:.0*$' /proc/$1/status; do sleep 0.02; done; }]]

-- Runs a shell line in the test's directory; "moontap" in it is the program under test. Returns
-- what it wrote to both outputs, and its exit status.
local function sh(line)
  local script = ("cd %s && moontap() { %s \"$@\"; } && %s && { %s\n} 2>&1; r=$?; "
    .. "echo; echo status $r"):format(dir, moontap_bin, SHELL_HELP, line)
  write("line.sh", script)
  local pipe <close> = assert(io.popen("timeout 30 bash " .. dir .. "/line.sh"))
  local text = pipe:read("a")
  local output, status = text:match("^(.*)\nstatus (%d+)\n$")
  assert(output, text)
  return output, tonumber(status)
end

local function run(code, args)
  write("script.lua", code)
  return sh("moontap run script.lua " .. (args or ""))
end

setup(function()
  dir = os.tmpname()
  os.remove(dir)
  lfs.mkdir(dir)
end)

teardown(function() os.execute("rm -rf " .. dir) end)

describe("a script", function()
  it("gets its arguments in arg and ...", function()
    local output, status = run("print(arg[0], arg[1], select('#', ...), ...)",
      "one 'two words' --json")
    assert.equal("script.lua\tone\t3\tone\ttwo words\t--json\n", output)
    assert.equal(0, status)
  end)

  it("may start with a #! line", function()
    write("hash.lua", "#!" .. moontap_bin .. "\nprint('ran')\n")
    assert.equal("ran\n", (sh("chmod +x hash.lua && ./hash.lua")))
  end)

  it("fails on an undefined global, with its name and line", function()
    local output, status = run("local x = 1\nprint(capp)\n")
    assert.matches("script.lua:2: undefined global 'capp'", output, 1, true)
    assert.equal(1, status)
  end)

  it("may define globals of its own and ask for them with rawget", function()
    assert.equal("1\tnil\n", (run("limit = 1 print(limit, rawget(_G, 'nothing'))")))
  end)

  it("names file and line of a syntax error", function()
    local output, status = run("local x = = 1")
    assert.matches("script.lua:1: unexpected symbol near '='", output, 1, true)
    assert.equal(1, status)
  end)

  it("prints an uncaught error with a traceback through coroutines", function()
    local output, status = run([[
local function inner() error("deep") end
local co = coroutine.wrap(function() moontap.sleep(0) inner() end)
co()
]])
    assert.matches("moontap: script.lua:3: script.lua:1: deep", output, 1, true)
    assert.matches("in coroutine: stack traceback:.-script.lua:1: in.-script.lua:2: in", output)
    assert.matches("stack traceback:.-script.lua:3: in main chunk", output)
    assert.equal(1, status)
  end)

  it("prints the traceback of the task that failed", function()
    local output = run([[
moontap.spawn({ name = "watcher" }, function() moontap.sleep(0) error("lost") end)
moontap.sleep(5)
]])
    assert.matches("moontap: script.lua:1: lost", output, 1, true)
    assert.matches("in watcher: stack traceback:", output, 1, true)
  end)

  it("maps the kind of an uncaught host error to the exit status", function()
    local kinds = { usage = 2, credentials = 3, timeout = 4, cancelled = 4, quota = 5,
      unknown_outcome = 6, network = 1 }
    for kind, expected in pairs(kinds) do
      local _, status = run(("error(require('moontap.errors').new(%q, 'text'))"):format(kind))
      assert.equal(expected, status, kind)
    end
  end)

  it("has its globals in what it loads", function()
    write("part.lua", "return limit, pcall(function() return undefined_there end)")
    assert.equal("7\t7\t7\n", (run([[
limit = 7
print(load("return limit")(), (assert(loadfile("part.lua"))()), (dofile("part.lua")))
]])))
    assert.matches("undefined global 'capp'", (run("load('return capp')()")), 1, true)
    assert.equal("nil\n", (run("print(load('return x', 'name', 't', {})())")))
  end)

  it("may wait while its variables are closed by an error", function()
    local output, status = run([[
local function tidy() moontap.sleep(0.01) print("tidied") end
local close <close> = setmetatable({}, { __close = tidy })
error("broken", 0)
]])
    assert.matches("^tidied\n", output)
    assert.matches("moontap: broken", output)
    assert.equal(1, status)
  end)

  it("can leave from where nothing can wait", function()
    local output, status = run([[
table.sort({ 3, 2, 1 }, function() pcall(os.exit, 7) end) print('no')]])
    assert.equal("", output)
    assert.equal(7, status)
    assert.matches("expected a boolean or 0..255", (run("os.exit(256)")), 1, true)
  end)

  it("is shown an error that cannot show itself", function()
    local output = run("error(setmetatable({}, { __tostring = function() error('x') end }))")
    assert.matches("an error that is a table, which cannot be shown", output)
  end)

  it("leaves with the status of os.exit, its output flushed", function()
    local output, status = run("io.write('some') os.exit(9)")
    assert.equal("some", output)
    assert.equal(9, status)
    assert.equal(1, select(2, run("os.exit(false)")))
  end)

  it("is told when every task waits for another", function()
    local output, status = run([[
local a, b
a = moontap.spawn(function() moontap.sleep(0) b:join() end)
b = moontap.spawn(function() moontap.sleep(0) a:join() end)
]])
    assert.matches("every task waits", output)
    assert.matches("task 2: waiting at script.lua:2", output)
    assert.equal(1, status)
  end)

  it("says so when its output cannot be written", function()
    local output, status = sh("echo 'print(1)' > full.lua; moontap run full.lua > /dev/full")
    assert.matches("cannot write to standard output", output)
    assert.equal(1, status)
  end)
end)

describe("standard descriptors", function()
  it("may be closed: nothing else takes their place", function()
    write("out.lua", "print('lost') moontap.sleep(0.01)")
    local output, status = sh("moontap run out.lua >&-")
    assert.matches("cannot write to standard output", output)
    assert.equal(1, status)
    assert.equal(0, select(2, sh("moontap run out.lua <&- 2>&-")))
  end)

  it("may be read by somebody who leaves early", function()
    write("many.lua", "for i = 1, 100000 do print(i) end")
    assert.equal("1\n0", (sh("moontap run many.lua | head -1; echo -n ${PIPESTATUS[0]}")))
  end)
end)

describe("require", function()
  it("finds files beside the script, with the script's strict globals", function()
    lfs.mkdir(dir .. "/sub")
    lfs.mkdir(dir .. "/sub/pack")
    write("sub/helper.lua", "return { value = shared, name = ... }")
    write("sub/pack/init.lua", "return undefined_here")
    write("sub/main.lua", [[
shared = 7
print(require("helper").value, require("helper").name)
print(pcall(require, "pack"))
]])
    local output = sh("moontap run sub/main.lua")
    assert.matches("^7\thelper\n", output)
    assert.matches("undefined global 'undefined_here'", output)
  end)

  it("never looks into the current directory", function()
    lfs.mkdir(dir .. "/elsewhere")
    write("stray.lua", "return 'found by accident'")
    write("elsewhere/main.lua", "print(pcall(require, 'stray'))")
    assert.matches("^false\t.*module 'stray' not found", (sh("moontap run elsewhere/main.lua")))
    assert.matches("^false\t.*module 'stray' not found",
      (sh("LUA_PATH='./?.lua;;' moontap run elsewhere/main.lua")))
  end)

  it("prefers the host's modules to files of the same name", function()
    lfs.mkdir(dir .. "/moontap")
    write("moontap/clock.lua", "return 'fake'")
    assert.equal("table\n", (run("print(type(require 'moontap.clock'))")))
  end)

  it("loads the system's modules", function()
    local output = run([[
local lpeg, fs = require "lpeg", require "lfs"
print(lpeg.match(lpeg.C(lpeg.R "az" ^ 1), "abc1"), fs.attributes("script.lua", "mode"))
]])
    assert.equal("abc\tfile\n", output)
  end)
end)

describe("a signal", function()
  it("stops a busy loop in a coroutine", function()
    local output, status = sh([[
echo 'io.open("up", "w"):close() coroutine.wrap(function() while true do end end)()' > busy.lua
]] .. moontap_bin .. [[ run busy.lua & p=$!; up; kill -INT $p; wait $p]])
    assert.matches("interrupted", output)
    assert.equal(4, status)
  end)

  it("stops a loop that swallows the interrupt", function()
    local output = sh([[
echo 'io.open("up", "w"):close()
while true do pcall(function() while true do end end) end' > stubborn.lua
]] .. moontap_bin .. [[ run stubborn.lua & p=$!; up; kill -INT $p; wait $p; echo left $?]])
    assert.matches("left 4", output)
  end)

  it("cancels waits, closes variables, and exits with 4", function()
    local output = sh([[
cat > waits.lua <<'END'
local tidy <close> = setmetatable({}, { __close = function() print("closed") end })
io.open("up", "w"):close()
moontap.sleep(60)
END
]] .. moontap_bin .. [[ run waits.lua & p=$!; up; kill -TERM $p; wait $p; echo left $?]])
    assert.matches("closed", output)
    assert.matches("left 4", output)
  end)

  it("is followed by force when no hook can stop the script", function()
    local output = sh([[
echo 'setmetatable({}, { __gc = function() while true do end end }) collectgarbage()' > stuck.lua
]] .. moontap_bin .. [[ run stuck.lua & p=$!; sleep 0.3; kill -TERM $p; wait $p; echo left $?]])
    assert.matches("it does not stop; leaving", output)
    assert.matches("left 4", output)
  end)

  it("given twice leaves at once", function()
    local output = sh([[
echo 'local function stuck() while true do pcall(function() while true do end end) end end
io.open("up", "w"):close()
table.sort({1,2,3}, stuck)' > stuck.lua
]] .. moontap_bin .. [[ run stuck.lua & p=$!; up; kill -INT $p; taken $p; kill -INT $p
wait $p; echo left $?]])
    assert.matches("left 4", output)
  end)

  it("USR1 prints all tasks with where each one waits", function()
    local output = sh([[
cat > two.lua <<'END'
moontap.spawn({ name = "other" }, function() io.open("up", "w"):close() moontap.sleep(60) end)
moontap.sleep(60)
END
]] .. moontap_bin .. [[ run two.lua 2>list & p=$!; up; kill -USR1 $p
until grep -q '^2 tasks' list; do sleep 0.02; done; kill -INT $p; wait $p; cat list]])
    assert.matches(
      "task 1: waiting at two.lua:2\ntask 2 %(other%): waiting at two.lua:1\n2 tasks", output)
  end)
end)
