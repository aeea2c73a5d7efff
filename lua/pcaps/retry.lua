-- retry: when an operation is tried again, and when its outcome is unknown.
--
-- Reads, stop and delete may be sent again at will. A POST may not: there is no key by which
-- the API could tell a repeated request from a second one. It is sent again only when it
-- certainly did not leave, or when the answer is a refusal that waiting can cure. Else the list of
-- the account is asked what became of it (adopt.lua).

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local effects = require "moontap.effects"
local intents = require "pcaps.intents"
local later = require "moontap.later"

local adopt = later "pcaps.adopt"
local httpdate = later "pcaps.httpdate"
local json = later "moontap.json"
local log = later "moontap.log"
local opened = later "pcaps.opened"
local progress = later "moontap.progress"
local random = later "moontap.random"

local sleep = effects.caller("sleep")

local M = {}

M.MAX_RETRIES = 4
M.DEADLINE = 300        -- seconds for one operation, all attempts and pauses together
local BACKOFF_FIRST = 0.5
local BACKOFF_MAX = 20
local SLOT_FIRST = 15   -- a slot is free again within a minute, so pauses are longer
local SLOT_MAX = 60
local TOLD_FROM = 2     -- seconds

local OF_ACCOUNT = { create = true, list = true, ["ownership.list"] = true } -- no other id in it
local POSTS = { create = true, ["ownership.create"] = true, ["ownership.validate"] = true }

--- How many seconds the server asked to wait. They are real ones: a simulator whose time is
--- compressed says so in what it sends.
---@param err table an error of an operation
---@return number|nil
function M.asked_pause(err)
  local text = err.retry_after
  if type(text) ~= "string" then return nil end
  if text:match("^%s*%d+%.?%d*%s*$") then
    return tonumber(text)
  end
  local at = httpdate.parse(text)
  return at and math.max(0, at - clock.now())
end

local function is_refused_for_now(op, err, subject)
  return err.status == 429
    or (err.status == 409 and op == "create" and subject.type == "full")
end

-- Nothing was done: the status says so, whoever wrote the body.
local function is_clear_refusal(err)
  local status = err.status
  if not status then return false end
  if err.kind == "api" or err.kind == "credentials" then
    return status < 500 and status ~= 408 and status ~= 499
  end
  return err.kind == "http" and status >= 300 and status < 500
    and status ~= 303 and status ~= 408 and status ~= 499
end

--- Is it open whether the server did what it was asked?
---@param err table an error of an attempt
---@return boolean
function M.is_open(err)
  return err.sent ~= "no" and not is_clear_refusal(err)
end

--- Whether an error of an operation that may be repeated leaves room for another try.
---@param err table
---@return boolean
function M.is_passing(err)
  local status = err.status
  if err.kind == "network" or err.kind == "timeout" then return true end
  if err.kind == "http" and not status then return true end
  if err.kind ~= "http" and err.kind ~= "api" then return false end
  return status >= 500 or status == 408 or status == 429 or (err.kind == "http" and status < 300)
end

--- Whether trying again later can help, as `err.retryable` says.
local function is_retryable(op, err, subject)
  if POSTS[op] then
    if err.sent == "no" then return err.kind == "network" or err.kind == "timeout" end
    return is_clear_refusal(err) and is_refused_for_now(op, err, subject)
  end
  return M.is_passing(err)
end

-- Seconds to wait before attempt number `attempts` + 1.
local function pause(op, err, attempts)
  local asked = M.asked_pause(err)
  local speed = config.speed
  if asked then return asked + 0.5 * random.uniform() / speed end
  if POSTS[op] and err.status then -- the slot
    local base = math.min(SLOT_MAX, SLOT_FIRST * 1.5 ^ (attempts - 1))
    return base * (1 + 0.25 * random.uniform()) / speed
  end
  return random.uniform() * math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ^ (attempts - 1))
end

-- The parameters as they were sent: a script may have changed its table since, and a pause must
-- not move the window away from the event.
local function freeze(op, subject, body, asked_at)
  if not body then return subject end
  local frozen = assert(json.decode(body))
  if op == "create" and frozen.type == "simple" and not frozen.offset_time then
    frozen.offset_time = clock.format(asked_at)
  end
  return frozen
end

local function seconds(value)
  return value ~= nil and assert(duration.parse(value)) or nil
end

-- The options of one attempt that may take at most `left` seconds. `asked_at`: when the window
-- was asked for, which a pause does not make older.
local function bounded(client, options, left, asked_at)
  local timeout = seconds(options and options.timeout) or client.timeout
  return { timeout = math.max(0.001, math.min(timeout, left)), asked_at = asked_at,
           allow_ipv6 = true, force = options and options.force }
end

local function list_ids(found)
  local ids = {}
  for i, entry in ipairs(found or {}) do ids[i] = tostring(entry.id) end
  return ids
end

