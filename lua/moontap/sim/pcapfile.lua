-- pcapfile: classic pcap files.

local M = {}

local pack = string.pack

local LINK_TYPES <const> = { raw = 101, ethernet = 1 }
-- What precedes the IP header on Ethernet: made-up router addresses, IPv4.
local ETHERNET <const> = "\2\0\0\0\0\1\2\0\0\0\0\2\8\0"

---@class moontap.sim.PcapFormat
---@field snaplen integer bytes kept of each packet
---@field prefix string what precedes each IP header
---@field record string format of a record's header
---@field header string the file's header
---@field fraction integer time stamp units in a microsecond

---@param snaplen integer
---@param knobs table link_type, byte_order, precision
---@return moontap.sim.PcapFormat
function M.format(snaplen, knobs)
  local order = knobs.byte_order == "big" and ">" or "<"
  local nano = knobs.precision == "nano"
  return {
    snaplen = snaplen,
    prefix = knobs.link_type == "ethernet" and ETHERNET or "",
    record = order .. "I4I4I4I4",
    header = pack(order .. "I4I2I2i4I4I4I4", nano and 0xA1B23C4D or 0xA1B2C3D4, 2, 4, 0, 0,
      snaplen, LINK_TYPES[knobs.link_type]),
    fraction = nano and 1000 or 1,
  }
end

---One record.
---@param format moontap.sim.PcapFormat
---@param us integer microseconds since 1970
---@param bytes string of the packet, not longer than the snaplen lets be
---@param length integer of the whole packet
---@return string
function M.record(format, us, bytes, length)
  local prefix = format.prefix
  return pack(format.record, us // 1000000, us % 1000000 * format.fraction, #bytes + #prefix,
    length + #prefix) .. prefix .. bytes
end

---Bytes of a packet itself that fit a record.
---@param format moontap.sim.PcapFormat
---@return integer
function M.room(format)
  return math.max(format.snaplen - #format.prefix, 0)
end

return M
