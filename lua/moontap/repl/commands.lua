-- commands: what a line that begins with a colon does at the prompt.

local chunk = require "moontap.repl.chunk"
local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local later = require "moontap.later"
local native = require "moontap.native.clock"
local schema = require "moontap.native.schema"

local clock = later "moontap.clock"
local log = later "moontap.log"
local place = later "moontap.repl.place"
local show = later "moontap.repl.show"
local simcontrol = later "moontap.cmd.simcontrol"

local M = {}

---@class moontap.repl.Command
---@field usage string
---@field summary string
---@field run fun(session: moontap.repl.Session, rest: string): any, table|nil nil and an error
---@field complete? fun(rest: string): string[], integer|nil

---@type table<string, moontap.repl.Command>
local COMMANDS = {}

local function usage(name, problem)
  return nil, errors.new("usage", (":%s: %s; usage: %s"):format(name, problem,
    COMMANDS[name].usage))
end

local function starting(list, prefix)
  local found = {}
  for _, name in ipairs(list) do
    if name:sub(1, #prefix) == prefix then found[#found + 1] = name end
  end
  return found
end

COMMANDS.help = {
  usage = ":help [NAME]", summary = "these commands; or help on a function, parameter or type",
  run = function(session, rest)
    if rest ~= "" then return session:help(rest) end
    local width = 0
    for _, name in ipairs(M.names()) do
      width = math.max(width, #COMMANDS[name:sub(2)].usage)
    end
    for _, name in ipairs(M.names()) do
      local command = COMMANDS[name:sub(2)]
      session:say(("%-" .. width .. "s  %s"):format(command.usage, command.summary))
    end
    return true
  end,
}

COMMANDS.tasks = {
  usage = ":tasks", summary = "the tasks, each with where it waits",
  run = function(session)
    local lines = session:tasks()
    for _, line in ipairs(lines) do session:say(line) end
    if #lines == 0 then session:say "no tasks besides this prompt" end
    return true
  end,
}

local function show_captures(session)
  local list, err = require "pcaps".list()
  if not list then return nil, err end
  session:say(#list > 0 and show.captures(list, session:style()) or "no captures")
  return true
end

COMMANDS.captures = {
  usage = ":captures [EVERY]",
  summary = "the captures of the account; again every so often (5s) until Ctrl-C",
  run = function(session, rest)
    local every = rest ~= "" and duration.parse(rest) or nil
    if rest ~= "" and not (every and every > 0) then
      return usage("captures", ("expected a duration such as 5s, got '%s'"):format(rest))
    end
    repeat
      local ok, err = show_captures(session)
      if not ok then return nil, err end
      if every then
        moontap.sleep(every)
        session:say("-- " .. clock.format(math.floor(clock.now())))
      end
    until not every
    return true
  end,
}

COMMANDS.load = {
  usage = ":load FILE", summary = "run a Lua file here; its globals stay",
  run = function(session, rest)
    if rest == "" then return usage("load", "which file?") end
    return session:load_file(rest)
  end,
  complete = function(rest) return require "moontap.repl.complete".files(rest) end,
}

COMMANDS.reload = {
  usage = ":reload", summary = "run the last loaded file again, and what it required",
  run = function(session)
    if not session.last_file then return usage("reload", "nothing was loaded yet") end
    session:forget_modules()
    return session:load_file(session.last_file)
  end,
}

local LEVELS <const> = { "debug", "error", "info", "warn" }

COMMANDS.log = {
  usage = ":log LEVEL", summary = "what is logged: error, warn, info or debug",
  run = function(session, rest)
    if rest == "" then
      session:say(log.level)
      return true
    end
    for _, level in ipairs(LEVELS) do
      if level == rest then
        require "moontap.log".level = level
        return true
      end
    end
    return usage("log", ("unknown level '%s'"):format(rest))
  end,
  complete = function(rest) return starting(LEVELS, rest) end,
}

COMMANDS.time = {
  usage = ":time EXPR", summary = "run a line and say how long it took",
  run = function(session, rest)
    local fn, problem = chunk.compile(rest, session.env)
    if not fn then
      return usage("time", problem == "incomplete" and "the line is not complete" or problem)
    end
    local processor <const>, start <const> = native.cpu(), clock.boot()
    session:keep(table.pack(fn()))
    session:say(("%s, of it %s of the processor"):format(M.seconds(clock.boot() - start),
      M.seconds(native.cpu() - processor)))
    return true
  end,
}

COMMANDS.env = {
  usage = ":env", summary = "which account, address and files this prompt works with",
  run = function(session)
    for _, row in ipairs(place.facts(session)) do
      session:say(("%-10s  %s"):format(row[1], row[2]))
    end
    return true
  end,
}

COMMANDS.json = {
  usage = ":json", summary = "the last result as JSON",
  run = function(session)
    if not session.last then return usage("json", "there is no result yet") end
    local ok, text = pcall(show.json, session.last)
    if not ok then
      return nil, errors.new("usage", ":json: " .. tostring(text):gsub("^[^%s]+:%d+: ", ""))
    end
    session:say(text)
    return true
  end,
}

COMMANDS.quit = {
  usage = ":quit", summary = "leave; as Ctrl-D",
  run = function(session) return session:leave() end,
}

-- With a simulator -----------------------------------------------------------------------------

local function words_of(rest)
  local words = {}
  for word in rest:gmatch "%S+" do words[#words + 1] = word end
  return words
end

COMMANDS.scenario = {
  usage = ":scenario [start NAME | stop NAME]",
  summary = "the simulator's traffic and its attacks; starts and stops one",
  is_simulated = true,
  run = function(session, rest)
    local words = words_of(rest)
    if #words == 0 then
      session:say("scenarios: " .. table.concat(require "moontap.sim.scenario".names(), ", ")
        .. " (moontap repl --sim --scenario NAME)")
      return simcontrol.run({ "attack", "list" }, {})
    end
    return simcontrol.run({ "attack", words[1], words[2] }, {})
  end,
  complete = function(rest) return starting({ "start ", "stop " }, rest) end,
}

COMMANDS.faults = {
  usage = ":faults [SPEC | clear]",
  summary = "what goes wrong at the simulator; adds one, as create:cut_after,count=1",
  is_simulated = true,
  run = function(_, rest)
    return simcontrol.run({ "fault", rest == "" and "list" or rest }, {})
  end,
  complete = function(rest)
    return starting(require "moontap.sim.faults".names(), rest:match "[^:]*$"),
      #rest - #rest:match "[^:]*$" + 1
  end,
}

-- The rest --------------------------------------------------------------------------------

---A length of time as people measure: "12 ms", "3.4 s".
---@param seconds number
---@return string
function M.seconds(seconds)
  if seconds < 0.01 then return ("%.2f ms"):format(seconds * 1e3) end
  if seconds < 1 then return ("%.0f ms"):format(seconds * 1e3) end
  if seconds < 100 then return ("%.1f s"):format(seconds) end
  return duration.format(math.floor(seconds))
end

---The names of the commands that there are now, with their colons, sorted.
---@return string[]
function M.names()
  local names = {}
  for name, command in pairs(COMMANDS) do
    if config.sim or not command.is_simulated then names[#names + 1] = ":" .. name end
  end
  table.sort(names)
  return names
end

---What can stand behind a command.
---@param name string without its colon
---@param rest string
---@return string[] list
---@return integer|nil start
function M.complete(name, rest)
  local command = COMMANDS[name]
  if not command or not command.complete then return {} end
  return command.complete(rest)
end

---Runs a line that begins with a colon, as a task may: it can wait.
---@param session moontap.repl.Session
---@param line string
---@return any ok nil and an error when it failed
---@return table|nil err
function M.run(session, line)
  local name, rest = line:match "^%s*:(%a*)%s*(.-)%s*$"
  local command = name and COMMANDS[name]
  if command and (config.sim or not command.is_simulated) then
    return command.run(session, rest)
  end
  if command then
    return nil, errors.new("usage", (":%s needs --sim"):format(name))
  end
  local near = schema.near(":" .. (name or ""), M.names())
  return nil, errors.new("usage", ("unknown command %s; %s"):format(line:match "^%s*(%S*)",
    near and "did you mean " .. near .. "?" or ":help lists them"))
end

return M
