-- traffic: which packets a scenario has in a stretch of time.
--
-- Time is cut into slots of one second. How many packets a flow has in a slot
-- follows from the seed; each is named by a number, and only what a filter
-- lets through is ever looked at closely. A simple capture sees every n-th
-- packet of what a full one sees.

local attacks = require "moontap.sim.attacks"
local packet = require "moontap.sim.packet"
local rng = require "moontap.sim.rng"

local M = {}

local is_active = attacks.is_active
local mix = rng.mix
local packet_time = packet.time

local SLOT_US <const> = 1000000
local DAY <const> = 86400
local BUSIEST <const> = 0.625  -- of a day: three in the afternoon, UTC
local NOISE_STEP <const> = 0xA0761D6478BD642F
local FLOW_SHIFT <const> = 28
local NUMBER_MASK <const> = (1 << FLOW_SHIFT) - 1
-- Packets looked at between two turns that other tasks get.
local TURN <const> = 5000

---How busy SLOT is compared with the busiest time of day.
local function day_factor(world, slot)
  local away = math.abs((slot % DAY) / DAY - BUSIEST)
  if away > 0.5 then
    away = 1 - away
  end
  return 1 - world.day * away * 2
end

---The number of packets of FLOW in SLOT, and a number drawn for both.
local function count(flow, slot, factor)
  local noise = mix(flow.key ~ slot * NOISE_STEP)
  if flow.times then
    if not is_active(flow.times, slot) then
      return 0, noise
    end
    factor = 1
  end
  local spread = 0.7 + 0.6 * (noise >> 11 & 0x1FFFFF) / 0x200000
  return math.floor(flow.pps * factor * spread + (noise >> 43) / 0x200000), noise
end

local function in_prefix(value, base, size)
  return value & ~(size - 1) == base
end

local function any_in_prefix(set, base, size)
  if size == 1 then
    return set[base] ~= nil
  end
  for value in pairs(set) do
    if in_prefix(value, base, size) then
      return true
    end
  end
  return false
end

---Whether some packet of FLOW can pass FILTER at all.
local function can_match(flow, filter)
  if filter.nothing or (filter.protocol and filter.protocol ~= flow.protocol) then
    return false
  end
  if filter.destination
    and not any_in_prefix(flow.targets_known, filter.destination, filter.destination_size) then
    return false
  end
  if filter.source and not flow.pool.spoofed
    and not any_in_prefix(flow.pool.known, filter.source, filter.source_size) then
    return false
  end
  local function can_have(ports, wanted)
    return not wanted or (ports ~= nil and (not ports.list or ports.known[wanted]))
  end
  return can_have(flow.source_port, filter.source_port)
    and can_have(flow.port, filter.destination_port)
end

