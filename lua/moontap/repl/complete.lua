-- complete: what could go on from what was typed, from live values, the table of the API's
-- parameters and the stubs; and what to say about the call that the cursor is in. Nothing is
-- called for it: values are looked up without metamethods.

local chunk = require "moontap.repl.chunk"
local help = require "moontap.repl.help"
local later = require "moontap.later"
local lexer = require "moontap.repl.lexer"
local schema = require "moontap.native.schema"
local stubs = require "moontap.stubs"
local sys = require "moontap.native.sys"

local commands = later "moontap.repl.commands"

local M = {}

local FILES_MAX <const> = 200

-- Calls whose table argument has the API's parameters.
local OPERATIONS <const> = {
  ["pcaps.create"] = "create", ["pcaps.ownership.create"] = "ownership.create",
  ["pcaps.ownership.validate"] = "ownership.validate",
}

-- Looking up --------------------------------------------------------------------------------

local function add_keys(found, t)
  for key in next, t do
    if type(key) == "string" and key:find "^[%a_][%w_]*$" and not lexer.KEYWORDS[key] then
      found[key] = true
    end
  end
end

local function index_of(value)
  local meta = debug.getmetatable(value)
  local index = type(meta) == "table" and rawget(meta, "__index")
  return type(index) == "table" and index or nil
end

-- The member `name` of a value, without calling anything.
local function member(value, name)
  for _ = 1, 8 do
    if type(value) == "table" then
      local found = rawget(value, name)
      if found ~= nil then return found end
    end
    if value == moontap and stubs.find("moontap." .. name) then return moontap[name] end
    value = index_of(value)
    if value == nil then return nil end
  end
end

local function member_names(value)
  local found = {}
  for _ = 1, 8 do
    if type(value) == "table" then add_keys(found, value) end
    if value == moontap then
      for _, name in ipairs(help.members()) do found[name] = true end
    end
    value = index_of(value)
    if value == nil then break end
  end
  return found
end

local function global(env, name)
  local value, is_there = chunk.scope(env):get(name)
  if is_there then return value end
  value = rawget(env, name)
  if value ~= nil then return value end
  if name == "pcaps" then return require "pcaps" end -- a global that loads when it is used
  local index = index_of(env)
  if index then return member(index, name) end
  return rawget(_G, name)
end

local function global_names(env)
  local found = member_names(env)
  add_keys(found, _G)
  for _, name in ipairs(chunk.scope(env):names()) do found[name] = true end
  for word in pairs(lexer.KEYWORDS) do found[word] = true end
  found.pcaps = true
  return found
end

