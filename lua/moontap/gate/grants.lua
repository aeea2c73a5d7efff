-- grants: may this caller do it? Under --read-only nothing is changed; a capture that this host
-- did not open is stopped by force only; the run of a playbook does what rules.lua allows it, and
-- stops what runs of the same playbook have opened.

local config = require "moontap.config"
local errors = require "moontap.errors"
local dues = require "moontap.state.dues"
local gate = require "moontap.gate"
local rules = require "moontap.gate.rules"
local state = require "moontap.state"
local world = require "moontap.gate.world"

local M = { effects = {} }

local function deny(message)
  return nil, errors.new("denied", message, { sent = "no", retryable = false })
end

local function refuse(name)
  return function(next, ...)
    if config.read_only and world.changes(name, ...) then
      return deny(("refused to %s: --read-only changes nothing"):format(world.describe(name, ...)))
    end
    return next(...)
  end
end

for name in pairs(world.CHANGES) do M.effects[name] = refuse(name) end

-- Playbooks --------------------------------------------------------------------------------

-- What a create is refused for. The count of the day is the last question, as it writes.
local function refuse_create(client, params, intent)
  local caller = gate.caller(client)
  if not caller then return nil end
  if intent then intent.caller = caller end
  local why = rules.refuses_verb(caller.rules, "create")
    or rules.refuses_create(caller.rules, params)
  local max, whose = rules.per_day(caller.rules)
  if why or not max or (intent and intent.is_counted) then return why end
  local store, err = state.current()
  local ok
  if store then ok, err = dues.use(store, caller.playbook, max) end
  if ok == nil then return ("create refused: its number of the day is not known: %s"):format(
    err.message) end
  if intent then intent.is_counted = true end
  return not ok and ("create refused by %s: pcaps.per_day: %d were opened today"):format(whose, max)
    or nil
end

M.effects["api.create"] = function(next, client, params, options, path, intent)
  if config.read_only then
    return deny(("refused to %s: --read-only changes nothing"):format(world.describe("api.create",
      client, params)))
  end
  local why = refuse_create(client, params, intent)
  if why then return deny(why) end
  return next(client, params, options, path, intent)
end

local function guard(verb)
  local effect = "api." .. verb
  local inner = M.effects[effect]
  M.effects[effect] = function(next, client, subject, ...)
    local bucket = type(subject) == "table" and subject.destination_conf or nil
    local caller = gate.caller(client)
    local why = caller and rules.refuses_verb(caller.rules, verb, bucket)
    if why then return deny(why) end
    if inner then return inner(next, client, subject, ...) end
    return next(client, subject, ...)
  end
end

for _, verb in ipairs { "get", "list", "download", "ownership.create", "ownership.list",
                        "ownership.delete", "ownership.validate" } do
  guard(verb)
end

-- Stopping ---------------------------------------------------------------------------------

-- Is it a capture that this dry run has planned?
local function is_planned(id)
  local worlds = config.dry_run and require "moontap.plan.world"
  local running = worlds and worlds.current()
  return running and running.captures[id] ~= nil
end

-- Was it opened here? Nobody knows while the state cannot be read.
local function is_foreign(client, id)
  local context = gate.context(client)
  if not context or context.is_refused or is_planned(id) then return false end
  if not context.account then return true end
  local row = context.account:capture(id)
  return not (row and row.intent)
end

-- Has a run of this playbook opened it?
local function is_own(client, caller, id)
  local context = gate.context(client)
  local account = context and context.account
  return account ~= nil and account:opener(id) == caller.playbook
end

-- Another run that goes on has got the same capture.
local function is_shared(client, id)
  local context, caller = gate.context(client), gate.caller(client)
  local account = context and context.account
  if not account or is_planned(id) then return false end
  return account:is_needed(id, { owner = account.state.owner.id, run = caller and caller.run })
end

M.effects["api.stop"] = function(next, client, id, options, ...)
  if config.read_only then
    return deny(("refused to stop %s: --read-only changes nothing"):format(id))
  end
  local caller = gate.caller(client)
  local why = caller and rules.refuses_stop(caller.rules, id, is_own(client, caller, id))
  if why then return deny(why) end
  if not (options and options.force) and is_foreign(client, id) then
    return deny(("stop %s refused: this host did not open it; to stop it all the same: "
      .. "moontap stop --force %s, in scripts { force = true }"):format(id, id))
  end
  if not (options and options.force) and is_shared(client, id) then
    return deny(("stop %s refused: another run shares it and goes on; to stop it all the same: "
      .. "moontap stop --force %s, in scripts { force = true }"):format(id, id))
  end
  return next(client, id, options, ...)
end

return M
