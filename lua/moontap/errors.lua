-- errors: the error objects of the host: tables with `kind`, `message` and more.

local native = require "moontap.native.task"

local M = {}

local meta = getmetatable(native.new_error("usage", ""))

--- An error object. `tostring` of it is one good line.
---@param kind string api http network tls timeout cancelled denied quota unknown_outcome limit io
---  usage memory credentials
---@param message string what was tried, on what, and why it failed
---@param fields? table further fields: status, code, retryable, …
---@return table err
---
---     return nil, errors.new("io", "read " .. path .. ": " .. why, { path = path })
function M.new(kind, message, fields)
  local err = native.new_error(kind, message)
  for key, value in pairs(fields or {}) do err[key] = value end
  return err
end

--- Whether `value` is an error object, and of kind `kind` when one is given.
---@param value any
---@param kind? string
---@return boolean
function M.is(value, kind)
  if type(value) ~= "table" or getmetatable(value) ~= meta then return false end
  return kind == nil or value.kind == kind
end

return M
