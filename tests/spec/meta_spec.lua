-- Every public function has a stub for the Lua language server, and every stub a function.

local command = require "support.command"

local function read_stubs(name)
  local text = assert(command.read_file(("%s/lua/moontap/meta/%s.lua"):format(
    command.source, name)))
  local stubs = {}
  for stub in text:gmatch "\nfunction ([%w.:]+)%(" do stubs[stub] = true end
  return stubs
end

-- The names of the functions in a table, as stubs spell them.
local function add_functions(names, prefix, from)
  for key, value in pairs(from) do
    if type(value) == "function" then names[prefix .. key] = true end
  end
  return names
end

it("the tasks of moontap", function()
  local names = {}
  for _, name in ipairs { "spawn", "sleep", "current", "all", "race", "timeout" } do
    assert.is_function(moontap[name])
    names["moontap." .. name] = true
  end
  for _, name in ipairs { "join", "cancel", "status" } do
    assert.is_function(moontap.current()[name])
    names["Task:" .. name] = true
  end
  assert.same(names, read_stubs "moontap")
end)

it("pcaps, its ownership and its captures", function()
  local pcaps = require "pcaps"
  local names = add_functions({}, "pcaps.", pcaps)
  add_functions(names, "pcaps.ownership.", pcaps.ownership)
  local methods = require "pcaps.capture".metatable({}, {}).__index
  add_functions(names, "Capture:", methods)
  assert.same(names, read_stubs "pcaps")
end)
