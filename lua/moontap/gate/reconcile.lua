-- reconcile: what a process that died has left open is settled: a create that may have been done
-- is looked for in the list of the account, as adopt.lua does for one of this process, and adopted
-- or declared unknown. It is never sent again.

local adopt = require "pcaps.adopt"
local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local intents = require "pcaps.intents"
local log = require "moontap.log"
local quota = require "moontap.gate.quota"
local stops = require "moontap.gate.stops"
local sys = require "moontap.native.sys"

local M = {}

local QUICK <const> = 5 -- seconds that a look may take whose answer nobody waits for

-- When it was sent, on the boot clock of now.
local function boot_time(row)
  if row.boot_id ~= "" and row.boot_id == sys.boot_id() then return row.sent_boot end
  return clock.boot() - math.max(0, clock.now() - row.sent)
end

local function conclude(context, row, cap, why, found)
  local interval = quota.interval "simple"
  local outcome = { state = cap and "adopted" or "unknown", capture = cap,
                    free_at = row.kind == "simple" and math.max(row.sent, 0) + interval or nil }
  if not cap then
    local ids = {}
    for i, other in ipairs(found or {}) do ids[i] = tostring(other.id) end
    outcome.error = errors.new("unknown_outcome", ("whoever sent it did not see an answer; %s%s")
      :format(why, #ids > 0 and ": " .. table.concat(ids, ", ") or ""))
    log.warn("a %s capture of %s may have been opened or not: %s", row.kind,
      clock.format(row.sent // 1), outcome.error.message)
  else
    log.info("capture %s was opened, and nobody had seen the answer; it is known now", cap.id)
  end
  local ok, err = context.account:settle(row.id, outcome)
  host.point "reconciled"
  return ok, err
end

-- Finds out about one intent. `is_patient`: until it is certain, because somebody waits for it.
local function settle(client, context, row, is_patient)
  local intent <close> = intents.begin(client)
  intent.context, intent.params, intent.sent = context, row.params, boot_time(row)
  local age = clock.boot() - intent.sent
  intent.window = is_patient and math.max(0, adopt.WINDOW / config.speed - age) or 0
  if not is_patient then intent.deadline = QUICK end
  local cap, why, found, was_answered = adopt.find("create", client, intent)
  local is_early = not is_patient and age < adopt.WINDOW / config.speed
  if not cap and (not was_answered or (is_early and #(found or {}) == 0)) then
    if not is_patient then return true end
    return nil, errors.new("unknown_outcome", ("a create whose answer nobody has seen is open: %s")
      :format(why), { sent = "no" })
  end
  local ok, err = conclude(context, row, cap, why, found)
  row.is_settled = ok
  return ok, err
end

-- Finds out about `rows`. What is not settled then, because it was not yet to be known, or this
-- task was cancelled, is left to whoever comes next.
local function settle_all(client, context, rows, is_patient)
  local left <close> = setmetatable({}, { __close = function() -- luacheck: ignore left
    for _, row in ipairs(rows) do
      if not row.is_settled then context.account:release(row.id) end
    end
  end })
  for _, row in ipairs(rows) do
    local ok, err = settle(client, context, row, is_patient)
    if not ok and is_patient then return nil, err end
    if not ok then log.warn("%s", err.message) end
  end
  return true
end

---Settles what dead processes have left open, for somebody who waits for the slot.
---@param client userdata
---@param context moontap.gate.Context
---@param kind? "simple"|"full"
---@return boolean|nil
---@return table|nil err
function M.inherit(client, context, kind)
  local rows, err = context.account:inherit(kind)
  if not rows then return nil, err end
  local ok
  ok, err = settle_all(client, context, rows, true)
  if not ok then return nil, err end
  -- what was found may run on and hold the very slot that is waited for
  if #rows > 0 and not config.read_only then stops.stop_orphans(client, context) end
  return true
end

---What a process does first on an account: it looks after what others have left, as far as that
---is told at once.
---@param client userdata
---@param context moontap.gate.Context
function M.at_start(client, context)
  local rows, err = context.account:inherit()
  if not rows then
    log.warn("%s", err.message)
    return
  end
  settle_all(client, context, rows, false)
  if not config.read_only then stops.stop_orphans(client, context) end
end

return M
