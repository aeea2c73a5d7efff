-- Effects: every function of the host that touches the world has a name here and is called
-- through it, so that a wrapper sees each call. Later the gate is a chain of such wrappers.

local native = require "moontap.native.effects"

local M = {}

local implementations = {} -- name -> innermost function
local wrappers = {}        -- name -> list of wrappers, innermost first

local function rebuild(name)
  local fn = implementations[name]
  for _, wrapper in ipairs(wrappers[name] or {}) do
    local inner = fn
    fn = function(...) return wrapper(inner, ...) end
  end
  native.table[name] = fn
end

-- Where effects come from whose module was not needed so far.
local homes = {
  api = "pcaps", bucket = "moontap.bucket", capture = "moontap.capture",
  file = "moontap.hostlibs", http = "moontap.http", input = "moontap.hostlibs", pcaps = "pcaps",
  process = "moontap.hostlibs",
  random = "moontap.random", randomseed = "moontap.hostlibs", time = "moontap.clock",
}

local function implementation(name)
  local home = native.table[name] == nil and homes[tostring(name):match "^%a+"]
  if home then require(home) end
  if implementations[name] == nil then implementations[name] = native.table[name] end
  return implementations[name]
end

--- Registers the implementation of effect `name` and returns the function that calls it
--- through whatever wraps it. A second definition replaces the first.
---@param name string
---@param fn function
---@return function caller
function M.define(name, fn)
  implementations[name] = fn
  rebuild(name)
  return native.caller(name)
end

--- Wraps effect `name`: from now on each call goes to `wrapper(next, ...)`, which may call
--- `next(...)` or answer by itself. The wrapper set last sees the call first.
---@param name string
---@param wrapper fun(next: function, ...): any
---@return function undo takes the wrapper off again
--- Raises when there is no effect of that name.
---
---     local undo = effects.wrap("pcaps.create", function(next, client, params, options)
---       print("create", params.type)
---       return next(client, params, options)
---     end)
function M.wrap(name, wrapper)
  if implementation(name) == nil then error("no effect is called '" .. tostring(name) .. "'", 2) end
  local list = wrappers[name] or {}
  wrappers[name] = list
  local entry = function(...) return wrapper(...) end
  list[#list + 1] = entry
  rebuild(name)
  return function()
    for i, other in ipairs(list) do
      if other == entry then
        table.remove(list, i)
        rebuild(name)
        return
      end
    end
  end
end

--- The function that calls effect `name` through its wrappers.
---@param name string
---@return function
function M.caller(name)
  return native.caller(name)
end

--- Calls effect `name` through its wrappers.
---@param name string
function M.call(name, ...)
  return native.caller(name)(...)
end

--- The names of all effects that are defined now, sorted.
---@return string[]
function M.names()
  local names = {}
  for name in pairs(native.table) do names[#names + 1] = name end
  table.sort(names)
  return names
end

return M
