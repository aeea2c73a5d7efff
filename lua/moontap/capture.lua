-- capture: reads what a capture file says of itself: how many packets there are, from when to
-- when. Files of the classic pcap format, either byte order, micro- or nanoseconds.

local effects = require "moontap.effects"
local errors = require "moontap.errors"

local M = {}

local MAGICS <const> = {
  ["\xd4\xc3\xb2\xa1"] = { order = "<", fraction = 1e-6 },
  ["\xa1\xb2\xc3\xd4"] = { order = ">", fraction = 1e-6 },
  ["\x4d\x3c\xb2\xa1"] = { order = "<", fraction = 1e-9 },
  ["\xa1\xb2\x3c\x4d"] = { order = ">", fraction = 1e-9 },
}
local HEADER_SIZE <const> = 24
local RECORD_SIZE <const> = 16
local CAPTURED_MAX <const> = 1 << 18

---@class moontap.CaptureFile
---@field path string
---@field packets integer records in the file
---@field bytes integer size of the file
---@field first number|nil time of the first packet, seconds since 1970
---@field last number|nil
---@field snaplen integer
---@field link_type integer

local function fail(path, format, ...)
  return nil, errors.new("io", path .. ": " .. format:format(...))
end

-- Walks the records behind the header.
local function walk(handle, file, magic)
  local layout = magic.order .. "I4I4I4I4"
  while true do
    local head = handle:read(RECORD_SIZE)
    if not head then return file end
    if #head < RECORD_SIZE then
      return fail(file.path, "record %d is cut short", file.packets + 1)
    end
    local seconds, fraction, captured = layout:unpack(head)
    if captured > CAPTURED_MAX then
      return fail(file.path, "record %d claims %d bytes", file.packets + 1, captured)
    end
    local data = handle:read(captured)
    if captured > 0 and (not data or #data < captured) then
      return fail(file.path, "record %d is cut short", file.packets + 1)
    end
    file.packets = file.packets + 1
    file.last = seconds + fraction * magic.fraction
    file.first = file.first or file.last
  end
end

local function open(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, errors.new("io", why) end
  local _ <close> = handle
  local header = handle:read(HEADER_SIZE) or ""
  local magic = MAGICS[header:sub(1, 4)]
  if not magic or #header < HEADER_SIZE then return fail(path, "this is no pcap file") end
  local snaplen, link_type = (magic.order .. "I4I4"):unpack(header, 17)
  local file = { path = path, packets = 0, bytes = handle:seek "end", snaplen = snaplen,
                 link_type = link_type & 0x0fffffff }
  handle:seek("set", HEADER_SIZE)
  return walk(handle, file, magic)
end

local call = effects.define("capture.open", open)

---Reads a capture file.
---@param path string
---@return moontap.CaptureFile|nil file
---@return table|nil err
---
---     local file = assert(moontap.capture.open "first.pcap")
---     print(file.packets, file.bytes)
function M.open(path)
  return call(path)
end

return M
