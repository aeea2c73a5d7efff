-- The prompt on a pseudo-terminal: what is typed and what is seen.

local lfs = require "lfs"
local command = require "support.command"
local pty = require "support.pty"
local tempdir = require "support.tempdir"

local PROMPT <const> = "sim\27%[0m> "

local SEED <const> = tonumber(os.getenv "MOONTAP_SEED" or 4) -- of what is typed at random

local dir, screen

local function start(options, env)
  local argv = { command.moontap, "repl", "--sim", table.unpack(options or {}) }
  env = env or {}
  env.XDG_STATE_HOME = env.XDG_STATE_HOME or dir .. "/state"
  screen = pty.start(argv, { env = env, cwd = dir })
  screen.expect(env.NO_COLOR and "sim> " or PROMPT)
end

-- Types a line and waits for what it shows before the next prompt; that is returned.
local function run(line, pattern)
  screen.type(line .. "\r")
  screen.expect "\r\n"
  return screen.expect((pattern or "(.-)") .. "\r?\27?%[?%??2?0?0?4?h?" .. PROMPT)
end

-- Types `keys` until something is shown, because Ctrl-C drops what was typed ahead.
local function insist(keys, pattern)
  local before <const> = #screen.screen()
  command.poll(function()
    if screen.has_ended() then
      error(("it ended with status %s: %s"):format(screen.finish(), screen.screen():sub(-300)), 0)
    end
    screen.type(keys)
    moontap.sleep(0.2)
    return screen.screen():find(pattern, before + 1)
  end, pattern)
  moontap.sleep(0.2)
  screen.skip()
end

local function leave()
  screen.type "\4"
  local status, shown, restored = screen.finish()
  assert.equal(0, status)
  assert.is_true(restored)
  return shown
end

-- Of the prompt while it waits for keys.
local function count_descriptors()
  local n = 0
  for _ in lfs.dir(("/proc/%d/fd"):format(screen.program())) do n = n + 1 end
  return n
end

before_each(function() dir = tempdir.new() end)
after_each(function()
  if screen then screen.abandon() end
  screen = nil
  tempdir.remove(dir)
end)

local function sees(line, wanted)
  local shown = run(line)
  assert.matches(wanted, (shown:gsub("\27%[[%d;?]*%a", ""):gsub("\r", "")), 1, true)
end

