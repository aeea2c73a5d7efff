-- hex: bytes as hexadecimal digits, for where only text can pass. Pure.

local M = {}

---@param bytes string
---@return string digits two small ones a byte
function M.encode(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

---@param digits any
---@return string|nil bytes nil when it is not of that kind
function M.decode(digits)
  if type(digits) ~= "string" or digits:find "%X" or #digits % 2 ~= 0 then return nil end
  return (digits:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

return M
