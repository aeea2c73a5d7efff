-- catchup: which of the due times that have come are carried out, and why others are not. Pure.

local M = {}

M.LATE = 10          -- seconds: what is later was missed, and is made up for or not
local ROWS <const> = 1000 -- missed ones that get a row each

---@class moontap.cron.Item
---@field nominal number
---@field planned number
---@field verdict? "missed" nil: carried out
---@field reason? string
---@field through? number the row stands for all up to here
---@field count? integer

-- One row for the first `n` of a long list.
local function fold(items)
  local n = #items - ROWS
  if n <= 1 then return items end
  local first, last = items[1], items[n]
  local folded = { { nominal = first.nominal, planned = first.planned, verdict = "missed",
                     reason = first.reason, through = last.nominal, count = n } }
  return table.move(items, n + 1, #items, 2, folded)
end

local function miss(item, reason)
  item.verdict, item.reason = "missed", reason
end

---@param policy { policy: string, window: number, max: integer }
---@param items moontap.cron.Item[] due times that have come, the oldest first
---@param now number
---@return moontap.cron.Item[]
function M.decide(policy, items, now)
  local late, on_time = {}, 0
  for _, item in ipairs(items) do
    if now - item.planned <= M.LATE then
      on_time = on_time + 1
    elseif now - item.planned > policy.window then
      miss(item, "later than the catch-up window allows")
    elseif policy.policy == "none" then
      miss(item, "the daemon was away; catchup is \"none\"")
    else
      late[#late + 1] = item
    end
  end
  local kept = policy.policy == "all" and policy.max or on_time > 0 and 0 or 1
  for i = 1, #late - kept do
    miss(late[i], "the daemon was away; " .. (policy.policy == "all"
      and ("no more than %d are made up for"):format(policy.max) or "a later one stands for it"))
  end
  for _, item in ipairs(late) do
    if not item.verdict then
      item.reason = ("made up for, %.0f s late"):format(now - item.planned)
    end
  end
  -- only a front of missed ones is folded
  local front = 0
  while items[front + 1] and items[front + 1].verdict do front = front + 1 end
  if front <= ROWS then return items end
  local missed = fold(table.move(items, 1, front, 1, {}))
  return table.move(items, front + 1, #items, #missed + 1, missed)
end

return M
