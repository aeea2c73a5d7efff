-- quick: what is in the state of src/host/evaluator.c: the globals that playbooks have, as far as
-- evaluating one mostly needs them. What is not there gives up when it is used, and the file is
-- evaluated in a process's full state. So does what is not the same each time, such as the clock:
-- what was read here follows from the text of the files alone.

local globals = require "moontap.child.globals"

-- Functions that look into a table without asking it; those of the last line take two.
local RAW <const> = { "getmetatable", "next", "rawget", "rawlen", "rawset", "setmetatable" }
local MISSING <const> = { "collectgarbage", "print", "warn" }
local LIBRARIES <const> = { "coroutine", "debug", "moontap" }

---@param native { give_up: function, is_module: (fun(name: string): boolean),
---  source: (fun(name: string): string, string), absent: table } absent: metatable of what gives up
---@return fun(entry: string, source: string): any, string[] evaluate what the file returns; the
---  names that it required from its tree
return function(native)
  local give_up, is_absent = native.give_up, {}

  local function absent()
    local value = setmetatable({}, native.absent)
    is_absent[value] = true
    return value
  end

  local function guarded(fn)
    return function(a, b, ...)
      if is_absent[a] or is_absent[b] then give_up() end
      return fn(a, b, ...)
    end
  end

  local names, modules, used = {}, {}, {}
  math.randomseed(1)
  local env_os = setmetatable({ difftime = os.difftime }, { __index = give_up })
  for _, name in ipairs(LIBRARIES) do _G[name] = absent() end
  for _, name in ipairs(MISSING) do _G[name] = give_up end
  for _, name in ipairs(RAW) do names[name] = _G[name] end
  for name, fn in pairs(names) do _G[name] = guarded(fn) end

  -- What the full state has of the world; what it refuses fails here as well, and is told there.
  local outside = {
    io = absent(), explain = give_up, reason = give_up, no_module = function() end,
    module = function(name)
      local is_own = name:find "^moontap%f[%W]" or name:find "^pcaps%f[%W]"
      if is_own and not native.is_module(name) then give_up() end
    end,
  }

  local env = globals.new {
    os = env_os, outside = outside,
    pcaps = absent,
    find_own = function(name)
      if not native.is_module(name) then return nil end
      modules[name] = modules[name] or absent()
      return modules[name]
    end,
    source = function(name)
      used[#used + 1] = name
      return native.source(name)
    end,
  }

  return function(entry, source)
    return assert(load(source, "@" .. entry, "t", env))(entry), used
  end
end
