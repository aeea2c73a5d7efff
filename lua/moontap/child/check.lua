-- check: whether a frame from a playbook's process is one that it may send now. The process is
-- not trusted: what is not expected here ends it.

local json = require "moontap.json"
local protocol = require "moontap.child.protocol"

local M = {}

local TEXT_MAX <const> = 16384 -- of an error's message or traceback

local CALL <const> = { id = true, call = true, args = true }
local DROP <const> = { id = true, drop = true }
local IDLE <const> = { idle = true, seen = true }
local DONE <const> = { done = true, values = true, err = true }

local function only(frame, known)
  for key in pairs(frame) do
    if not known[key] then return false end
  end
  return true
end

local function is_text(value)
  return type(value) == "string" and #value <= TEXT_MAX
end

local function check_done(frame)
  if frame.done ~= true or not only(frame, DONE) then return nil, "a malformed end" end
  local err = frame.err
  if err ~= nil then
    local is_good = type(err) == "table" and is_text(err.kind) and is_text(err.message)
      and (err.traceback == nil or is_text(err.traceback))
    if not is_good or frame.values ~= nil then return nil, "an end with a malformed error" end
  elseif not protocol.is_packed(frame.values) then
    return nil, "an end with malformed results"
  end
  return frame
end

local function check_idle(state, frame)
  local idle = frame.idle
  local is_good = state.is_virtual and only(frame, IDLE) and math.type(frame.seen) == "integer"
    and (idle == false or math.type(idle) and idle >= 0 and idle < math.huge)
  if not is_good then return nil, "a malformed report" end
  return frame
end

local function check_call(state, frame)
  if not only(frame, CALL) or type(frame.call) ~= "string" or not protocol.is_packed(frame.args)
  then
    return nil, "a malformed call"
  end
  if frame.id <= state.last_id then
    return nil, ("call %d, after call %d"):format(frame.id, state.last_id)
  end
  if not state.effects[frame.call] then
    return nil, ("a call of '%s', which there is not"):format(
      (frame.call:sub(1, 60):gsub("[^%w_.-]", "?")))
  end
  if state.count >= state.max then
    return nil, ("more than %d calls at a time"):format(state.max)
  end
  state.last_id = frame.id
  state.count = state.count + 1
  return frame
end

--- A reader of frames; it counts the calls in flight.
---@param effects table<string, function>
---@param max integer calls in flight
---@param is_virtual? boolean the process follows a virtual clock, and reports when it is idle
---@return table reader read(text) → frame | nil, why; answered(): a call is over
function M.new(effects, max, is_virtual)
  local state = { effects = effects, max = max, last_id = 0, count = 0, is_virtual = is_virtual }
  local reader = {}

  function reader.read(text)
    local frame = json.decode(text)
    if type(frame) ~= "table" then return nil, "no JSON object" end
    if frame.done ~= nil then return check_done(frame) end
    if frame.idle ~= nil then return check_idle(state, frame) end
    if math.type(frame.id) ~= "integer" or frame.id < 1 then return nil, "a frame without an id" end
    if frame.drop ~= nil then
      if frame.drop ~= true or not only(frame, DROP) or frame.id > state.last_id then
        return nil, "a malformed end of a call"
      end
      return frame
    end
    return check_call(state, frame)
  end

  function reader.answered()
    state.count = state.count - 1
  end

  return reader
end

return M
