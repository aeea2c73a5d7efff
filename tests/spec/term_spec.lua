-- moontap.native.term on a pseudo-terminal: reading on the loop, and output above the line.

local command = require "support.command"
local pty = require "support.pty"
local tempdir = require "support.tempdir"

local PROGRAM = [[
local host, term = require "moontap.native.host", require "moontap.native.term"
local t <close> = assert(term.open {
  complete = function(before)
    if before == "raise" then error "no" end
    return { "create", "captures" }, #before - #before:match "[%w_]*$" + 1
  end,
  hint = function(before) return "inside " .. before end,
  history = arg[1],
})
host.on_interrupt(function() t:interrupt() end)
while true do
  local line, what = t:read "\27[32msim\27[0m> "
  print(("got %q %s"):format(line or "", what))
  if what == "eof" then break end
  if line then t:add_history(line, not line:find "secret") end
  local code = line and line:match "^!(.*)"
  if code then assert(load("local t = ... " .. code))(t) end
end
]]

local dir, screen

local function start(env)
  screen = pty.start({ command.moontap, "run", "-e", PROGRAM, "--", dir .. "/history" },
    { env = env })
  screen.expect "sim\27%[0m> "
end

-- The program was given `text`, and asks for more.
local function gets(text)
  screen.expect('got "' .. text:gsub("%p", "%%%0") .. '" nil\r\n.*sim\27%[0m> ')
end

local function leave()
  screen.type "\4"
  screen.expect 'got "" eof'
  local status, shown, restored = screen.finish()
  assert.equal(0, status)
  assert.is_true(restored)
  return shown
end

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

describe("a terminal", function()
  it("gives lines, in UTF-8 too, whatever the locale says", function()
    start { LC_ALL = "C" }
    screen.type "gr\195\188n\r"
    gets "gr\195\188n"
    screen.type "\195\188\127x\r" -- one backspace takes the whole letter
    gets "x"
    leave()
  end)

  it("takes a paste for one piece", function()
    start()
    screen.type "\27[200~a = 1\nb = 2\27[201~\r"
    gets "a = 1\\\r\nb = 2"
    leave()
  end)

  it("completes words, and an error in that does no harm", function()
    start()
    screen.type "pcaps.cr\t\r"
    gets "pcaps.create"
    screen.type "raise\t\r"
    gets "raise"
    screen.type "pcaps.c\t\t"
    screen.expect "captures  create"
    screen.type "\3"
    screen.expect "interrupt.*sim\27%[0m> "
    leave()
  end)

  it("tells about the call on Alt-h", function()
    start()
    screen.type "f(1, \27h"
    screen.expect "inside f%(1, \r\n"
    screen.type "2)\r"
    gets "f(1, 2)"
    leave()
  end)

  it("shows what others write above the line that is being typed", function()
    start()
    screen.type "!moontap.spawn(function() moontap.sleep(.2) print 'one' "
    screen.type "io.stderr:write 'two\\n' end)\r"
    screen.expect "got.*sim\27%[0m> "
    screen.type "abc"
    screen.expect "abc.*\r\27%[K\rone\r\ntwo\r\n.*> abc"
    screen.type "\r"
    gets "abc"
    leave()
  end)

  it("shows more than a pipe holds", function()
    start()
    screen.type "!moontap.spawn(function() io.write(('x'):rep(300000), '\\nend of it\\n') end)\r"
    screen.expect "x\r\nend of it"
    leave()
  end)

  it("drops the line at Ctrl-C, and leaves an empty one alone", function()
    start()
    screen.type "abc"
    screen.expect "abc"
    screen.type "\3"
    screen.expect "%^C\r\n.*interrupt.*sim\27%[0m> "
    screen.type "\3"
    screen.expect "interrupt.*sim\27%[0m> "
    screen.type "x\r"
    gets "x"
    leave()
  end)

  it("follows the size of its window", function()
    start()
    screen.resize(24, 40)
    command.poll(function()
      screen.type "!print(t:width())\r"
      screen.expect "got.*sim\27%[0m> "
      return screen.screen():find("40\r\n", 1, true)
    end, "the new width")
    leave()
  end)

  it("keeps a history of whole entries, without those that must not be kept", function()
    start()
    screen.type "\27[200~a = 1\nb = 2\27[201~\r"
    screen.expect "got.*sim\27%[0m> "
    screen.type "secret\r"
    gets "secret"
    leave()
    local kept = command.read_file(dir .. "/history")
    assert.is_nil(kept:find("secret", 1, true))
    assert.equal("rw-------", require("lfs").attributes(dir .. "/history", "permissions"))
    start()
    screen.type "\27[A\r"
    gets "a = 1\\\r\nb = 2"
    leave()
  end)

  it("honours people's inputrc, and ESC in vi mode stops nobody", function()
    local rc <close> = assert(io.open(dir .. "/inputrc", "w"))
    rc:write "set editing-mode vi\nset keyseq-timeout 5000\n"
    rc:flush()
    start { INPUTRC = dir .. "/inputrc" }
    screen.type "abc\27"
    moontap.sleep(0.3)
    screen.type "0x\r"
    gets "bc"
    leave()
  end)

  it("is put back when the program is told to leave, and when it crashes", function()
    local sanitizer = (os.getenv "ASAN_OPTIONS" or "") .. ":handle_segv=0" -- no report of ours
    for _, name in ipairs { "TERM", "HUP", "SEGV", "ABRT" } do
      start { ASAN_OPTIONS = sanitizer }
      screen.type "abc"
      screen.expect "abc"
      os.execute(("pkill -%s -P %d"):format(name, screen.pid))
      local _, _, restored = screen.finish()
      assert.is_true(restored, name)
    end
  end)

  it("is refused where there is none", function()
    local status, _, err = command.run { command.moontap, "run", "-e",
      'assert(require "moontap.native.term".open {})' }
    assert.equal(1, status)
    assert.matches("take the terminal: ", err)
  end)
end)
