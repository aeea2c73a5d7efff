-- stops: full captures of runs that failed or vanished are stopped, for they hold the account's
-- only slot. Those created with `detach = true` go on.

local gate = require "moontap.gate"
local log = require "moontap.log"
local native = require "moontap.native.pcaps"
local opened = require "pcaps.opened"

local M = {}

local MAY_CHANGE <const> = { [401] = true, [403] = true, [408] = true, [429] = true }
local TIMEOUT <const> = 10 -- seconds of one attempt

---Is a capture to go on, because another run got it too, and goes on or ended well?
---@param account? moontap.state.Account
---@param id string
---@param run? string the one that did not end well; without it all of this process
---@return boolean
function M.is_needed(account, id, run)
  if not account then return false end
  return account:is_needed(id, { owner = account.state.owner.id, run = run }, true) or false
end

local function stop(cap)
  local client = opened.client_of(cap)
  local context = client and gate.context(client)
  if M.is_needed(context and context.account, cap.id) then
    io.stderr:write(("moontap: capture %s goes on, for another run got it too\n"):format(cap.id))
    return opened.forget(cap)
  end
  local ok, err = cap:stop { timeout = TIMEOUT, deadline = TIMEOUT }
  if ok then opened.forget(cap) end
  io.stderr:write(ok
    and ("moontap: stopped capture %s, because this run did not end well\n"):format(cap.id)
    or ("moontap: capture %s goes on: %s\n"):format(cap.id, err.message))
end

---Stops what this process has opened and what still runs.
function M.stop_own()
  for _, cap in ipairs(opened.running()) do
    if opened.is_detached(cap) then
      log.info("%s goes on, as it was asked to", tostring(cap))
    else
      stop(cap)
    end
  end
end

---Stops what processes that failed or died have left running.
---@param client userdata
---@param context moontap.gate.Context
function M.stop_orphans(client, context)
  local account = context.account
  local ids, err = account:orphans(function(owner) return not account:is_alive(owner) end)
  if not ids then
    log.warn("%s", err.message)
    return
  end
  for _, id in ipairs(ids) do
    local ok, problem = native.stop(client, id, { timeout = TIMEOUT })
    if ok then
      log.warn("stopped capture %s, which a run that died had left", id)
    elseif problem.status ~= 404 then
      log.warn("capture %s, which a run that died has left, goes on: %s", id, problem.message)
    end
    -- a clear refusal stays one: it is finished, or unknown
    local status = not ok and problem.status or 0
    local is_final = status >= 400 and status < 500 and not MAY_CHANGE[status]
    if ok or is_final then account:note_stop(id) end
  end
end

return M
