-- json: JSON text and Lua values. Integers stay integers; null is left out when reading.

local native = require "moontap.native.json"

local M = {}

--- Written as `null`. Reading never gives it.
M.null = native.null

--- The JSON text of `value`, with sorted keys. A table with items 1..n is a list; an empty one is
--- an object, unless `json.array` made it.
---@param value any
---@param options? { pretty: boolean } pretty: two spaces of indentation
---@return string
--- Raises on what JSON cannot hold (functions, NaN, cycles, lists with holes), naming its path.
---
---     json.encode { limit = 300.0, colos = json.array {} } --> '{"colos":[],"limit":300}'
M.encode = native.encode

--- The value of a JSON text.
---@param text string
---@return any value nil for `null`
---@return table|nil err of kind "io" on bad input: what is wrong and where
---
---     local answer, err = json.decode(body)
M.decode = native.decode

--- Marks `list` as a list, so that it is written as one even when it is empty.
---@param list? table a new one when absent
---@return table list
--- Raises when the table has another metatable.
function M.array(list)
  return native.array(list)
end

return M
