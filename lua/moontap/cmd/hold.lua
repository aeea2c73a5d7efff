-- hold: keeps captures from being purged.

local holding = require "moontap.cmd.holding"
local options = require "moontap.cmd.options"
local retention = require "moontap.retention"

---@type moontap.cmd.Command
local M = {
  summary = "keep captures from being purged",
  usage = { "moontap hold [OPTIONS] ID...", "moontap hold [OPTIONS] --case CASE" },
  description = "Keeps the file and the records of captures until `moontap release`, however old "
    .. "they get. With --case it holds the captures that the case has now, not later ones.",
  arguments = { { "ids", name = "ID", help = "ids of captures", repeated = true } },
  options = {
    { "--case", arg = "CASE", help = "all captures of this case" },
    { "--why", arg = "TEXT", convert = options.convert.note,
      help = "the reason, which the journal keeps" },
  },
  groups = { "state", "output" },
}

function M.run(args)
  return holding.run(args, "held", function(state, id)
    return retention.hold(state, id, args.why)
  end)
end

return M
