-- queue: the slots of an account as they stand, and when each who waits can expect one. What is
-- expected supposes that nobody gives up and that no capture ends before its time.

local clock = require "moontap.clock"
local config = require "moontap.config"
local quota = require "moontap.gate.quota"
local show = require "moontap.cmd.show"

local M = {}

local KINDS <const> = { "simple", "full" }
local HOLDS <const> = { claimed = true, sending = true }

---@class moontap.cmd.Slot
---@field kind "simple"|"full"
---@field free_at? number since 1970; nil: nobody knows
---@field free_in? number seconds
---@field holder? table who has it now
---@field queue table[] who waits, in the order in which they are served

local function waiting(row)
  return {
    intent = row.id, who = row.who, script = row.script, command = row.command, pid = row.pid,
    run = row.run, case = row.case_id, why = row.why, asked = row.asked, deadline = row.deadline,
    priority = row.priority, alive = row.is_alive, shares = row.follows, state = row.state,
    filter_v1 = row.params and row.params.filter_v1,
    time_limit = row.params and row.params.time_limit,
  }
end

-- How long a capture has the slot of its kind.
local function hold_time(kind, time_limit)
  if kind == "simple" then return quota.SIMPLE_INTERVAL / config.speed end
  return time_limit and time_limit / config.speed
end

-- Was a capture left by a run that failed or died, so that the next one stops it?
local function is_orphan(account, id)
  local orphans = account:orphans(function(owner) return not account:is_alive(owner) end)
  for _, other in ipairs(orphans or {}) do
    if other == id then return true end
  end
  return false
end

-- A full capture that runs: whose it is and when it ends at the latest.
local function capture_holder(account, id)
  local row = account:capture(id)
  local holder = { capture = id, status = row and row.status, ours = false }
  local intent = row and row.intent and account:intent(row.intent)
  if not intent then return holder end
  holder.ours, holder.who, holder.script = true, intent.who, intent.script
  holder.run, holder.case, holder.asked = intent.run, intent.case_id, intent.asked
  holder.alive = not is_orphan(account, id) -- one that was left on purpose is looked after
  local limit = intent.params and intent.params.time_limit
  holder.until_about = limit and (intent.sent or intent.asked) + hold_time("full", limit)
  holder.filter_v1 = intent.params and show.public(intent.params).filter_v1
  return holder
end

-- When the slot is free again, as far as that can be told.
local function free_time(slot, state, now, account)
  local at = math.max(now, state.free_at and account.free_time(state, now) or 0)
  local holder = slot.holder
  if not holder then return at end
  if holder.capture then return holder.until_about and math.max(now, holder.until_about) end
  local length = hold_time(slot.kind, holder.time_limit)
  return length and math.max(at, now + length)
end

local function expect(slot)
  local at = slot.free_at
  for _, entry in ipairs(slot.queue) do
    if entry.alive and not entry.shares then
      entry.expected = at
      local length = hold_time(slot.kind, entry.time_limit)
      at = at and length and at + length
    end
  end
end

---Reads the slots of an account.
---@param account? moontap.state.Account nil: nothing is known of it
---@return moontap.cmd.Slot[]|nil
---@return table|nil err
function M.read(account)
  local found = { intents = {}, slots = {} }
  if account then
    local err
    found, err = account:queue()
    if not found then return nil, err end
  end
  local now, states = clock.now(), {}
  for _, row in ipairs(found.slots) do states[row.kind] = row end
  local slots = {}
  for i, kind in ipairs(KINDS) do
    local slot, state = { kind = kind, queue = {} }, states[kind] or {}
    for _, row in ipairs(found.intents) do
      if row.kind == kind and HOLDS[row.state] and not slot.holder then
        slot.holder = waiting(row)
      elseif row.kind == kind then
        slot.queue[#slot.queue + 1] = waiting(row)
      end
    end
    if state.capture and not slot.holder then
      slot.holder = capture_holder(account, state.capture)
    end
    slot.free_at = free_time(slot, state, now, account)
    slot.free_in = slot.free_at and math.max(0, slot.free_at - now)
    expect(slot)
    slots[i] = slot
  end
  return slots
end

return M
