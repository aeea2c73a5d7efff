-- captures: what captures the account has.

local config = require "moontap.config"
local json = require "moontap.json"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"

---@type moontap.cmd.Command
local M = {
  summary = "list the captures of the account",
  usage = { "moontap captures [OPTIONS]" },
  description = "Lists the captures of the account, finished and running, as far as the API "
    .. "shows them (50).",
  groups = { "api", "output" },
}

function M.run()
  local pcaps = require "pcaps"
  local caps, err = pcaps.list()
  if not caps then return nil, err end
  local list = json.array {}
  for i, cap in ipairs(caps) do list[i] = show.public(cap) end
  if config.json then
    print(json.encode(list, { pretty = true }))
  elseif #list > 0 then
    print(show.table(list, sys.isatty(1) and sys.terminal_size(1) or nil))
  elseif not config.quiet then
    io.stderr:write("no captures\n")
  end
end

return M
