-- verdict: how far a script does the same in both worlds, and why a plan ends where it does.

local errors = require "moontap.errors"
local World = require "moontap.plan.world"

local M = {}

---@class moontap.plan.Verdict
---@field ends "complete"|"undecided"|"failed"|"limit"
---@field count integer steps that are decided
---@field message string
---@field status integer exit status
---@field branches? table[] how each world goes on
---@field given? table[] invented values that the script had been given by then
---@field hangs_on? table[] those of them that it decided on

-- The end of a world as text that can be compared. Where it failed counts, and not what the message
-- says, for that may quote an invented value.
local function sign_end(world)
  local ending = world.ending
  local is_placed = ending.chain and #ending.chain > 0
  return world:sign { ending.ends, ending.kind or false, ending.chain or {},
                      (ending.ends == "exit" or not is_placed) and ending.message or false }
end

-- How many steps are the same in both, and whether everything is.
local function compare(a, b)
  local n = 0
  while a.steps[n + 1] and b.steps[n + 1]
    and a.steps[n + 1].signature == b.steps[n + 1].signature do
    n = n + 1
  end
  return n, n == #a.steps and n == #b.steps and sign_end(a) == sign_end(b)
end

M.compare = compare

local function place_of(chain)
  return chain and chain[1]
end

-- What a world does behind its step `n`.
local function branch(world, n)
  local step, ending = world.steps[n + 1], world.ending
  return {
    what = step and "step" or ending.ends, step = step,
    chain = step and step.chain or ending.chain or {},
    message = not step and ending.message or nil,
    given = step and step.given or ending.given or #world.given,
  }
end

-- The invented values that either world had been given when they parted, with both values.
local function all_given(a, b, branches)
  local list, places = {}, {}
  for i, world in ipairs { a, b } do
    for at = 1, branches[i].given do
      local given = world.given[at]
      local key = given.step .. " " .. given.name
      if not places[key] then
        list[#list + 1] = { step = given.step, name = given.name, values = {} }
        places[key] = list[#list]
      end
      places[key].values[i] = given.value
    end
  end
  return list
end

local function list_names(values)
  local texts = {}
  for i, value in ipairs(values) do
    texts[i] = ("%s of step %d"):format(value.name, value.step)
  end
  return table.concat(texts, ", ")
end

local function begin_alike(one, two)
  return one[1] and two[1] and one[1].file == two[1].file and one[1].line == two[1].line
end

-- Those of `given` that stem from `causes`; all when that is not known.
local function pick(given, causes)
  local list = {}
  for _, value in ipairs(given) do
    if not causes or causes[World.ORIGINS[value.name]] then list[#list + 1] = value end
  end
  return #list > 0 and list or given
end

local function undecided(a, b, n, causes)
  local branches = { branch(a, n), branch(b, n) }
  local given = all_given(a, b, branches)
  local values = pick(given, causes)
  local one, two = branches[1], branches[2]
  local is_same_place = one.step and two.step and begin_alike(one.chain, two.chain)
  local message
  if #values == 0 then
    message = "the script did not do the same when it was run again, although nothing that was "
      .. "invented differed: what it does hangs on something that changes from run to run"
  else
    local what = is_same_place and ("what %s:%d asks for, or when,"):format(one.chain[1].file,
      one.chain[1].line) or "what the script does next"
    message = ("%s hangs on %s, which is invented"):format(what, list_names(values))
  end
  local after = n == 0 and "before its first step" or ("after step %d"):format(n)
  return { ends = "undecided", count = n, status = 0, branches = branches, given = given,
           hangs_on = values, message = ("the plan ends %s: %s"):format(after, message) }
end

local function status_of(err)
  local host = require "moontap.native.host"
  return host.exit_status(errors.is(err) and err.kind or nil)
end

---Compares two worlds that have ended.
---@param a moontap.plan.World
---@param b moontap.plan.World
---@param causes? table<string, true> which of World.VALUES let them part
---@return moontap.plan.Verdict
function M.of(a, b, causes)
  local n, is_same = compare(a, b)
  if not is_same then return undecided(a, b, n, causes) end
  local ending = a.ending
  if ending.ends == "end" then
    return { ends = "complete", count = n, status = 0,
             message = "the script ends here; nothing it does hangs on an invented value" }
  elseif ending.ends == "exit" then
    return { ends = "complete", count = n, status = 0, message = ending.message }
  elseif ending.ends == "error" then
    return { ends = "failed", count = n, status = status_of(ending.err), message = ending.message,
             place = place_of(ending.chain) }
  end
  return { ends = ending.ends, count = n, status = ending.status or 0, message = ending.message,
           place = place_of(ending.chain) }
end

return M
