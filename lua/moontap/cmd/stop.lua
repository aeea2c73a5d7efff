-- stop: ends a full capture before its time.

local config = require "moontap.config"
local json = require "moontap.json"

---@type moontap.cmd.Command
local M = {
  summary = "stop a full capture",
  usage = { "moontap stop [OPTIONS] ID" },
  description = "Stops a full capture before its time. Whether the packets captured so far reach "
    .. "the bucket is up to the API; do not count on them. A capture that this host did not "
    .. "open is stopped with --force only.",
  arguments = { { "id", name = "ID", help = "id of the capture",
                  convert = require "moontap.cmd.options".convert.id } },
  options = { { "--force", help = "also a capture that this host did not open" } },
  groups = { "api", "output" },
}

function M.run(args)
  local ok, err = require "pcaps".stop(args.id, { force = args.force or nil })
  if not ok then return nil, err end
  if config.json then
    print(json.encode { id = args.id, stopped = not config.dry_run })
  elseif not config.quiet then
    print(("%s %s"):format(config.dry_run and "would stop" or "stopped", args.id))
  end
end

return M
