-- download: the file of a simple capture.

local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"

local PASSED_MAX <const> = 1 << 26 -- bytes that go to standard output

---@type moontap.cmd.Command
local M = {
  summary = "download the file of a simple capture",
  usage = { "moontap download [OPTIONS] ID" },
  description = "Downloads the packets of a simple capture and prints where they are. Without -o "
    .. "the file goes to captures/ACCOUNT/ID.pcap in the state directory. The files of a full "
    .. "capture are in its bucket.",
  arguments = { { "id", name = "ID", help = "id of the capture",
                  convert = require "moontap.cmd.options".convert.id } },
  options = { { "-o --output", arg = "FILE", help = "where to write it; - for standard output" } },
  groups = { "api", "output" },
}

-- To standard output: whole, through a directory of its own.
local function pass_on(id)
  local sys = require "moontap.native.sys"
  local dir, why = sys.tempdir "moontap-download-"
  if not dir then return nil, why end
  local tidy <close> = -- luacheck: ignore tidy
    setmetatable({}, { __close = function() sys.remove_tree(dir) end })
  config.passes_downloads = true
  local path, err = require "pcaps".download(id, dir .. "/capture.pcap")
  if not path then return nil, err end
  local data
  data, err = sys.read_file(path, PASSED_MAX)
  if not data then return nil, err end
  local ok
  ok, err = sys.write(1, data)
  if not ok then return nil, err end
  return 0
end

function M.run(args)
  if args.output == "-" then return pass_on(args.id) end
  if args.output == "" then return nil, errors.new("usage", "download: -o names no file") end
  local path, err = require "pcaps".download(args.id, args.output)
  if not path then return nil, err end
  if config.json then
    print(json.encode { id = args.id, path = path })
  elseif not config.quiet then
    print(config.dry_run and "would write " .. path or path)
  end
end

return M
