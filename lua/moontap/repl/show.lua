-- show: what a line came to, as people read it: values, captures and errors, each as one clear
-- block.

local errors = require "moontap.errors"
local json = require "moontap.json"
local later = require "moontap.later"
local text = require "moontap.repl.text"
local value = require "moontap.repl.value"

local captures = later "moontap.cmd.show"

local M = {}

local WIDTH <const> = 80
local JSON_DEPTH <const> = 32
local RED <const> = "31"

---@class moontap.repl.Style
---@field width? integer columns
---@field colour? boolean
---@field plain? boolean nothing is cut for the sake of a screen

local function paint(style, colour, s)
  return style.colour and ("\27[%sm%s\27[0m"):format(colour, s) or s
end

-- Captures --------------------------------------------------------------------------------

local function is_capture(v)
  local meta = type(v) == "table" and debug.getmetatable(v)
  return type(meta) == "table" and rawget(meta, "__name") == "pcaps.capture"
end

local function is_capture_list(v)
  if type(v) ~= "table" or not is_capture(rawget(v, 1)) then return false end
  local n = 0
  for key, item in next, v do
    if math.type(key) ~= "integer" or not is_capture(item) then return false end
    n = n + 1
  end
  return n == #v
end

local function cut_lines(s, style)
  if style.plain then return s end
  local lines = {}
  for line in (s .. "\n"):gmatch "(.-)\n" do
    lines[#lines + 1] = text.cut(line, style.width or WIDTH)
  end
  return table.concat(lines, "\n")
end

---Captures as an aligned table.
---@param list table[]
---@param style moontap.repl.Style
---@return string
function M.captures(list, style)
  local public = {}
  for i, cap in ipairs(list) do public[i] = captures.public(cap) end
  return cut_lines(captures.table(public, not style.plain and (style.width or WIDTH) or nil), style)
end

-- Errors --------------------------------------------------------------------------------

local FACTS <const> = {
  { "kind", "kind" }, { "status", "status" }, { "code", "code" }, { "cf-ray", "ray" },
  { "sent", "sent" }, { "attempts", "attempts" }, { "candidates", "candidates" },
}
local TOLD = { message = true, errors = true, retryable = true, error_message = true }
for _, fact in ipairs(FACTS) do TOLD[fact[2]] = true end

local function fact_text(v)
  if type(v) == "table" then
    local words = {}
    for i, item in ipairs(v) do words[i] = tostring(item) end
    return table.concat(words, ", ")
  end
  return tostring(v)
end

local function facts_of(err)
  local facts, others = {}, {}
  for _, fact in ipairs(FACTS) do
    if err[fact[2]] ~= nil then facts[#facts + 1] = { fact[1], fact_text(err[fact[2]]) } end
  end
  for key, v in pairs(err) do
    if type(key) == "string" and not TOLD[key] and type(v) ~= "table" then
      others[#others + 1] = { key, text.mask(tostring(v), key) }
    end
  end
  table.sort(others, function(a, b) return a[1] < b[1] end)
  return table.move(others, 1, #others, #facts + 1, facts)
end

local function message_of(err)
  if errors.is(err) then return tostring(rawget(err, "message") or "unknown error") end
  if type(err) == "string" then return err end
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and rawget(meta, "__tostring") then
    local ok, s = pcall(tostring, err)
    if ok then return s end
  end
  return value.text(err, { width = WIDTH })
end

---An error's message alone.
---@param err any
---@return string
function M.plain_error(err)
  return message_of(err)
end

---An error as a block: what happened, then what is known about it.
---@param err any
---@param style moontap.repl.Style
---@param trace? string where it came from, when that says more than the message
---@return string
function M.error(err, style, trace)
  local message = text.clean(text.mask(message_of(err))):gsub("\n", "\n  ")
  local lines = { paint(style, RED, "error:") .. " " .. message }
  if errors.is(err) and err.kind ~= "cancelled" and err.kind ~= "usage" then
    for _, fact in ipairs(facts_of(err)) do
      lines[#lines + 1] = ("  %-10s  %s"):format(fact[1], text.clean(text.mask(fact[2])))
    end
  end
  if trace then lines[#lines + 1] = text.clean(text.mask(trace)) end
  return table.concat(lines, "\n")
end

-- Results --------------------------------------------------------------------------------

local function one(v, style)
  if errors.is(v) then return M.error(v, style) end
  if is_capture(v) then return cut_lines(captures.fields(captures.public(v)), style) end
  if is_capture_list(v) then return M.captures(v, style) end
  return value.text(v, { width = style.width or WIDTH, colour = style.colour })
end

---All values of a line, trailing nils included; "" when there are none.
---@param packed table as table.pack made it
---@param style moontap.repl.Style
---@return string
---
---     show.results(table.pack(1, "a", nil), {}) --> '1\t"a"\tnil'
function M.results(packed, style)
  local parts, is_block = {}, false
  for i = 1, packed.n do
    parts[i] = one(packed[i], style)
    is_block = is_block or parts[i]:find("\n", 1, true) ~= nil
  end
  return table.concat(parts, is_block and "\n" or "\t")
end

-- JSON --------------------------------------------------------------------------------

local function to_json(v, depth, key)
  if type(v) == "string" then return text.mask(v, key) end
  if type(v) ~= "table" or v == json.null then return v end
  if depth > JSON_DEPTH then error("it is too deep, or holds itself", 0) end
  local copy = {}
  for k, item in next, v do copy[k] = to_json(item, depth + 1, k) end
  return (is_capture_list(v) or debug.getmetatable(v) == debug.getmetatable(json.array {}))
    and json.array(copy) or copy
end

---Values as JSON: one as it is, several as a list.
---@param packed table as table.pack made it
---@return string
--- Raises on what JSON cannot hold.
function M.json(packed)
  if packed.n == 1 then return json.encode(to_json(packed[1], 1), { pretty = true }) end
  local list = json.array {}
  for i = 1, packed.n do
    local v = packed[i]
    list[i] = v == nil and json.null or to_json(v, 1)
  end
  return json.encode(list, { pretty = true })
end

return M
