-- protocol: what a playbook's process and the host say to each other, for both ends. Frames are
-- JSON objects:
--
--   host   { start = { entry, source, mode, … } }      evaluate a file
--          { id, values | raise, file?, now? }         the answer to call `id`
--          { cancel = true }                           the run is to end
--          { now }                                     virtual time has moved on
--   child  { id, call, args }                          call an effect
--          { id, drop = true }                         nobody waits for call `id` any more
--          { done = true, values | err }               the run is over
--          { idle = seconds | false, seen }            under a virtual clock: all waits, with
--                                                      `seen` frames received
--
-- Values are JSON, so a function or a coroutine cannot cross, and text must be UTF-8.

local errors = require "moontap.errors"
local json = require "moontap.json"

local M = {}

M.VALUES_MAX = 16 -- arguments or results of one call

local function check_text(value, depth)
  if type(value) == "string" then
    if not utf8.len(value) then error("text that is no UTF-8 cannot be passed on", 0) end
  elseif type(value) == "table" and depth < 64 then -- the encoder refuses what is deeper
    for key, item in next, value do
      check_text(key, depth + 1)
      check_text(item, depth + 1)
    end
  end
end

--- The text of a frame.
---@param frame table
---@return string
--- Raises on what cannot cross.
function M.encode(frame)
  check_text(frame, 0)
  return json.encode(frame)
end

--- Values with nils among them, as a table that survives JSON.
---@return table
function M.pack(...)
  local n = select("#", ...)
  local packed = { n = n }
  for i = 1, n do packed[tostring(i)] = (select(i, ...)) end
  return packed
end

--- The values that `pack` was given.
---@param packed table
function M.unpack(packed)
  local values = {}
  for i = 1, packed.n do values[i] = packed[tostring(i)] end
  return table.unpack(values, 1, packed.n)
end

--- Whether `packed` is what `pack` makes.
---@param packed any
---@return boolean
function M.is_packed(packed)
  if type(packed) ~= "table" or math.type(packed.n) ~= "integer" or packed.n < 0
    or packed.n > M.VALUES_MAX then
    return false
  end
  for key in pairs(packed) do
    local i = key ~= "n" and type(key) == "string" and math.tointeger(tonumber(key))
    if key ~= "n" and not (i and i >= 1 and i <= packed.n) then return false end
  end
  return true
end

--- An error object as plain fields.
---@param err any
---@return table
function M.from_error(err)
  if not errors.is(err) then return { kind = "script", message = tostring(err) } end
  local fields = {}
  for key, value in pairs(err) do
    if type(key) == "string" and pcall(M.encode, { value }) then fields[key] = value end
  end
  return fields
end

--- The error object that `from_error` was given.
---@param fields table with `kind` and `message`
---@return table err
function M.to_error(fields)
  return errors.new(fields.kind, fields.message, fields)
end

return M
