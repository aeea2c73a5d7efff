-- pause: lets a playbook rest.

local dues = require "moontap.state.dues"
local show = require "moontap.cmd.showcron"
local steer = require "moontap.cmd.steer"

local M = steer.command("let a playbook rest", "pause",
  "Due times of a paused playbook are skipped, which `moontap history` says with the note. A run "
    .. "that goes on is left alone. Where it is paused already, --note replaces the note.",
  true)

function M.run(args)
  return steer.change(args.playbook, function(store)
    local before, err = dues.pause_of(store, args.playbook)
    if before == nil then return nil, err end
    local facts = { paused = true, was_paused = before ~= false }
    if before and not args.note then
      return facts, ("was paused before (%s), which stays as it is"):format(show.clean(before.note))
    end
    local ok
    ok, err = dues.pause(store, args.playbook, args.note or "no reason given")
    if not ok then return nil, err end
    return facts, before and ("was paused before (%s) and is paused still: %s"):format(
      show.clean(before.note), args.note) or "is paused"
  end)
end

return M
