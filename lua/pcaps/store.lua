-- store: where downloads go that name no place of their own: captures/ACCOUNT/ID.pcap in the
-- state directory. Only what lies there is ever cleaned up.

local config = require "moontap.config"
local errors = require "moontap.errors"
local sys = require "moontap.native.sys"

local M = {}

local function variable(name)
  local value = os.getenv(name)
  return value and value:sub(1, 1) == "/" and value or nil
end

--- The state directory: --state, else the XDG one.
---@return string|nil
---@return table|nil err
function M.directory()
  if config.state then return config.state end
  local base = variable("XDG_STATE_HOME")
  if base then return base .. "/moontap" end
  local home = variable("HOME")
  if home then return home .. "/.local/state/moontap" end
  return nil, errors.new("io", "no state directory: set HOME or XDG_STATE_HOME, or give a path")
end

--- Where the file of capture `id` of `client` goes; nothing is made.
---@param client userdata
---@param id string
---@return string|nil path
---@return table|nil err
function M.path_of(client, id)
  local root, err = M.directory()
  if not root then return nil, err end
  local native = require "moontap.native.pcaps" -- here: a lock alone needs no libcurl
  return ("%s/captures/%s/%s%s.pcap"):format(root, native.encode(client.account_id or "account"),
    config.sim and "sim-" or "", native.encode(id))
end

--- The path for capture `id` of `client`; its directory exists then. What comes from the
--- embedded simulator says so in its name.
---@param client userdata
---@param id string
---@return string|nil path
---@return table|nil err
function M.place(client, id)
  local path, err = M.path_of(client, id)
  if not path then return nil, err end
  local ok, why = sys.mkdir_p(path:match "^(.*)/", tonumber("700", 8))
  if not ok then return nil, why end
  return path
end

return M
