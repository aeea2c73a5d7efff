-- tzdb: which release of the tz database the zones come from.

local sys = require "moontap.native.sys"

local M = {}

local DEFAULT <const> = "/usr/share/zoneinfo"

-- File of a directory of zones → what its first line says.
local PLACES <const> = {
  { "tzdata.zi", "^# version (%d%d%d%d%l*[%w._-]*)" },
  { "+VERSION", "^(%d%d%d%d%l*[%w._-]*)" },
}

local known = { identity = false, version = nil }

local function first_line(path)
  local file <close> = io.open(path, "r")
  return file and file:read(64) or ""
end

---The release, as "2025b"; "unknown" where the directory of zones does not say.
---@return string
function M.version()
  local dir = os.getenv "TZDIR"
  if not dir or dir:sub(1, 1) ~= "/" then dir = DEFAULT end
  for _, place in ipairs(PLACES) do
    local path = dir .. "/" .. place[1]
    local stat = sys.stat(path)
    local identity = stat and ("%s %s %s"):format(path, stat.identity, stat.mtime)
    if identity and identity == known.identity then return known.version end
    local version = stat and first_line(path):match(place[2])
    if version then
      known.identity, known.version = identity, version
      return version
    end
  end
  return "unknown"
end

return M
