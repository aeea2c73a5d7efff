-- quota: a create waits here for the slot of its account: one simple create a minute, one full
-- capture at a time, first come first served within a priority, over all processes of the machine.
-- The queue stands in the state (state/account.lua). Nobody is woken: the first of the queue
-- sleeps until the slot is free, the others look again the more seldom the further back they are.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local gate = require "moontap.gate"
local host = require "moontap.native.host"
local later = require "moontap.later"
local log = require "moontap.log"
local native = require "moontap.native.pcaps"
local retry = require "pcaps.retry"
local wish = require "moontap.gate.wish"

local progress = later "moontap.progress"
local reconcile = later "moontap.gate.reconcile"

local sleep = effects.caller("sleep")

local M = { effects = {} }

M.SIMPLE_INTERVAL = 60     -- seconds between two simple creates
local LOOK_MAX <const> = 15      -- … between two looks of somebody far back
local LOOK_MIN <const> = 0.02
local LOOK_FULL <const> = 5      -- … at a capture that is in the way
local LOOK_OTHERS <const> = 1    -- … at the state, for what others do
local TOLD_FROM <const> = 2      -- a longer wait is told
local FULL_PAUSE <const> = 15    -- after a refusal that does not say what is in the way

---Seconds between two creates of a kind, as far as time alone decides.
---@param kind "simple"|"full"
---@return number
function M.interval(kind)
  return (kind == "simple" and M.SIMPLE_INTERVAL or FULL_PAUSE) / config.speed
end

-- When a full capture that was opened here ends at the latest.
local function end_of(account, id)
  local row = account:capture(id)
  local intent = row and row.intent and account:intent(row.intent)
  local limit = intent and intent.params and intent.params.time_limit
  return limit and (intent.sent or intent.asked) + limit / config.speed
end

-- When an intent could have the slot that it did not wait for, as far as that can be told.
local function free_again(intent, place)
  local free_at = math.max(place.free_at or 0, clock.now())
  if place.capture then free_at = end_of(intent.context.account, place.capture) end
  if intent.wish.kind == "full" and place.ahead > 0 then return nil end
  return free_at and free_at + place.ahead * M.interval "simple"
end

local function no_slot(intent, place)
  local why = place.ahead > 0 and ("%d before it"):format(place.ahead)
    or place.capture and ("capture %s still runs"):format(place.capture)
    or place.holder and "another create is under way"
    or "the last one was too short a time ago"
  local at = free_again(intent, place)
  return errors.new("quota", ("no slot for this %s capture before its deadline: %s; %s"):format(
    intent.wish.kind, why, at and "it is free at about " .. clock.format(math.ceil(at))
    or "`moontap slots` shows who has it"),
    { sent = "no", retryable = true, attempts = intent.attempts,
      free_at = at or place.free_at })
end

local function say(intent, place, wait)
  local where = place.ahead > 0 and ("%d before this one"):format(place.ahead)
    or place.capture and ("capture %s runs"):format(place.capture) or "one a minute"
  progress.note(("waiting for the %s slot (%s), about %s"):format(intent.wish.kind, where,
    duration.format(math.max(1, math.ceil(wait)))))
end

-- How a full capture stands that is in the way; the slot is freed by looking.
local function look_at(client, account, id)
  local row, err = account:capture(id)
  if row == nil and err then return nil, err end
  if row and clock.now() - row.seen < LOOK_FULL / config.speed and clock.now() >= row.seen then
    return true
  end
  local cap, problem = native.get(client, id, { timeout = 10 })
  if cap then return account:observe(cap) end
  if problem.status == 404 then return account:set_slot("full") end
  log.info("%s; looked for the slot", problem.message)
  return true
end

-- What is in the way of an intent that is first: perhaps it only seems so.
local function clear_the_way(client, context, intent, place)
  local account = context.account
  local other = place.first or place.holder
  if other and account:is_gone(other) then
    return reconcile.inherit(client, context, intent.wish.kind)
  end
  if place.capture and place.ahead == 0 then return look_at(client, account, place.capture) end
  return true
end

-- Seconds until it may be worth looking again, and until the slot is likely to come.
local function next_look(intent, place)
  local speed = config.speed
  local interval = M.interval(intent.wish.kind)
  local free_in = math.max(0, place.free_at - clock.now())
  if place.ahead == 0 and not place.holder and not place.capture then return free_in, free_in end
  local look = place.ahead == 0 and LOOK_OTHERS or math.min(place.ahead + 1, LOOK_MAX)
  look = math.max(LOOK_MIN, look / math.min(speed, 50))
  local likely = free_in + place.ahead * interval
  -- nobody behind the first can be served before the slot was free as often as there are others
  return math.max(math.min(look, math.max(likely, LOOK_MIN)), LOOK_MIN), likely
end

