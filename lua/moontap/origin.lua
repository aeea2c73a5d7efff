-- origin: which command and which script this process is, for whoever writes down who did what.
-- What follows a script's name, and code of -e, may hold secrets and is left out.

local config = require "moontap.config"
local sys = require "moontap.native.sys"

local M = {}

local CMDLINE_MAX <const> = 65536

-- A plain "moontap FILE" starts without the command line's parser (main.c).
local function plain_script()
  local text = sys.read_file("/proc/self/cmdline", CMDLINE_MAX)
  local words = {}
  for word in (text or ""):gmatch "[^%z]+" do words[#words + 1] = word end
  return words[2] == "run" and words[3] or words[2]
end

---The script that runs, as it was named; nil for commands that run none.
---@return string|nil
function M.script()
  if config.command == nil then return plain_script() end
  return config.script
end

---@return string such as "run nightly.lua", "capture"
function M.command()
  local script = M.script()
  local command = config.command or "run"
  return script and command .. " " .. script or command
end

return M
