-- stubs: what the stubs of the Lua language server (lua/moontap/meta) say of each function and
-- class. help(), completion and docs/api.md read the same text that editors do.

local M = {}

local FILES <const> = { "pcaps", "moontap", "modules" }

---@class moontap.stubs.Entry
---@field name string "pcaps.create", "Capture:wait", "pcaps.Filter", "moontap.http"
---@field kind "function"|"class"|"alias"|"table"
---@field text string[] what it is, a line each
---@field example string[]
---@field params { name: string, type: string, text: string, optional: boolean }[]
---@field returns string[]
---@field raises string[]
---@field fields { name: string, type: string, text: string, optional: boolean }[]
---@field values string[] of an alias
---@field class? string what the class of a table is called

-- The text of a file of stubs: part of the program, or of the tree that MOONTAP_LUA names.
local function read_file(name)
  local tree = os.getenv "MOONTAP_LUA"
  local file = tree and tree ~= "" and io.open(("%s/moontap/meta/%s.lua"):format(tree, name))
  if not file then return require("moontap.meta." .. name) end
  local text = file:read "a"
  file:close()
  return text
end

-- A type ends where brackets are closed and a blank follows.
local function split_type(s)
  local depth, at = 0, 1
  while at <= #s do
    local c = s:sub(at, at)
    if c:find "[{(<]" then depth = depth + 1 elseif c:find "[})>]" then depth = depth - 1 end
    local goes_on = s:find("^%s*:", at) or s:sub(1, at):find ":%s*$"
    if c == " " and depth == 0 and not goes_on then break end
    at = at + 1
  end
  return s:sub(1, at - 1), s:sub(at + 1)
end

local function read_typed(s)
  local name, optional, rest = s:match "^([%w_.]+)(%??)%s+(.*)$"
  if not name then return nil end
  local kind, text = split_type(rest)
  return { name = name, type = kind, text = text, optional = optional == "?" }
end

local TAGS = {
  param = function(entry, rest) table.insert(entry.params, read_typed(rest)) end,
  field = function(entry, rest) table.insert(entry.fields, read_typed(rest)) end,
  ["return"] = function(entry, rest) table.insert(entry.returns, rest) end,
  class = function(entry, rest) entry.class = rest:match "^[%w_.]+" end,
  alias = function(entry, rest)
    local name, of = rest:match "^([%w_.]+)%s*(.*)$"
    entry.alias = name
    if of ~= "" then table.insert(entry.values, of) end
  end,
}

local function read_doc(entry, line)
  local tag, rest = line:match "^%-%-%-@(%w+)%s*(.*)$"
  local text = line:match "^%-%-%-%s?(.*)$"
  if tag then
    if TAGS[tag] then TAGS[tag](entry, rest) end
  elseif line:find "^%-%-%-|" then
    table.insert(entry.values, line:match "^%-%-%-|%s*(.*)$")
  elseif line:find "^%-%-%-     " then
    table.insert(entry.example, (line:gsub("^%-%-%-     ", "")))
  elseif text:find "^Raises" then
    table.insert(entry.raises, text)
  elseif text ~= "" then
    table.insert(entry.text, text)
  end
end

local function new_entry()
  return { text = {}, example = {}, params = {}, returns = {}, raises = {}, fields = {},
           values = {} }
end

-- What the line behind its comments declares.
local function name_entry(entry, line)
  local fn = line:match "^function ([%w_.:]+)%("
  local named = line:match "^([%w_.]+) = {}" or line:match "^local ([%w_]+) = {}"
  if fn then
    entry.name, entry.kind = fn, "function"
  elseif named then
    entry.name, entry.kind = named, "table"
  elseif entry.class then
    entry.name, entry.kind = entry.class, "class"
  elseif entry.alias then
    entry.name, entry.kind = entry.alias, "alias"
  end
  return entry.name and entry or nil
end

local function read_entries(text, list)
  local entry
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if line:find "^%-%-%-" and not line:find "^%-%-%-@meta" then
      entry = entry or new_entry()
      read_doc(entry, line)
    else
      if line:find "^function " or line:find " = {}$" then entry = entry or new_entry() end
      list[#list + 1] = entry and name_entry(entry, line)
      entry = nil
    end
  end
end

local entries, by_name

local function load_all()
  if entries then return end
  entries, by_name = {}, {}
  for _, name in ipairs(FILES) do read_entries(read_file(name), entries) end
  for _, entry in ipairs(entries) do
    by_name[entry.name] = entry
    if entry.class then by_name[entry.class] = entry end
  end
end

---All entries, in the order of the files.
---@return moontap.stubs.Entry[]
function M.list()
  load_all()
  return entries
end

---The entry of a name, or nil.
---@param name string
---@return moontap.stubs.Entry|nil
---
---     stubs.find("pcaps.create").params[1].type --> "pcaps.Params"
function M.find(name)
  load_all()
  return by_name[name]
end

---How a function is called: "pcaps.create(params [, options])".
---@param entry moontap.stubs.Entry
---@return string
function M.signature(entry)
  local text, open = "", 0
  for i, param in ipairs(entry.params) do
    local separator = i > 1 and ", " or ""
    if param.optional then
      text = text .. (i > 1 and " [" or "[") .. separator .. param.name
      open = open + 1
    else
      text = text .. separator .. param.name
    end
  end
  local name = entry.name:gsub("^Capture:", "cap:"):gsub("^Task:", "task:")
    :gsub("^Schedule:", "schedule:")
  return ("%s(%s%s)"):format(name, text, ("]"):rep(open))
end

return M
