-- credentials: where a client's account, address and credentials come from. The secrets
-- themselves are read by the native client and never become Lua values here, unless the script
-- gave them as such.

local address = require "pcaps.address"
local config = require "moontap.config"
local later = require "moontap.later"

local accounts = later "moontap.accounts"

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
--- no script reaches a real account by accident under --sim. An account that was asked for by name
--- goes before the environment. Address and account have one spelling from here on.
---@param given table what the script gave to pcaps.client
---@return table|nil
---@return table|nil err when an account of that name cannot be had
function M.resolve(given)
  local sim = config.sim
  if sim then
    return { base_url = sim.base_url, account_id = sim.account_id, api_token = sim.api_token }
  end
  local name, account = given.account or config.account, nil
  if name then
    local err
    account, err = accounts.find(name)
    if not account then return nil, err end
  end
  local settings = {
    base_url = given.base_url or config.base_url or account and account.base_url
      or variable("CLOUDFLARE_BASE_URL") or M.BASE_URL,
    account_id = given.account_id or config.account_id or account and account.account_id
      or variable("CLOUDFLARE_ACCOUNT_ID"),
    account = account,
  }
  if given.account then
    settings.account_id, settings.token_file = account.account_id, account.token_file
  elseif M.are_given(given) then
    for _, name_of in ipairs(SECRETS) do settings[name_of] = given[name_of] end
    settings.account = nil
  else
    -- without one the environment decides
    settings.token_file = account and account.token_file or config.token_file
  end
  settings.base_url = address.base_url(settings.base_url)
  settings.account_id = settings.account_id and address.account_id(settings.account_id)
  return settings
end

--- Where the credentials come from, in words: names, never values.
---@param settings table of M.resolve
---@return string|nil nil when there are none
function M.origin(settings)
  if config.sim then return "the simulator's own" end
  if settings.token_file then return "token file " .. settings.token_file end
  if settings.api_token then return "api_token" end
  if variable("CLOUDFLARE_API_TOKEN") then return "CLOUDFLARE_API_TOKEN" end
  if variable("CLOUDFLARE_EMAIL") and variable("CLOUDFLARE_API_KEY") then
    return "CLOUDFLARE_EMAIL and CLOUDFLARE_API_KEY"
  end
  return nil
end

return M
