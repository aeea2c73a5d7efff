-- packet: one simulated packet, from what is drawn for it to its bytes.
--
-- A packet is named by its flow, its slot (a second since 1970) and its number
-- within that second. Everything about it follows from these and the seed, so
-- packets are never stored: they are drawn again when they are needed.

local payload = require "moontap.sim.payload"
local rng = require "moontap.sim.rng"

local M = {}

local mix = rng.mix
local pack = string.pack
local tail_sum = payload.tail_sum

local SLOT_STEP <const> = 0xD1B54A32D192ED03
local NUMBER_STEP <const> = 0x9E3779B97F4A7C15
local SECOND_DRAW <const> = 0x8CB92BA72F3D8DD7
local THIRD_DRAW <const> = 0xABC98388FB8FAC03

local TCP <const> = 6
local UDP <const> = 17
local GRE <const> = 47
local GRE_HEADER <const> = pack(">I2I2", 0, 0x0800) -- no checksum, no key; IPv4 inside
local SYN <const> = 2
local EPHEMERAL_LOW <const> = 32768
local EPHEMERAL_COUNT <const> = 28232

-- Seconds that a conversation keeps its ephemeral port, as a shift.
local CONVERSATION_SHIFT <const> = 5

---The site at which a spoofed packet arrives.
local function draw_site(world, draw)
  local at = (draw >> 20 & 0xFFFFFF) / 0x1000000
  for i, site in ipairs(world.sites) do
    if at < site.upto then
      return i
    end
  end
  return #world.sites
end

---A source of its own for a packet of a spoofed pool.
local function spoof(pool, draw)
  local at = (draw >> 1) % pool.total
  for _, prefix in ipairs(pool.prefixes) do
    if at < prefix.size then
      return prefix.base + at, pool.ttl_first - 6 - (draw >> 50) % 17
    end
    at = at - prefix.size
  end
end

