-- payload: what simulated packets carry.
--
-- A payload is a short head, made for the packet, and a tail cut from one long
-- random string whose checksums are known in advance; so a packet of any size
-- costs the same. A head that is followed by a tail has an even length.

local rng = require "moontap.sim.rng"

local M = {}

local byte = string.byte
local pack = string.pack

local FILLER_SIZE <const> = 4096
local NTP_EPOCH <const> = 2208988800

---The sum of the 16-bit words of BYTES, as Internet checksums want it.
---@param bytes string
---@return integer
local function sum16(bytes)
  local total, n = 0, #bytes
  for i = 1, n - 1, 2 do
    local high, low = byte(bytes, i, i + 1)
    total = total + (high << 8) + low
  end
  if n % 2 == 1 then
    total = total + (byte(bytes, n) << 8)
  end
  return total
end
M.sum16 = sum16

---The string that tails are cut from, with sums[k] of its first k words.
---@param key integer
---@return {bytes: string, sums: integer[]}
function M.filler(key)
  local bytes = rng.bytes(key, FILLER_SIZE)
  local sums, total = { [0] = 0 }, 0
  for k = 1, FILLER_SIZE // 2 do
    local high, low = byte(bytes, 2 * k - 1, 2 * k)
    total = total + (high << 8) + low
    sums[k] = total
  end
  return { bytes = bytes, sums = sums }
end

---Where the tail of a packet starts in the filler: even, and with room for
---the longest payload behind it.
---@param draw integer
---@return integer
function M.tail_offset(draw)
  return (draw & 0x3FF) * 2
end

---Sum of LEN bytes of FILLER from even OFFSET on.
---@param filler table
---@param offset integer
---@param len integer
---@return integer
function M.tail_sum(filler, offset, len)
  local first, words = offset // 2, len // 2
  local total = filler.sums[first + words] - filler.sums[first]
  if len % 2 == 1 then
    total = total + (byte(filler.bytes, offset + len) << 8)
  end
  return total
end

local function dns_name(name)
  return (name:gsub("([^.]+)%.?", function(label)
    return pack("s1", label)
  end)) .. "\0"
end

local DNS_TYPES <const> = { 1, 1, 1, 28, 28, 65, 15, 16 }
local DNS_NAMES <const> = { "www.example.com", "example.com", "mail.example.com",
  "api.example.com", "static.example.com", "ns1.example.com", "shop.example.com",
  "_dmarc.example.com" }