-- A POST that may have been done: what the list of the account knows of it, or nil and the error.
local function settle(call, err)
  local op, intent = call.op, call.intent
  intent.params = assert(json.decode(call.body))
  intent.timeout = seconds(call.options and call.options.timeout)
  local result, why, found = adopt.find(op, call.client, intent)
  if result then
    intent.is_adopted = true
    log.info("%s; it was done, and found in the list: %s", err.message, tostring(result.id))
    return result
  end
  err.cause = err.kind
  err.kind = "unknown_outcome"
  err.candidates = list_ids(found)
  err.message = ("outcome unknown, not sent again: %s; %s%s"):format(err.message, why,
    #err.candidates > 0 and ": " .. table.concat(err.candidates, ", ") or "")
  return nil, err
end

local function give_up(call, err)
  local op = call.op
  err.attempts = call.attempts
  if call.attempts > 1 then
    err.message = ("%s (tried %d times)"):format(err.message, call.attempts)
  end
  err.retryable = is_retryable(op, err, call.subject)
  if OF_ACCOUNT[op] and (err.status == 403 or err.status == 404) then
    err.message = ("%s; is %s the right account id?"):format(err.message,
      tostring(call.client.account_id))
  end
  if op == "create" and err.message:find("not been validated", 1, true) then
    err.message = err.message .. "; scripts/ownership-setup.lua validates one"
  end
  if op == "create" and err.kind == "api" and is_refused_for_now(op, err, call.subject) then
    err.kind = "quota" -- the account's slot did not get free in time
    local wait = M.asked_pause(err)
    err.message = err.message .. (wait and ("; it is free at about %s"):format(
      clock.format(math.ceil(clock.now() + wait))) or "; `moontap slots` shows who has it")
  elseif POSTS[op] and M.is_open(err) then
    err.retryable = false
    return settle(call, err)
  end
  return nil, err
end

-- The pause before the next attempt; a longer one is told.
local function rest(op, err, wait)
  if wait < TOLD_FROM then return sleep(wait) end
  local text = duration.format(math.ceil(wait))
  log.info("%s; again in %s", err.message, text)
  progress.note(POSTS[op] and err.status and ("no slot for this capture, next try in " .. text)
    or ("%s failed, next try in %s"):format(op, text))
  local over <close> = -- luacheck: ignore over
    setmetatable({}, { __close = function() progress.note(nil) end })
  sleep(wait)
end

-- One more attempt, after a pause of `wait` seconds. `left`: what it may take.
local function repeat_attempt(call, err, wait, ends, asked_at)
  call.intent.sent = nil
  rest(call.op, err, wait)
  call.intent.sent = clock.boot()
  call.attempts = call.attempts + 1
  local result, body
  result, err, body = call.attempt(call.client, call.subject,
    bounded(call.client, call.options, ends - clock.boot(), asked_at), call.path, call.intent)
  call.body = body or call.body
  return result, err
end

-- Goes on after the first attempt of `call` has failed with `err`.
local function try_again(call, err)
  local op, client, options = call.op, call.client, call.options
  local elapsed = err.elapsed or 0
  local asked_at = clock.now() - elapsed
  local max = options and options.max_retries or client.max_retries
  local ends = call.intent.ends or clock.boot() - elapsed + M.deadline_of(client, options)
  local was_ambiguous = false
  call.subject = freeze(op, call.subject, call.body, asked_at)
  while true do
    if op == "ownership.delete" and err.status == 404 and was_ambiguous then return true end
    if call.attempts > max or call.intent.is_last then break end
    if not is_retryable(op, err, call.subject) then break end
    was_ambiguous = was_ambiguous or M.is_open(err)
    local wait = pause(op, err, call.attempts)
    if clock.boot() + wait >= ends then break end
    local result
    result, err = repeat_attempt(call, err, wait, ends, asked_at)
    if result ~= nil then return result end
  end
  return give_up(call, err)
end

--- How many seconds a call with these options may take.
---@param client table
---@param options? table
---@return number
function M.deadline_of(client, options)
  return seconds(options and options.deadline)
    or math.max(client.deadline, seconds(options and options.timeout) or 0)
end

--- Defines effect "pcaps.OP", and "api.OP" for one attempt of it, which is what the gate is around.
--- `attempt` sends one request and waits for its answer.
---@param op string
---@param attempt fun(client: userdata, subject: any, options?: table, path?: string): any, table?,
---  string? the result; or nil, an error and, where there are parameters, the body that was sent
---@return function caller
function M.define(op, attempt)
  attempt = effects.define("api." .. op, attempt)
  return effects.define("pcaps." .. op, function(client, subject, options, path)
    local intent <close> = op == "create" and intents.begin(client) or nil
    if intent then
      intent.options, intent.ends = options, intent.sent + M.deadline_of(client, options)
    end
    local first = options
    if options and options.deadline then
      first = bounded(client, options, seconds(options.deadline))
      first.allow_ipv6, first.force = options.allow_ipv6, options.force
    end
    local result, err, body = attempt(client, subject, first, path, intent)
    if result == nil then
      result, err = try_again({ op = op, attempt = attempt, client = client, subject = subject,
        options = options, path = path, body = body, attempts = 1,
        intent = intent or { sent = clock.boot() - (err.elapsed or 0) } }, err)
      if result == nil then
        if intent then intent.failure = err end
        return nil, err
      end
    end
    if intent then
      intents.settle(intent, result)
      if result.type == "full" and not config.dry_run then
        opened.note(result, options and options.detach, client)
      end
    end
    return result
  end)
end

return M
