-- Every public function has a stub for the Lua language server, and every stub a function; what has
-- a stub has its help, its completion and its place in docs/api.md.

local command = require "support.command"
local complete = require "moontap.repl.complete"
local help = require "moontap.repl.help"
local stubs = require "moontap.stubs"

local schedule_methods = debug.getmetatable(require("moontap.cron").parse "@daily").__index

local function read_stubs(name)
  local text = assert(command.read_file(("%s/lua/moontap/meta/%s.lua"):format(
    command.source, name)))
  local found = {}
  for stub in text:gmatch "\nfunction ([%w_.:]+)%(" do found[stub] = true end
  return found
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

it("the modules that moontap loads", function()
  local names = {}
  for _, name in ipairs(help.MODULES) do
    add_functions(names, ("moontap.%s."):format(name), require("moontap." .. name))
  end
  add_functions(names, "Schedule:", schedule_methods)
  assert.same(names, read_stubs "modules")
end)

it("the members of moontap", function()
  for name in pairs(moontap) do
    local is_known = name == "version" or stubs.find("moontap." .. name) ~= nil
    assert.is_true(is_known, tostring(name))
  end
end)

-- The function that a stub stands for.
local function live(name)
  local holder, value = name:match "^(%u%l+):(%w+)$"
  if holder == "Task" then return moontap.current()[value] end
  if holder == "Capture" then return require "pcaps.capture".metatable({}, {}).__index[value] end
  if holder == "Schedule" then return schedule_methods[value] end
  value = { pcaps = require "pcaps", moontap = moontap }
  for word in name:gmatch "[^.]+" do value = value[word] end
  return value
end

describe("each function", function()
  for _, entry in ipairs(stubs.list()) do
    if entry.kind == "function" then
      it("has help: " .. entry.name, function()
        local signature = stubs.signature(entry)
        assert.is_function(live(entry.name))
        assert.is_true(#entry.text > 0, "nothing is said of it")
        assert.matches(signature, help.text(entry.name), 1, true)
        assert.matches(signature, command.read_file(command.source .. "/docs/api.md"), 1, true)
        if not entry.name:find "^Capture:" then
          assert.equal(help.text(entry.name), (help.text(live(entry.name))))
        end
      end)

      it("is completed: " .. entry.name, function()
        local env = { pcaps = require "pcaps", moontap = moontap, task = moontap.current(),
                      cap = require "pcaps.capture".metatable({}, {}).__index,
                      schedule = schedule_methods }
        local name = entry.name:gsub("^Task:", "task:"):gsub("^Capture:", "cap:")
          :gsub("^Schedule:", "schedule:")
        local list, start = complete.complete(name:sub(1, -2), env)
        local found = {}
        for _, word in ipairs(list) do found[name:sub(1, start - 1) .. word] = true end
        assert.is_true(found[name], name)
      end)

      it("has a hint: " .. entry.name, function()
        if entry.name:find "^%u" then return end
        local env = { pcaps = require "pcaps", moontap = moontap }
        local hint = complete.hint(entry.name .. "(", env)
        assert.matches(stubs.signature(entry), hint, 1, true)
      end)
    end
  end
end)

it("docs/api.md is what tools/api writes", function()
  assert.equal(help.markdown(), command.read_file(command.source .. "/docs/api.md"))
end)
