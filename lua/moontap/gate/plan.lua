-- plan: under --dry-run calls are answered by the world that the script runs in (moontap.plan), and
-- what would change something is written into the plan instead of done.

local config = require "moontap.config"
local errors = require "moontap.errors"
local gate_world = require "moontap.gate.world"

local M = { effects = {} }

local ROOMS <const> = { "api", "inside", "outside" }

---@return boolean
function M.is_needed()
  return config.dry_run or false
end

local function wrap(name, answer, worlds)
  return function(next, ...)
    local world = worlds.current()
    if world then return answer(world, next, ...) end
    if name == "api.download" or gate_world.changes(name, ...) then
      return nil, errors.new("denied", "refused: this is a dry run, and its plan is over")
    end
    return next(...)
  end
end

if M.is_needed() then
  local worlds = require "moontap.plan.world"
  for _, room in ipairs(ROOMS) do
    for name, answer in pairs(require("moontap.plan." .. room)) do
      M.effects[name] = wrap(name, answer, worlds)
    end
  end
end

return M
