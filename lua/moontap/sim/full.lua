-- full: full captures, which run. Their traffic is looked at when somebody
-- asks about them, up to that moment; the files are written once it is over.
--
-- All times in here are seconds of the API since the request, so that a
-- compressed simulator sees the packets of the whole capture; time stamps in
-- the files are compressed too, and never lie ahead of the clock.

local bucket = require "moontap.sim.bucket"
local packet = require "moontap.sim.packet"
local pcapfile = require "moontap.sim.pcapfile"
local rng = require "moontap.sim.rng"
local traffic = require "moontap.sim.traffic"

local M = {}

local NO_PACKETS <const> = "No packets matched the filter within the time limit."
-- Packets built between two turns that other tasks get.
local TURN <const> = 1000

---The indices of the sites that NAME, a site or a metro, stands for.
---@param world table
---@param name string
---@return table<integer, boolean>|nil
function M.sites(world, name)
  local found = {}
  for i, site in ipairs(world.sites) do
    if site.name == name:lower() or site.metro == name:upper() then
      found[i] = true
    end
  end
  return next(found) and found or nil
end

---Starts CAPTURE.
---@param state moontap.sim.State
---@param capture table
---@param sites table<integer, boolean>
function M.open(state, capture, sites)
  capture.view = traffic.view(state.world, capture.filter, { sites = sites })
  capture.base = capture.submitted_us // 1000000
  capture.slot = capture.base        -- the next slot to look at
  capture.queue, capture.at = {}, 0  -- packets of the last slot, and how many are used up
  capture.times = {}
  capture.kept, capture.bytes = {}, 0
  capture.byte_max = math.min(capture.byte_limit or math.maxinteger, state.knobs.full_bytes_max)
  capture.starts = state.knobs.full_pending
  capture.ends = capture.starts + capture.time_limit
end

---Seconds since the request at which a packet of time US passes.
local function seconds_at(capture, us)
  return (us - capture.submitted_us) / 1e6
end

---Counts one packet; true when a limit is reached.
local function take(capture, name, us)
  local view, slot = capture.view, us // 1000000
  local flow, _, i = traffic.open(view, name, slot)
  local length = packet.length(flow, slot, i)
  if capture.bytes + length > capture.byte_max then
    return true
  end
  capture.bytes = capture.bytes + length
  capture.kept[#capture.kept + 1] = name | (slot - capture.base) << 36
  return #capture.kept == capture.packet_limit
end

---Looks at the traffic up to UPTO seconds after the request. Returns the
---second at which a limit was reached, or nil.
local function look(state, capture, upto)
  local first_us = capture.submitted_us + math.floor(capture.starts * 1e6)
  local last_us = capture.submitted_us + math.floor(upto * 1e6)
  while true do
    while capture.at < #capture.queue and capture.times[capture.at + 1] <= last_us do
      capture.at = capture.at + 1
      local us = capture.times[capture.at]
      if us >= first_us and take(capture, capture.queue[capture.at], us) then
        return seconds_at(capture, us)
      end
    end
    if capture.at < #capture.queue or capture.slot * 1000000 > last_us then
      return nil
    end
    capture.times, capture.queue = traffic.slot(capture.view, capture.slot, state.pause)
    capture.at = 0
    capture.slot = capture.slot + 1
    if capture.slot % 16 == 0 then
      state.pause()
    end
  end
end

---Sets a flag of CAPTURE until the block is left, be it by an error.
local function while_set(capture, flag)
  capture[flag] = true
  return setmetatable({}, { __close = function() capture[flag] = false end })
end

---Brings CAPTURE up to the present. One at a time: the others take what they
---find.
local function advance(state, capture)
  if capture.over or capture.looking then
    return
  end
  local looking <close> = while_set(capture, "looking") -- luacheck: ignore looking
  local now = state:elapsed(capture.boot)
  local ends = math.min(capture.ends, capture.stopped or math.huge)
  local reached
  if ends > capture.starts then
    reached = look(state, capture, math.min(now, ends))
  end
  ends = math.min(capture.ends, capture.stopped or math.huge)
  if reached or now >= ends then
    capture.over = reached or ends
    capture.queue, capture.times = {}, {}
  end
end

---Stamp in the files of a packet that passed at US.
local function stamp(state, capture, us)
  return capture.submitted_us + math.floor((us - capture.submitted_us) / state.speed)
end

---The server of SITE that sees a conversation.
local function server_of(site, source, destination, sport, dport)
  local key = rng.mix(source << 32 ~ destination ~ (sport or 0) << 16 ~ (dport or 0))
  return ("%s-%02d"):format(site.name, (key >> 1) % site.servers + 1)
end

---Writes the files: one for each server that saw a packet.
---@return string|nil problem
local function write_files(state, capture)
  local format = pcapfile.format(state.knobs.full_snaplen, state.knobs)
  local room = pcapfile.room(format)
  local files = bucket.open_files(state, capture.bucket, function(server)
    return (state.knobs.file_name:gsub("{(%w+)}", { id = capture.id, server = server }))
  end, format.header)
  for k, name in ipairs(capture.kept) do
    local flow, slot, i = traffic.open(capture.view, name, capture.base)
    local source, destination, sport, dport, site = packet.head(flow, slot, i, state.world)
    local bytes, length = packet.build(state.world, flow, slot, i, room)
    local server = server_of(state.world.sites[site], source, destination, sport, dport)
    files:add(server, pcapfile.record(format, stamp(state, capture, packet.time(flow, slot, i)),
      bytes, length))
    if k % TURN == 0 then
      state.pause()
    end
  end
  return files:finish()
end

---Ends CAPTURE for good.
local function finish(state, capture)
  local finishing <close> = while_set(capture, "finishing") -- luacheck: ignore finishing
  capture.packets = #capture.kept
  if capture.packets == 0 then
    capture.error_message = NO_PACKETS
  elseif capture.bucket then
    capture.error_message = write_files(state, capture)
  end
  capture.kept = {}
  capture.result = capture.error_message and "failed" or state.knobs.final_status
end

---@param state moontap.sim.State
---@param capture table
---@return string status
function M.status(state, capture)
  if capture.result then
    return capture.result
  end
  advance(state, capture)
  local knobs = state.knobs
  local now = state:elapsed(capture.boot)
  if not capture.over then
    return now < capture.starts and knobs.first_status or "running"
  end
  local since = now - capture.over
  if since < knobs.full_conversion_pending then
    return "conversion_pending"
  elseif since < knobs.full_conversion_pending + knobs.full_conversion_running
    or knobs.never_finish or capture.finishing then
    return capture.result or "conversion_running"
  end
  finish(state, capture)
  return capture.result
end

---Packets seen so far.
---@param capture table
---@return integer
function M.packets(capture)
  return capture.packets or #capture.kept
end

---Whether CAPTURE still holds its slot.
---@param state moontap.sim.State
---@param capture table
---@return boolean
function M.is_busy(state, capture)
  M.status(state, capture)
  if state.knobs.full_busy_until == "finished" then
    return capture.result == nil
  end
  return capture.over == nil
end

---Ends CAPTURE early. Returns false when it is finished already.
---@param state moontap.sim.State
---@param capture table
---@return boolean
function M.stop(state, capture)
  M.status(state, capture)
  if capture.result then
    return false
  end
  if not capture.over and not capture.stopped then
    capture.stopped = state:elapsed(capture.boot)
    capture.stop_requested_us = state:now_us()
  end
  return true
end

return M
