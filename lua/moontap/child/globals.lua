-- globals: in a playbook's process, the globals of the playbook and of the files it requires.
-- Reading one that is not defined is an error, as everywhere in scripts.

local clock = require "moontap.clock"
local later = require "moontap.later"
local rpc = require "moontap.child.rpc"

local outside = later "moontap.child.outside"

local M = {}

local KEPT <const> = {
  "_VERSION", "assert", "collectgarbage", "coroutine", "debug", "error", "getmetatable", "ipairs",
  "math", "moontap", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset",
  "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "warn",
  "xpcall",
}

local std_date, std_time = os.date, os.time
local std_load, std_require = load, require
local search_own = package.searchers[1]

-- As load, for text only.
local function loader(env)
  return function(chunk, name, _, ...)
    if select("#", ...) == 0 then return std_load(chunk, name, "t", env) end
    return std_load(chunk, name, "t", (...))
  end
end

-- The host's modules first, then files of the playbook's tree, whose text the host sends.
local function requirer(env)
  local loaded = {}
  return function(name)
    if type(name) ~= "string" then
      error("bad argument #1 to 'require' (string expected, got " .. type(name) .. ")", 2)
    end
    if loaded[name] ~= nil then return loaded[name] end
    if name == "pcaps" then return env.pcaps end
    if name == "io" then return outside.io end
    if type(env[name]) == "table" then return env[name] end -- "string", "moontap", …
    if outside.module(name) then return outside.module(name) end
    if outside.no_module(name) then error(outside.no_module(name), 2) end
    if type(search_own(name)) == "function" then return std_require(name) end
    local text, path = rpc.call("source", name)
    if loaded[name] ~= nil then return loaded[name] end -- another task was faster
    if not text then error(("module '%s' not found in the playbook's tree"):format(name), 2) end
    local chunk, why = std_load(text, "@" .. path, "t", env)
    if not chunk then error(("error loading module '%s':\n\t%s"):format(name, why), 2) end
    local value = chunk(name, path)
    if loaded[name] == nil then loaded[name] = value == nil or value end
    return loaded[name]
  end
end

local function make_os()
  local library = {
    clock = os.clock, difftime = os.difftime,
    time = function(when)
      if when ~= nil then return std_time(when) end
      return math.floor(clock.now())
    end,
    date = function(format, when)
      return std_date(format or "%c", when or math.floor(clock.now()))
    end,
  }
  return setmetatable(library, { __metatable = false, __index = function(_, name)
    outside.explain("os", name)
  end })
end

--- The globals.
---@return table env
function M.new()
  local env = { os = make_os() }
  for _, name in ipairs(KEPT) do env[name] = _G[name] end
  env._G = env
  env.load = loader(env)
  setmetatable(env, { __index = function(_, name)
    if name == "pcaps" then
      local pcaps = std_require "moontap.child.pcaps"
      rawset(env, name, pcaps)
      return pcaps
    end
    if name == "io" then
      rawset(env, name, outside.io)
      return outside.io
    end
    error(outside.reason(name) or "undefined global '" .. tostring(name) .. "'", 2)
  end })
  env.require = requirer(setmetatable({}, {
    __index = function(_, name)
      if name == "pcaps" then return env.pcaps end
      return rawget(env, name)
    end,
  }))
  return env
end

return M
