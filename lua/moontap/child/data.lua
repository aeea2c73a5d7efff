-- data: in a playbook's process, what is data in the table that a file returns, in a form that
-- survives JSON: tables are { t = { { key, value }, … } }, functions { f = true }, numbers that
-- JSON lacks { x = "inf" }.

local M = {}

local DEPTH_MAX <const> = 15
local NODES_MAX <const> = 20000
local PROBLEMS_MAX <const> = 50

local function path_of(path, key)
  if math.type(key) == "integer" then return ("%s[%d]"):format(path, key) end
  if type(key) == "string" and key:match "^[%a_][%w_]*$" then
    return path == "" and key or path .. "." .. key
  end
  return ("%s[%q]"):format(path, tostring(key))
end

local function note(state, path, message)
  if #state.problems < PROBLEMS_MAX then
    state.problems[#state.problems + 1] = { path = path, message = message }
  end
end

local function special(number)
  if number ~= number then return { x = "nan" } end
  return { x = number > 0 and "inf" or "-inf" }
end

local describe

local function describe_table(state, value, path, depth)
  if state.open[value] then return note(state, path, "a table that holds itself") end
  if depth > DEPTH_MAX then return note(state, path, "too deep") end
  state.open[value] = true
  local pairs_of = {}
  for key, item in next, value do
    local at = path_of(path, key)
    local kind = type(key)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      note(state, at, "a key that is a " .. kind)
    else
      pairs_of[#pairs_of + 1] = { describe(state, key, at, depth),
                                  describe(state, item, at, depth + 1) }
    end
  end
  state.open[value] = nil
  return { t = pairs_of }
end

function describe(state, value, path, depth)
  local kind = type(value)
  state.nodes = state.nodes + 1
  if state.nodes > NODES_MAX then error("more than it may hold", 0) end
  if kind == "function" then return { f = true } end
  if kind == "table" then return describe_table(state, value, path, depth) or false end
  if kind == "string" and not utf8.len(value) then
    note(state, path, "text that is no UTF-8")
    return false
  end
  if math.type(value) == "float" and (value ~= value or value - value ~= 0) then
    return special(value)
  end
  if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
    note(state, path, "a " .. kind .. ", which is no data")
    return false
  end
  return value
end

--- What is data in `value`.
---@param value any
---@return table|nil node
---@return table[]|nil problems { path, message }
function M.describe(value)
  if type(value) ~= "table" then
    return nil, { { path = "", message = "the file returns a " .. type(value) .. ", not a table" } }
  end
  local state = { nodes = 0, open = {}, problems = {} }
  local ok, node = pcall(describe, state, value, "", 1)
  if not ok then state.problems = { { path = "", message = tostring(node) } } end
  if #state.problems > 0 then
    table.sort(state.problems, function(a, b) return a.path < b.path end)
    return nil, state.problems
  end
  return node
end

return M
