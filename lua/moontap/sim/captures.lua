-- captures: the operations on captures, their limits, and what an answer says
-- of a capture.

local clock = require "moontap.clock"
local envelope = require "moontap.sim.envelope"
local filters = require "moontap.sim.filter"
local full = require "moontap.sim.full"
local json = require "moontap.json"
local ownership = require "moontap.sim.ownership"
local refusals = require "moontap.sim.refusals"
local rng = require "moontap.sim.rng"
local simple = require "moontap.sim.simple"
local states = require "moontap.sim.state"
local validate = require "moontap.sim.validate"

local M = {}

local FULL_RETRY_SECONDS <const> = 10
local FILTER_FIELDS <const> = { "source_address", "source_port", "destination_address",
  "destination_port", "protocol" }

---The status of CAPTURE, which a fault may have decided.
local function status_of(state, capture)
  if capture.fate then
    return capture.fate.status
  end
  return (capture.type == "simple" and simple or full).status(state, capture)
end

---What an answer says of CAPTURE.
local function result_of(state, capture)
  local knobs = state.knobs
  local result = {
    id = capture.id,
    type = capture.type,
    system = capture.system,
    status = status_of(state, capture),
    submitted = states.timestamp(capture.submitted_us),
    filter_v1 = capture.filter_v1,
    time_limit = capture.time_limit,
    packet_limit = knobs.echo_packet_limit and capture.packet_limit or nil,
    error_message = capture.fate and capture.fate.error_message,
  }
  if capture.type == "simple" then
    result.offset_time = states.timestamp(capture.offset_us)
    return result
  end
  result.colo_name = knobs.colo_key ~= "colo" and capture.colo_name or nil
  result.colo = knobs.colo_key ~= "colo_name" and capture.colo_name or nil
  result.destination_conf = capture.destination_conf
  result.byte_limit = capture.byte_limit
  result.error_message = result.error_message or capture.error_message
  result.packets_captured = full.packets(capture)
  result.stop_requested = capture.stop_requested_us and states.timestamp(capture.stop_requested_us)
  return result
end

---Checks offset_time against the clock.
---@return integer|nil offset_us nil without one
---@return table|nil refusal
local function check_offset(state, text)
  if not text then
    return nil
  end
  local now = state:now_us()
  local offset = states.parse_time(text)
  if offset < now - state.knobs.offset_age_max * 1e6 then
    return nil, refusals.reply(state.knobs, "offset_old", "/offset_time",
      ("%.0f"):format(state.knobs.offset_age_max))
  elseif offset > now + state.knobs.offset_future_max * 1e6 then
    return nil, refusals.reply(state.knobs, "offset_future", "/offset_time")
  end
  return offset
end

---The limit on simple captures.
---@return table|nil refusal
local function check_simple_limit(state)
  local interval = state.knobs.simple_interval
  local passed = state.last_simple and state:elapsed(state.last_simple) or math.huge
  if passed >= interval then
    return nil
  end
  local reply = refusals.reply(state.knobs, "simple_limit")
  if state.knobs.simple_retry_after then
    reply.headers["Retry-After"] = state:retry_after((interval - passed) / state.speed)
  end
  return reply
end

---How many full captures hold a slot. Looking may let other requests run, so
---it is done again when one of them made a capture meanwhile.
local function count_busy(state)
  local busy, newest
  repeat
    busy, newest = 0, state.newest
    for i = state.oldest, newest do
      local capture = state.captures[i]
      local fate = capture and capture.fate
      if capture and capture.type == "full"
        and (fate and fate.is_busy or not fate and full.is_busy(state, capture)) then
        busy = busy + 1
      end
    end
  until state.newest == newest
  return busy
end

---The limit on full captures.
---@return table|nil refusal
local function check_full_limit(state)
  local slots = state.knobs.full_slots
  if slots == 0 or count_busy(state) < slots then
    return nil
  end
  local reply = refusals.reply(state.knobs, "full_busy")
  if state.knobs.full_busy_retry_after then
    reply.headers["Retry-After"] = state:retry_after(FULL_RETRY_SECONDS / state.speed)
  end
  return reply
end

---Remembers CAPTURE and forgets the oldest one that is too many.
local function keep(state, capture)
  state.newest = state.newest + 1
  state.captures[state.newest] = capture
  state.capture_by_id[capture.id] = capture
  if state.newest - state.oldest >= state.knobs.retention_max then
    state.capture_by_id[state.captures[state.oldest].id] = nil
    state.captures[state.oldest] = nil
    state.oldest = state.oldest + 1
  end
end

---The part of a capture that both types have.
local function new_capture(state, params, filter)
  local filter_v1 = {}
  for _, name in ipairs(FILTER_FIELDS) do
    filter_v1[name] = params.filter_v1 and params.filter_v1[name]
  end
  return {
    id = rng.uuid4(state:draw "capture"),
    type = params.type,
    system = params.system,
    submitted_us = state:now_us(),
    boot = clock.boot(),
    filter_v1 = filter_v1,
    filter = filter,
    time_limit = math.tointeger(params.time_limit),
    packet_limit = math.tointeger(params.packet_limit),
  }
end

