-- intents: the creates of this process that are under way, and the ids that creates were answered
-- with lately. An account is one however many clients it has. A capture that one intent was
-- answered with is never taken for another's.

local clock = require "moontap.clock"

local M = {}

local IDS_MAX = 1000 -- per account; a list shows 50

---@class pcaps.Account
---@field intents table<pcaps.Intent, true> those under way
---@field ids string[] a ring of IDS_MAX
---@field next integer place of the next id in the ring

---@class pcaps.Intent
---@field account pcaps.Account
---@field sent number|nil clock.boot() when the attempt under way began; nil while none is
---@field params table|nil what was sent; set once the outcome is open
---@field timeout number|nil seconds for one look, once the outcome is open

local accounts = {}                                    -- by address and account id
local by_client = setmetatable({}, { __mode = "k" })

local function account_of(client)
  local account = by_client[client]
  if not account then
    local name = ("%s %s"):format(client.base_url, client.account_id)
    account = accounts[name] or { intents = {}, ids = {}, next = 1 }
    accounts[name], by_client[client] = account, account
  end
  return account
end

local meta = { __close = function(intent) intent.account.intents[intent] = nil end }

--- A new intent, whose first attempt begins now. To be closed when its outcome is known.
---@param client userdata
---@return pcaps.Intent
function M.begin(client)
  local account = account_of(client)
  local intent = setmetatable({ account = account, sent = clock.boot() }, meta)
  account.intents[intent] = true
  return intent
end

--- Notes that `intent` opened the capture `id`.
---@param intent pcaps.Intent
---@param id string
function M.settle(intent, id)
  local account = intent.account
  account.ids[account.next] = id
  account.next = account.next % IDS_MAX + 1
end

--- The ids that intents of the account of `intent` were answered with, as a set.
---@param intent pcaps.Intent
---@return table<string, true>
function M.taken(intent)
  local set = {}
  for _, id in ipairs(intent.account.ids) do set[id] = true end
  return set
end

--- The other intents of the same account that have a request under way or an open outcome.
---@param intent pcaps.Intent
---@return pcaps.Intent[]
function M.rivals(intent)
  local list = {}
  for other in pairs(intent.account.intents) do
    if other ~= intent and other.sent then list[#list + 1] = other end
  end
  return list
end

return M
