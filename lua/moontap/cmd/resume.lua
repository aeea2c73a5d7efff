-- resume: takes a pause back.

local dues = require "moontap.state.dues"
local options = require "moontap.cmd.options"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "let a paused playbook go on",
  usage = { "moontap resume [OPTIONS] PLAYBOOK" },
  description = "Due times from now on fire again. What was due in the pause is not made up "
    .. "for, unless the playbook says catchup_on_resume.",
  arguments = { { "playbook", name = "PLAYBOOK", help = "its name" } },
  options = {
    { "--note", arg = "TEXT", convert = options.convert.note, help = "why" },
  },
  groups = { "state", "output" },
}

function M.run(args)
  return show.with_state(function(store)
    local ok, err = show.known(store, args.playbook)
    if not ok then return nil, err end
    local was_paused
    was_paused, err = dues.resume(store, args.playbook, args.note)
    if was_paused == nil then return nil, err end
    return show.done({ playbook = args.playbook, was_paused = was_paused },
      args.playbook .. (was_paused and " goes on" or " was not paused"))
  end)
end

return M
