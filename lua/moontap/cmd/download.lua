-- download: the file of a simple capture.

local config = require "moontap.config"
local json = require "moontap.json"

---@type moontap.cmd.Command
local M = {
  summary = "download the file of a simple capture",
  usage = { "moontap download [OPTIONS] ID" },
  description = "Downloads the packets of a simple capture and prints where they are. Without -o "
    .. "the file goes to captures/ACCOUNT/ID.pcap in the state directory. The files of a full "
    .. "capture are in its bucket.",
  arguments = { { "id", name = "ID", help = "id of the capture" } },
  options = { { "-o --output", arg = "FILE", help = "where to write it" } },
  groups = { "api", "output" },
}

function M.run(args)
  local path, err = require "pcaps".download(args.id, args.output)
  if not path then return nil, err end
  if config.json then
    print(json.encode { id = args.id, path = path })
  elseif not config.quiet then
    print(path)
  end
end

return M
