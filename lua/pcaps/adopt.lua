-- adopt: finds out whether a POST whose outcome is open was done, without sending it again. The
-- rules are told in docs/adoption.md.
--
-- All times compared are the server's: its Date when it answered the list, less the time that has
-- passed here since the request was sent. What the local calendar says does not matter.

local clock = require "moontap.clock"
local config = require "moontap.config"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local httpdate = require "pcaps.httpdate"
local intents = require "pcaps.intents"
local json = require "moontap.json"
local later = require "moontap.later"
local match = require "pcaps.match"
local native = require "moontap.native.pcaps"
local retry = require "pcaps.retry"

local progress = later "moontap.progress"

local sleep = effects.caller("sleep")

local M = {}

M.WINDOW = 30      -- seconds of looking, from the first list that was answered
M.DEADLINE = 300   -- seconds in which no list may be answered at all
local PAUSE_FIRST = 1
local PAUSE_MAX = 5
local LIST_MAX = 50    -- captures that a list of the API shows
local AHEAD = 2        -- seconds by which a capture may seem newer than the list that shows it

-- The span of the server's clock in which what `intent` asked for was submitted.
local function span(intent, date)
  local now = httpdate.parse(date)
  local passed = clock.boot() - intent.sent
  local from, to = now or clock.now(), now and now + 1 or clock.now()
  return from - passed, to + AHEAD
end

