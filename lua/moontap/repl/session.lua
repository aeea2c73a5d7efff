-- session: the prompt. Each line is a task of its own; what it spawns belongs to the session and
-- goes on behind the next lines. With a terminal the lines come from readline; without one from
-- standard input, and only results are printed.

local chunk = require "moontap.repl.chunk"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local later = require "moontap.later"
local native = require "moontap.native.task"
local outcome = require "moontap.cmd.outcome"
local place = require "moontap.repl.place"
local show = require "moontap.repl.show"
local sys = require "moontap.native.sys"

local commands = later "moontap.repl.commands"
local complete = later "moontap.repl.complete"
local hint = later "moontap.repl.hint"
local history = later "moontap.repl.history"
local help = later "moontap.repl.help"
local text = later "moontap.repl.text"

local NAME <const> = "=repl"

---@class moontap.repl.Session
---@field env table globals of the lines
---@field terminal? table moontap.native.term
---@field last? table results of the last line, as table.pack made them
---@field last_file? string
---@field line? moontap.Task the line that runs
---@field status integer of the last error
---@field is_over boolean
local Session = {}
Session.__index = Session

-- Printing --------------------------------------------------------------------------------

---@return moontap.repl.Style
function Session:style()
  return { width = self.terminal and self.terminal:width() or 80, colour = self.has_colour,
           plain = not self.terminal }
end

---Prints a line of its own.
---@param line string
function Session:say(line)
  require "moontap.progress".clear()
  io.stdout:write(line, "\n")
end

function Session:complain(err)
  local kind = errors.is(err) and err.kind or nil
  self.status = outcome.status_of(kind)
  err = hint.add(err)
  if self.terminal then
    self:say(show.error(err, self:style()))
    return
  end
  io.stdout:flush()
  if errors.is(err) then
    outcome.complain(text.mask(tostring(err)))
  else
    outcome.complain(text.clean(text.mask(show.plain_error(err))))
  end
end

---Takes the results of a line: prints them, and the first becomes `_`.
---@param results table
function Session:keep(results)
  if results.n == 0 then return end
  self.last = results
  rawset(self.env, "_", results[1])
  self:say(show.results(results, self:style()))
end

-- Running --------------------------------------------------------------------------------

---Runs `fn` as the task that Ctrl-C is meant for, also while it prints. Returns what it returns, or
---nothing when it failed; that was said then.
function Session:run_task(fn)
  local task = native.spawn({ name = "line" }, fn)
  self.line, self.interrupts = task, 0
  native.foreground(task)
  local results = table.pack(pcall(task.join, task))
  native.foreground(nil)
  self.line = nil
  if results[1] and task:status() ~= "cancelled" then
    return table.pack(table.unpack(results, 2, results.n))
  end
  self:complain(results[1] and results[3] or results[2])
  return nil
end

---What follows a colon, or Lua.
---@param code string
---@return "incomplete"|nil
function Session:run(code)
  if code:find "^%s*:%a" then
    local results = self:run_task(function() return commands.run(self, code) end)
    if results and results[1] == nil and results[2] ~= nil then self:complain(results[2]) end
    return nil
  end
  if not code:find "%S" then return nil end
  local fn, problem = chunk.compile(code, self.env)
  if not fn then
    if problem == "incomplete" then return problem end
    self:complain(problem)
    return nil
  end
  self:run_task(function() self:keep(table.pack(fn())) end)
  return nil
end

-- What a line spawns outlives the line, and says so when it is done.
function Session:announce(task, results)
  local shown = ""
  if results.n > 0 then
    local style = { width = math.max(self:style().width - 30, 20) }
    shown = ": " .. text.cut((show.results(results, style):gsub("\n.*", " …")), style.width)
  end
  self:say(("[%s is done%s]"):format(tostring(task):match "^[^:]+", shown))
  return table.unpack(results, 1, results.n)
end

