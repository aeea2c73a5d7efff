-- globals: in a playbook's process, the globals of the playbook and of the files it requires.
-- Reading one that is not defined is an error, as everywhere in scripts.

local M = {}

local KEPT <const> = {
  "_VERSION", "assert", "collectgarbage", "coroutine", "debug", "error", "getmetatable", "ipairs",
  "math", "moontap", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset",
  "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "warn",
  "xpcall",
}

local std_date, std_time = os.date, os.time
local std_load = load

-- As load, for text only.
local function loader(env)
  return function(chunk, name, _, ...)
    if select("#", ...) == 0 then return std_load(chunk, name, "t", env) end
    return std_load(chunk, name, "t", (...))
  end
end

-- The host's modules first, then files of the playbook's tree, whose text the host sends.
local function requirer(env, options)
  local outside, loaded = options.outside, {}
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
    local own = options.find_own(name)
    if own ~= nil then return own end
    local text, path = options.source(name)
    if loaded[name] ~= nil then return loaded[name] end -- another task was faster
    if not text then error(("module '%s' not found in the playbook's tree"):format(name), 2) end
    local chunk, why = std_load(text, "@" .. path, "t", env)
    if not chunk then error(("error loading module '%s':\n\t%s"):format(name, why), 2) end
    local value = chunk(name, path)
    if loaded[name] == nil then loaded[name] = value == nil or value end
    return loaded[name]
  end
end

--- Its `os`, on a clock.
---@param now fun(): number
---@param outside table see new
---@return table
function M.os(now, outside)
  local library = {
    clock = os.clock, difftime = os.difftime,
    time = function(when)
      if when ~= nil then return std_time(when) end
      return math.floor(now())
    end,
    date = function(format, when)
      return std_date(format or "%c", when or math.floor(now()))
    end,
  }
  return setmetatable(library, { __metatable = false, __index = function(_, name)
    outside.explain("os", name)
  end })
end

--- The globals.
---@param options { os: table, pcaps: (fun(): any), find_own: (fun(name: string): any),
---  source: (fun(name: string): string|nil, string|nil), outside: table } pcaps: what the global of
---  this name is, at its first use; find_own: a module of the host; source: text and path of a file
---  of the tree; outside: what reaches beyond the process, as child/outside.lua
---@return table env
function M.new(options)
  local env = { os = options.os }
  for _, name in ipairs(KEPT) do env[name] = _G[name] end
  env._G = env
  env.load = loader(env)
  setmetatable(env, { __index = function(_, name)
    if name == "pcaps" then
      local pcaps = options.pcaps()
      rawset(env, name, pcaps)
      return pcaps
    end
    if name == "io" then
      rawset(env, name, options.outside.io)
      return options.outside.io
    end
    error(options.outside.reason(name) or "undefined global '" .. tostring(name) .. "'", 2)
  end })
  env.require = requirer(setmetatable({}, {
    __index = function(_, name)
      if name == "pcaps" then return env.pcaps end
      return rawget(env, name)
    end,
  }), options)
  return env
end

return M
