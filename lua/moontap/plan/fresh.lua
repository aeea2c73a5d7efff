-- fresh: lets a script begin anew in a process that it has run in: the globals and the tables
-- behind them are what they were, and what it required is forgotten.

local host = require "moontap.native.host"

local M = {}

local STDIN <const>, STDOUT <const> = io.stdin, io.stdout

-- Modules of the program keep what they know; those whose members scripts may set are put back.
local function is_own(name)
  if name == "moontap" or name == "moontap.log" then return false end
  return type(name) == "string" and (name:find "^pcaps%." or name:find "^moontap"
    or name:find "^cjson") ~= nil
end

local function copy(from)
  local to = {}
  for key, value in next, from do to[key] = value end
  return to
end

local function note(saved, t)
  if type(t) ~= "table" or saved[t] then return end
  saved[t] = { fields = copy(t), meta = debug.getmetatable(t) }
end

local function put_back(t, was)
  for key in next, copy(t) do
    if was.fields[key] == nil then rawset(t, key, nil) end
  end
  for key, value in next, was.fields do rawset(t, key, value) end
  if debug.getmetatable(t) ~= was.meta then debug.setmetatable(t, was.meta) end
end

---How things are now.
---@return fun() restore makes them so again
function M.mark()
  local env = assert(host.load_code("return _ENV", "=plan", {}))()
  local loaded = copy(package.loaded)
  local saved = {}
  for name, module in next, loaded do
    if not is_own(name) and module ~= package.loaded then note(saved, module) end
  end
  for _, value in next, copy(env) do
    if value ~= package.loaded then note(saved, value) end
  end
  note(saved, env)
  return function()
    for t, was in next, saved do put_back(t, was) end
    for name in next, copy(package.loaded) do
      if loaded[name] == nil and name ~= "pcaps" and not is_own(name) then
        package.loaded[name] = nil
      end
    end
    for name, module in next, loaded do package.loaded[name] = module end
    io.output(STDOUT)
    io.input(STDIN)
    collectgarbage() -- what the run before has left behind finalizes before the next begins
  end
end

return M
