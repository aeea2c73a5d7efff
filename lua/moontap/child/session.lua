-- session: a playbook's process and the host's side of the talk with it. It evaluates one file
-- after the other, each in a fresh state; effects are called here, each call in a task of its own.

local check = require "moontap.child.check"
local clock = require "moontap.clock"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local native = require "moontap.native.child"
local output = require "moontap.child.output"
local protocol = require "moontap.child.protocol"
local random = require "moontap.random"
local task = require "moontap.native.task"

local sleep = effects.caller "sleep"

local M = {}

local WAITS <const> = 64
local GRACE <const> = 5
local BURST <const> = 4 -- seconds of calls that may come at once
local PIECE <const> = 512 -- bytes of output, each of which may be a line

local FILE = {} -- metatable of what `file` makes

local Session = {}
Session.__index = Session

--- What an effect returns to hand a file over: the process gets it open for reading.
---@param path string of a regular file
---@param root? string directory that `path` is below, without links and ".." on the way
---@param refusal? string hand over only what the modes of the file, and of the directories below
---   `root`, let every user of the machine read; else the effect fails as denied, with these words
---@return table
function M.file(path, root, refusal)
  if path:find("\0", 1, true) then error("a path cannot hold a NUL byte", 2) end
  return setmetatable({ path = path, root = root, refusal = refusal }, FILE)
end

local SPAWN <const> = { "memory", "cpu", "frame_max", "send_max", "per_second", "output_max" }

--- Starts a process.
---@param options table limits { memory, cpu, frame_max, send_max, per_second, output_max, log_max,
---  waits, timeout, grace, calls_per_second }, tz, on_log, mask, secrets
---@return table|nil session
---@return table|nil err
function M.open(options)
  local limits = options.limits or {}
  local spawn = { zone = options.tz }
  for _, name in ipairs(SPAWN) do spawn[name] = limits[name] end
  local child, err = native.spawn(spawn)
  if not child then return nil, err end
  local self = setmetatable({
    child = child, limits = limits, calls = {}, tickers = {}, sent = 0,
  }, Session)
  self.output = output.new { max = limits.log_max, on_line = options.on_log, mask = options.mask,
    secrets = options.secrets }
  self.is_virtual = host.is_virtual()
  self.reader = task.spawn({ name = "output of a playbook" }, function()
    for bytes in child.read_output, child do
      for at = 1, #bytes, PIECE do
        self.output:feed(bytes:sub(at, at + PIECE - 1))
        task.sleep(0) -- others have their turn
      end
    end
  end)
  return self
end

local function send(self, frame, file)
  if self.is_virtual then frame.now = clock.now() end
  local ok, text = pcall(protocol.encode, frame)
  if not ok then return nil, errors.new("usage", text) end
  self.child:hold(self.is_virtual)
  self.sent = self.sent + 1
  if not file then return self.child:send(text) end
  local sent, err, is_private = self.child:send(text, file.path, file.root, file.refusal ~= nil)
  if is_private and file.refusal then err = errors.new("denied", file.refusal) end
  return sent, err
end

local function cancel_child(self)
  self.child:hold(self.is_virtual)
  self.sent = self.sent + 1
  self.child:cancel()
end

-- Under a virtual clock the process has said that all waits there. Unless something was sent to
-- it since, time may move on, until it has something to do again.
local function note_idle(self, frame)
  if frame.seen ~= self.sent then return end
  self.child:hold(false)
  if not frame.idle then return end
  local ticker
  ticker = task.spawn({ name = "clock of a playbook" }, function()
    sleep(frame.idle)
    self.tickers[ticker] = nil
    if frame.seen == self.sent then send(self, {}) end
  end)
  self.tickers[ticker] = true
end

-- Where a test kills the process of a run, as whatever it runs on might. Processes that only load
-- files are left alone.
local function pass(self, point)
  if not self.is_run or self.is_closed or self.is_struck then return end
  -- asked for only where it is wanted: who asks waits until the process is there
  local _, is_met = host.point("child." .. point, function() return self.child:pid() end)
  self.is_struck = is_met
end

-- Results as they cross: a capture is a plain table there, with its cf-ray beside it.
local function answer_of(id, ...)
  local frame, file = { id = id }, nil
  local results = table.pack(...)
  for i = 1, results.n do
    local value = results[i]
    local meta = type(value) == "table" and getmetatable(value)
    if meta == FILE then
      file, frame.file, results[i] = value, i, true
    elseif errors.is(value) then
      results[i] = protocol.from_error(value)
      frame.err_at = i
    elseif type(meta) == "table" and meta.__name == "pcaps.capture" then
      frame.ray = value:ray()
    end
  end
  frame.values = protocol.pack(table.unpack(results, 1, results.n))
  return frame, file
end

local function call_effect(self, frame)
  local results = table.pack(pcall(self.effects[frame.call], protocol.unpack(frame.args)))
  local answer, file
  if not results[1] then
    local why = results[2]
    answer = { id = frame.id, raise = errors.is(why) and protocol.from_error(why)
      or { message = (tostring(why):gsub("^[^\n:]+:%d+: ", "")) } }
  else
    answer, file = answer_of(frame.id, table.unpack(results, 2, results.n))
  end
  local ok, err = send(self, answer, file)
  pass(self, "answered")
  if not ok and errors.is(err) then
    send(self, { id = frame.id, values = protocol.pack(nil, protocol.from_error(err)), err_at = 2 })
  end
