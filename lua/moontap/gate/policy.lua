-- policy: the operator's file that bounds what playbooks may do: Lua that returns a table of name
-- patterns and grants. It is data: it is evaluated with no globals at all.

local errors = require "moontap.errors"
local rules = require "moontap.gate.rules"
local sys = require "moontap.native.sys"

local M = {}

local FILE_MAX <const> = 1 << 20
local INSTRUCTIONS_MAX <const> = 1000000

-- Runs a chunk that must only build a table.
local function evaluate(chunk)
  local runner = coroutine.create(chunk)
  debug.sethook(runner, function() error("it does not end", 0) end, "", INSTRUCTIONS_MAX)
  return coroutine.resume(runner)
end

---Reads a policy.
---@param path string
---@return table<string, table>|nil
---@return table|nil err
function M.read(path)
  local text, err = sys.read_file(path, FILE_MAX)
  if not text then return nil, err end
  local chunk, why = load(text, "@" .. path, "t", {})
  if not chunk then return nil, errors.new("usage", "policy: " .. why) end
  local ok, value = evaluate(chunk)
  if not ok then
    return nil, errors.new("usage", ("policy %s: %s"):format(path, tostring(value)))
  end
  if type(value) ~= "table" then
    return nil, errors.new("usage", ("policy %s: it returns a %s, not a table"):format(path,
      type(value)))
  end
  local problems = {}
  for pattern, grants in pairs(value) do
    if type(pattern) ~= "string" then
      problems[#problems + 1] = ("[%s]: expected the pattern of a name"):format(tostring(pattern))
    else
      rules.check(grants, ("[%q]"):format(pattern), function(at, message)
        problems[#problems + 1] = at .. ": " .. message
      end)
    end
  end
  if #problems == 0 then return value end
  table.sort(problems)
  return nil, errors.new("usage", ("policy %s: %s"):format(path, table.concat(problems, "\n  ")))
end

return M
