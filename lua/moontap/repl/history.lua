-- history: the file that keeps what was typed, and what it must not keep.

local sys = require "moontap.native.sys"
local text = require "moontap.repl.text"

local M = {}

---Is there something in `code` that must not lie in a file?
---@param code string
---@return boolean
function M.is_secret(code)
  local bare = code:gsub("[\n\r]", " ")
  return text.mask(bare) ~= bare
end

---Its path, whose directory exists then; nil where there is no home.
---@return string|nil
function M.file()
  local base = os.getenv "XDG_STATE_HOME"
  if not base or base:sub(1, 1) ~= "/" then
    local home = os.getenv "HOME"
    if not home or home:sub(1, 1) ~= "/" then return nil end
    base = home .. "/.local/state"
  end
  local dir = base .. "/moontap"
  if not sys.mkdir_p(dir, tonumber("700", 8)) then return nil end
  return dir .. "/history"
end

return M
