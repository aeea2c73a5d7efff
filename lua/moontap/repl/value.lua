-- value: one Lua value as text: tables with sorted keys over as few lines as fit, within limits
-- of depth and length, cycles named, secrets hidden.

local errors = require "moontap.errors"
local lexer = require "moontap.repl.lexer"
local text = require "moontap.repl.text"

local M = {}

local DEPTH_MAX <const> = 5
local ITEMS_MAX <const> = 100    -- of one table
local NODES_MAX <const> = 2000   -- of one value
local STRING_MAX <const> = 4000  -- bytes of a string that are shown

local COLOURS = { string = "32", number = "36", boolean = "35", ["nil"] = "35", other = "2" }

local function paint(colour, s)
  return colour and ("\27[%sm%s\27[0m"):format(colour, s) or s
end

-- A leaf: what is shown, and how wide that is.
local function leaf(state, kind, s)
  return { flat = paint(state.colour and COLOURS[kind], s), width = text.width(s) }
end

local function string_leaf(state, s, key)
  s = text.mask(s, key)
  local rest = #s - STRING_MAX
  if rest > 0 then
    local to = utf8.len(s) and utf8.offset(s, 0, STRING_MAX + 1) - 1 or STRING_MAX
    local node = leaf(state, "string", text.quote(s:sub(1, to)))
    local note = (" … %d bytes more"):format(#s - to)
    return { flat = node.flat .. note, width = node.width + text.width(note) }
  end
  return leaf(state, "string", text.quote(s))
end

local function describe_function(fn)
  local name = require "moontap.repl.help".name_of(fn)
  if name then return ("<function %s>"):format(name) end
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return "<function, built in>" end
  return ("<function %s:%d>"):format(info.short_src, info.linedefined)
end

-- What stands for a value with a __tostring, and for what is no table.
local function describe(value)
  local ok, s = pcall(tostring, value)
  if not ok then return ("<%s that cannot be shown: %s>"):format(type(value), tostring(s)) end
  return s
end

local function has_tostring(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__tostring") ~= nil
end

local function scalar(state, value, key)
  local kind = type(value)
  if kind == "string" then return string_leaf(state, value, key) end
  if kind == "number" or kind == "boolean" or kind == "nil" then
    return leaf(state, kind, tostring(value))
  end
  if kind == "function" then return leaf(state, "other", describe_function(value)) end
  if kind == "thread" then
    return leaf(state, "other", ("<coroutine, %s>"):format(coroutine.status(value)))
  end
  return leaf(state, "other", text.clean(text.mask((describe(value):gsub("\n", " ")))))
end

-- Tables --------------------------------------------------------------------------------

local RANKS = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local rank_a, rank_b = RANKS[type(a)] or 4, RANKS[type(b)] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  if rank_a <= 2 then return a < b end
  return tostring(a) < tostring(b)
end

-- The keys of `t` that are not its items 1..n, sorted; and n.
local function split_keys(t)
  local n, keys = 0, {}
  while rawget(t, n + 1) ~= nil do n = n + 1 end
  for key in next, t do
    local is_item = math.type(key) == "integer" and key >= 1 and key <= n
    if not is_item then keys[#keys + 1] = key end
  end
  table.sort(keys, before)
  return keys, n
end

local to_node

local function key_text(state, key)
  if type(key) == "string" then
    local shown = text.mask(key)
    if shown:find "^[%a_][%w_]*$" and not lexer.KEYWORDS[shown] then return shown .. " = " end
    return "[" .. text.quote(shown) .. "] = "
  end
  if type(key) == "table" then return "[<table>] = " end
  return "[" .. scalar({ colour = false }, key).flat .. "] = "
end

local function add(node, label, child)
  local item = { label = label, node = child }
  node[#node + 1] = item
  node.width = node.width + text.width(label) + child.width + (#node > 1 and 2 or 0)
  if child.is_long then node.is_long = true end
end

local function fill(state, node, t, depth)
  local keys, n = split_keys(t)
  local total = n + #keys
  for i = 1, total do
    if i > ITEMS_MAX or state.left <= 0 then
      return add(node, "", leaf(state, "other", ("… %d more"):format(total - i + 1)))
    end
    local key = i <= n and i or keys[i - n]
    local label = i <= n and "" or key_text(state, key)
    add(node, label, to_node(state, rawget(t, key), depth + 1, key))
  end
end

local function table_node(state, t, depth)
  if state.above[t] then return leaf(state, "other", "<cycle>") end
  if next(t) == nil then return leaf(state, "table", "{}") end
  if depth > DEPTH_MAX then return leaf(state, "other", "{…}") end
  state.above[t] = true
  local node = { width = 4 }
  fill(state, node, t, depth)
  state.above[t] = nil
  return node
end

function to_node(state, value, depth, key)
  state.left = state.left - 1
  if type(value) ~= "table" then return scalar(state, value, key) end
  if errors.is(value) then
    return leaf(state, "other", text.clean(text.mask(("<error of kind %s: %s>"):format(
      tostring(value.kind), (tostring(value):gsub("\n", " "))))))
  end
  if has_tostring(value) then return scalar(state, value, key) end
  return table_node(state, value, depth)
end

-- Layout --------------------------------------------------------------------------------

local function flat(node)
  if node.flat then return node.flat end
  local parts = {}
  for i, item in ipairs(node) do parts[i] = item.label .. flat(item.node) end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function lay_out(node, indent, used, width)
  if node.flat or indent + used + node.width <= width then return flat(node) end
  local inner, lines = (" "):rep(indent + 2), { "{" }
  for _, item in ipairs(node) do
    lines[#lines + 1] = inner .. item.label
      .. lay_out(item.node, indent + 2, text.width(item.label) + 1, width) .. ","
  end
  lines[#lines + 1] = (" "):rep(indent) .. "}"
  return table.concat(lines, "\n")
end

---A value as text, over as few lines of `width` columns as it fits.
---@param value any
---@param options { width: integer, colour?: boolean, key?: string }
---@return string
---
---     value.text({ b = 2, a = 1 }, { width = 80 }) --> "{ a = 1, b = 2 }"
function M.text(value, options)
  local state = { colour = options.colour, above = {}, left = NODES_MAX }
  return lay_out(to_node(state, value, 1, options.key), 0, 0, options.width)
end

return M
