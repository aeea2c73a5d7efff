-- validate: the shape of a request's body, checked as the API does. The bounds
-- are those of the one table that the client uses too.

local schema = require "moontap.native.schema"

local M = {}

---Everything that is wrong with PARAMS of operation OP.
---@param op string
---@param params table
---@return {pointer: string, message: string}[]|nil problems nil when there are none
function M.problems(op, params)
  local found = schema.check(op, params, "server")
  if #found == 0 then
    return nil
  end
  local problems = {}
  for i, problem in ipairs(found) do
    problems[i] = { pointer = problem.pointer,
                    message = ("%s: %s"):format(problem.path, problem.message) }
  end
  return problems
end

return M
