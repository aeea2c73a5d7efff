-- stop: ends a full capture before its time.

local config = require "moontap.config"
local json = require "moontap.json"

---@type moontap.cmd.Command
local M = {
  summary = "stop a full capture",
  usage = { "moontap stop [OPTIONS] ID" },
  description = "Stops a full capture before its time. Whether the packets captured so far reach "
    .. "the bucket is up to the API; do not count on them.",
  arguments = { { "id", name = "ID", help = "id of the capture" } },
  groups = { "api", "output" },
}

function M.run(args)
  local ok, err = require "pcaps".stop(args.id)
  if not ok then return nil, err end
  if config.json then
    print(json.encode { id = args.id, stopped = true })
  elseif not config.quiet then
    print(("stopped %s"):format(args.id))
  end
end

return M
