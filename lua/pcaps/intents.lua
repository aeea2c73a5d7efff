-- intents: the creates of this process that are under way, and the ids that creates were answered
-- with lately. An account is one however many clients it has. A capture that one intent was
-- answered with is never taken for another's.

local boot = require "moontap.native.clock".boot -- not the effect: each create pays for it

local M = {}

local IDS_MAX = 1000 -- per account; a list shows 50

---@class pcaps.Account
---@field first pcaps.Intent|false those under way, as a list: a set would grow anew all the time
---@field ids string[] a ring of IDS_MAX
---@field next integer place of the next id in the ring

---@class pcaps.Intent
---@field account pcaps.Account
---@field next pcaps.Intent|false
---@field previous pcaps.Intent|false
---@field sent number|nil the boot clock when the attempt under way began; nil while none is
---@field params table|nil what was sent; set once the outcome is open
---@field timeout number|nil seconds for one look, once the outcome is open
---@field window number|nil seconds of looking for it, where that is not the usual
---@field deadline number|nil seconds in which no list may be answered, likewise
---@field ends number|nil on the boot clock, when its caller wants to know
---@field options table|nil those of the call
---@field failure table|nil what it failed with
---@field row integer|nil its number in the journal, if it stands there
---@field is_sending boolean|nil a request of it is on the wire
---@field is_last boolean|nil nobody waits for it: it is not tried again

local accounts = {}                                    -- by address and account id
local by_client = setmetatable({}, { __mode = "k" })

local function account_of(client)
  local account = by_client[client]
  if not account then
    local name = ("%s %s"):format(client.base_url, client.account_id)
    account = accounts[name] or { first = false, ids = {}, next = 1 }
    accounts[name], by_client[client] = account, account
  end
  return account
end

local observer -- the journal

--- From now on `hooks` are told of intents that stand in the journal.
---@param hooks { settled: fun(intent: pcaps.Intent, capture: table), left: fun(intent:
---  pcaps.Intent, err: table|nil), taken: fun(intent: pcaps.Intent): table<string, true> }
function M.observe(hooks)
  observer = hooks
end

local function leave(intent)
  if intent.row and not intent.is_settled then observer.left(intent, intent.failure) end
  local previous, following = intent.previous, intent.next
  if previous then previous.next = following else intent.account.first = following end
  if following then following.previous = previous end
end

local meta = { __close = leave }

--- The intent of the call that was given this very table of options, or nil.
---@param options table
---@return pcaps.Intent|nil
function M.with_options(options)
  for _, account in pairs(accounts) do
    local intent = account.first
    while intent do
      if rawequal(intent.options, options) then return intent end
      intent = intent.next
    end
  end
end

--- May it have been done, although its outcome is not known yet?
---@param intent pcaps.Intent
---@return boolean
function M.is_under_way(intent)
  return intent.is_sending or intent.params ~= nil
end

--- A new intent, whose first attempt begins now. To be closed when its outcome is known.
---@param client userdata
---@return pcaps.Intent
function M.begin(client)
  local account = by_client[client] or account_of(client)
  local following = account.first
  local intent = setmetatable({ account = account, sent = boot(), next = following,
    previous = false, -- and room for what the journal adds
    options = nil, ends = nil, context = nil, wish = nil, row = nil, is_settled = nil }, meta)
  if following then following.previous = intent end
  account.first = intent
  return intent
end

--- Notes that `intent` opened `capture`.
---@param intent pcaps.Intent
---@param capture table
function M.settle(intent, capture)
  local account = intent.account
  if intent.row then
    observer.settled(intent, capture)
    intent.is_settled = true -- if that raised, for lack of memory say, it is found out about
  end
  account.ids[account.next] = capture.id
  account.next = account.next % IDS_MAX + 1
end

--- The ids that intents of the account of `intent` were answered with, as a set: of this process,
--- and of all others that the journal knows.
---@param intent pcaps.Intent
---@return table<string, true>
function M.taken(intent)
  local set = observer and observer.taken(intent) or {}
  for _, id in ipairs(intent.account.ids) do set[id] = true end
  return set
end

--- The other intents of the same account that have a request under way or an open outcome.
---@param intent pcaps.Intent
---@return pcaps.Intent[]
function M.rivals(intent)
  local list = {}
  local other = intent.account.first
  while other do
    if other ~= intent and other.sent then list[#list + 1] = other end
    other = other.next
  end
  return list
end

return M
