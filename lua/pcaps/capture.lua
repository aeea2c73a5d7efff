-- capture: what a capture object can do. The object itself is the API's answer, a plain table
-- with the API's field names; its methods belong to the client that it came from.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local later = require "moontap.later"
local retry = require "pcaps.retry"
local schema = require "moontap.native.schema"

local progress = later "moontap.progress"

local sleep = effects.caller("sleep")

local M = {}

local DONE = { success = true, complete = true }
local FAILED = { failed = true }
local INTERVAL_FIRST = 0.5     -- seconds between two looks, at first
local INTERVAL_MAX = 5         -- … and at most
local WAIT_SIMPLE = 300        -- default deadline of a simple capture
local WAIT_FULL = 900          -- … of a full one, beyond its time_limit
local TIME_LIMIT = 300         -- of a full capture whose answer names none
local TICK = 0.001             -- the clock's: a shorter sleep does not move it
local UNSEEN = 30              -- seconds for which a new capture may be unknown to the API
local WAIT_OPTIONS = { "timeout", "interval", "progress" }

local function check_id(cap, level)
  if type(cap) ~= "table" or type(cap.id) ~= "string" then
    error("this is no capture with an id (call its methods with a colon: cap:wait())", level + 1)
  end
end

local function check_duration(value, name)
  local parsed = duration.parse(value)
  if not parsed or parsed <= 0 then
    error(("wait: %s: expected a duration (5, \"5m\"), got %s"):format(name, tostring(value)), 4)
  end
  return parsed
end

local function check_wait_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    error("wait: expected a table of options, got " .. type(options), 3)
  end
  local known = {}
  for _, name in ipairs(WAIT_OPTIONS) do known[name] = true end
  for key in pairs(options) do
    if not known[key] then
      local near = schema.near(tostring(key), WAIT_OPTIONS)
      error(("wait: unknown option %s%s"):format(tostring(key),
        near and "; did you mean " .. near .. "?" or ""), 3)
    end
  end
  if options.progress ~= nil and type(options.progress) ~= "function" then
    error("wait: progress: expected a function, got " .. type(options.progress), 3)
  end
  return {
    timeout = options.timeout ~= nil and check_duration(options.timeout, "timeout") or nil,
    interval = options.interval ~= nil and check_duration(options.interval, "interval") or nil,
    progress = options.progress,
  }
end

local function default_timeout(cap)
  if cap.type == "full" then
    return (tonumber(cap.time_limit) or TIME_LIMIT) + WAIT_FULL
  end
  return WAIT_SIMPLE
end

local function failure(cap)
  local why = cap.error_message
  return errors.new("api", ("capture %s failed: %s"):format(cap.id, schema.redact(
    type(why) == "string" and why ~= "" and why or "the API gives no reason")),
    { capture = cap.id, error_message = why, retryable = false })
end

local function timeout_error(cap, timeout, last)
  return errors.new("timeout", ("capture %s is still %s after %s%s"):format(cap.id,
    tostring(cap.status or "without a status"), duration.format(timeout),
    last and "; last problem: " .. last.message or ""),
    { capture = cap.id, retryable = true })
end

-- May the wait go on after this error of a look?
local function is_passing(err, elapsed)
  return err.retryable or err.kind == "limit" or (err.status == 404 and elapsed < UNSEEN)
end

-- One look; returns nil when there is nothing more to say, else what ends the wait.
local function look(cap, client, elapsed, left)
  local timeout = math.max(TICK, math.min(client.timeout, left))
  local ok, err = cap:refresh { max_retries = 0, timeout = timeout }
  if not ok and not is_passing(err, elapsed) then return "over", err end
  return nil, err
end

local function wait(cap, client, options)
  local timeout = options.timeout or default_timeout(cap)
  local speed = config.speed
  local interval = (options.interval or INTERVAL_FIRST) / speed
  local most = math.max(options.interval or INTERVAL_MAX, 0.001) / speed
  local started, elapsed, last = clock.boot(), 0, nil
  while not cap:done() do
    local left = timeout - elapsed
    if left < TICK then return nil, timeout_error(cap, timeout, last) end
    local pause = math.max(interval, last and retry.asked_pause(last) or 0)
    sleep(math.min(pause, left))
    interval = math.min(most, interval * 1.5)
    elapsed = clock.boot() - started
    local over, err = look(cap, client, elapsed, timeout - elapsed)
    if over then return nil, err end
    last, elapsed = err, clock.boot() - started
    if options.progress then options.progress(cap, elapsed, timeout) end
  end
  if FAILED[cap.status] then return nil, failure(cap) end
  return cap
end

-- Calls `fn` for the last time when the wait is left, also by a cancellation.
local function at_the_end(cap, fn)
  if not fn then return nil end
  return setmetatable({}, { __close = function() fn(cap, 0, 0, true) end })
end

local function describe(cap)
  local where = type(cap.colo_name) == "string" and ", " .. cap.colo_name or ""
  local text = ("capture %s (%s%s, %s)"):format(tostring(cap.id or "without id"),
    tostring(cap.type or "unknown type"), where, tostring(cap.status or "no status"))
  return (schema.redact(text):gsub("%c", "?"))
end

--- The metatable of the captures of `client`; `rays` holds the cf-ray of each.
---@param client table
---@param rays table<table, string> weak
---@return table
function M.metatable(client, rays)
  local methods = {}

  --- Waits until the capture is done. Returns the capture, or nil and an error when it failed
  --- or time was up.
  function methods.wait(cap, options)
    check_id(cap, 2)
    options = check_wait_options(options)
    local line, own = progress.default(), options.progress
    if own and line then
      options.progress = function(...)
        line(...)
        own(...)
      end
    else
      options.progress = own or line
    end
    local over <close> = at_the_end(cap, line) -- luacheck: ignore over
    local done, err = wait(cap, client, options)
    if not done then return nil, err end
    return done
  end

  --- Asks the API how the capture stands and takes it over into this object.
  function methods.refresh(cap, options)
    check_id(cap, 2)
    local fresh, err = client.get(cap.id, options)
    if not fresh then return nil, err end
    for key, value in pairs(fresh) do cap[key] = value end
    rays[cap] = rays[fresh]
    return cap
  end

  --- Stops a full capture. What it has captured so far may be lost.
  function methods.stop(cap, options)
    check_id(cap, 2)
    local ok, err = client.stop(cap.id, options)
    if not ok then return nil, err end
    return cap
  end

  --- Downloads the file of a simple capture; returns its path.
  function methods.download(cap, path, options)
    check_id(cap, 2)
    return client.download(cap.id, path, options)
  end

  --- Whether nothing more will come: it is ready, or has failed.
  function methods.done(cap)
    return DONE[cap.status] or FAILED[cap.status] or false
  end

  --- The cf-ray of the last answer about this capture, or nil.
  function methods.ray(cap)
    return rays[cap]
  end

  return { __index = methods, __name = "pcaps.capture", __tostring = describe }
end

return M
