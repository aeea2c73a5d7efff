-- descriptors: how many runs at a time the process's descriptors are enough for.

local io = require "io" -- the plain one: the limits are the process's own
local sys = require "moontap.native.sys"

local M = {}

local OF_RUN <const> = 10 -- both links while it starts, its exit, its log, an exchange, a file
local SPARE <const> = 24  -- for all else that the daemon opens: exchanges, pages, zone files

---The most descriptors that this process may have open; nil when it is not known or unlimited.
---@return integer|nil
function M.limit()
  local file = io.open "/proc/self/limits"
  local text = file and file:read "a" or ""
  if file then file:close() end
  return math.tointeger(text:match "Max open files%s+(%d+)")
end

---As many runs as there is room for beside what is open now, `wanted` at most, one at least.
---@param wanted integer
---@return integer
---@return integer|nil limit descriptors, where these are too few for `wanted`
function M.runs(wanted)
  local limit = M.limit()
  local open = limit and #(sys.list "/proc/self/fd" or {})
  local most = limit and math.max(1, (limit - open - SPARE) // OF_RUN) or wanted
  if most >= wanted then return wanted end
  return most, limit
end

return M
