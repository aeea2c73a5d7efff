-- loader: evaluates the files of playbooks in a process that is shut in, each in a fresh state and
-- under a deadline, and returns what is data in the tables that they return.

local batches = require "moontap.child.batches"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local protocol = require "moontap.child.protocol"
local runner = require "moontap.child.runner"
local session = require "moontap.child.session"

local M = {}

local TIMEOUT <const> = 2
local DEPTH_MAX <const> = 16

--- Stands where a file has a function.
M.FUNCTION = setmetatable({}, {
  __name = "function",
  __tostring = function() return "function" end,
})

local SPECIAL = { inf = math.huge, ["-inf"] = -math.huge, nan = 0 / 0 }

-- The value of a node that moontap.child.data made; raises on what that never makes.
local function read(node, depth)
  if type(node) ~= "table" then return node end
  if depth > DEPTH_MAX then error("too deep", 0) end
  if node.f ~= nil then return M.FUNCTION end
  if node.x ~= nil then return SPECIAL[node.x] or error("no number", 0) end
  if type(node.t) ~= "table" then error("no table", 0) end
  local out = {}
  for _, pair in ipairs(node.t) do
    local key = read(pair[1], DEPTH_MAX)
    if key == nil or key ~= key or type(key) == "table" then error("no key", 0) end
    out[key] = read(pair[2], depth + 1)
  end
  return out
end

local function take(frame)
  if frame.err then return nil, protocol.to_error(frame.err) end
  local node = protocol.unpack(frame.values)
  local ok, data = pcall(read, node, 1)
  if not ok or type(data) ~= "table" then
    return nil, errors.new("frames", "the loader's process sent what is no data")
  end
  return data
end

local function load_one(run, options, name)
  local frame, ended = run:evaluate({
    mode = "load", entry = name, source = options.text(name), args = protocol.pack(), seed = 1,
  }, {
    source = function(wanted) return options.source(wanted, name) end, timeout = options.timeout,
  })
  if not frame then
    local err = runner.ending(ended)
    if run.timed_out then
      err = errors.new("timeout", "evaluating it took too long", { reason = ended.reason })
    end
    return nil, err, true
  end
  local data, err = take(frame)
  if err and run.timed_out then err.kind, err.message = "timeout", "evaluating it took too long" end
  return data, err
end

local DEFAULTS <const> = { grace = 0.2, cpu = 600, per_second = 100000 }

-- A process as long as it lives, then another one.
local function make_processes(options)
  local limits = setmetatable({}, { __index = function(_, key)
    return (options.limits or {})[key] or DEFAULTS[key]
  end })
  local processes = {}

  function processes.get()
    if processes.run then return processes.run end
    local err
    processes.run, err = session.open { limits = limits, tz = options.tz, on_log = options.on_log,
                                        mask = options.mask }
    return processes.run, err
  end

  function processes.drop()
    local run = processes.run
    processes.run = nil
    if run then run:close() end
  end

  return setmetatable(processes, { __close = function()
    if processes.run then processes.run.child:close() end
  end })
end

-- Evaluates what it can all at once. Returns the names of the files that are left over.
local function load_batches(options, processes)
  -- under a virtual clock deadlines need to know when a process waits
  if options.one_by_one or host.is_virtual() then return options.names end
  local work = batches.new(options)
  local is_done
  repeat
    local run, err = processes.get()
    if not run then return nil, err end
    is_done = work:go(run)
    if not is_done then processes.drop() end
  until is_done
  return work.left
end

local function load_left(options, processes, left)
  for _, name in ipairs(left) do
    if options.text(name) then
      local run, err = processes.get()
      if not run then return nil, err end
      local data, problem, is_gone = load_one(run, options, name)
      options.on_result(name, { data = data, err = problem })
      if is_gone then processes.drop() end
    end
  end
  return true
end

local function sorted_names(files)
  local names = {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function complete(options)
  local results = {}
  local given = setmetatable({ read = read }, { __index = options })
  given.names = options.names or sorted_names(options.files)
  given.text = options.text or function(name) return options.files[name] end
  given.source = options.source or function() end
  given.tree = options.tree or function() return "" end
  given.timeout = (options.limits or {}).timeout or TIMEOUT
  given.on_result = options.on_result or function(name, result) results[name] = result end
  given.on_data = function(name, data, used) given.on_result(name, { data = data, used = used }) end
  return given, results
end

--- Evaluates files. Waits. A file that loops or eats memory takes its process along; the next
--- file gets a new one. Most files are evaluated many at a time, each in a state that is as good as
--- fresh; those that need more than it has, or go wrong there, one by one.
---@param options table files: path → text; names: which of them, in order (all, sorted);
---  text(path): instead of files, nil for one that is left out; source(name, path) → text, path:
---  what `require` in a file finds; tree(path): files that have this in common require from the
---  same tree; limits: memory, timeout (of one file, 2 s), …; tz; on_log(line); mask(text);
---  on_result(path, result): instead of results; one_by_one: not many at a time
---@return table|nil results path → { data, used } or { err }; in data `loader.FUNCTION` stands for
---  functions; used: nil, or the names of what it required: its data follows from its text and
---  theirs alone; err.problems lists what is no data: { path, message }
---@return table|nil err when no process can be had
function M.load(options)
  local given, results = complete(options)
  local processes <close> = make_processes(options)
  local left, err = load_batches(given, processes)
  if not left then return nil, err end
  local ok
  ok, err = load_left(given, processes, left)
  if not ok then return nil, err end
  processes.drop()
  return results
end

return M