---@return table reply
local function create_simple(state, params, filter)
  local offset_us, refusal = check_offset(state, params.offset_time)
  refusal = refusal or check_simple_limit(state)
  if refusal then
    return refusal
  end
  local capture = new_capture(state, params, filter)
  capture.offset_us = offset_us or capture.submitted_us
  state.last_simple = capture.boot
  keep(state, capture)
  return envelope.ok(result_of(state, capture))
end

---@return table reply
local function create_full(state, params, filter)
  local knobs = state.knobs
  local sites = full.sites(state.world, params.colo_name)
  if not sites and knobs.colo_unknown == "reject" then
    return refusals.reply(knobs, "colo_unknown", "/colo_name")
  end
  local place, allowed = ownership.find_validated(state, params.destination_conf)
  if not allowed then
    return refusals.reply(knobs, "bucket_unvalidated", "/destination_conf")
  end
  local refusal = check_full_limit(state)
  if refusal then
    return refusal
  end
  local capture = new_capture(state, params, filter)
  capture.colo_name = params.colo_name
  capture.destination_conf = (knobs.echo_secrets or not place) and params.destination_conf
    or place.conf
  capture.bucket = place
  capture.byte_limit = math.tointeger(params.byte_limit)
  full.open(state, capture, sites or {})
  keep(state, capture)
  return envelope.ok(result_of(state, capture))
end

---POST /pcaps
---@param state moontap.sim.State
---@param params table
---@return table reply
function M.create(state, params)
  local problems = validate.problems("create", params)
  local filter
  if not problems then
    filter, problems = filters.compile(params.filter_v1, state.knobs)
  end
  if problems then
    return refusals.invalid(problems)
  end
  return (params.type == "simple" and create_simple or create_full)(state, params, filter)
end

-- Is it so old that the API has forgotten it?
local function is_forgotten(state, capture)
  local retention = state.knobs.retention
  return retention > 0 and state:elapsed(capture.boot) > retention
end

---GET /pcaps
---@param state moontap.sim.State
---@return table reply
function M.list(state)
  local knobs = state.knobs
  local chosen, total = {}, state.newest - state.oldest + 1
  local last = math.max(state.oldest, state.newest - knobs.list_max + 1)
  if knobs.list_order == "newest" then
    for i = state.newest, last, -1 do
      chosen[#chosen + 1] = state.captures[i]
    end
  else
    table.move(state.captures, last, state.newest, 1, chosen)
  end
  local results = json.array {}
  for _, capture in ipairs(chosen) do
    if not is_forgotten(state, capture) then
      results[#results + 1] = result_of(state, capture)
    end
  end
  local info = { count = #results, page = 1, per_page = knobs.list_max, total_count = total }
  return envelope.ok((#results > 0 or not knobs.list_null) and results or nil, info)
end

---A finished capture that nobody asked for, for clients whose tests ask about
---ids of their own.
local function invent(state, id)
  local params = { type = "simple", system = "magic-transit", time_limit = 300,
                   packet_limit = 10000 }
  local capture = new_capture(state, params, assert(filters.compile(nil, state.knobs)))
  capture.id, capture.offset_us = id, capture.submitted_us
  capture.boot = capture.boot - state.knobs.simple_ready / state.speed
  return capture
end

---@return table|nil capture
---@return table|nil refusal
local function find(state, id)
  local capture = state.capture_by_id[id]
  if capture and is_forgotten(state, capture) then
    capture = nil
  end
  if not capture and state.knobs.invent_ids then
    capture = invent(state, id)
  end
  if not capture then
    return nil, refusals.reply(state.knobs, "capture_unknown")
  end
  return capture
end

---GET /pcaps/{pcap_id}
---@param state moontap.sim.State
---@param id string
---@return table reply
function M.get(state, _, id)
  local capture, refusal = find(state, id)
  return capture and envelope.ok(result_of(state, capture)) or refusal
end

---PUT /pcaps/{pcap_id}/stop
---@param state moontap.sim.State
---@param id string
---@return table reply
function M.stop(state, _, id)
  local knobs = state.knobs
  local capture = state.capture_by_id[id]
  if not capture or is_forgotten(state, capture) then
    return knobs.invent_ids and envelope.empty() or refusals.reply(knobs, "capture_unknown")
  end
  if capture.fate and capture.fate.is_busy then
    capture.fate = nil
  end
  if capture.type == "full" and full.stop(state, capture) then
    return envelope.empty()
  end
  local name = capture.type == "simple" and "stop_simple" or "stop_finished"
  if knobs[name .. "_status"] < 300 then
    return envelope.empty()
  end
  return refusals.reply(knobs, name)
end

---GET /pcaps/{pcap_id}/download
---@param state moontap.sim.State
---@param id string
---@return table reply
function M.download(state, _, id)
  local capture, refusal = find(state, id)
  if refusal then
    return refusal
  elseif capture.type ~= "simple" then
    return refusals.reply(state.knobs, "download_full")
  end
  local status = status_of(state, capture)
  if status == "failed" then
    return refusals.reply(state.knobs, "download_failed")
  elseif status ~= state.knobs.final_status then
    return refusals.reply(state.knobs, "download_unready")
  end
  return envelope.pcap(simple.file(state, capture))
end

return M
