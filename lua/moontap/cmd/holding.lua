-- holding: what `hold` and `release` have in common.

local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"
local outcome = require "moontap.cmd.outcome"
local retention = require "moontap.retention"

local M = {}

---Runs `body` with the state of this machine, which is closed afterwards.
---@param body fun(state: moontap.State): any, any
---@return any
---@return table|nil err
function M.with_state(body)
  local store = require "moontap.state"
  local state, err = store.current()
  if not state then return nil, err end
  local over <close> = -- luacheck: ignore over
    setmetatable({}, { __close = function() store.close() end })
  return body(state)
end

-- The captures that the arguments name.
local function chosen(state, args)
  if args.case and #args.ids > 0 then
    return nil, errors.new("usage", "give ids, or --case")
  elseif args.case then
    return retention.captures_of(state, args.case)
  elseif #args.ids == 0 then
    return nil, errors.new("usage", "which capture? give its id, or --case")
  end
  return args.ids
end

---@param args table
---@param word "held"|"released"
---@param change fun(state: moontap.State, id: string): any, table|nil
---@return integer|nil status
---@return table|nil err
function M.run(args, word, change)
  return M.with_state(function(state)
    local ids, err = chosen(state, args)
    if not ids then return nil, err end
    local done, failed = json.array {}, 0
    for _, id in ipairs(ids) do
      local ok, why = change(state, id)
      if ok then
        done[#done + 1] = id
      else
        failed = failed + 1
        outcome.complain(why.message)
      end
    end
    if config.json then
      print(json.encode { [word] = done })
    elseif not config.quiet then
      for _, id in ipairs(done) do print(word .. " " .. id) end
    end
    return failed == 0 and outcome.OK or outcome.FAILED
  end)
end

return M