-- Waits until it is the turn of `intent`.
local function take_turn(client, context, intent)
  local account = context.account
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
    progress.note(nil)
  end })
  local began, is_told = clock.boot(), false
  while true do
    local is_mine, place = wish.insist(intent, function() return account:claim(intent.row) end)
    if is_mine then
      host.point "claimed"
      return true, clock.boot() - began
    end
    if is_mine == nil then return nil, place end
    local ok, err = clear_the_way(client, context, intent, place)
    if not ok then return nil, err end
    local look, likely = next_look(intent, place)
    local left = intent.ends - clock.boot()
    if left <= 0 then return nil, no_slot(intent, place) end
    if not is_told and likely >= TOLD_FROM then
      log.info("no slot for this %s capture yet, about %s", intent.wish.kind,
        duration.format(math.ceil(likely)))
      is_told = true
    end
    if likely >= TOLD_FROM then say(intent, place, likely) end
    sleep(math.max(0.001, math.min(look, left)))
  end
end

-- The capture of an equal wish, or nil when it has to be opened for this one alone.
local function share(client, context, intent)
  local account = context.account
  while true do
    local row, err = account:peek(intent.leader)
    if not row then return nil, err end
    local is_over = row.state ~= "wanted" and row.state ~= "claimed" and row.state ~= "sending"
    if is_over then
      if row.capture then return native.get(client, row.capture, { timeout = 60 }) end
      return nil
    end
    if not account:is_alive(row.owner) then return nil end
    if clock.boot() >= intent.ends then
      return nil, no_slot(intent, { ahead = 1 })
    end
    sleep(math.max(LOOK_MIN, LOOK_OTHERS / math.min(config.speed, 50)))
  end
end

-- The full capture that is in the way, as the list of the account shows it.
local function running_full(client)
  for _, cap in ipairs(native.list(client, nil, { timeout = 10 }) or {}) do
    local is_running = type(cap) == "table" and cap.type == "full" and type(cap.id) == "string"
      and (cap.status == "pending" or cap.status == "running")
    if is_running then return cap end
  end
  return nil
end

-- Whoever the client works for is told how long a create waited, and of a slot that was taken by
-- others although it seemed free.
local function tell(client, what, ...)
  local caller = gate.caller(client)
  if caller and caller.quota then caller.quota[what](...) end
end

-- Takes over for everybody what a refusal says of the slot.
local function learn(client, context, intent, err)
  local is_taken = err.kind == "api"
    and (err.status == 429 or err.status == 409 and intent.wish.kind == "full")
  if not is_taken then return end
  tell(client, "lost")
  local account = context.account
  local cap = intent.wish.kind == "full" and running_full(client)
  local ok, problem
  if cap then
    ok, problem = account:note_foreign(cap)
  else
    err.free_at = clock.now() + (retry.asked_pause(err) or FULL_PAUSE / config.speed)
    ok, problem = account:set_slot(intent.wish.kind, nil, err.free_at)
  end
  if not ok then log.warn("%s; the slot could not be noted", problem.message) end
end

-- The error of a wait: whatever failed, no create was sent.
local function unsent(err)
  err.sent = "no"
  return err
end

-- The capture of an equal wish that waits already; nil when there is none, or an error.
local function shared(client, context, intent)
  if not intent.leader then return nil end
  local cap, err = share(client, context, intent)
  if cap or err then
    intent.is_shared = cap ~= nil
    return cap, err
  end
  intent.leader = nil
  local ok, why = context.account:part(intent.row)
  return nil, not ok and why or nil
end

-- Stands in the queue, and sends when it is its turn.
local function queue(next, client, context, intent, params, options, path)
  intent.sent = nil -- who waits has opened nothing, and is nobody's rival
  if not intent.row then
    local ok, err = wish.ask(intent)
    if not ok then return nil, err end
  end
  local cap, err = shared(client, context, intent)
  if cap or err then return cap, err and unsent(err) end
  local began = clock.boot()
  local ok, waited = take_turn(client, context, intent)
  tell(client, "waited", clock.boot() - began)
  if not ok then return nil, unsent(waited) end
  params, options = wish.late(intent, params, options, waited)
  return next(client, params, options, path, intent)
end

M.effects["api.create"] = function(next, client, params, options, path, intent)
  local context = gate.context(client)
  if not context then return next(client, params, options, path, intent) end
  if not context.account then return nil, wish.not_written(context.err) end
  gate.catch_up(context)
  local wanted = wish.of(context, intent, params)
  local cap, err, body
  if not intent.row and not wanted.share_key then
    -- the journal writes all at once, unless somebody is in the way
    cap, err, body = next(client, params, options, path, intent)
    if cap or not err.lost_turn then tell(client, "waited", 0) end
  end
  if not cap and (not err or err.lost_turn) then
    cap, err, body = queue(next, client, context, intent, params, options, path)
  end
  if not cap then learn(client, context, intent, err) end
  return cap, err, body
end

return M
