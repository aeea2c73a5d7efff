-- main: what a playbook's process does. It waits for a file to evaluate, runs it as a task beside
-- the one that listens to the host, and says how it ended.

local channel = require "moontap.native.channel"
local clock = require "moontap.native.clock"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local globals = require "moontap.child.globals"
local json = require "moontap.json"
local later = require "moontap.later"
local protocol = require "moontap.child.protocol"
local rpc = require "moontap.child.rpc"
local task = require "moontap.native.task"

local outside = later "moontap.child.outside"

local AGAIN <const> = 100 -- the exit status that asks for a fresh state
local TEXT_MAX <const> = 8192

local evaluator = require "moontap.native.evaluator"
local now = require "moontap.clock".now
local traceback = debug.traceback
local search_own, std_require = package.searchers[1], require

package.loaded["moontap.native.channel"] = nil
package.loaded["moontap.native.evaluator"] = nil
package.loaded["moontap.progress"] = { default = function() end }

-- The host's clock: its distance from ours; where it is virtual, ours follows it.
local function set_clock(start)
  if start.is_virtual then return channel.follow(start.now) end
  local offset = start.now - clock.now()
  effects.define("time.now", function() return clock.now() + offset end)
end

local function set_effects(start)
  for _, name in ipairs(start.effects) do
    effects.define(name, function(...) return rpc.call(name, ...) end)
  end
end

local function call_function(start, playbook)
  local fn = type(playbook) == "table" and playbook[start.fn]
  if type(fn) ~= "function" then
    error(("%s has no function '%s'"):format(start.entry, start.fn), 0)
  end
  return fn(protocol.unpack(start.args))
end

local function load_data(playbook)
  local node, problems = require "moontap.child.data".describe(playbook)
  if node then return node end
  local first = problems[1]
  return nil, errors.new("usage", (first.path ~= "" and first.path .. ": " or "") .. first.message,
    { problems = problems })
end

-- As errors go on to the host: with their traceback.
local function note_error(err)
  local fields = protocol.from_error(err)
  if fields.message:find("not enough memory", 1, true) then fields.kind = "memory" end
  fields.message = fields.message:sub(1, TEXT_MAX)
  fields.traceback = traceback("", 2):sub(1, TEXT_MAX):gsub("^\n", "")
  return { raised = fields }
end

local function make_globals()
  return globals.new {
    os = globals.os(now, outside), outside = outside,
    pcaps = function() return std_require "moontap.child.pcaps" end,
    find_own = function(name)
      if type(search_own(name)) == "function" then return std_require(name) end
    end,
    source = function(name) return rpc.call("source", name) end,
  }
end

-- Raises what went wrong, so that tasks the playbook has started end too.
local function run(start)
  local env = make_globals()
  local chunk, why = load(start.source, "@" .. start.entry, "t", env)
  if not chunk then return { raised = { kind = "script", message = why } } end
  local results = table.pack(xpcall(function()
    local playbook = chunk(start.entry)
    if start.mode == "load" then return load_data(playbook) end
    return call_function(start, playbook)
  end, note_error))
  if not results[1] then
    local err = results[2] -- no handler is called for an error of memory
    error(type(err) == "table" and err or { raised = { kind = "memory", message = tostring(err) } })
  end
  return { values = protocol.pack(table.unpack(results, 2, results.n)) }
end

local function finish(result)
  if result.raised then return { done = true, err = result.raised } end
  local values = result.values
  if values["1"] == nil and values["2"] ~= nil then
    return { done = true, err = protocol.from_error(values["2"]) }
  end
  return { done = true, values = values }
end

local function refusal(why)
  local message = "what it returned cannot be passed on: " .. why:sub(1, TEXT_MAX)
  return protocol.encode { done = true, err = { kind = "usage", message = message } }
end

-- The last word; where that cannot be said, why.
local function say(text)
  local sent, err = channel.post(text)
  if not sent then channel.post(refusal(err.message)) end
end

local function last_word(frame)
  local ok, text = pcall(protocol.encode, frame)
  return ok and text or refusal(text)
end

-- What is to be evaluated. Other frames that come before were meant for the run before.
local function receive_start()
  while true do
    local text = channel.receive()
    if not text then channel.leave() end
    local frame = json.decode(text)
    if frame.start then return frame.start end
    if frame.batch then
      require "moontap.child.batch".evaluate(frame, evaluator, channel.send, clock.boot)
    end
  end
end

return function()
  local left = evaluator.take_word()
  if left then say(left) end
  local start = receive_start()
  set_clock(start)
  set_effects(start)
  math.randomseed(start.seed)
  require "moontap.config".speed = start.speed
  local work = task.spawn_detached({ name = start.entry }, run, start)
  task.foreground(work)
  task.spawn_detached({ name = "listening to the host" }, rpc.listen,
    function(frame) if frame.now then channel.follow(frame.now) end end,
    function() work:cancel("the host has cancelled the run") end)
  local ok, result = pcall(work.join, work)
  if not ok and not (type(result) == "table" and result.raised) then
    result = { raised = protocol.from_error(result) }
  end
  local word = last_word(finish(result))
  if start.mode == "load" then
    evaluator.leave_word(word)
  else
    say(word)
    channel.leave() -- nothing comes after it
  end
  return AGAIN
end
