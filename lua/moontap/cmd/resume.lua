-- resume: takes a pause back.

local dues = require "moontap.state.dues"
local steer = require "moontap.cmd.steer"

local M = steer.command("let a paused playbook go on", "resume",
  "Due times from now on fire again. What was due in the pause is not made up for, unless the "
    .. "playbook says catchup_on_resume.", true)

function M.run(args)
  return steer.change(args.playbook, function(store)
    local was_paused, err = dues.resume(store, args.playbook, args.note)
    if was_paused == nil then return nil, err end
    return { was_paused = was_paused }, was_paused and "goes on" or "was not paused"
  end)
end

return M
