-- place: the account that a command is about, and what this machine has written down of it, for
-- commands that need no API.

local accounts = require "moontap.accounts"
local credentials = require "pcaps.credentials"
local errors = require "moontap.errors"

local M = {}

---@class moontap.cmd.Place
---@field base_url string
---@field account_id string
---@field state? moontap.State nil when nothing was written down yet
---@field account? moontap.state.Account

local function known_accounts(state)
  local list, names = state:list_accounts() or {}, {}
  for i, account in ipairs(list) do
    names[i] = ("%s at %s"):format(account.account_id, account.base_url)
  end
  return #names > 0 and "; known here: " .. table.concat(names, ", ") or ""
end

---Opens what is known of the account of the command line, to look at.
---@return moontap.cmd.Place|nil
---@return table|nil err
function M.find()
  local settings, err = credentials.resolve {}
  if not settings then return nil, err end
  local state
  state, err = require "moontap.state".reader()
  if not state and err.code ~= "ENOENT" then return nil, err end
  if not settings.account_id then
    local known = state and known_accounts(state) or ""
    if state then state:close() end
    return nil, errors.new("credentials", "no account: set CLOUDFLARE_ACCOUNT_ID, or give "
      .. "--account-id" .. accounts.hint() .. known)
  end
  local here = { base_url = settings.base_url, account_id = settings.account_id, state = state }
  if state then
    here.account, err = state:find_account(here.base_url, here.account_id)
    if here.account == nil then
      state:close()
      return nil, err
    end
    here.account = here.account or nil
  end
  return here
end

---@param here moontap.cmd.Place
function M.leave(here)
  if here.state then here.state:close() end
  here.state, here.account = nil, nil
end

return M
