-- release: lets captures be purged that were held.

local holding = require "moontap.cmd.holding"
local retention = require "moontap.retention"

---@type moontap.cmd.Command
local M = {
  summary = "let held captures be purged again",
  usage = { "moontap release [OPTIONS] ID...", "moontap release [OPTIONS] --case CASE" },
  description = "Ends what `moontap hold` began. What is old enough goes with the next "
    .. "`moontap purge`.",
  arguments = { { "ids", name = "ID", help = "ids of captures", repeated = true } },
  options = { { "--case", arg = "CASE", help = "all captures of this case" } },
  groups = { "state", "output" },
}

function M.run(args)
  return holding.run(args, "released", retention.release)
end

return M
