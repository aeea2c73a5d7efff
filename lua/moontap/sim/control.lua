-- control: how a running simulator is steered, over paths that are no part of the API:
-- /_sim, /_sim/faults, /_sim/knobs, /_sim/attacks. JSON both ways. Requests here are not counted
-- against limits and meet no faults.

local attacks = require "moontap.sim.attacks"
local clock = require "moontap.clock"
local json = require "moontap.json"
local knobs = require "moontap.sim.knobs"
local rules = require "moontap.sim.rules"

local M = {}

M.PREFIX = "/_sim"
local LOOPBACK <const> = { localhost = true, ["[::1]"] = true, ["sim.internal"] = true }

local function reply(status, value)
  return { status = status, headers = { ["Content-Type"] = "application/json" },
           body = json.encode(value) .. "\n" }
end

local function refuse(status, message)
  return reply(status, { error = message })
end

-- A page in somebody's browser must not reach this: browsers send Origin, and a name that was made
-- to lead here is in Host.
local function is_foreign(request)
  local host = (request.headers.host or ""):gsub(":%d+$", "")
  return request.headers.origin ~= nil
    or not (LOOPBACK[host] or host:match "^127%.%d+%.%d+%.%d+$")
end

local function list_faults(state)
  local list = json.array {}
  for i, rule in ipairs(state.rules) do list[i] = rule end
  return list
end

local function now()
  return math.floor(clock.now())
end

local function overview(state)
  return reply(200, {
    scenario = state.world.name, seed = state.seed, speed = state.speed, knobs = state.knobs,
    faults = list_faults(state), attacks = json.array(attacks.list(state.world, now())),
    requests = state.requests, captures = state.newest - state.oldest + 1,
  })
end

local function add_fault(state, given)
  local rule, problem
  if type(given.spec) == "string" then
    rule, problem = rules.parse(given.spec)
  else
    rule, problem = rules.make(given)
  end
  if not rule then return refuse(400, problem) end
  return reply(200, rules.add(state, rule))
end

local function set_knobs(state, given)
  local changes = {}
  for name, value in pairs(state.knobs) do changes[name] = value end
  for name, value in pairs(given) do changes[name] = value end
  local made, problem = knobs.make(changes)
  if not made then return refuse(400, problem) end
  state.knobs = made
  return reply(200, made)
end

local function steer_attack(state, given)
  local done, problem
  if given.action == "start" then
    done, problem = attacks.start(state.world, given.name, now(), given.seconds)
  elseif given.action == "stop" then
    done, problem = attacks.stop(state.world, given.name, now())
  else
    problem = "action: expected start or stop"
  end
  if not done then return refuse(400, problem) end
  return reply(200, json.array(attacks.list(state.world, now())))
end

---@type table<string, table<string, fun(state: table, given: table|nil): table>>
local ROUTES <const> = {
  [""] = { GET = overview },
  ["/faults"] = {
    GET = function(state) return reply(200, list_faults(state)) end,
    POST = add_fault,
    DELETE = function(state)
      state.rules = {}
      return { status = 204, headers = {}, body = "" }
    end,
  },
  ["/knobs"] = { GET = function(state) return reply(200, state.knobs) end, POST = set_knobs },
  ["/attacks"] = {
    GET = function(state) return reply(200, json.array(attacks.list(state.world, now()))) end,
    POST = steer_attack,
  },
}

---Whether PATH is one of these.
---@param path string
---@return boolean
function M.is_control(path)
  return path == M.PREFIX or path:sub(1, #M.PREFIX + 1) == M.PREFIX .. "/"
end

---@param state moontap.sim.State
---@param request table
---@return table reply
function M.handle(state, request)
  if is_foreign(request) then
    return refuse(403, "the simulator is steered from this machine only, not by a page")
  end
  local route = ROUTES[request.path:sub(#M.PREFIX + 1)]
  local handler = route and route[request.method]
  if not handler then
    return refuse(route and 405 or 404, "nothing here; see docs/simulator.md")
  end
  if request.method ~= "POST" then return handler(state) end
  if not (request.headers["content-type"] or ""):find "^application/json" then
    return refuse(415, "expected content-type application/json")
  end
  local given = json.decode(request.body or "")
  if type(given) ~= "table" then return refuse(400, "the body is not a JSON object") end
  return handler(state, given)
end

return M
