-- Runs programs in the background and waits for them as a task does, so that a server in this
-- very process goes on answering.

local io = require "io" -- the plain ones: a test's effects are its own
local os = require "os"
local sleep = require("moontap.native.task").sleep
local tempdir = require "support.tempdir"

local M = {}

-- For what should take a moment: a busy machine may take its time, and a test does not mind.
local LIMIT_SECONDS = 240
local POLL_SECONDS = 0.01

M.moontap = os.getenv("MOONTAP_BIN") or "moontap"
M.test_bin = os.getenv("MOONTAP_TEST_BIN") or "."
M.source = os.getenv("MOONTAP_SOURCE") or "."

--- Quotes one word for the shell.
---@param word string
---@return string
function M.quote(word)
  return "'" .. tostring(word):gsub("'", "'\\''") .. "'"
end

--- The content of a file, or nil.
---@param path string
---@return string|nil
function M.read_file(path)
  local f <close> = io.open(path, "rb")
  return f and f:read("a")
end

--- Calls `fn` until it returns something true; returns that. It gives up after minutes, which are
--- counted in turns: a machine that stands still uses up none.
---@param fn fun(): any
---@param what? string what the failure says
---@param seconds? number for what has a longer limit of its own
function M.poll(fn, what, seconds)
  local limit = math.max(seconds or 0, LIMIT_SECONDS)
  for _ = 1, math.ceil(limit / POLL_SECONDS) do
    local value = fn()
    if value then return value end
    sleep(POLL_SECONDS)
  end
  error(("gave up after %s s waiting for %s"):format(limit, what or "?"), 2)
end

local function command_line(argv)
  local words = {}
  for i, word in ipairs(argv) do words[i] = M.quote(word) end
  return table.concat(words, " ")
end

-- Each command has a state of its own, unless its test says otherwise, and the gate.
local function environment(env, dir)
  local removed, set = { "env -u MOONTAP_GATE" }, {} -- env wants what is removed first
  if not (env and env.XDG_STATE_HOME ~= nil) then
    set[1] = M.quote("XDG_STATE_HOME=" .. dir .. "/state")
  end
  for name, value in pairs(env or {}) do
    if value then
      set[#set + 1] = M.quote(name .. "=" .. value)
    else
      removed[#removed + 1] = "-u " .. M.quote(name)
    end
  end
  return table.concat(removed, " ") .. " " .. table.concat(set, " ")
end

--- Starts `argv` in the background.
---@param argv string[]
---@param options? table `cwd`; `env`, variables to set, or to remove where the value is false;
---   `stdin`, its text; `limit`, seconds after which it is killed, where the usual are too few
---@return table process `wait()` -> status, stdout, stderr; `signal(name)`;
---   `has_ended()`; `pid`
function M.start(argv, options)
  options = options or {}
  local dir = tempdir.new()
  local limit = math.max(options.limit or 0, LIMIT_SECONDS)
  local input = "/dev/null"
  if options.stdin then
    input = dir .. "/stdin"
    local f <close> = assert(io.open(input, "wb"))
    f:write(options.stdin)
  end
  local line = ("cd %s && { ( %s timeout -k 5 %d %s <%s >%s/stdout 2>%s/stderr & "
    .. "echo $! >%s/pid; wait $!; echo $? >%s/status.new; mv %s/status.new %s/status ) "
    .. "2>%s/shell & }"):format(
    M.quote(options.cwd or "."), environment(options.env, dir), limit,
    command_line(argv), M.quote(input), dir, dir, dir, dir, dir, dir, dir)
  assert(os.execute(line))
  local guard = M.poll(function() -- the timeout that watches the command
    local text = M.read_file(dir .. "/pid")
    return text and text:match("(%d+)\n")
  end, "the start of " .. argv[1])
  local process = {
    pid = tonumber(M.poll(function()
      local children = M.read_file(("/proc/%s/task/%s/children"):format(guard, guard))
      return not children and guard or children:match("%d+")
        or (M.read_file(dir .. "/status") and guard)
    end, "the start of " .. argv[1])),
  }

  --- Sends a signal to the command.
  function process.signal(name)
    os.execute(("kill -%s %d 2>/dev/null"):format(name, process.pid))
  end

  --- What the command has written so far.
  function process.stdout() return M.read_file(dir .. "/stdout") or "" end
  function process.stderr() return M.read_file(dir .. "/stderr") or "" end

  --- Whether it has ended.
  function process.has_ended() return M.read_file(dir .. "/status") ~= nil end

  --- Waits for the end; returns exit status (128 + n after signal n), stdout, stderr.
  function process.wait()
    local status = tonumber(M.poll(function()
      return M.read_file(dir .. "/status")
    end, "the end of " .. argv[1], limit + 10))
    local out, err = process.stdout(), process.stderr()
    tempdir.remove(dir)
    return status, out, err
  end

  --- Asks it to stop and waits for that.
  function process.stop()
    process.signal("TERM")
    return process.wait()
  end

  return process
end

--- Runs `argv` to its end. Returns exit status, standard output, standard error.
---@param argv string[]
---@param options? table as for `start`
---@return integer status
---@return string stdout
---@return string stderr
---
---     local status, out = command.run({ command.moontap, "version" })
function M.run(argv, options)
  return M.start(argv, options).wait()
end

--- What the sqlite3 program prints for a statement. It waits for others that work on the database,
--- also for the one who closes it last.
---@param file string
---@param sql string
---@return string text
function M.query(file, sql)
  local status, out, err = M.run { "sqlite3", "-cmd", ".timeout 120000", file, sql }
  if status ~= 0 then error(err, 2) end
  return out
end

return M