---Each template lacks its first two bytes, the transaction's id.
local function dns_templates(flags, answer)
  local templates = {}
  for _, name in ipairs(DNS_NAMES) do
    for _, qtype in ipairs(DNS_TYPES) do
      local question = dns_name(name) .. pack(">I2I2", qtype, 1)
      local record = answer and pack(">I2I2I2I4s2", 0xC00C, 1, 1, 300, "\xC6\x33\x64\x07") or ""
      local rest = pack(">I2I2I2I2I2", flags, 1, answer and 1 or 0, 0, 1) .. question .. record
        .. pack(">BI2I2I4I2", 0, 41, 1232, 0, 0)
      templates[#templates + 1] = { bytes = rest, sum = sum16(rest) }
    end
  end
  return templates
end

local function template_kind(templates)
  return {
    -- Returns the size of the payload and which variant it is.
    measure = function(_, draw)
      local variant = templates[draw % #templates + 1]
      return #variant.bytes + 2, variant
    end,
    head = function(_, variant, draw)
      local id = draw & 0xFFFF
      return pack(">I2", id) .. variant.bytes, id + variant.sum
    end,
  }
end

local function measure_range(shape, draw)
  return shape.least + ((draw & 0xFFFF) * shape.spread >> 16)
end

local function no_head()
  return "", 0
end

---An application data record of TLS; its sixth byte starts the nonce.
local function tls_head(len)
  if len < 6 then
    return "", 0
  end
  local rest = len - 5
  return pack(">BI2I2B", 0x17, 0x0303, rest, 0),
    0x1703 + 0x0300 + (rest >> 8) + ((rest & 0xFF) << 8)
end

---A long header (Initial, version 1) on packets as large as those that open a
---connection, else a short one.
local function quic_head(len, _, draw)
  if len >= 1200 then
    return "\xC3\0\0\0\1\8", 0xC300 + 0x0108
  end
  local first = 0x4000 | (draw & 0x1FFF)
  return pack(">I2", first), first
end

---The answer of a time server (stratum 2) at second NOW.
local function ntp_head(_, _, draw, now)
  local seconds = now + NTP_EPOCH & 0xFFFFFFFF
  local bytes = pack(">BBBBI4I4I4I4I4I4I4I4I4I4I4", 0x24, 2, 6, 0xEC, 0x0120, 0x0340,
    0xC0000201, seconds - 600, draw & 0xFFFFFFFF, seconds, draw >> 32, seconds, draw >> 20
    & 0xFFFFFFFF, seconds, draw >> 18 & 0xFFFFFFFF)
  return bytes, sum16(bytes)
end

---The pattern that ping sends.
local function echo_head(len)
  local bytes = {}
  for i = 1, len do
    bytes[i] = string.char(i - 1 & 0xFF)
  end
  local head = table.concat(bytes)
  return head, sum16(head)
end

local LARGE_NAME <const> = "\7example\3com\0"

---A DNS answer with one large key in it; what follows is the key.
local function dns_large_head(len, _, draw)
  local head = pack(">I2I2I2I2I2I2", draw & 0xFFFF, 0x8580, 1, 1, 0, 0) .. LARGE_NAME
    .. pack(">I2I2", 255, 1)
  local room = len - #head - 16
  head = head .. pack(">I2I2I2I4I2I2BB", 0xC00C, 48, 1, 3600, room, 0x0101, 3, 8)
  if #head % 2 == 1 then
    head = head .. "\3" -- a head that a tail follows has an even length
  end
  return head, sum16(head)
end

local INNER_TTL <const> = 63

---The one's complement of SUM folded to 16 bits.
local function fold(sum)
  while sum > 0xFFFF do
    sum = (sum & 0xFFFF) + (sum >> 16)
  end
  return ~sum & 0xFFFF
end

---The header of a packet inside a tunnel, and its addresses.
local function inner_header(len, draw, inner, protocol)
  local source = inner.source + (draw >> 8) % inner.source_size
  local destination = inner.destination + (draw >> 24) % inner.destination_size
  local bytes = pack(">I2I2I2I2BBI2I4I4", 0x4500, len, draw & 0xFFFF, 0, INNER_TTL, protocol, 0,
    source, destination)
  return bytes:sub(1, 10) .. pack(">I2", fold(sum16(bytes))) .. bytes:sub(13), source, destination
end

---UDP in a tunnel, without a checksum, as IPv4 allows.
local function inner_udp_head(len, _, draw, _, shape)
  local port = 32768 + (draw >> 40 & 0x3FFF)
  return inner_header(len, draw, shape.inner, 17) .. pack(">I2I2I2I2", port, shape.inner_port,
    len - 20, 0), 0
end

---A TCP acknowledgement in a tunnel.
local function inner_tcp_head(len, _, draw, _, shape)
  local bytes, source, destination = inner_header(len, draw, shape.inner, 6)
  local port = 32768 + (draw >> 40 & 0x3FFF)
  local segment = pack(">I2I2I4I4I2I2I2I2", port, shape.inner_port, draw & 0xFFFFFFFF, draw >> 32,
    0x5010, 501, 0, 0)
  local sum = fold(sum16(segment .. pack(">I4I4I2I2", source, destination, 6, #segment)))
  return bytes .. segment:sub(1, 16) .. pack(">I2", sum) .. segment:sub(19), 0
end

---@type table<string, {measure: function, head: function, least?: integer, is_inner?: boolean}>
M.kinds = {
  none = { measure = function() return 0 end, head = no_head },
  random = { measure = measure_range, head = no_head },
  tls = { measure = measure_range, head = tls_head },
  quic = { measure = measure_range, head = quic_head },
  dns_query = template_kind(dns_templates(0x0100, false)),
  dns_answer = template_kind(dns_templates(0x8180, true)),
  ntp = { measure = function() return 48 end, head = ntp_head },
  echo = { measure = measure_range, head = echo_head },
  dns_large = { measure = measure_range, head = dns_large_head, least = 64 },
  inner_udp = { measure = measure_range, head = inner_udp_head, least = 28, is_inner = true },
  inner_tcp = { measure = measure_range, head = inner_tcp_head, least = 40, is_inner = true },
}

return M
