-- get: one capture.

local config = require "moontap.config"
local json = require "moontap.json"
local show = require "moontap.cmd.show"

---@type moontap.cmd.Command
local M = {
  summary = "show one capture",
  usage = { "moontap get [OPTIONS] ID" },
  arguments = { { "id", name = "ID", help = "id of the capture",
                  convert = require "moontap.cmd.options".convert.id } },
  groups = { "asking", "output" },
}

function M.run(args)
  local cap, err = require "pcaps".get(args.id)
  if not cap then return nil, err end
  cap = show.public(cap)
  print(config.json and json.encode(cap, { pretty = true }) or show.fields(cap))
end

return M
