-- rules: which request meets which fault. A rule says for which operation, and how often: always,
-- at a rate, or for the next n requests. All draws follow from the simulator's seed.

local faults = require "moontap.sim.faults"
local rng = require "moontap.sim.rng"
local schema = require "moontap.native.schema"

local M = {}

M.OPERATIONS = { "create", "list", "get", "stop", "download", "ownership.create",
                 "ownership.list", "ownership.delete", "ownership.validate" }

---@class moontap.sim.Rule
---@field id integer
---@field op string an operation, or "*"
---@field fault string
---@field rate? number share of the requests that meet it, 0 to 1
---@field count? integer requests that still meet it
---@field after? integer requests that pass before the first one meets it
---@field fired integer requests that met it
---@field seen integer requests that it was asked about

local COMMON <const> = {
  rate = { min = 0, max = 1 }, count = { min = 1, max = 1e9 }, after = { min = 0, max = 1e9 },
}

local function with_near(text, name, names)
  local near = schema.near(name, names)
  return ("fault %s%s (known: %s)"):format(text, near and "; did you mean " .. near .. "?" or "",
    table.concat(names, ", "))
end

---@return string|nil problem
local function problem_of(name, param, value)
  local wanted = param.default ~= nil and type(param.default) or "number"
  if type(value) ~= wanted then
    return ("fault %s: expected a %s, got %s"):format(name, wanted, tostring(value))
  end
  if wanted == "number" and not (value >= (param.min or 0) and value <= (param.max or 1e9)) then
    return ("fault %s: expected %g to %g, got %s"):format(name, param.min or 0, param.max or 1e9,
      tostring(value))
  end
  return nil
end

local function known_params(kind)
  local names = { "rate", "count", "after" }
  for name in pairs(kind.params) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Checks the fields of `given` and fills a rule with them.
local function fill(rule, kind, given)
  for name, value in pairs(given) do
    local param = kind.params[name] or COMMON[name]
    if name ~= "op" and name ~= "fault" then
      if not param then
        return nil, with_near(("%s: %s: unknown parameter"):format(kind.name, tostring(name)),
          tostring(name), known_params(kind))
      end
      local problem = problem_of(kind.name .. ": " .. name, param, value)
      if problem then return nil, problem end
      rule[name] = value
    end
  end
  if rule.rate and rule.count then
    return nil, ("fault %s: give one of rate and count"):format(kind.name)
  end
  return rule
end

local function is_operation(op)
  for _, name in ipairs(M.OPERATIONS) do
    if name == op then return true end
  end
  return op == "*"
end

---A rule from a table such as { op = "create", fault = "cut_after", count = 1 }.
---@param given table
---@return moontap.sim.Rule|nil
---@return string|nil problem
function M.make(given)
  local op, name = given.op, given.fault
  if type(op) ~= "string" or not is_operation(op) then
    return nil, with_near(("for %s: no such operation"):format(tostring(op)), tostring(op),
      M.OPERATIONS)
  end
  local kind = type(name) == "string" and faults.kind(name)
  if not kind then
    return nil, with_near(("%s: there is none of that name"):format(tostring(name)),
      tostring(name), faults.names())
  end
  if op ~= "*" and kind.ops and not kind.ops[op] then
    return nil, ("fault %s: does not apply to %s"):format(name, op)
  end
  local rule = { op = op, fault = name, fired = 0, seen = 0 }
  for param, entry in pairs(kind.params) do rule[param] = entry.default end
  return fill(rule, kind, given)
end

local WORDS <const> = { ["true"] = true, ["false"] = false }

-- The value of a parameter as text has it.
local function read_value(kind, name, text)
  local param = kind and kind.params[name]
  if param and type(param.default) == "string" then return text end
  if WORDS[text] ~= nil then return WORDS[text] end
  return tonumber(text) or text
end

---A rule from "OPERATION:FAULT[,NAME=VALUE…]".
---@param text string
---@return moontap.sim.Rule|nil
---@return string|nil problem
---
---     rules.parse "create:error_html,status=503,rate=0.05"
function M.parse(text)
  local op, name, rest = text:match "^([^:,]+):([^:,=]+)(.*)$"
  if not op then
    return nil, ("fault %s: expected OPERATION:FAULT[,NAME=VALUE...], such as create:cut_after,"
      .. "count=1; --fault help lists them"):format(text)
  end
  local given, kind = { op = op, fault = name }, faults.kind(name)
  for word in rest:gmatch "[^,]+" do
    local key, value = word:match "^([%w_]+)=(.*)$"
    if not key then return nil, ("fault %s: expected NAME=VALUE, got %s"):format(text, word) end
    given[key] = read_value(kind, key, value)
  end
  return M.make(given)
end

local function fits(rule, op)
  local kind = faults.kind(rule.fault)
  return (rule.op == op or rule.op == "*") and (not kind.ops or kind.ops[op])
end

-- Whether `rule` meets the request that it is asked about now.
local function fires(rule, state)
  rule.seen = rule.seen + 1
  if rule.seen <= (rule.after or 0) then return false end
  if rule.rate then
    local draw = rng.derive(rng.derive(rng.derive(state.seed, "fault"), rule.id), rule.seen)
    return (draw >> 11) / (1 << 53) < rule.rate
  end
  if not rule.count then return true end
  rule.count = rule.count - 1
  return rule.count >= 0
end

---Adds a rule behind those that are there.
---@param state moontap.sim.State
---@param rule moontap.sim.Rule
---@return moontap.sim.Rule
function M.add(state, rule)
  state.rules_made = (state.rules_made or 0) + 1
  rule.id = state.rules_made
  table.insert(state.rules, rule)
  return rule
end

---The first rule that meets a request of operation `op`, or nil.
---@param state moontap.sim.State
---@param op string
---@return moontap.sim.Rule|nil
function M.choose(state, op)
  for _, rule in ipairs(state.rules) do
    if fits(rule, op) and fires(rule, state) then
      rule.fired = rule.fired + 1
      return rule
    end
  end
  return nil
end

---Answers a request of operation `op`: through a fault, or as `run` does.
---@param state moontap.sim.State
---@param op string
---@param run fun(): table
---@return table reply
function M.apply(state, op, run)
  local rule = M.choose(state, op)
  if not rule then return run() end
  local reply = faults.kind(rule.fault).apply(rule, state, run)
  reply.headers = reply.headers or {}
  return reply
end

return M
