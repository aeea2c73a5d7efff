-- chunk: what is typed at the prompt as a function. Expressions give their values; a local of the
-- outermost block stays visible to the chunks that come after it.
--
-- A chunk runs inside a function whose upvalues are the locals of earlier chunks that it names.
-- Behind each of its own local statements a call is put that hands a closure over the new ones to
-- the scope; so also a chunk that fails or is interrupted leaves what it had declared by then.

local declared = require "moontap.repl.declared"
local lexer = require "moontap.repl.lexer"

local M = {}

local NAME <const> = "=repl"
local KEEP <const> = "moontap_keep_"

-- Only these begin an expression and never a statement.
local EXPRESSION = { ["not"] = true, ["nil"] = true, ["true"] = true, ["false"] = true,
                     ["{"] = true, ["#"] = true, ["-"] = true, ["~"] = true, ["..."] = true }

---@class moontap.repl.Variable
---@field fn function closure that has it as an upvalue
---@field index integer of that upvalue
---@field is_const boolean

---@class moontap.repl.Scope
---@field variables table<string, moontap.repl.Variable>
local Scope = {}
Scope.__index = Scope

local scopes = setmetatable({}, { __mode = "k" }) -- environment -> its scope

---The locals that chunks with the globals `env` have left.
---@param env table
---@return moontap.repl.Scope
function M.scope(env)
  local scope = scopes[env] or setmetatable({ variables = {} }, Scope)
  scopes[env] = scope
  return scope
end

---Makes `name` a new local.
---@param name string
---@param value any
---@param is_const? boolean
function Scope:declare(name, value, is_const)
  self.variables[name] = { fn = function() return value end, index = 1,
                           is_const = is_const or false }
end

---@param name string
---@return any value nil when there is none
---@return boolean is_there
function Scope:get(name)
  local variable = self.variables[name]
  if not variable then return nil, false end
  return select(2, debug.getupvalue(variable.fn, variable.index)), true
end

---@return string[] names sorted
function Scope:names()
  local names = {}
  for name in pairs(self.variables) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function find_upvalue(fn, name)
  local i = 1
  while true do
    local found = debug.getupvalue(fn, i)
    if found == name or not found then return found and i end
    i = i + 1
  end
end

-- Takes over what a local statement declared; `peek` returns the values, in order.
function Scope:keep(declaration, peek)
  local values
  for i, name in ipairs(declaration.names) do
    local index, is_const = find_upvalue(peek, name), declaration.is_const[name] or false
    if index then
      self.variables[name] = { fn = peek, index = index, is_const = is_const }
    elseif name ~= "_ENV" then -- a constant of the compiler
      values = values or { peek() }
      self:declare(name, values[i], is_const)
    end
  end
end

-- Compiling --------------------------------------------------------------------------------

-- Does a short string end with the input? Then more input would not close it.
local function is_broken(code)
  local tokens = lexer.tokens(code)
  local last = tokens[#tokens]
  return last and last.kind == "string" and last.is_open and not last.goes_on
    and not last.text:find "^%["
end

local function is_incomplete(code, problem)
  return problem:find "near <eof>$" ~= nil and not is_broken(code)
end

local function parse(code)
  return load(code, NAME, "t", {})
end

-- The Lua code that `text` means: an expression gets its return. nil and why not.
local function read(text)
  local forced = text:match "^%s*=(.*)$"
  local code = "return " .. (forced or text)
  local fn, problem = parse(code)
  if fn then return code end
  if is_incomplete(code, problem) then return nil, "incomplete" end
  if forced then return nil, problem end
  local other
  fn, other = parse(text)
  if fn then return text end
  if is_incomplete(text, other) then return nil, "incomplete" end
  local first = lexer.code(text)[1]
  local is_expression = first and (EXPRESSION[first.text] or first.kind == "number"
    or first.kind == "string")
  return nil, is_expression and problem or other
end

-- `code` with a call behind each of its local statements.
local function insert_keeps(code, declarations)
  local parts, at = {}, 1
  for i, declaration in ipairs(declarations) do
    parts[#parts + 1] = code:sub(at, declaration.to)
    parts[#parts + 1] = (" ;%s(%d, function() return %s end) "):format(KEEP, i,
      table.concat(declaration.names, ", "))
    at = declaration.to + 1
  end
  parts[#parts + 1] = code:sub(at)
  return table.concat(parts)
end

-- The locals of earlier chunks that `code` may mean.
local function find_used(code, scope)
  local used, seen = {}, {}
  for _, token in ipairs(lexer.code(code)) do
    local name = token.text
    if token.kind == "name" and scope.variables[name] and not seen[name] then
      seen[name] = true
      used[#used + 1] = name
    end
  end
  return used
end

local function head_of(used, scope)
  local parts = { ("local %s = ... "):format(KEEP) }
  for _, name in ipairs(used) do
    local form = scope.variables[name].is_const and "local %s <const> = (...) " or "local %s "
    parts[#parts + 1] = form:format(name)
  end
  return table.concat(parts)
end

---Compiles what was typed.
---@param text string
---@param env table its globals; the locals it leaves belong to them
---@return function|nil fn
---@return string|nil why "incomplete" when more input may make it whole, else what is wrong
---
---     local fn, why = chunk.compile("local x = 1", env)
function M.compile(text, env)
  local code, problem = read(text)
  if not code then return nil, problem end
  local scope = M.scope(env)
  local declarations, used = declared.find(code), find_used(code, scope)
  local outer
  outer, problem = load(("%sreturn function(...) %s\nend"):format(head_of(used, scope),
    insert_keeps(code, declarations)), NAME, "t", env)
  if not outer then return nil, problem end
  local fn = outer(function(i, peek) scope:keep(declarations[i], peek) end)
  for _, name in ipairs(used) do
    local variable, index = scope.variables[name], find_upvalue(fn, name)
    if index then debug.upvaluejoin(fn, index, variable.fn, variable.index) end
  end
  return fn
end

return M
