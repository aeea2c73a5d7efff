-- trigger: asks for a run of a playbook beside its schedule.

local dues = require "moontap.state.dues"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "run a playbook now, beside its schedule",
  usage = { "moontap trigger [OPTIONS] PLAYBOOK" },
  description = "Asks the daemon to run a playbook. Without a daemon it runs when one starts. A "
    .. "pause does not hold it back; what it shares with others does.",
  arguments = { { "playbook", name = "PLAYBOOK", help = "its name" } },
  groups = { "state", "output" },
}

function M.run(args)
  return show.with_state(function(store)
    local ok, err = show.known(store, args.playbook)
    if not ok then return nil, err end
    local due
    due, err = dues.trigger(store, args.playbook)
    if not due then return nil, err end
    local has_daemon = show.has_daemon()
    return show.done({ playbook = args.playbook, due = due, daemon = has_daemon }, has_daemon
      and ("%s will run"):format(args.playbook)
      or ("%s will run when a daemon starts: none runs now"):format(args.playbook))
  end)
end

return M