local function draw_port(port, key, source, slot)
  if port.fixed then
    return port.fixed
  elseif port.list then
    return port.list[(key & 0xFFFF) * #port.list // 65536 + 1]
  elseif port.how == "random" then
    return 1024 + ((key & 0xFFFF) * 64512 >> 16)
  end
  local conversation = mix((source << 24) ~ (slot >> CONVERSATION_SHIFT << 2) ~ (key & 3))
  return EPHEMERAL_LOW + ((conversation >> 40) * EPHEMERAL_COUNT >> 24)
end

---The key of a packet, from which all its numbers are drawn.
---@param flow table
---@param slot integer
---@param i integer
---@return integer
local function key_of(flow, slot, i)
  return mix(flow.key + slot * SLOT_STEP + i * NUMBER_STEP)
end

---What a filter looks at, and where the packet arrives.
---@return integer source
---@return integer destination
---@return integer|nil source_port nil when the protocol has no ports
---@return integer|nil destination_port
---@return integer site index into the world's sites
---@return integer ttl
local function draw_head(flow, slot, i, world)
  local key = key_of(flow, slot, i)
  local pool = flow.pool
  local source, site, ttl
  if pool.spoofed then
    local draw = mix(key + THIRD_DRAW)
    source, ttl = spoof(pool, draw)
    site = draw_site(world, draw)
  else
    -- squared: some clients are much busier than others
    local u = key >> 40
    local client = ((u * u >> 24) * pool.n >> 24) + 1
    source, site, ttl = pool.addresses[client], pool.sites[client], pool.ttls[client]
  end
  local targets = flow.targets
  local n = #targets
  local destination = n == 1 and targets[1] or targets[((key >> 16 & 0xFFFFFF) * n >> 24) + 1]
  if not flow.port then
    return source, destination, nil, nil, site, ttl
  end
  return source, destination, draw_port(flow.source_port, key, source, slot),
    draw_port(flow.port, key, source, slot), site, ttl
end
M.head = draw_head

---Microseconds since 1970 at which the packet passes.
---@return integer
function M.time(flow, slot, i)
  local draw = mix(key_of(flow, slot, i) + SECOND_DRAW)
  return slot * 1000000 + ((draw >> 44) * 1000000 >> 20)
end

local function header_size(flow, shape)
  if flow.protocol == TCP then
    return shape.flags & SYN ~= 0 and 60 or 52
  end
  return flow.protocol == GRE and 24 or 28
end

---Bytes of the packet from its IP header on.
---@return integer
function M.length(flow, slot, i)
  local draw = mix(key_of(flow, slot, i) + SECOND_DRAW)
  local shape = flow.shapes[draw & 0xFF]
  return header_size(flow, shape) + shape.kind.measure(shape, draw >> 8 & 0xFFFFFF)
end

---The one's complement of SUM folded to 16 bits.
local function finish(sum)
  sum = (sum & 0xFFFF) + (sum >> 16)
  sum = (sum & 0xFFFF) + (sum >> 16)
  return ~sum & 0xFFFF
end

local function words(value)
  return (value >> 16) + (value & 0xFFFF)
end

local function ip_header(protocol, source, destination, ttl, length, id)
  local fragment = protocol == TCP and 0x4000 or 0
  local sum = 0x4500 + length + id + fragment + (ttl << 8 | protocol) + words(source)
    + words(destination)
  return pack(">I2I2I2I2BBI2I4I4", 0x4500, length, id, fragment, ttl, protocol, finish(sum),
    source, destination)
end

local function tcp_header(shape, sport, dport, draw, slot, sum)
  local syn = shape.flags & SYN ~= 0
  local ack_flag = shape.flags & 16 ~= 0
  local seq = draw & 0xFFFFFFFF
  local ack = ack_flag and draw >> 32 or 0
  local offset_flags = (syn and 0xA000 or 0x8000) | shape.flags
  local window = syn and 64240 or 501 + (draw >> 58)
  local stamp = slot * 1000 + (draw >> 48 & 0x3FF) & 0xFFFFFFFF
  local echo = ack_flag and (stamp - (draw >> 40 & 0xFF)) & 0xFFFFFFFF or 0
  sum = sum + sport + dport + words(seq) + words(ack) + offset_flags + window + words(stamp)
    + words(echo)
  if syn then
    sum = sum + 0x0204 + 0x05B4 + 0x0402 + 0x080A + 0x0103 + 0x0307
    return pack(">I2I2I4I4I2I2I2I2I4I4I4I4I4", sport, dport, seq, ack, offset_flags, window,
      finish(sum), 0, 0x020405B4, 0x0402080A, stamp, echo, 0x01030307)
  end
  sum = sum + 0x0101 + 0x080A
  return pack(">I2I2I4I4I2I2I2I2I4I4I4", sport, dport, seq, ack, offset_flags, window,
    finish(sum), 0, 0x0101080A, stamp, echo)
end

local function udp_header(sport, dport, size, sum)
  local checksum = finish(sum + sport + dport + size)
  return pack(">I2I2I2I2", sport, dport, size, checksum == 0 and 0xFFFF or checksum)
end

---An echo request: identifier and sequence number.
local function icmp_header(draw, sum)
  local id, sequence = draw & 0xFFFF, draw >> 16 & 0xFFF
  return pack(">BBI2I2I2", 8, 0, finish(sum + 0x0800 + id + sequence), id, sequence)
end

---The first SNAP bytes of a packet, with checksums over all of it.
---@param world table
---@param flow table
---@param slot integer
---@param i integer
---@param snap integer
---@return string bytes
---@return integer length of the whole packet
function M.build(world, flow, slot, i, snap)
  local source, destination, sport, dport, _, ttl = draw_head(flow, slot, i, world)
  local key = key_of(flow, slot, i)
  local draw = mix(key + SECOND_DRAW)
  local third = mix(key + THIRD_DRAW)
  local shape, protocol = flow.shapes[draw & 0xFF], flow.protocol
  local size, variant = shape.kind.measure(shape, draw >> 8 & 0xFFFFFF)
  local head, sum = shape.kind.head(size, variant, third, slot, shape)
  local tail = size - #head
  local offset = payload.tail_offset(third)
  if tail > 0 then
    sum = sum + tail_sum(world.filler, offset, tail)
  end
  local headers = header_size(flow, shape)
  local length = headers + size
  local transport
  if protocol == TCP then
    sum = sum + words(source) + words(destination) + protocol + length - 20
    transport = tcp_header(shape, sport, dport, third, slot, sum)
  elseif protocol == UDP then
    sum = sum + words(source) + words(destination) + protocol + length - 20
    transport = udp_header(sport, dport, length - 20, sum)
  elseif protocol == GRE then
    transport = GRE_HEADER
  else
    transport = icmp_header(third, sum)
  end
  local bytes = ip_header(protocol, source, destination, ttl, length, draw >> 32 & 0xFFFF)
    .. transport .. head
  local room = snap - #bytes
  if room < 0 then
    return bytes:sub(1, snap), length
  elseif tail > 0 and room > 0 then
    bytes = bytes .. world.filler.bytes:sub(offset + 1, offset + (tail < room and tail or room))
  end
  return bytes, length
end

return M
