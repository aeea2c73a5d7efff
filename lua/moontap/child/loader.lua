-- loader: evaluates the files of playbooks in a process that is shut in, each in a fresh state and
-- under a deadline, and returns what is data in the tables that they return.

local errors = require "moontap.errors"
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
    mode = "load", entry = name, source = options.files[name], args = protocol.pack(), seed = 1,
  }, {
    source = options.source, timeout = (options.limits or {}).timeout or TIMEOUT,
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

--- Evaluates files. Waits. A file that loops or eats memory takes its process along; the next
--- file gets a new one.
---@param options table files: path → text; names: which of them, in order (all, sorted);
---  source(name) → text, path for `require`; limits: memory, timeout (of one file, 2 s), …; tz;
---  on_log(line); mask(text)
---@return table|nil results path → { data } or { err }; in data `loader.FUNCTION` stands for
---  functions; err.problems lists what is no data: { path, message }
---@return table|nil err when no process can be had
function M.load(options)
  local names, results, run = options.names, {}, nil
  if not names then
    names = {}
    for name in pairs(options.files) do names[#names + 1] = name end
    table.sort(names)
  end
  local limits = setmetatable({}, { __index = function(_, key)
    return (options.limits or {})[key] or DEFAULTS[key]
  end })
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
    if run then run.child:close() end
  end })
  for _, name in ipairs(names) do
    if not run then
      local err
      run, err = session.open { limits = limits, tz = options.tz, on_log = options.on_log,
                                mask = options.mask }
      if not run then return nil, err end
    end
    local data, err, is_gone = load_one(run, options, name)
    results[name] = { data = data, err = err }
    if is_gone then
      run:close()
      run = nil
    end
  end
  if run then
    run:close()
    run = nil
  end
  return results
end

return M
