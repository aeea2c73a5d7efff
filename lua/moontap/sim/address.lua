-- address: IPv4 addresses and prefixes as integers.

local M = {}

---@param text string
---@return integer|nil
function M.parse(text)
  local a, b, c, d = text:match "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$"
  if not a then
    return nil
  end
  local value = 0
  for _, part in ipairs { a, b, c, d } do
    local octet = math.tointeger(tonumber(part, 10))
    if octet > 255 or (#part > 1 and part:sub(1, 1) == "0") then
      return nil
    end
    value = value << 8 | octet
  end
  return value
end

---@param text string "198.51.100.0/24"
---@return integer|nil base
---@return integer size number of addresses
function M.parse_prefix(text)
  local host, bits = text:match "^(.-)/(%d%d?)$"
  local base = host and M.parse(host)
  local width = math.tointeger(tonumber(bits))
  if not base or not width or width > 32 then
    return nil, 0
  end
  local size = 1 << (32 - width)
  return base & ~(size - 1), size
end

---@param value integer
---@return string
function M.format(value)
  return ("%d.%d.%d.%d"):format(value >> 24 & 255, value >> 16 & 255, value >> 8 & 255,
    value & 255)
end

---Whether TEXT looks like an IPv6 address. A simulated network has none, so
---no more than its looks matter.
---@param text string
---@return boolean
function M.is_ipv6(text)
  return text:find(":", 1, true) ~= nil and text:find "^[%x:]+[%x:.]*$" ~= nil
end

return M
