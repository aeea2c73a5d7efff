-- starts: playbooks that run once after each start of the machine.

local atomic = require "moontap.state.atomic"
local clock = require "moontap.clock"

local must = atomic.must

local M = {}

local function add_due(db, playbook)
  local at = clock.now()
  if at % 1 == 0 then at = at + 0.001 end -- a whole second may be one of the schedule's
  while must(db:row("SELECT id FROM dues WHERE playbook = ? AND nominal = ?", playbook, at)) do
    at = at + 0.001
  end
  must(db:run("INSERT INTO dues (playbook, nominal, planned, trigger, reason) VALUES (?1, ?2, ?2, "
    .. "'start', 'the machine has started')", playbook, at))
end

---Gives each of these playbooks a due time, unless it had one since the machine started. Durable.
---@param state moontap.State
---@param names string[]
---@param boot_id string
---@return any ok
---@return table|nil err
function M.mark(state, names, boot_id)
  local db, prefix = state.db, ("start %s "):format(boot_id)
  return atomic.run(db, true, function()
    must(db:run("DELETE FROM marks WHERE name LIKE 'start %' AND substr(name, 1, ?2) <> ?1", prefix,
      #prefix))
    for _, name in ipairs(names) do
      local changed = must(db:run("INSERT OR IGNORE INTO marks (name, at) VALUES (?, ?)",
        prefix .. name, clock.now()))
      if changed == 1 then add_due(db, name) end
    end
    return true
  end)
end

return M
