-- opened: the full captures that this process opened. One that still runs when the process fails
-- holds the account's only slot, so whoever reads the failure is told.

local config = require "moontap.config"
local host = require "moontap.native.host"

local M = {}

local captures = {} -- in the order in which they were opened
local detached = setmetatable({}, { __mode = "k" })
local clients = setmetatable({}, { __mode = "k" })

local function is_running(cap)
  return getmetatable(cap) and not cap:done() and not cap.stop_requested
end

--- The full captures opened here that still run, the oldest first.
---@return table[]
function M.running()
  local list = {}
  for _, cap in ipairs(captures) do
    if is_running(cap) then list[#list + 1] = cap end
  end
  return list
end

local function tell()
  if (host.outcome() or 0) == 0 or config.sim then return end
  for _, cap in ipairs(M.running()) do
    io.stderr:write(("moontap: %s goes on; to stop it: moontap stop %s\n"):format(
      tostring(cap), (tostring(cap.id):gsub("%c", "?"))))
  end
end

-- Runs when the state closes, however the run ended.
M.guard = setmetatable({}, { __gc = tell })

--- Forgets a capture that need not be told of any more.
---@param cap table
function M.forget(cap)
  for i, other in ipairs(captures) do
    if other == cap then return table.remove(captures, i) end
  end
end

--- Remembers a full capture that was opened here.
---@param cap table
---@param is_detached? boolean it is meant to outlive the run
---@param client? userdata that it belongs to
function M.note(cap, is_detached, client)
  captures[#captures + 1] = cap
  detached[cap], clients[cap] = is_detached, client
end

--- The client that a capture was opened with.
---@param cap table
---@return userdata|nil
function M.client_of(cap)
  return clients[cap]
end

--- Is it meant to outlive the run?
---@param cap table
---@return boolean
function M.is_detached(cap)
  return detached[cap] or false
end

return M
