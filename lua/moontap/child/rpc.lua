-- rpc: in a playbook's process, calls of the host's effects.

local channel = require "moontap.native.channel"
local json = require "moontap.json"
local protocol = require "moontap.child.protocol"

local M = {}

local pending = {} -- id → the wait for its answer
local last_id = 0

-- The call is left before its answer came: the host need not go on with it.
local function drop(id)
  if pending[id] then
    pending[id] = nil
    channel.send(protocol.encode { id = id, drop = true })
  end
end

--- Calls effect `name` and waits. Returns the answer as the host sent it.
---@param name string
---@return table answer
--- Raises on arguments that cannot cross.
function M.exchange(name, ...)
  local id = last_id + 1
  local ok, text = pcall(protocol.encode, { id = id, call = name, args = protocol.pack(...) })
  if not ok then error(name .. ": " .. text, 3) end
  local wait = { event = channel.event() }
  last_id, pending[id] = id, wait
  local over <close> = setmetatable({}, { __close = function() drop(id) end }) -- luacheck: ignore
  local sent, err = channel.send(text)
  if not sent then
    pending[id] = nil
    return { values = protocol.pack(nil, protocol.from_error(err)), err_at = 2 }
  end
  wait.event:wait()
  return wait.answer
end

--- The results in an answer. A caller's mistake is raised at `level`.
---@param answer table
---@param level integer
function M.results(answer, level)
  if answer.raise then
    if answer.raise.kind then error(protocol.to_error(answer.raise), level + 1) end
    error(answer.raise.message, level + 1)
  end
  local values = answer.values
  if answer.err_at then
    local at = tostring(answer.err_at)
    values[at] = protocol.to_error(values[at])
  end
  if answer.file then values[tostring(answer.file)] = answer.handle end
  return protocol.unpack(values)
end

--- Calls effect `name`, waits, and returns its results.
---@param name string
function M.call(name, ...)
  return M.results(M.exchange(name, ...), 2)
end

--- Takes answers as long as the host lives. Waits.
---@param on_frame fun(frame: table) gets each frame, before its call goes on
---@param on_cancel fun() the run is to end
function M.listen(on_frame, on_cancel)
  while true do
    local text, file = channel.receive()
    if not text then channel.leave() end
    local frame = json.decode(text)
    on_frame(frame)
    if frame.cancel then
      on_cancel()
    elseif frame.id and pending[frame.id] then
      local wait = pending[frame.id]
      pending[frame.id] = nil
      frame.handle, wait.answer = file, frame
      wait.event:set()
    end
  end
end

return M
