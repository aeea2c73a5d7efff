-- simple: simple captures, which look back. Nothing of them is stored but the
-- request: state follows from the clock, packets follow from the window.

local packet = require "moontap.sim.packet"
local pcapfile = require "moontap.sim.pcapfile"
local traffic = require "moontap.sim.traffic"

local M = {}

-- Packets built between two turns that other tasks get.
local TURN <const> = 1000

---The microseconds since 1970 that CAPTURE looks at, both included.
local function window(capture)
  return capture.offset_us - capture.time_limit * 1000000, capture.offset_us
end

local function view_of(state, capture)
  return traffic.view(state.world, capture.filter, { sampled = true })
end

local function is_empty(state, capture)
  if capture.empty == nil then
    local from_us, to_us = window(capture)
    capture.empty = not traffic.any(view_of(state, capture), from_us, to_us, state.pause)
  end
  return capture.empty
end

---@param state moontap.sim.State
---@param capture table
---@return string status
function M.status(state, capture)
  local knobs = state.knobs
  local elapsed = state:elapsed(capture.boot)
  local passed = knobs.simple_ready > 0 and elapsed / knobs.simple_ready or 1
  if passed >= 1 and not knobs.never_finish then
    local failed = knobs.simple_empty == "failed" and is_empty(state, capture)
    return failed and "failed" or knobs.final_status
  elseif knobs.simple_conversion and passed >= 1 / 3 then
    return passed >= 2 / 3 and "conversion_running" or "conversion_pending"
  end
  return knobs.first_status
end

---The capture's file. The same window, filter and limit give the same bytes.
---@param state moontap.sim.State
---@param capture table
---@return string
function M.file(state, capture)
  local view = view_of(state, capture)
  local from_us, to_us = window(capture)
  local names, base = traffic.sample(view, from_us, to_us, capture.packet_limit,
    state.knobs.simple_selection, state.pause)
  local format = pcapfile.format(state.knobs.simple_snaplen, state.knobs)
  local room = pcapfile.room(format)
  local parts = { format.header }
  for k, name in ipairs(names) do
    local flow, slot, i = traffic.open(view, name, base)
    local bytes, length = packet.build(state.world, flow, slot, i, room)
    parts[k + 1] = pcapfile.record(format, packet.time(flow, slot, i), bytes, length)
    if k % TURN == 0 then
      state.pause()
    end
  end
  return table.concat(parts)
end

return M
