-- pty: runs programs on a pseudo-terminal of their own, types there, and sees what they show.

local command = require "support.command"
local io = require "io"
local os = require "os"
local tempdir = require "support.tempdir"

local M = {}

--- Starts `argv` on a terminal of 80 columns.
---@param argv string[]
---@param options? table as for command.start
---@return table terminal `type(text)`, `expect(pattern)`, `resize(rows, columns)`, `screen()`,
---  `finish()` -> status, what was shown, whether the terminal was restored; `signal(name)`,
---  `has_ended()`, `program()`, `skip()`,
---  `abandon()`
function M.start(argv, options)
  local dir = tempdir.new()
  assert(os.execute(("mkfifo %s/keys %s/sizes"):format(dir, dir)))
  local quoted = {}
  for i, word in ipairs(argv) do quoted[i] = command.quote(word) end
  local line = ("exec %s/pty %s <%s/keys 3<%s/sizes"):format(command.quote(command.test_bin),
    table.concat(quoted, " "), dir, dir)
  options = options or {}
  options.env = options.env or {}
  options.env.TERM = options.env.TERM or "xterm"
  options.env.INPUTRC = options.env.INPUTRC or "/dev/null"
  local process = command.start({ "bash", "-c", line }, options)
  local keys <const>, sizes <const> = assert(io.open(dir .. "/keys", "w")),
    assert(io.open(dir .. "/sizes", "w"))
  keys:setvbuf "no"
  sizes:setvbuf "no"
  local seen = 0
  local terminal = { pid = process.pid, signal = process.signal, screen = process.stdout }

  --- Types `text`.
  function terminal.type(text) keys:write(text) end

  --- Changes the size of the terminal.
  function terminal.resize(rows, columns) sizes:write(("%d %d"):format(rows, columns)) end

  --- Waits until `pattern` is shown behind what was expected last; returns its captures.
  function terminal.expect(pattern)
    local is_there, found = pcall(command.poll, function()
      local has_ended = process.has_ended()
      local all = process.stdout()
      local from, to = all:find(pattern, seen + 1)
      if not from and has_ended then error("it ended before it showed " .. pattern, 0) end
      if not from then return nil end
      local captures = table.pack(all:match(pattern, seen + 1))
      seen = to
      return captures
    end, pattern)
    if not is_there then error(found .. " in:\n" .. process.stdout():sub(seen + 1), 2) end
    return table.unpack(found, 1, found.n)
  end

  --- Expects nothing more of what is shown already.
  function terminal.skip() seen = #process.stdout() end

  local is_over = false

  --- The process id of the program itself.
  function terminal.program()
    return tonumber(command.poll(function()
      local path = ("/proc/%d/task/%d/children"):format(process.pid, process.pid)
      local children = command.read_file(path)
      return children and children:match "%d+"
    end, "the program on the terminal"))
  end

  --- Has it ended by itself?
  terminal.has_ended = process.has_ended

  --- Ends it, unless that was done: for a test that failed.
  function terminal.abandon()
    if not is_over then process.signal "KILL" end
  end

  --- Waits for the end.
  function terminal.finish()
    is_over = true
    keys:close()
    sizes:close()
    local status, shown, told = process.wait()
    tempdir.remove(dir)
    return status, shown, told:find("terminal restored", 1, true) ~= nil
  end

  return terminal
end

return M
