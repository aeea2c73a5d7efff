-- grants: may this caller do it? Under --read-only nothing is changed; a capture that this host
-- did not open is stopped by force only.

local config = require "moontap.config"
local errors = require "moontap.errors"
local gate = require "moontap.gate"
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

M.effects["api.stop"] = function(next, client, id, options, ...)
  if config.read_only then
    return deny(("refused to stop %s: --read-only changes nothing"):format(id))
  end
  if not (options and options.force) and is_foreign(client, id) then
    return deny(("stop %s refused: this host did not open it; to stop it all the same: "
      .. "moontap stop --force %s, in scripts { force = true }"):format(id, id))
  end
  return next(client, id, options, ...)
end

return M