---Whether every packet of FLOW, which can match, passes FILTER.
local function must_match(flow, filter)
  local function settled(port, wanted)
    return not wanted or port.fixed ~= nil
  end
  return (not filter.destination or #flow.targets == 1)
    and not filter.source
    and (not flow.port or settled(flow.port, filter.destination_port)
      and settled(flow.source_port, filter.source_port))
end

---A look at the traffic of WORLD through FILTER.
---@param world table
---@param filter moontap.sim.Filter
---@param options {sampled?: boolean, sites?: table<integer, boolean>}
---@return table view
function M.view(world, filter, options)
  local view = { world = world, filter = filter, sites = options.sites,
                 step = options.sampled and world.sampling or 1, flows = {} }
  for _, flow in ipairs(world.flows) do
    if can_match(flow, filter) then
      view.flows[#view.flows + 1] = { flow = flow,
                                      all = not view.sites and must_match(flow, filter) }
    end
  end
  return view
end

local function matches(view, flow, slot, i)
  local filter = view.filter
  local source, destination, sport, dport, site = packet.head(flow, slot, i, view.world)
  return (not view.sites or view.sites[site])
    and (not filter.source or in_prefix(source, filter.source, filter.source_size))
    and (not filter.destination
      or in_prefix(destination, filter.destination, filter.destination_size))
    and (not filter.source_port or sport == filter.source_port)
    and (not filter.destination_port or dport == filter.destination_port)
end

---Appends the packets of SLOT that VIEW shows to OUT, each as one number made
---of the slot's distance from BASE, the flow and the packet's number.
---@param view table
---@param slot integer
---@param base integer
---@param out integer[]
---@param pause? fun() called now and then
local function append_slot(view, slot, base, out, pause)
  local factor = day_factor(view.world, slot)
  local step, n, looked = view.step, #out, 0
  for _, entry in ipairs(view.flows) do
    local flow = entry.flow
    local total, noise = count(flow, slot, factor)
    local name = (slot - base) << 36 | flow.index << FLOW_SHIFT
    local all = entry.all
    for i = (noise & 0x7FFFFFFF) % step, total - 1, step do
      if all or matches(view, flow, slot, i) then
        n = n + 1
        out[n] = name | i
      end
      looked = looked + 1
      if looked == TURN then
        looked = 0
        if pause then pause() end
      end
    end
  end
end

---Takes the number of a packet apart.
---@return table flow
---@return integer slot
---@return integer i
function M.open(view, name, base)
  return view.world.flows[name >> FLOW_SHIFT & 0xFF], base + (name >> 36), name & NUMBER_MASK
end

---The packets of one slot in the order of time: their times and names.
---@param view table
---@param slot integer
---@param pause? fun()
---@return integer[] times microseconds since 1970
---@return integer[] names based on the slot itself
function M.slot(view, slot, pause)
  local names = {}
  append_slot(view, slot, slot, names, pause)
  local keys = {}
  for k, name in ipairs(names) do
    local flow, _, i = M.open(view, name, slot)
    keys[k] = (packet_time(flow, slot, i) - slot * SLOT_US) << 36 | k
  end
  table.sort(keys)
  local times, ordered = {}, {}
  for k, key in ipairs(keys) do
    times[k] = slot * SLOT_US + (key >> 36)
    ordered[k] = names[key & 0xFFFFFFFFF]
  end
  return times, ordered
end

---Drops the packets of an edge slot that lie outside of the window.
local function trim(view, names, base, from_us, to_us)
  local kept = {}
  for _, name in ipairs(names) do
    local flow, slot, i = M.open(view, name, base)
    local at = packet_time(flow, slot, i)
    if at >= from_us and at <= to_us then
      kept[#kept + 1] = name
    end
  end
  return kept
end

---All packets from FROM_US to TO_US, both included, ordered by slot only.
---@return integer[] names
---@return integer base
local function window(view, from_us, to_us, pause)
  local base, last = from_us // SLOT_US, to_us // SLOT_US
  local names, since = {}, 0
  for slot = base, last do
    if slot == base or slot == last then
      local edge = {}
      append_slot(view, slot, base, edge, pause)
      edge = trim(view, edge, base, from_us, to_us)
      table.move(edge, 1, #edge, #names + 1, names)
    else
      append_slot(view, slot, base, names, pause)
    end
    if #names - since >= TURN then
      since = #names
      if pause then pause() end
    end
  end
  return names, base
end

---Sorts NAMES by time.
local function in_order(view, names, base)
  local keys = {}
  for k, name in ipairs(names) do
    local flow, slot, i = M.open(view, name, base)
    keys[k] = packet_time(flow, slot, i) - base * SLOT_US << 24 | k
  end
  table.sort(keys)
  local ordered = {}
  for k, key in ipairs(keys) do
    ordered[k] = names[key & 0xFFFFFF]
  end
  return ordered
end

---Keeps LIMIT of NAMES: evenly spread over the window, or the first or last.
local function thin(view, names, base, limit, selection)
  local total = #names
  if selection ~= "spread" then
    local ordered = in_order(view, names, base)
    local first = selection == "first" and 1 or total - limit + 1
    return table.move(ordered, first, first + limit - 1, 1, {})
  end
  local kept = {}
  for k = 0, limit - 1 do
    kept[k + 1] = names[k * total // limit + 1]
  end
  return in_order(view, kept, base)
end

---At most LIMIT packets of a window, in the order of time.
---@param view table
---@param from_us integer
---@param to_us integer
---@param limit integer
---@param selection "spread"|"first"|"last"
---@param pause? fun()
---@return integer[] names
---@return integer base
function M.sample(view, from_us, to_us, limit, selection, pause)
  local names, base = window(view, from_us, to_us, pause)
  if #names > limit then
    return thin(view, names, base, limit, selection), base
  end
  return in_order(view, names, base), base
end

---Whether a window has any packet.
---@return boolean
function M.any(view, from_us, to_us, pause)
  local base, last = from_us // SLOT_US, to_us // SLOT_US
  for slot = base, last do
    local names = {}
    append_slot(view, slot, base, names, pause)
    if #trim(view, names, base, from_us, to_us) > 0 then
      return true
    end
  end
  return false
end

return M
