-- trigger: asks for a run of a playbook beside its schedule.

local dues = require "moontap.state.dues"
local show = require "moontap.cmd.showcron"
local steer = require "moontap.cmd.steer"

local M = steer.command("run a playbook now, beside its schedule", "trigger",
  "Asks the daemon to run a playbook. Without a daemon it runs when one starts. A pause does not "
    .. "hold it back; what it shares with others does.")

function M.run(args)
  return steer.change(args.playbook, function(store)
    local due, err = dues.trigger(store, args.playbook)
    if not due then return nil, err end
    local has_daemon = show.has_daemon()
    return { due = due, daemon = has_daemon },
      has_daemon and "will run" or "will run when a daemon starts: none runs now"
  end)
end

return M