-- The value of the names joined by dots that end before token `last`, or nil.
local function chain_value(env, tokens, last)
  local first = last
  while first > 2 and tokens[first].kind == "name"
    and (tokens[first - 1].text == "." or tokens[first - 1].text == ":")
    and tokens[first - 2].kind == "name" do
    first = first - 2
  end
  if not tokens[first] or tokens[first].kind ~= "name" then return nil end
  if tokens[first - 1] and tokens[first - 1].text:find "^[.:%])]$" then return nil end
  local value, names = global(env, tokens[first].text), { tokens[first].text }
  for i = first + 2, last, 2 do
    if value == nil then return nil end
    value = member(value, tokens[i].text)
    names[#names + 1] = tokens[i].text
  end
  return value, table.concat(names, ".")
end

-- Where the cursor is --------------------------------------------------------------------------

local CLOSERS <const> = { [")"] = true, ["}"] = true, ["]"] = true }
local OPENERS <const> = { ["("] = true, ["{"] = true, ["["] = true }

-- The brackets that are open at the end, the innermost last; as places in `tokens`.
local function open_brackets(tokens)
  local stack = {}
  for i, token in ipairs(tokens) do
    if token.kind == "op" then
      if OPENERS[token.text] then stack[#stack + 1] = i end
      if CLOSERS[token.text] then stack[#stack] = nil end
    end
  end
  return stack
end

---@class moontap.repl.Place
---@field callee any the function of the innermost call
---@field name string what it is called there
---@field op? string the API's operation whose parameters are being written
---@field parent? string "filter_v1" within that table
---@field at integer place of its bracket

-- The innermost call whose name is known.
local function find_call(env, tokens)
  local stack = open_brackets(tokens)
  local parents = {}
  for n = #stack, 1, -1 do
    local at = stack[n]
    local before = tokens[at - 1]
    if tokens[at].text == "{" and before and before.text == "=" and tokens[at - 2] then
      parents[#parents + 1] = tokens[at - 2].text
    elseif before and before.kind == "name" then
      local callee, name = chain_value(env, tokens, at - 1)
      if type(callee) == "function" then
        local known = help.name_of(callee) or name
        return { callee = callee, name = known, op = OPERATIONS[known], parent = parents[1],
                 at = stack[#stack], depth = #parents }
      end
    end
  end
end

local function parameter(op, parent, name)
  for _, field in ipairs(schema.fields(op)) do
    if field.name == name and (field.parent or nil) == parent then return field end
  end
end

-- Is a field's name expected behind the last token?
local function is_key_place(tokens, last)
  local token = tokens[last]
  return token ~= nil and token.kind == "op"
    and (token.text == "{" or token.text == "," or token.text == ";")
end

-- Listing --------------------------------------------------------------------------------

local function matching(found, prefix, suffix)
  local list = {}
  for name in pairs(found) do
    if name:sub(1, #prefix) == prefix then list[#list + 1] = name .. (suffix or "") end
  end
  table.sort(list)
  return list
end

---Files whose path begins with `prefix`.
---@param prefix string
---@return string[] paths sorted
function M.files(prefix)
  local dir, base = prefix:match "^(.*/)([^/]*)$"
  local list = {}
  for _, name in ipairs(sys.list(dir or ".") or {}) do
    local is_wanted = name:sub(1, #(base or prefix)) == (base or prefix)
      and (name:sub(1, 1) ~= "." or (base or prefix):sub(1, 1) == ".")
    if is_wanted and #list < FILES_MAX then
      local path = (dir or "") .. name
      local stat = sys.stat(path)
      list[#list + 1] = path .. (stat and stat.mode & 0xF000 == 0x4000 and "/" or "")
    end
  end
  table.sort(list)
  return list
end

local function stub_names()
  local found = {}
  for _, entry in ipairs(stubs.list()) do found[entry.name] = true end
  for _, field in ipairs(schema.fields "create") do found[field.name] = true end
  return found
end

-- What can stand in the string that is open at the end.
local function in_string(env, tokens, token)
  local typed = token.text:sub(2)
  local before = tokens[#tokens - 1]
  local callee = before and before.kind == "name" and before.text
    or before and before.text == "(" and tokens[#tokens - 2] and tokens[#tokens - 2].text
  if callee == "help" then return matching(stub_names(), typed, '"') end
  if before and before.text == "=" and tokens[#tokens - 2] then
    local call = find_call(env, tokens)
    local field = call and call.op and parameter(call.op, call.parent, tokens[#tokens - 2].text)
    if field and field.values and #field.values > 0 then
      local found = {}
      for _, value in ipairs(field.values) do found[value] = true end
      return matching(found, typed, '"')
    end
  end
  return M.files(typed)
end

local function in_code(env, tokens, word)
  local last = #tokens
  local before = tokens[last]
  if before and (before.text == "." or before.text == ":") then
    local value = chain_value(env, tokens, last - 1)
    local owner = tokens[last - 1]
    if value == nil and owner and owner.kind == "string" then value = "" end
    if value == nil then return {} end
    return matching(member_names(value), word)
  end
  if is_key_place(tokens, last) then
    local call = find_call(env, tokens)
    if call and call.op then
      local found = {}
      for _, field in ipairs(schema.fields(call.op)) do
        if (field.parent or nil) == call.parent then
          found[field.name .. (field.type == "object" and " = { " or " = ")] = true
        end
      end
      if word == "" then return {} end -- the hint shows them with their bounds
      return matching(found, word)
    end
  end
  if word == "" then return {} end
  return matching(global_names(env), word)
end

---What could end `before`, which stands before the cursor.
---@param before string
---@param env table the globals of the prompt
---@return string[] list
---@return integer start where in `before` each of them would stand
function M.complete(before, env)
  local word = before:match "^%s*(:%a*)$"
  if word then
    local found = {}
    for _, name in ipairs(commands.names()) do found[name] = true end
    return matching(found, word), #before - #word + 1
  end
  local name, rest = before:match "^%s*:(%a+)%s+(.*)$"
  if name then
    local list, from = commands.complete(name, rest)
    return list, #before - #rest + (from or 1)
  end
  local tokens = lexer.tokens(before)
  local last = tokens[#tokens]
  if last and last.kind == "comment" and last.is_open then return {}, #before + 1 end
  if last and last.kind == "string" and last.is_open then
    return in_string(env, tokens, last), last.from + 1
  end
  word = ""
  if last and last.to == #before and (last.kind == "name" or last.kind == "keyword") then
    word = last.text
    tokens[#tokens] = nil
  end
  return in_code(env, tokens, word), #before - #word + 1
end

-- Hints --------------------------------------------------------------------------------

local function range_of(op, field)
  for _, row in ipairs(require "moontap.fields".rows(op)) do
    if row[1] == field.path then
      return ("%s%s"):format(row[2], row[3] ~= "" and ", " .. row[3] or "")
    end
  end
end

local function parameters_hint(call)
  local lines, width = {}, 0
  for _, field in ipairs(schema.fields(call.op)) do
    if (field.parent or nil) == call.parent then width = math.max(width, #field.name) end
  end
  for _, field in ipairs(schema.fields(call.op)) do
    if (field.parent or nil) == call.parent then
      lines[#lines + 1] = ("  %s  %s"):format(field.name .. (" "):rep(width - #field.name),
        range_of(call.op, field))
    end
  end
  return table.concat(lines, "\n")
end

---What is to be said of the call that `before` ends in: how it is called, or which parameters there
---are, with their bounds. nil when it is in none.
---@param before string
---@param env table
---@return string|nil
function M.hint(before, env)
  local tokens = lexer.code(before)
  local call = find_call(env, tokens)
  if not call then return nil end
  local last = #tokens
  if call.op and tokens[call.at].text == "{" then
    if tokens[last] and tokens[last].text == "=" and tokens[last - 1] then
      local field = parameter(call.op, call.parent, tokens[last - 1].text)
      if field then
        return ("  %s: %s\n      %s"):format(field.path, range_of(call.op, field), field.doc)
      end
    end
    return parameters_hint(call)
  end
  local entry = stubs.find(call.name)
  if not entry then return nil end
  return ("  %s  %s"):format(stubs.signature(entry), table.concat(entry.text, " "))
end

return M
