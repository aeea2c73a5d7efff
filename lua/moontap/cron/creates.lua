-- creates: the creates of one run. One that was sent goes on when its run no longer waits for it,
-- until it is known and written down what became of it; one that still waits for its slot ends.

local intents = require "pcaps.intents"
local task = require "moontap.native.task"

local M = {}

local Creates = {}
Creates.__index = Creates

---@return table creates
function M.new()
  return setmetatable({ open = {} }, Creates)
end

-- Nobody waits for it any more.
local function let_go(one)
  one.is_left = true
  local intent = intents.with_options(one.options)
  if intent and intents.is_under_way(intent) then
    intent.is_last = true
  else
    one.worker:cancel "its run no longer waits for it"
  end
end

---Calls `create(params, options, call)` in a task of its own and waits for its results.
---`call.is_left` is set once the playbook no longer waits for it.
---@param create fun(params: any, options: table, call: table): any, table|nil
---@param params any
---@param options any
---@return any capture
---@return table|nil err
function Creates:call(create, params, options)
  if options == nil then options = {} end
  local one = { options = options }
  one.worker = task.spawn_detached({ name = "create" }, function()
    one.results = table.pack(pcall(create, params, options, one))
    self.open[one] = nil
  end)
  self.open[one] = true
  local left <close> = setmetatable({}, { __close = function() -- luacheck: ignore left
    if not one.results then let_go(one) end
  end })
  one.worker:join()
  if not one.results[1] then error(one.results[2], 0) end
  return table.unpack(one.results, 2, one.results.n)
end

---Waits for those that were sent.
function Creates:settle()
  for one in pairs(self.open) do
    pcall(one.worker.join, one.worker)
    self.open[one] = nil
  end
end

return M
