-- stops: full captures of runs that failed or vanished are stopped, for they hold the account's
-- only slot. Those created with `detach = true` go on.

local log = require "moontap.log"
local native = require "moontap.native.pcaps"
local opened = require "pcaps.opened"

local M = {}

local TIMEOUT <const> = 10 -- seconds of one attempt

---Stops what this process has opened and what still runs.
---@return boolean is_done
function M.stop_own()
  local is_done = true
  for _, cap in ipairs(opened.running()) do
    local is_left = opened.is_detached(cap)
    local ok, err = is_left, nil
    if not is_left then ok, err = cap:stop { timeout = TIMEOUT, deadline = TIMEOUT } end
    if is_left then
      log.info("%s goes on, as it was asked to", tostring(cap))
    elseif ok then
      opened.forget(cap)
      io.stderr:write(("moontap: stopped capture %s, because this run did not end well\n"):format(
        cap.id))
    else
      is_done = false
      io.stderr:write(("moontap: capture %s goes on: %s\n"):format(cap.id, err.message))
    end
  end
  return is_done
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
    if ok or problem.status == 404 then account:note_stop(id) end
  end
end

return M