end

local function begin_call(self, frame)
  local reader = self.frames
  self.calls[frame.id] = task.spawn({ name = "effect " .. frame.call }, function()
    local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
      self.calls[frame.id] = nil
      reader.answered()
    end })
    call_effect(self, frame)
  end)
end

local function stop_calls(self)
  local running = {}
  for _, call in pairs(self.calls) do running[#running + 1] = call end
  for ticker in pairs(self.tickers) do running[#running + 1] = ticker end
  self.tickers = {}
  for _, call in ipairs(running) do call:cancel("the playbook's run is over") end
  for _, call in ipairs(running) do pcall(call.join, call) end
end

-- Each call is work for the host: whoever makes very many waits until it is their turn.
local function take_turn(self)
  local rate = self.limits.calls_per_second
  if not rate then return end
  local now = clock.boot()
  local left = math.min(rate * BURST, (self.turns or rate * BURST) + (now - (self.turn_at or now))
    * rate)
  self.turns, self.turn_at = left - 1, now
  if left < 1 then sleep((1 - left) / rate) end
end

-- Takes frames until the run is over. Returns the frame that says so; nil and how the process
-- ended.
local function serve(self)
  while true do
    local text, ended = self.child:receive()
    if not text then return nil, ended end
    local frame, why = self.frames.read(text)
    if not frame then
      self.child:kill("frames", why)
    elseif frame.done then
      pass(self, "done")
      return frame
    elseif frame.idle ~= nil then
      note_idle(self, frame)
    elseif frame.drop then
      local call = self.calls[frame.id]
      if call then call:cancel("the playbook no longer waits for it") end
    else
      pass(self, "called")
      take_turn(self)
      begin_call(self, frame)
    end
  end
end

-- Asks the run to end, then insists.
local function insist(self, grace)
  cancel_child(self)
  sleep(grace)
  self.child:terminate()
  sleep(grace)
  self.child:kill("deadline")
end

--- Asks the run under way to end: first by a cancellation, after a grace by a signal, after
--- another one by force. Does not wait.
function Session:cancel()
  if not self.frames then
    self.is_unwanted = true -- before it has begun
  elseif not self.stopper then
    self.stopper = task.spawn_detached({ name = "stopping a playbook" }, insist, self,
      self.limits.grace or GRACE)
  end
end

local function stop_task(running)
  if running then
    running:cancel()
    pcall(running.join, running)
  end
end

--- Only names that `require` gives to files within the tree go on to where those come from.
---@param source? fun(name: string): string|nil, string|nil
---@return fun(name: any): string|nil, string|nil
function M.safe_source(source)
  return function(name)
    if source and type(name) == "string" and #name <= 200 and name:find "^[%w_][%w_.-]*$"
      and not name:find("..", 1, true) then
      return source(name)
    end
  end
end

--- Evaluates a file in a fresh state. Waits.
---@param start table what the process is told: entry, source, mode, fn, args, …
---@param options table effects: name → function, source(name) → text, path | nil; timeout
---@return table|nil frame the end of the run, from the process: values or err
---@return table|nil ended how the process ended instead
function Session:evaluate(start, options)
  self.effects = { source = M.safe_source(options.source) }
  start.effects = {}
  for name, fn in pairs(options.effects or {}) do
    self.effects[name] = fn
    start.effects[#start.effects + 1] = name
  end
  table.sort(start.effects)
  start.seed = start.seed or random.integer(0, math.maxinteger)
  start.now, start.is_virtual = clock.now(), self.is_virtual
  self.frames = check.new(self.effects, self.limits.waits or WAITS, self.is_virtual)
  self.timed_out, self.stopper, self.sent = nil, nil, 0
  self.is_run = start.mode == "run"
  pass(self, "spawned")
  local timeout = options.timeout
  local deadline = timeout and task.spawn({ name = "deadline of a playbook" }, function()
    if not pcall(sleep, timeout) then return end -- caught, it costs no traceback
    self.timed_out = true
    insist(self, self.limits.grace or GRACE)
  end)
  local ok, err = send(self, { start = start })
  pass(self, "started")
  if self.is_unwanted then self:cancel() end
  local frame, ended
  if ok or not errors.is(err) then
    frame, ended = serve(self)
  else
    frame = { done = true, err = protocol.from_error(err) }
  end
  stop_task(deadline)
  stop_task(self.stopper)
  stop_calls(self)
  self.frames = nil
  return frame, ended
end

--- Ends the process and takes in the rest of its output. Waits.
---@return table ended reason, status, signal, cpu, max_rss; output: bytes, lines, left_out
function Session:close()
  self.child:kill()
  local ended = self.child:wait()
  self.reader:join()
  self.is_closed = true
  self.child:close()
  ended.output = self.output:finish()
  return ended
end

-- Also when the run was cancelled: what it printed last is what its reader looks for.
Session.__close = function(self)
  self.is_closed = true
  self.child:close()
  self.output:finish()
end

return M
