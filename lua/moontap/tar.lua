-- tar: writes archives in the ustar format, file by file.

local M = {}

local BLOCK <const> = 512
local NAME_MAX <const> = 100
local DIR_MAX <const> = 155
local SIZE_MAX <const> = 1 << 33
local MODE <const> = "0000600\0"
local NOBODY <const> = "0000000\0"

local function field(text, size)
  return text .. ("\0"):rep(size - #text)
end

local function header(dir, name, size, mtime)
  local front = field(name, NAME_MAX) .. MODE .. NOBODY .. NOBODY
    .. ("%011o\0%011o\0"):format(size, math.max(0, mtime // 1 | 0))
  local back = field("0", 1 + 100) .. "ustar\00000" .. ("\0"):rep(32 + 32) .. NOBODY .. NOBODY
    .. field(dir, DIR_MAX) .. ("\0"):rep(12)
  local sum = 8 * 32 -- the sum itself counts as spaces
  for _, part in ipairs { front, back } do
    for i = 1, #part do sum = sum + part:byte(i) end
  end
  return front .. ("%06o\0 "):format(sum) .. back
end

---One file as it stands in an archive.
---@param dir string
---@param name string
---@param data string
---@param mtime number since 1970
---@return string
--- Raises when a name or the file is too long for the format.
function M.file(dir, name, data, mtime)
  assert(#name > 0 and #name <= NAME_MAX and #dir <= DIR_MAX, "the name is too long for an archive")
  assert(#data < SIZE_MAX, "the file is too long for an archive")
  return header(dir, name, #data, mtime) .. data .. ("\0"):rep(-#data % BLOCK)
end

---What stands at the end of an archive.
---@type string
M.END = ("\0"):rep(2 * BLOCK)

return M
