-- version: what this program is made of.

local host = require "moontap.native.host"
local json = require "moontap.json"
local tzdb = require "moontap.tzdb"

---@type moontap.cmd.Command
local M = {
  summary = "show the version of moontap and its parts",
  usage = { "moontap version [OPTIONS]" },
  options = { { "--json", help = "print JSON" } },
}

-- The part that holds libcurl is loaded only when something needs it: a broken one must not keep
-- this command from telling so.
local function libcurl_version()
  local ok, http = pcall(require, "moontap.native.http")
  if not ok then return nil end
  return http.version
end

function M.run(args)
  local parts = {
    moontap = host.version, lua = _VERSION:match "[%d.]+", libcurl = libcurl_version(),
    build = host.build_id, tzdb = tzdb.version(),
  }
  if args.json then
    print(json.encode(parts))
    return 0
  end
  print(("moontap %s (build %s)"):format(parts.moontap, parts.build))
  print(("Lua %s, libcurl %s, tz database %s"):format(parts.lua, parts.libcurl or "not available",
    parts.tzdb))
  return 0
end

return M