-- Sorts the captures that can be the one of `intent` out of `caps`. Returns them, and whether the
-- time of one of them cannot be told.
local function candidates(intent, caps, date)
  local from, to = span(intent, date)
  local taken, found, is_vague = intents.taken(intent), {}, false
  for _, cap in ipairs(caps) do
    if type(cap) == "table" and not taken[cap.id] and match.is_same(intent.params, cap) then
      local submitted = match.submitted(cap)
      if not submitted or submitted >= from then
        found[#found + 1] = cap
        is_vague = is_vague or not submitted or submitted > to or type(cap.id) ~= "string"
      end
    end
  end
  return found, is_vague
end

-- Does a list that is full reach back to before the request was sent?
local function reaches_back(intent, caps, date)
  if #caps < LIST_MAX then return true end
  local from = span(intent, date)
  for _, cap in ipairs(caps) do
    local submitted = type(cap) == "table" and match.submitted(cap)
    if submitted and submitted < from then return true end
  end
  return false
end

local function is_same_intent(a, b)
  return json.encode(a.params) == json.encode(b.params)
end

-- The intents under way that one of `found` may belong to as well as to `intent`.
local function contenders(intent, found, date)
  local list = {}
  for _, other in ipairs(intents.rivals(intent)) do
    local from = span(other, date)
    for _, cap in ipairs(found) do
      local is_possible = not other.params or match.is_same(other.params, cap)
      if is_possible and (match.submitted(cap) or from) >= from then
        list[#list + 1] = other
        break
      end
    end
  end
  return list
end

-- Equal intents cannot be told apart by anybody, so the first one takes the first capture.
local function is_first(intent, others)
  for _, other in ipairs(others) do
    if other.sent < intent.sent then return false end
  end
  return true
end

local function oldest(found)
  local first = found[1]
  for _, cap in ipairs(found) do
    if match.submitted(cap) < match.submitted(first) then first = cap end
  end
  return first
end

-- What a list says of `intent`: its capture; or nil and why that will never be known; or nil twice,
-- when a later list may tell. Third comes what may be it.
local function judge(intent, caps, date)
  if not reaches_back(intent, caps, date) then
    return nil, ("the list of %d captures does not reach back to the request"):format(#caps), {}
  end
  local found, is_vague = candidates(intent, caps, date)
  if #found == 0 then return nil end
  if is_vague then return nil, "a capture like it does not say when it was submitted", found end
  local others = contenders(intent, found, date)
  for _, other in ipairs(others) do
    if not other.params then return nil, nil, found end -- its answer will tell
    if not is_same_intent(intent, other) then
      return nil, "another create under way looks the same in the list", found
    end
  end
  if #found > #others + 1 then return nil, "more than one capture matches", found end
  return is_first(intent, others) and oldest(found) or nil
end

local function judge_ownership(is_done)
  return function(intent, list, date)
    local from = span(intent, date)
    local found = {}
    for _, entry in ipairs(list) do
      if type(entry) == "table" and is_done(intent, entry, from)
        and match.is_same_bucket(intent.params.destination_conf, entry.destination_conf) then
        found[#found + 1] = entry
      end
    end
    if #found > 1 then return nil, "more than one entry matches", found end
    return found[1]
  end
end

---@type table<string, { list: function, judge: function }>
local WAYS = {
  create = { list = native.list, judge = judge },
  ["ownership.create"] = { list = native.ownership_list,
    judge = judge_ownership(function(_, entry, from)
      return (match.submitted(entry) or 0) >= from
    end) },
  ["ownership.validate"] = { list = native.ownership_list,
    judge = judge_ownership(function(_, entry) return entry.status == "success" end) },
}

-- Whoever is stopped here must say that something may have been opened.
local function watch(op)
  progress.note(("outcome of a %s unknown, looking for it in the list"):format(op))
  return setmetatable({}, { __close = function(_, err)
    progress.note(nil)
    if errors.is(err) then
      err.sent, err.outcome = "maybe", "unknown"
      err.message = ("%s; the outcome of a %s is unknown%s"):format(err.message, op,
        op == "create" and ": `moontap captures`, in scripts pcaps.list(), shows whether a "
          .. "capture was opened" or "")
    end
  end })
end

local function look(way, client, intent, began)
  local left = began + (intent.deadline or M.DEADLINE) - clock.boot()
  local timeout = math.min(intent.timeout or client.timeout, left)
  return way.list(client, nil, { timeout = math.max(0.001, timeout) })
end

-- Why nothing was found when the time for looking is over.
local function explain(last, undecided)
  if last then return "no list was answered: " .. last.message, {} end
  if undecided then return "a create that is still under way may have opened it", undecided end
  return ("nothing like it in the list within %d seconds"):format(M.WINDOW), {}
end

--- Looks in the account's list for what `intent` has asked for, and adopts it when it is the only
--- thing that it can be.
---@param op string "create", "ownership.create" or "ownership.validate"
---@param client userdata
---@param intent pcaps.Intent with params and sent
---@return table|nil result the capture or the entry
---@return string|nil why nothing could be adopted
---@return table[]|nil candidates what may be it
---@return boolean|nil was_answered whether the account's list was seen
function M.find(op, client, intent)
  local way, speed = WAYS[op], config.speed
  local began, pause = clock.boot(), PAUSE_FIRST / speed
  local ends = began + (intent.deadline or M.DEADLINE) -- sooner once a list was answered
  local was_answered, last, undecided = false
  local over <close> = watch(op) -- luacheck: ignore over
  while true do
    local list, date = look(way, client, intent, began)
    if list then
      local result, why
      result, why, undecided = way.judge(intent, list, date)
      if result or why then return result, why, undecided, true end
      if not was_answered then
        ends = math.min(ends, clock.boot() + (intent.window or M.WINDOW / speed))
      end
      was_answered, last = true, nil
    else
      last = date
      if not retry.is_passing(last) then
        return nil, "the list was refused: " .. last.message, {}, false
      end
    end
    local left = ends - clock.boot()
    local asked = last and retry.asked_pause(last) or 0
    if left <= 0 or asked > left then
      local why, found = explain(last, undecided)
      return nil, why, found, was_answered
    end
    sleep(math.max(0.001, math.min(math.max(pause, asked), left)))
    pause = math.min(pause * 1.5, PAUSE_MAX / speed)
  end
end

return M
