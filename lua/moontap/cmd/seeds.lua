-- seeds: what ~ in a schedule was drawn as, for commands that look ahead. A daemon draws it when it
-- first loads a playbook; nothing is drawn or written here.

local dues = require "moontap.state.dues"
local states = require "moontap.state"

local M = {}

local UNDRAWN <const> = 1 -- shows the like of what will be drawn

M.WARNING = "~ is not drawn yet: a daemon draws it when it first loads this playbook, and then "
  .. "these times will differ"

---The seeds of the playbooks that a daemon has seen, by name.
---@return table<string, integer>|nil
---@return table|nil err
function M.read()
  local store, err = states.reader()
  if not store then
    if err.code == "ENOENT" then return {} end
    return nil, err
  end
  local found
  found, err = dues.seeds(store)
  store:close()
  return found, err
end

---The seed of a playbook, and whether its times hang on one that is not drawn yet.
---@param seeds table<string, integer>
---@param playbook moontap.cron.Playbook
---@return integer seed
---@return boolean is_undrawn
function M.of(seeds, playbook)
  local seed = seeds[playbook.name]
  if seed then return seed, false end
  for _, expression in ipairs(playbook.expressions) do
    if expression:find("~", 1, true) then return UNDRAWN, true end
  end
  return UNDRAWN, false
end

return M
