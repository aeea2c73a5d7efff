-- wish: what a create asks for, as the state writes it down: the parameters as they will be sent,
-- who asked, for which run and case, until when.

local clock = require "moontap.clock"
local config = require "moontap.config"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local json = require "moontap.json"
local origin = require "moontap.origin"
local printable = require "moontap.printable"
local random = require "moontap.random"
local schema = require "moontap.native.schema"

local M = {}

local sleep = effects.caller "sleep"

local BUSY_PAUSE <const> = 0.2 -- seconds at most; a transaction waits by itself
local PERSON <const> = 10 -- priority of what a person waits for; playbooks come behind

-- What a playbook says of its own importance does not put it before people.
local function priority_of(caller, options)
  if caller then return math.min(caller.priority, PERSON - 1) end
  return options.priority or config.priority or PERSON
end

local rules = { allow_ipv6 = true }

---The parameters of a create as they go to the API, as JSON, without the keys of a bucket.
---@param params table
---@param asked? number the time from which a window counts
---@return string
function M.wire(params, asked)
  rules.now = asked
  if not params.destination_conf then return assert(schema.encode("create", params, rules)) end
  local wire = assert(schema.normalize("create", params, rules))
  wire.destination_conf = schema.redact(wire.destination_conf)
  return json.encode(wire)
end

-- A case or reason as it is stored: others read it on their terminals.
local function note(text)
  return text and printable(text) or nil
end

---What `intent` asks for, made when it is first asked.
---@param context moontap.gate.Context
---@param intent pcaps.Intent
---@param params table
---@return moontap.state.Wish
function M.of(context, intent, params)
  if intent.wish then return intent.wish end
  local options = intent.options or {}
  local asked = clock.now()
  local caller = intent.caller or {}
  local wire = M.wire(params, asked)
  intent.context, intent.wish = context, {
    kind = params.type == "full" and "full" or "simple", params = wire, asked = asked,
    deadline = asked + (intent.ends - clock.boot()),
    priority = priority_of(intent.caller, options),
    detach = options.detach,
    share_key = options.share and wire or nil, -- what is equal may be shared
    run = caller.run or config.run or context.account.state.owner.id,
    script = caller.playbook or origin.script(),
    why = note(options.why or config.why), case = note(options.case or config.case),
  }
  return intent.wish
end

---The error of a create that could not be written down.
---@param err table of the state
---@return table
function M.not_written(err)
  if err.kind == "cancelled" then return err end
  return errors.new("io", "create not sent, because it could not be written down: " .. err.message,
    { sent = "no", code = err.code })
end

---Calls `write`, and again while others keep the state to themselves, as long as the create may
---take. What it has in the state meanwhile stays: its place, its turn.
---@param intent pcaps.Intent
---@param write fun(): any, table|nil
---@return any ok
---@return table|nil err
function M.insist(intent, write)
  while true do
    local ok, err = write()
    if ok ~= nil or err.code ~= "SQLITE_BUSY" or clock.boot() >= intent.ends then return ok, err end
    sleep(BUSY_PAUSE * random.uniform())
  end
end

---Writes an intent down; it is in the queue then.
---@param intent pcaps.Intent that has a wish and no row
---@return boolean|nil
---@return table|nil err
function M.ask(intent)
  local written, err = M.insist(intent, function()
    return intent.context.account:ask(intent.wish)
  end)
  if not written then return nil, M.not_written(err) end
  intent.row, intent.leader = written.id, written.leader
  host.point "wanted"
  return true
end

---What is sent after a wait: the window is the one that was asked for, and an attempt ends with
---the whole.
---@param intent pcaps.Intent
---@param params table
---@param options table
---@param waited number seconds
---@return table params
---@return table options
function M.late(intent, params, options, waited)
  if waited < 0.5 / config.speed then return params, options end
  local changed = {}
  for name, value in pairs(options or {}) do changed[name] = value end
  local left = math.max(0.001, intent.ends - clock.boot())
  changed.timeout = math.min(changed.timeout or left, left)
  if intent.wish.kind ~= "simple" or params.offset_time ~= nil then return params, changed end
  local copy = {}
  for name, value in pairs(params) do copy[name] = value end
  copy.offset_time, changed.asked_at = clock.format(intent.wish.asked), intent.wish.asked
  return copy, changed
end

return M
