-- gzip: bytes in the format of RFC 1952, stored and not compressed: what matters to a client is
-- that it has to unpack them.

local M = {}

local BLOCK <const> = 65535
local POLYNOMIAL <const> = 0xEDB88320

local TABLE = {}
for n = 0, 255 do
  local c = n
  for _ = 1, 8 do
    c = c & 1 == 1 and POLYNOMIAL ~ c >> 1 or c >> 1
  end
  TABLE[n] = c
end

local function crc32(bytes)
  local crc = 0xFFFFFFFF
  for i = 1, #bytes do
    crc = TABLE[(crc ~ bytes:byte(i)) & 0xFF] ~ crc >> 8
  end
  return crc ~ 0xFFFFFFFF
end

---@param bytes string
---@return string
function M.pack(bytes)
  local parts = { "\x1f\x8b\8\0\0\0\0\0\0\3" }
  local at = 1
  repeat
    local block = bytes:sub(at, at + BLOCK - 1)
    at = at + BLOCK
    parts[#parts + 1] = ("<BI2I2"):pack(at > #bytes and 1 or 0, #block, ~#block & 0xFFFF) .. block
  until at > #bytes
  parts[#parts + 1] = ("<I4I4"):pack(crc32(bytes), #bytes & 0xFFFFFFFF)
  return table.concat(parts)
end

return M
