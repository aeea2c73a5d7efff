-- help: what help() says, from the stubs and the table of the API's parameters; and docs/api.md,
-- which is the same for those who read.

local fields = require "moontap.fields"
local schema = require "moontap.native.schema"
local stubs = require "moontap.stubs"

local M = {}

--- The modules that are reached through `moontap` without a require.
M.MODULES = { "bucket", "capture", "clock", "cron", "effects", "http", "json", "log" }

-- Live values --------------------------------------------------------------------------------

local function add(names, prefix, members)
  for key, value in next, members do
    if type(key) == "string" and type(value) == "function" then names[value] = prefix .. key end
  end
end

---The public members of `moontap`, loaded or not.
---@return string[]
function M.members()
  local names = {}
  for _, entry in ipairs(stubs.list()) do
    local is_value = entry.kind == "function" or entry.kind == "table"
    names[#names + 1] = is_value and entry.name:match "^moontap%.([%w_]+)$" or nil
  end
  return names
end

-- Functions of scripts -> what the stubs call them.
local function live_names()
  local names, pcaps = {}, require "pcaps"
  for _, name in ipairs(M.members()) do
    if type(moontap[name]) == "function" then names[moontap[name]] = "moontap." .. name end
  end
  for _, name in ipairs(M.MODULES) do
    add(names, ("moontap.%s."):format(name), require("moontap." .. name))
  end
  local task = moontap.current()
  add(names, "Task:", { join = task.join, cancel = task.cancel, status = task.status })
  add(names, "Schedule:", debug.getmetatable(require("moontap.cron").parse "@daily").__index)
  add(names, "pcaps.", pcaps)
  add(names, "pcaps.ownership.", pcaps.ownership)
  return names
end

-- What `value` is called in the stubs, or nil.
local function name_of_value(value)
  if type(value) == "function" then return live_names()[value] end
  if type(value) ~= "table" and type(value) ~= "userdata" then return nil end
  if value == moontap then return "moontap" end
  local pcaps = package.loaded.pcaps
  if pcaps and value == pcaps then return "pcaps" end
  if pcaps and value == pcaps.ownership then return "pcaps.ownership" end
  for _, name in ipairs(M.MODULES) do
    if package.loaded["moontap." .. name] == value then return "moontap." .. name end
  end
  local meta = debug.getmetatable(value)
  local kind = type(meta) == "table" and rawget(meta, "__name")
  return kind and ({ ["pcaps.capture"] = "pcaps.Capture", ["moontap.error"] = "moontap.Error",
                     ["moontap.task"] = "moontap.Task",
                     ["moontap.pcaps.client"] = "pcaps.Client" })[kind] or nil
end

---What a function of scripts is called, or nil when it is none of moontap's.
---@param fn function
---@return string|nil
function M.name_of(fn)
  return live_names()[fn]
end

-- Text --------------------------------------------------------------------------------

local function aligned(rows, indent)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for i = 1, #row - 1 do widths[i] = math.max(widths[i] or 0, utf8.len(row[i]) or #row[i]) end
  end
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      cells[i] = i == #row and cell
        or cell .. (" "):rep(widths[i] - (utf8.len(cell) or #cell))
    end
    lines[n] = (indent .. table.concat(cells, "  ")):gsub("%s+$", "")
  end
  return lines
end

local function add_lines(list, more)
  if #more == 0 then return end
  if #list > 0 then list[#list + 1] = "" end
  table.move(more, 1, #more, #list + 1, list)
end

local function typed_rows(items)
  local rows = {}
  for i, item in ipairs(items) do
    rows[i] = { item.name .. (item.optional and "?" or ""), item.type, item.text }
  end
  return rows
end

-- Lines as wide as a terminal: the last column of the rows goes on below itself.
local function parameter_lines(op)
  local lines = {}
  for _, row in ipairs(fields.rows(op)) do
    local need = row[3] ~= "" and row[3] or "optional"
    lines[#lines + 1] = ("  %s: %s (%s)"):format(row[1], row[2], need)
    lines[#lines + 1] = "      " .. row[4]
  end
  return lines
end

local function function_text(entry)
  local lines = { stubs.signature(entry) }
  local text = {}
  for i, line in ipairs(entry.text) do text[i] = "  " .. line end
  for _, line in ipairs(entry.raises) do text[#text + 1] = "  " .. line end
  table.move(text, 1, #text, #lines + 1, lines)
  add_lines(lines, aligned(typed_rows(entry.params), "  "))
  local returns = {}
  for i, line in ipairs(entry.returns) do returns[i] = { i == 1 and "returns" or "", line } end
  add_lines(lines, aligned(returns, "  "))
  local op = entry.name:match "^pcaps%.(.+)$"
  for _, known in ipairs(fields.OPERATIONS) do
    if op == known then add_lines(lines, parameter_lines(op)) end
  end
  local example = {}
  for i, line in ipairs(entry.example) do example[i] = "    " .. line end
  add_lines(lines, example)
  return lines
end

local function first_sentence(entry)
  local text = table.concat(entry.text, " ")
  return text:match "^(.-%.)%s" or text
end

-- What hangs on a table or a class: its functions, with a sentence each.
local function member_lines(prefixes)
  local rows, types = {}, {}
  for _, entry in ipairs(stubs.list()) do
    for _, prefix in ipairs(prefixes) do
      local rest = entry.name:sub(1, #prefix) == prefix and entry.name:sub(#prefix + 1)
      if rest and not rest:find "[.:]" then
        if entry.kind == "function" then
          rows[#rows + 1] = { stubs.signature(entry), first_sentence(entry) }
        elseif entry.kind == "table" then
          rows[#rows + 1] = { entry.name, first_sentence(entry) }
        else
          types[#types + 1] = entry.name
        end
      end
    end
  end
  local lines = aligned(rows, "  ")
  if #types > 0 then add_lines(lines, { "  types: " .. table.concat(types, ", ") }) end
  return lines
end

local function class_text(entry)
  local title = entry.class or entry.name
  local lines = { entry.class and entry.name ~= entry.class and not entry.name:find "^%u"
    and entry.name or title }
  for _, line in ipairs(entry.text) do lines[#lines + 1] = "  " .. line end
  add_lines(lines, aligned(typed_rows(entry.fields), "  "))
  if entry.kind == "table" then
    add_lines(lines, member_lines { entry.name .. ".", entry.name .. ":" })
  end
  local values = {}
  for i, value in ipairs(entry.values) do values[i] = "  " .. value end
  add_lines(lines, values)
  return lines
end

local function entry_text(entry)
  local lines = entry.kind == "function" and function_text(entry) or class_text(entry)
  return table.concat(lines, "\n")
end

-- The parameters of the API called `word`, or that lie in it.
local function field_text(word)
  local lines = {}
  for _, op in ipairs(fields.OPERATIONS) do
    local found = {}
    for _, row in ipairs(fields.rows(op)) do
      local last = row[1]:match "[%w_]+$"
      if row[1] == word or last == word or row[1]:sub(1, #word + 1) == word .. "." then
        found[#found + 1] = ("  %s: %s (%s)"):format(row[1], row[2],
          row[3] ~= "" and row[3] or "optional")
        found[#found + 1] = "      " .. row[4]
      end
    end
    if #found > 0 then
      add_lines(lines, { ("parameter of pcaps.%s"):format(op) })
      table.move(found, 1, #found, #lines + 1, lines)
    end
  end
  return lines
end

-- The fields of options and results called `word`.
local function option_lines(word)
  local rows = {}
  for _, entry in ipairs(stubs.list()) do
    for _, field in ipairs(entry.class ~= "pcaps.Params" and entry.class ~= "pcaps.Filter"
                           and entry.fields or {}) do
      if field.name == word then
        rows[#rows + 1] = { "field of " .. (entry.class or entry.name), field.type, field.text }
      end
    end
  end
  return aligned(rows, "")
end

local OVERVIEW <const> = [[
pcaps      packet captures: pcaps.create, list, get, stop, download, ownership, client
moontap    tasks: moontap.spawn, sleep, all, race, timeout, current
           modules: %s

help(pcaps.create)     what a function does
help "filter_v1"       a parameter, a field of an answer, a type such as "pcaps.Options"
:help                  the commands of this prompt
Tab completes; Alt-h inside a call says how it is called.]]

-- All entries whose last name is `word`.
local function entries_named(word)
  local found = {}
  for _, entry in ipairs(stubs.list()) do
    if entry.name == word or entry.class == word then return { entry } end
    local last = entry.name:match "[%w_]+$"
    local class = entry.class and entry.class:match "[%w_]+$"
    if last == word or class == word then found[#found + 1] = entry end
  end
  return found
end

local function word_text(word)
  word = word:gsub("^cap:", "Capture:"):gsub("^task:", "Task:"):gsub("^schedule:", "Schedule:")
    :gsub("%(%)$", "")
  local blocks = {}
  for _, entry in ipairs(entries_named(word)) do blocks[#blocks + 1] = entry_text(entry) end
  for _, lines in ipairs { field_text(word), option_lines(word) } do
    if #lines > 0 then blocks[#blocks + 1] = table.concat(lines, "\n") end
  end
  if #blocks > 0 then return table.concat(blocks, "\n\n") end
  return nil
end

-- What is nearest to a word that is nowhere.
local function suggestion(word)
  local names, seen = {}, {}
  local function offer(name)
    if not seen[name] then names[#names + 1], seen[name] = name, true end
  end
  for _, entry in ipairs(stubs.list()) do
    offer(entry.name)
    offer(entry.name:match "[%w_]+$")
    for _, field in ipairs(entry.fields) do offer(field.name) end
  end
  local near = schema.near(word, names)
  return near and ("; did you mean %q?"):format(near) or ""
end

---What help says of a value or a word.
---@param subject any nil: what there is
---@return string|nil text nil when there is nothing to say
---@return string|nil problem
---
---     print(help.text "filter_v1")
function M.text(subject)
  if subject == nil then return OVERVIEW:format(table.concat(M.MODULES, ", ")) end
  if type(subject) == "string" then
    local text = word_text(subject)
    if text then return text end
    return nil, ("no help on %q%s"):format(subject, suggestion(subject))
  end
  local name = name_of_value(subject)
  local entry = name and stubs.find(name)
  if entry then return entry_text(entry) end
  return nil, ("no help on this %s; help() lists what there is"):format(type(subject))
end

-- Documentation --------------------------------------------------------------------------------

local function escape(s)
  return (s:gsub("|", "\\|"))
end

local function markdown_entry(parts, entry)
  local title = entry.kind == "function" and stubs.signature(entry) or entry.class or entry.name
  parts[#parts + 1] = ("### `%s`\n"):format(title)
  if #entry.text + #entry.raises > 0 then
    parts[#parts + 1] = table.concat(entry.text, " ") .. "\n"
    if #entry.raises > 0 then parts[#parts + 1] = table.concat(entry.raises, " ") .. "\n" end
  end
  local rows = #entry.params > 0 and entry.params or entry.fields
  for _, item in ipairs(rows) do
    parts[#parts + 1] = ("- `%s%s`: %s%s"):format(item.name, item.optional and "?" or "",
      escape(item.type):gsub("\\|", "|"), item.text ~= "" and ", " .. item.text or "")
  end
  for _, value in ipairs(entry.values) do parts[#parts + 1] = "- " .. value end
  if #entry.returns > 0 then
    parts[#parts + 1] = "- returns " .. table.concat(entry.returns, "; ")
  end
  if #rows + #entry.values + #entry.returns > 0 then parts[#parts + 1] = "" end
  if #entry.example > 0 then
    parts[#parts + 1] = "```lua\n" .. table.concat(entry.example, "\n") .. "\n```\n"
  end
end

---The whole reference as Markdown.
---@return string
function M.markdown()
  local parts = { [[
# API reference

Functions, their arguments and results, and the types behind them, as `help()` shows them and as
editors do. Written by `tools/api` from `lua/moontap/meta`. The parameters of a create, with their
bounds, are in [fields.md](fields.md); how it all fits together, in [scripting.md](scripting.md).
]] }
  for _, entry in ipairs(stubs.list()) do markdown_entry(parts, entry) end
  return (table.concat(parts, "\n"):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n"))
end

return M
