-- credentials: where a client's account, address and credentials come from. The secrets
-- themselves are read by the native client and never become Lua values here, unless the script
-- gave them as such.

local config = require "moontap.config"

local M = {}

M.BASE_URL = "https://api.cloudflare.com/client/v4"

local SECRETS = { "api_token", "token_file", "api_email", "api_key" }

-- A variable of the environment; blank counts as not set.
local function variable(name)
  local value = os.getenv(name)
  if value and value:find("%S") then return value:match("^%s*(.-)%s*$") end
  return nil
end

--- Whether `given` names credentials of its own.
---@param given table
---@return boolean
function M.are_given(given)
  for _, name in ipairs(SECRETS) do
    if given[name] ~= nil then return true end
  end
  return false
end

--- What the native client is set up with. The embedded simulator overrides everything, so that
--- no script reaches a real account by accident under --sim.
---@param given table what the script gave to pcaps.client
---@return table
function M.resolve(given)
  local sim = config.sim
  if sim then
    return { base_url = sim.base_url, account_id = sim.account_id, api_token = sim.api_token }
  end
  local settings = {
    base_url = given.base_url or config.base_url or variable("CLOUDFLARE_BASE_URL") or M.BASE_URL,
    account_id = given.account_id or config.account_id or variable("CLOUDFLARE_ACCOUNT_ID"),
  }
  if M.are_given(given) then
    for _, name in ipairs(SECRETS) do settings[name] = given[name] end
  else
    settings.token_file = config.token_file -- without it the environment decides
  end
  return settings
end

return M
