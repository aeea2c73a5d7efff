-- slots: when a planned create would get the slot of its account. It begins with the real queue in
-- the state, as it stands at the first create; from there a simple create takes a minute, and a
-- full capture the slot for its time_limit.

local config = require "moontap.config"
local duration = require "moontap.duration"
local gate = require "moontap.gate"
local native = require "moontap.native.pcaps"
local quota = require "moontap.gate.quota"

local M = {}

local UNKNOWN <const> = 300 -- seconds for which a full capture is taken to run that does not say

---@class moontap.plan.Slot
---@field kind "simple"|"full"
---@field wait number seconds
---@field why? string what is in the way
---@field missed? boolean it is not free before the deadline of the create
---@field guess? boolean how long a capture in the way runs is not known

-- How long an intent will hold its slot, once it has it.
local function hold_of(kind, params)
  if kind == "simple" then return quota.SIMPLE_INTERVAL / config.speed end
  return (params and tonumber(params.time_limit) or UNKNOWN) / config.speed
end

-- When the full capture ends that is in the way; nil when nobody says.
local function end_of(world, client, account, id)
  local row = account:capture(id)
  local intent = row and row.intent and account:intent(row.intent)
  if intent and intent.params and intent.sent then
    return intent.sent + hold_of("full", intent.params)
  end
  local cap = world:read("slot", { id }, function()
    return native.get(client, id, { timeout = 10 })
  end)
  if type(cap) ~= "table" then return nil end
  local submitted = require "pcaps.match".submitted(cap)
  return submitted and submitted + hold_of("full", cap)
end

-- Those before a new intent of a person, as the state has them.
local function read_queue(account, kind, now)
  local queue, err = account:queue()
  if not queue then return 0, nil, nil, err end
  local others, free_at, capture = {}, 0, nil
  for _, row in ipairs(queue.intents) do
    local is_before = row.kind == kind and not row.follows and row.is_alive
    if is_before and row.priority >= (config.priority or 10) then others[#others + 1] = row end
  end
  for _, slot in ipairs(queue.slots) do
    if slot.kind == kind then free_at, capture = account.free_time(slot, now), slot.capture end
  end
  return free_at, capture, others
end

-- When the slot is free for the first planned create, and what is in the way until then.
local function read_slot(world, client, account, kind)
  local now = world:now()
  local free_at, capture, others, err = read_queue(account, kind, now)
  if not others then return nil, err end
  local base = { free_at = free_at }
  if free_at > now then
    base.why = free_at - now > hold_of(kind) and "the API asked for a pause"
      or "the last create was less than a minute ago"
  end
  if capture then
    local ends = end_of(world, client, account, capture)
    base.guess = ends == nil
    base.free_at = math.max(base.free_at, ends or now + UNKNOWN / config.speed)
    base.why = ("capture %s runs%s"):format(capture, ends and "" or ", for how long is not known")
  end
  for _, row in ipairs(others) do
    base.free_at = math.max(base.free_at, now) + hold_of(kind, row.params)
  end
  if #others > 0 then
    base.why = ("%d of this machine %s before it"):format(#others, #others == 1 and "is" or "are")
  end
  return base
end

local function base_of(world, client, kind)
  local context = gate.context(client)
  local account = context and context.account
  if not account then return { free_at = 0 } end
  local key = ("%d %s"):format(account.id, kind)
  local slots = world.shared.slots
  if not slots[key] then
    local err
    slots[key], err = read_slot(world, client, account, kind)
    if not slots[key] then return nil, err end
  end
  return slots[key]
end

local function slot_of(world, client, kind)
  local key = ("%s %s"):format(tostring(client.account_id), kind)
  if not world.slots[key] then
    local base, err = base_of(world, client, kind)
    if not base then return nil, err end
    world.slots[key] = { free_at = base.free_at, why = base.why, guess = base.guess }
  end
  return world.slots[key]
end

---Takes the slot for a create.
---@param world moontap.plan.World
---@param client userdata
---@param params table
---@param patience number seconds that its caller waits
---@return moontap.plan.Slot|nil
---@return table|nil err
function M.take(world, client, params, patience)
  local kind = params.type == "full" and "full" or "simple"
  local slot, err = slot_of(world, client, kind)
  if not slot then return nil, err end
  local now = world:now()
  local wait = math.max(0, math.floor((slot.free_at - now) * 1000 + 0.5) / 1000)
  local taken = { kind = kind, wait = wait, guess = slot.guess,
                  why = wait > 0 and slot.why or nil }
  if wait > patience then
    taken.missed = true
    return taken
  end
  slot.free_at = now + wait + hold_of(kind, { time_limit = duration.parse(params.time_limit) })
  slot.why = kind == "full" and "a full capture of this plan runs" or "one a minute"
  return taken
end

---Gives the slot of a full capture back that was stopped.
---@param world moontap.plan.World
---@param client userdata
function M.give_back(world, client)
  local slot = slot_of(world, client, "full")
  if not slot then return end
  slot.free_at = math.min(slot.free_at, world:now())
end

return M