function Session:take_spawn()
  local spawn = moontap.spawn
  rawset(moontap, "spawn", function(...)
    if not self.line or native.current() ~= self.line then return spawn(...) end
    local options, fn = ...
    local at = type(options) == "table" and 2 or 1
    if at == 1 then fn = options end
    if type(fn) ~= "function" then return spawn(...) end -- it knows what to say
    local task
    local function body(...)
      if not self.terminal then return fn(...) end
      return self:announce(task, table.pack(fn(...)))
    end
    task = native.spawn_detached(at == 2 and options or {}, body, select(at + 1, ...))
    self.background[#self.background + 1] = task
    return task
  end)
  return function() rawset(moontap, "spawn", spawn) end
end

-- The tasks of earlier lines that are not over.
function Session:running()
  local list = {}
  for _, task in ipairs(self.background) do
    local status = task:status()
    local is_over = status == "done" or status == "failed" or status == "cancelled"
    if not is_over then list[#list + 1] = task end
  end
  self.background = list
  return list
end

---A line about each task but those of the prompt itself.
---@return string[]
function Session:tasks()
  local lines, own = {}, { [tostring(native.current()):match "^task %d+"] = true }
  for line in host.tasks():gmatch "[^\n]+" do
    local name = line:match "^task %d+"
    if name and name ~= "task 1" and not own[name] then lines[#lines + 1] = line end
  end
  return lines
end

-- Files --------------------------------------------------------------------------------

---Runs a file with the globals of the prompt.
---@param path string
---@return any ok
---@return table|nil err
function Session:load_file(path)
  local fn, err = host.load_script(path, { [0] = path })
  if not fn then return nil, err end
  self.last_file = path
  self.modules = self.modules or self:loaded()
  self:keep(table.pack(fn()))
  return true
end

function Session.loaded()
  local names = {}
  for name in pairs(package.loaded) do names[name] = true end
  return names
end

---What files have required since is read anew the next time.
function Session:forget_modules()
  for name in pairs(package.loaded) do
    local is_own = type(name) == "string" and (name == "pcaps" or name:find "^pcaps%."
      or name:find "^moontap" or name:find "^cjson")
    if not self.modules[name] and not is_own then package.loaded[name] = nil end
  end
end

-- Help -------------------------------------------------------------------------------

---@param subject any
---@return any ok
---@return table|nil err
function Session:help(subject)
  local said, problem = help.text(subject)
  if not said then return nil, errors.new("usage", problem) end
  self:say(said)
  return true
end

-- Leaving --------------------------------------------------------------------------------

---Ends the session, unless there is something to ask first.
---@return boolean
function Session:leave()
  local running = self:running()
  local open = package.loaded["pcaps.opened"] and package.loaded["pcaps.opened"].running() or {}
  if (#running == 0 and #open == 0) or self.was_asked then
    self.is_over = true
    return true
  end
  self.was_asked = true
  for _, cap in ipairs(open) do
    self:say(("%s still runs; it goes on without this prompt. To stop it: pcaps.stop %q")
      :format(tostring(cap), cap.id))
  end
  if #running > 0 then
    self:say(("tasks that would be cancelled (:tasks): %d"):format(#running))
  end
  self:say "once more to leave"
  return true
end

function Session:end_tasks(is_cancelled)
  for _, task in ipairs(self:running()) do
    if is_cancelled then task:cancel "the prompt was left" end
    local ok, err = pcall(task.join, task)
    if not ok then self:complain(err) end
  end
end

-- The terminal --------------------------------------------------------------------------------

function Session:open_terminal()
  local term = require "moontap.native.term"
  self.history = history.file()
  local why
  self.terminal, why = term.open {
    complete = function(before) return complete.complete(before, self.env) end,
    hint = function(before) return complete.hint(before, self.env) end,
    history = self.history,
  }
  if not self.terminal then return nil, errors.new("io", why) end
  self.has_colour = (os.getenv "NO_COLOR" or "") == "" and os.getenv "TERM" ~= "dumb"
  if why then self:say("no history: " .. why) end
  return true
end

-- Ctrl-C: the first ends what the line waits for, the second the line.
function Session:interrupt()
  local line = self.line
  if not line then
    self.terminal:interrupt()
  elseif self.interrupts == 0 then
    self.interrupts = 1
    line:cancel "interrupted"
  else
    line:kill()
  end
end

-- What the terminal gave, `pending` being what was typed before. Returns what is pending then.
function Session:take(line, what, pending)
  if what == "interrupt" then return nil end
  if what == "eof" then
    self:say ""
    if not pending then self:leave() end
    return nil
  end
  if not line:find "^%s*:quit%s*$" and line:find "%S" then self.was_asked = nil end
  local code = pending and pending .. "\n" .. line or line
  if self:run(code) == "incomplete" then return code end
  self.terminal:add_history(code, not history.is_secret(code))
  return nil
end

---Reads from the terminal until the end.
---@return integer|nil status
---@return table|nil err
function Session:interactive()
  local ok, err = self:open_terminal()
  if not ok then return nil, err end
  local terminal <close> = self.terminal
  local give_back <close> = setmetatable({}, { __close = self:take_spawn() })
  host.on_interrupt(function() self:interrupt() end)
  self:say(place.banner())
  local first, further = place.prompts(self.has_colour)
  local pending
  while not self.is_over do
    local line, what = terminal:read(pending and further or first)
    pending = self:take(line, what, pending)
  end
  self:end_tasks(true)
  host.on_interrupt(nil)
  return give_back and outcome.OK
end

-- Without one --------------------------------------------------------------------------------

---Reads standard input until its end.
---@return integer status that of the last error
function Session:plain()
  local give_back <close> = setmetatable({}, { __close = self:take_spawn() })
  local pending
  while not self.is_over do
    local line, err = sys.read_line()
    if err then self:complain(err) end
    if not line and not err then break end
    local code = pending and pending .. "\n" .. (line or "") or line or ""
    pending = self:run(code) == "incomplete" and code or nil
  end
  if pending then self:complain(errors.new("usage", "the input ends within a statement")) end
  self:end_tasks(false)
  return give_back and self.status
end

local M = {}

---A session. `help` becomes a global of its lines.
---@return moontap.repl.Session
function M.new()
  local env = assert(host.load_code("return _ENV", NAME, {}))()
  local session = setmetatable({ env = env, background = {}, status = 0, is_over = false }, Session)
  rawset(env, "_", nil)
  rawset(env, "help", function(subject)
    local ok, err = session:help(subject)
    if not ok then error(err, 0) end
  end)
  return session
end

return M
