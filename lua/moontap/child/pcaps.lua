-- pcaps: in a playbook's process, the module of the same name, over the host's effects. A capture
-- is the same object as elsewhere: its methods are those of pcaps.capture.

local capture = require "pcaps.capture"
local rpc = require "moontap.child.rpc"

local rays = setmetatable({}, { __mode = "k" })

local M = { timeout = 60 }

local meta = capture.metatable(M, rays)

local function wrap(cap, ray)
  if type(cap) == "table" then
    setmetatable(cap, meta)
    rays[cap] = ray
  end
  return cap
end

-- What the host's function does not need and what cannot cross.
local function plain(options)
  if type(options) ~= "table" then return options end
  local out = {}
  for key, value in pairs(options) do
    if type(value) ~= "function" then out[key] = value end
  end
  return out
end

local function call(name, ...)
  local answer = rpc.exchange("pcaps." .. name, ...)
  return answer, rpc.results(answer, 3)
end

local function one_capture(name)
  return function(subject, options)
    local answer, cap, err = call(name, subject, plain(options))
    if cap == nil then return nil, err end
    return wrap(cap, answer.ray)
  end
end

local function anything(name)
  return function(...)
    local _, result, err = call(name, ...)
    if result == nil then return nil, err end
    return result
  end
end

--- Opens a capture, as pcaps.create.
M.create = one_capture "create"

--- One capture by its id.
M.get = one_capture "get"

--- The captures of the account, the newest first.
function M.list(options)
  local _, list, err = call("list", plain(options))
  if list == nil then return nil, err end
  for _, cap in ipairs(list) do wrap(cap) end
  return list
end

--- Stops a full capture.
M.stop = anything "stop"

--- Downloads the file of a simple capture; returns its path on the host.
M.download = anything "download"

M.ownership = {
  create = anything "ownership.create",
  list = anything "ownership.list",
  delete = anything "ownership.delete",
  validate = anything "ownership.validate",
}

return M