describe("a line that fails", function()
  it("says what was meant", function()
    local status, _, err = command.run({ command.moontap, "repl", "--sim" }, { stdin = [[
exit
quit()
cap = assert(pcaps.create { type = "simple", time_limit = 5, packet_limit = 5 })
cap:dowload()
cap:nonsense()
]] })
    assert.equal(1, status)
    local lines = {}
    for line in err:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("'exit'; to leave: :quit, or Ctrl%-D$", lines[1])
    assert.matches("'quit'; to leave: :quit, or Ctrl%-D$", lines[2])
    assert.matches("'dowload'%); did you mean download%?$", lines[3])
    assert.matches("'nonsense'%)$", lines[4])
  end)

  it("knows the methods of a capture", function()
    local hint = require "moontap.repl.hint"
    local methods = {}
    local meta = require "pcaps.capture".metatable({}, {})
    for name in pairs(meta.__index) do methods[#methods + 1] = name end
    table.sort(methods)
    assert.same(methods, hint.METHODS)
  end)
end)

describe("the prompt", function()
  it("says which account it is at, and shows values as people read them", function()
    start()
    assert.matches("account %x+ on the simulator: nothing here reaches Cloudflare", screen.screen())
    sees("1 + 1", "2")
    sees("= 2^53", "9.007199254741e+15")
    sees("'gr\195\188n \"x\"'", '"gr\195\188n \\"x\\""')
    sees("nil, false, nil", "nil\tfalse\tnil")
    sees("{ b = { 2 }, a = 1, [3] = 4 }", "{ [3] = 4, a = 1, b = { 2 } }")
    sees("x = {} x.x = x", "")
    sees("x", "{ x = <cycle> }")
    sees("{ api_token = 'abcdefgh', s = 's3://b/d?secret=x' }", "s = \"s3://b/d?[hidden]\"")
    sees("_.api_token", '"abcdefgh"')
    sees("pcaps.create", "<function pcaps.create>")
    leave()
  end)

  it("keeps locals, also of a line that failed, and the last result", function()
    start()
    sees("local y, z = 7, function() return y end", "")
    sees("y * 2", "14")
    sees("_", "14")
    sees("local q = 1 error 'no'", "error: repl:1: no")
    sees("q", "1")
    sees("local c <const> = 5", "")
    sees("c = 6", "attempt to assign to const variable 'c'")
    sees("undefined_name", "undefined global 'undefined_name'")
    leave()
  end)

  it("asks for more only when the end is missing", function()
    start()
    screen.type "function f()\r"
    screen.expect "%.%.> "
    screen.type "return 3\r"
    screen.expect "%.%.> "
    screen.type "end f()\r"
    screen.expect(PROMPT)
    sees("f()", "3")
    screen.type "[[a\r"
    screen.expect "%.%.> "
    sees("b]]", '"a\\nb"')
    sees('"abc', "unfinished string")
    sees("x = = 2", "unexpected symbol near '='")
    screen.type "if true then\r"
    screen.expect "%.%.> "
    screen.type "\3"
    screen.expect(PROMPT)
    sees("1", "1")
    leave()
  end)

  it("takes a paste as one entry of its history, which holds no secret", function()
    start()
    screen.type "\27[200~p = 1\nq = p + 1\27[201~\r"
    screen.expect "q = p %+ 1"
    screen.expect(PROMPT)
    sees("q", "2")
    sees("t = { api_token = 'abcdefghijk' }", "")
    sees("'ok'", '"ok"')
    leave()
    local kept = command.read_file(dir .. "/state/moontap/history")
    assert.matches("p = 1", kept, 1, true)
    assert.matches("'ok'", kept, 1, true)
    assert.is_nil(kept:find("abcdefghijk", 1, true))
    start()
    screen.type "\18ok\r" -- reverse search
    screen.expect 'i%-search.*"ok"'
    screen.expect(PROMPT)
    leave()
  end)

  it("waits without freezing; what a line spawned goes on and says so above the prompt", function()
    start()
    sees("local function nap() moontap.sleep(0.7) return 'slept' end", "")
    sees("t = moontap.spawn({ name = 'nap' }, nap)", "")
    screen.type "12345"
    screen.expect '%[task %d+ %(nap%) is done: "slept"%]'
    screen.expect "12345" -- it stands there still
    sees("", "12345")
    sees("bad = moontap.spawn(function() moontap.sleep(0.1) error 'broken' end)", "")
    screen.expect "broken"
    screen.expect(PROMPT)
    sees("t:join()", '"slept"')
    leave()
  end)

  it("shows tasks with where they wait", function()
    start()
    sees("for i = 1, 2 do moontap.spawn(function()\nmoontap.sleep(100) end) end", "")
    sees(":tasks", "waiting at repl:2")
    screen.type "\4"
    screen.expect "tasks that would be cancelled %(:tasks%): 2.*once more to leave"
    screen.expect(PROMPT)
    leave()
  end)

  it("ends a wait at Ctrl-C, a line that does not heed it at the second", function()
    start()
    screen.type "moontap.sleep(100)\r"
    screen.expect "100%)\r\n"
    screen.type "\3"
    screen.expect "interrupted"
    screen.expect(PROMPT)
    screen.type "while true do pcall(moontap.sleep, 100) end\r"
    screen.expect "end\r\n"
    screen.type "\3"
    moontap.sleep(0.3)
    screen.type "\3"
    screen.expect "interrupted"
    screen.expect(PROMPT)
    screen.type "while true do end\r"
    screen.expect "end\r\n"
    screen.type "\3"
    screen.expect "interrupted"
    screen.expect(PROMPT)
    for _ = 1, 2 do -- on an empty line it does nothing; what is typed meanwhile would be dropped
      screen.type "\3"
      screen.expect(PROMPT)
    end
    sees("'still here'", "still here")
    leave()
  end)

  it("is not ended by Ctrl-C, however often and wherever it comes", function()
    start()
    screen.type(("\3"):rep(30))
    insist("'one'\r", '"one"')
    screen.type "moontap.sleep(100)\r"
    screen.expect "100%)\r\n"
    screen.type(("\3"):rep(30))
    screen.expect "interrupted"
    insist("'two'\r", '"two"')
    screen.type "setmetatable({}, { __tostring = function() while true do end end })\r"
    screen.expect "end end %}%)\r\n"
    insist("\3", "interrupted")
    insist("'three'\r", '"three"')
    sees("busy = moontap.spawn(function() moontap.sleep(0.2) while true do end end)", "")
    insist("\3busy:status()\r", '"cancelled"')
    leave()
  end)

  it("opens captures, shows them as blocks and tables, and asks before it leaves them", function()
    start()
    sees("cap = assert(pcaps.create { type = 'simple', time_limit = 5, packet_limit = 10 })", "")
    sees("cap:wait()", "status       success")
    sees("pcaps.list()", "ID                                STATUS")
    sees(":captures", "everything")
    sees(":json", '"type": "simple"')
    sees("pcaps.get 'nope'", "error: get nope refused: 404")
    sees("b = moontap.bucket.simulated()", "")
    sees("moontap.bucket.claim(b)", "true")
    sees("full = assert(pcaps.create { type = 'full', time_limit = 500, colo_name = 'ORD', "
      .. "destination_conf = b })", "")
    screen.type "\4"
    screen.expect "still runs; it goes on without this prompt"
    screen.expect(PROMPT)
    sees("full:stop()", "status")
    sees("full:wait()", "No packets matched the filter")
    leave()
  end)

  it("completes names, members, parameters, values, files and commands", function()
    command.run { "touch", dir .. "/notes.txt" }
    start()
    screen.type "pcaps.own\t"
    screen.expect "pcaps%.ownership"
    screen.type ".val\t"
    screen.expect "validate"
    screen.type "\21pcaps.create { packet\t"
    screen.expect "packet_limit = "
    screen.type "\t"
    screen.expect "packet_limit: integer 1%.%.10000, required for simple"
    screen.type "5, filter_v1 = { \t"
    screen.expect "destination_port +integer 0%.%.65535"
    screen.type "prot\t"
    screen.expect "protocol = "
    screen.type "6 }, type = \"si\t"
    screen.expect "simple\""
    screen.type "\21io.open('not\t"
    screen.expect "notes%.txt"
    screen.type "\21:cap\t"
    screen.expect ":captures"
    screen.type "\21some_global = 1\r"
    screen.expect(PROMPT)
    screen.type "some_g\t"
    screen.expect "some_global"
    screen.type "\21"
    leave()
  end)

  it("hints at the call the cursor is in", function()
    start()
    screen.type "moontap.timeout(\27h"
    screen.expect "moontap%.timeout%(duration, fn, %.%.%.%)"
    screen.type "\21"
    leave()
  end)

  it("helps with functions, parameters, types and itself", function()
    start()
    sees("help()", "pcaps      packet captures")
    sees("help(pcaps.create)", "Opens a capture")
    sees('help "filter_v1"', "filter_v1.destination_port: integer 0..65535")
    sees("help(moontap.spawn)", "Starts `fn(...)`")
    sees('help "pcaps.WaitOptions"', "between two looks")
    sees('help "creat"', 'did you mean "create"?')
    sees(":help", ":captures [EVERY]")
    sees(":hlep", "did you mean :help?")
    leave()
  end)

  it("loads files, and again with what they require", function()
    local function write(name, text)
      local f <close> = assert(io.open(dir .. "/" .. name, "w"))
      f:write(text)
    end
    write("part.lua", "return 1")
    write("main.lua", "part = require 'part' return part + 1")
    start()
    sees(":load main.lua", "2")
    sees("part", "1")
    write("part.lua", "return 5")
    sees(":reload", "6")
    sees(":load missing.lua", "missing.lua")
    sees(":time 1", "of the processor")
    sees(":log info", "")
    sees(":log", "info")
    sees(":env", "the simulator in this program")
    leave()
  end)

  it("lists and starts attacks, and makes requests go wrong", function()
    start { "--scenario", "udp-flood" }
    sees(":scenario", "waiting")
    sees(":scenario start flood", "active")
    sees(":faults create:throttled,count=1", "")
    sees(":faults", "create:throttled,count=1")
    sees(":faults clear", "")
    sees(":faults", "no faults")
    sees(":scenario start nothing", "nothing")
    leave()
  end)

  it("is without colour where that is asked for", function()
    start({}, { NO_COLOR = "1" })
    screen.type "'x'\r"
    screen.expect '"x"\r\n'
    assert.is_nil(leave():find("\27[3", 1, true))
  end)

  it("follows its terminal's size", function()
    start()
    screen.resize(24, 40)
    command.poll(function()
      return run("('x '):rep(3), { a = ('y'):rep(12), b = ('z'):rep(12) }"):find "{\r\n"
    end, "a narrower screen")
    leave()
  end)

  it("survives a search that a key ends, and giving up behind it", function()
    start()
    screen.type "\27\r\27pc\7.\18\27[A\"\27b\7"
    insist("\3\21'alive'\r", '"alive"')
    screen.type "\21"
    leave()
  end)

  it("survives two thousand keys of anybody, and leaves the terminal as it was", function()
    math.randomseed(SEED)
    local keys = { "\t", "\r", "\127", "\1", "\5", "\11", "\23", "\25", "\21", "\27[A", "\27[B",
                   "\27[C", "\27[D", "\27h", "\27b", "\27f", "\18", "\7", "\27", "\3",
                   "\195\188", "\240\159\140\153", "\255", "(", ")", "{", "}", "[", "]", "\"", "'",
                   "=", ".", ":", ",", " ", "1", "pc", "aps", "moon", "tap", "local ", "end",
                   "function ", "return ", "help", "\27[200~a\nb\27[201~" }
    start()
    sees("pcaps.li\t'x'\27h\21'begin'", '"begin"')
    local descriptors <const> = count_descriptors()
    for _ = 1, 2000 do
      screen.type(keys[math.random(#keys)])
      if math.random(50) == 1 then moontap.sleep(0.001) end
    end
    screen.type "\7\7\3\3\21"
    insist("\3\21'all' .. 'right'\r", '"allright"')
    screen.type "\21:tasks\r"
    screen.expect "no tasks besides this prompt"
    screen.type "'end'\r"
    screen.expect('"end".*' .. PROMPT)
    assert.equal(descriptors, command.poll(function()
      return count_descriptors() == descriptors and descriptors
    end, "no more descriptors than before"))
    screen.type "\21:quit\r"
    local status, shown, restored = screen.finish()
    assert.equal(0, status, shown:sub(-600))
    assert.is_true(restored)
  end)
end)

describe("without a terminal", function()
  local function read(text, ...)
    local status, out, err = command.run({ command.moontap, "repl", "--sim", ... },
      { stdin = text, cwd = dir })
    return out, err, status
  end

  it("prints results alone", function()
    local out, err, status = read "1 + 1\nlocal x = 'a'\nx, nil\n{ b = 1, a = 2 }\nprint 'p'\n"
    assert.equal('2\n"a"\tnil\n{ a = 2, b = 1 }\np\n', out)
    assert.equal("", err)
    assert.equal(0, status)
  end)

  it("reads what goes on over lines, and the last line without its end", function()
    local out = read("function f()\n  return [[\nx]]\nend\nf()\n-- a comment\nfor i = 1, 2 do\n"
      .. "print(i)\nend\n= 3")
    assert.equal('"x"\n1\n2\n3\n', out)
  end)

  it("goes on after an error and leaves with the status of the last", function()
    local out, err, status = read "error 'one'\n2\nassert(pcaps.get 'nope')\n3\n"
    assert.equal("2\n3\n", out)
    assert.matches("moontap: repl:1: one\nmoontap: get nope refused: 404", err, 1, true)
    assert.equal(1, status)
    assert.equal(4, select(3, read("moontap.timeout(0.01, moontap.sleep, 5)\n"
      .. "assert(moontap.timeout(0.01, moontap.sleep, 5))")))
  end)

  it("waits for what its lines have started", function()
    local out, _, status = read("moontap.spawn(function() moontap.sleep(50) print 'late' end)\n1\n",
      "--virtual-time")
    assert.equal(0, status)
    assert.matches("1\nlate\n", out, 1, true)
  end)

  it("says so when the input ends too early, or is no text", function()
    local _, err, status = read "for i = 1, 2 do\n"
    assert.matches("the input ends within a statement", err)
    assert.equal(2, status)
    _, err, status = read("x = '" .. ("y"):rep(2 << 20) .. "'\n1\n")
    assert.matches("a line is longer than 1 MiB", err)
    assert.equal(1, status)
    assert.equal(1, select(3, read "\0\1\2\n"))
  end)

  it("is what the program alone shows no help for", function()
    local status, _, err = command.run { command.moontap }
    assert.equal(2, status)
    assert.matches("usage: moontap", err)
  end)
end)
