-- prefix: addresses and prefixes of IPv4 and IPv6, and whether one lies in another. Pure.

local M = {}

local function parse_v4(text)
  local parts = { text:match "^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$" }
  if #parts ~= 4 then return nil end
  for i, part in ipairs(parts) do
    local n = tonumber(part)
    if n > 255 or (#part > 1 and part:sub(1, 1) == "0") then return nil end
    parts[i] = string.char(n)
  end
  return table.concat(parts)
end

-- The groups of one side of "::" as bytes.
local function parse_groups(text)
  local parts = {}
  if text == "" then return "" end
  for group in (text .. ":"):gmatch "([^:]*):" do
    if group:find(".", 1, true) then
      local v4 = parse_v4(group)
      if not v4 then return nil end
      parts[#parts + 1] = v4
    elseif group:match "^%x%x?%x?%x?$" then
      parts[#parts + 1] = string.pack(">I2", tonumber(group, 16))
    else
      return nil
    end
  end
  return table.concat(parts)
end

local function parse_v6(text)
  local front, back = text:match "^(.-)::(.*)$"
  if not front then
    local bytes = parse_groups(text)
    return bytes and #bytes == 16 and bytes or nil
  end
  local a, b = parse_groups(front), parse_groups(back)
  if not a or not b or #a + #b > 14 or back:find("::", 1, true) then return nil end
  return a .. ("\0"):rep(16 - #a - #b) .. b
end

---@class moontap.gate.Prefix
---@field bytes string 4 or 16
---@field bits integer

---@param text any "203.0.113.0/24", "2001:db8::1"
---@return moontap.gate.Prefix|nil
function M.parse(text)
  if type(text) ~= "string" or #text > 64 then return nil end
  local address, length = text:match "^([%x:.]+)/(%d%d?%d?)$"
  address = address or text
  local bytes = address:find(":", 1, true) and parse_v6(address) or parse_v4(address)
  if not bytes then return nil end
  local bits = length and tonumber(length) or #bytes * 8
  if bits > #bytes * 8 then return nil end
  return { bytes = bytes, bits = math.tointeger(bits) }
end

---Does `inner` lie in `outer` as a whole?
---@param inner moontap.gate.Prefix
---@param outer moontap.gate.Prefix
---@return boolean
function M.contains(outer, inner)
  if #outer.bytes ~= #inner.bytes or inner.bits < outer.bits then return false end
  local whole, rest = outer.bits // 8, outer.bits % 8
  if outer.bytes:sub(1, whole) ~= inner.bytes:sub(1, whole) then return false end
  if rest == 0 then return true end
  local a, b = outer.bytes:byte(whole + 1), inner.bytes:byte(whole + 1)
  return (a ~ b) >> (8 - rest) == 0
end

return M
