-- pause: lets a playbook rest.

local dues = require "moontap.state.dues"
local options = require "moontap.cmd.options"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "let a playbook rest",
  usage = { "moontap pause [OPTIONS] PLAYBOOK" },
  description = "Due times of a paused playbook are skipped, which `moontap history` says with the "
    .. "note. A run that goes on is left alone.",
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
    ok, err = dues.pause(store, args.playbook, args.note or "no reason given")
    if not ok then return nil, err end
    return show.done({ playbook = args.playbook, paused = true }, args.playbook .. " is paused")
  end)
end

return M
