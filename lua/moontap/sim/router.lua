-- router: from an HTTP request to an operation and back, with what the
-- platform puts around every answer.

local auth = require "moontap.sim.auth"
local captures = require "moontap.sim.captures"
local clock = require "moontap.clock"
local control = require "moontap.sim.control"
local gzip = require "moontap.sim.gzip"
local json = require "moontap.json"
local log = require "moontap.log"
local ownership = require "moontap.sim.ownership"
local refusals = require "moontap.sim.refusals"
local rules = require "moontap.sim.rules"
local states = require "moontap.sim.state"

local M = {}

M.PREFIX = "/client/v4"
M.BODY_MAX = 65536

local ID_MAX <const> = 32
local THROTTLE_WINDOW <const> = 300

---@class moontap.sim.Operation
---@field run fun(state: moontap.sim.State, params: table|nil, id: string|nil): table
---@field needs "write"|"read"
---@field body? boolean

---@type table<string, moontap.sim.Operation>
local OPERATIONS <const> = {
  ["create"] = { run = captures.create, needs = "write", body = true },
  ["list"] = { run = captures.list, needs = "read" },
  ["get"] = { run = captures.get, needs = "read" },
  ["stop"] = { run = captures.stop, needs = "write" },
  ["download"] = { run = captures.download, needs = "read" },
  ["ownership.create"] = { run = ownership.create, needs = "write", body = true },
  ["ownership.list"] = { run = ownership.list, needs = "read" },
  ["ownership.delete"] = { run = ownership.delete, needs = "write" },
  ["ownership.validate"] = { run = ownership.validate, needs = "write", body = true },
}

-- Paths below the account, the more special ones first; "*" is an id.
local ROUTES <const> = {
  { path = { "pcaps" }, POST = "create", GET = "list" },
  { path = { "pcaps", "ownership" }, POST = "ownership.create", GET = "ownership.list" },
  { path = { "pcaps", "ownership", "validate" }, POST = "ownership.validate" },
  { path = { "pcaps", "ownership", "*" }, DELETE = "ownership.delete" },
  { path = { "pcaps", "*" }, GET = "get" },
  { path = { "pcaps", "*", "stop" }, PUT = "stop" },
  { path = { "pcaps", "*", "download" }, GET = "download" },
}

---The segments of PATH below the prefix, decoded; nil when it is not ours.
local function segments_of(state, path)
  local rest = path
  if path:sub(1, #M.PREFIX + 1) == M.PREFIX .. "/" then
    rest = path:sub(#M.PREFIX + 1)
  elseif not state.knobs.short_paths then
    return nil
  end
  local segments = {}
  for raw in rest:gmatch "/([^/]*)" do
    local text = raw:gsub("%%(%x%x)", function(digits)
      return string.char(tonumber(digits, 16))
    end)
    if text == "" or #text > ID_MAX then
      return nil
    end
    segments[#segments + 1] = text
  end
  return segments
end

local function fits(pattern, segments)
  if #segments ~= #pattern + 2 then
    return false
  end
  local id
  for i, want in ipairs(pattern) do
    if want == "*" then
      id = segments[i + 2]
    elseif want ~= segments[i + 2] then
      return false
    end
  end
  return true, id
end

---@return table|nil route
---@return string account_id
---@return string|nil id
local function find_route(state, path)
  local segments = segments_of(state, path)
  if not segments or segments[1] ~= "accounts" then
    return nil, ""
  end
  for _, route in ipairs(ROUTES) do
    local fit, id = fits(route.path, segments)
    if fit then
      return route, segments[2], id
    end
  end
  return nil, ""
end

local function allowed(route)
  local methods = {}
  for _, method in ipairs { "DELETE", "GET", "POST", "PUT" } do
    methods[#methods + 1] = route[method] and method
  end
  return table.concat(methods, ", ")
end

---Counts a request against the platform's limit.
---@return integer remaining negative when there is none left
---@return number reset seconds of real time
local function throttle(state)
  local passed = state:elapsed(state.window_start)
  if passed >= THROTTLE_WINDOW then
    state.window_start, state.window_used, passed = clock.boot(), 0, 0
  end
  state.window_used = state.window_used + 1
  local remaining = state.knobs.rate_limit - state.window_used
  return remaining, (THROTTLE_WINDOW - passed) / state.speed
end

---The parameters in the body of REQUEST.
---@return table|nil params
---@return table|nil refusal
local function read_body(state, request)
  local body = request.body or ""
  if #body > M.BODY_MAX then
    return nil, refusals.reply(state.knobs, "body_size")
  end
  local params = json.decode(body)
  if params == nil then
    return nil, refusals.reply(state.knobs, "body_syntax")
  elseif type(params) ~= "table" or not body:find "^%s*{" then
    return nil, refusals.reply(state.knobs, "body_type")
  end
  return params
end

---@return table reply
local function run(state, request, operation, account_id, id)
  local refusal = auth.check(state, request, account_id, operation.needs)
  if refusal then
    return refusal
  end
  local params
  if operation.body then
    params, refusal = read_body(state, request)
    if refusal then
      return refusal
    end
  end
  return operation.run(state, params, id)
end

-- Runs the operation that ROUTE has for the method, or lets a fault do so.
---@return table reply
local function serve(state, request, route, account_id, id)
  local name = route[request.method]
  state.requests[name] = (state.requests[name] or 0) + 1
  return rules.apply(state, name, function()
    return run(state, request, OPERATIONS[name], account_id, id)
  end)
end

---@return table reply
local function answer(state, request)
  local remaining, reset = throttle(state)
  local limited = state.knobs.rate_limit > 0
  local route, account_id, id = find_route(state, request.path)
  local reply
  if limited and remaining < 0 then
    reply = refusals.reply(state.knobs, "throttled")
    reply.headers["Retry-After"] = state:retry_after(reset)
  elseif not route then
    reply = refusals.reply(state.knobs, "no_route", nil, request.path)
  elseif not route[request.method] then
    reply = refusals.reply(state.knobs, "method")
    reply.headers["Allow"] = allowed(route)
  else
    reply = serve(state, request, route, account_id, id)
  end
  if limited then
    local left = math.max(remaining, 0)
    reply.headers["Ratelimit"] = ('"default";r=%d;t=%d'):format(left, math.ceil(reset))
    reply.headers["Ratelimit-Policy"] = ('"burst";q=%d;w=%d'):format(
      state.knobs.rate_limit, math.ceil(THROTTLE_WINDOW / state.speed))
  end
  return reply
end

---Compresses a JSON answer for a client that accepts it.
local function compress(state, request, reply)
  local accepted = request.headers["accept-encoding"] or ""
  if state.knobs.gzip and accepted:find("gzip", 1, true) and reply.body
    and (reply.headers["Content-Type"] or ""):find("json", 1, true) then
    reply.body = gzip.pack(reply.body)
    reply.headers["Content-Encoding"] = "gzip"
  end
end

---Answers one request of the API.
---@param state moontap.sim.State
---@param request table
---@return table reply
function M.handle(state, request)
  if control.is_control(request.path) then
    return control.handle(state, request)
  end
  if state.knobs.latency > 0 then
    moontap.sleep(state.knobs.latency)
  end
  local reply = answer(state, request)
  compress(state, request, reply)
  local ray = ("%016x-%s"):format(state:draw "ray", state.world.sites[1].metro)
  reply.headers["CF-Ray"] = ray
  reply.headers["Date"] = states.http_date(state:now_us())
  reply.headers["Server"] = "moontap-sim"
  log.debug("sim: %s %s: %s, cf-ray %s", request.method, request.path,
    reply.cut and "cut " .. reply.cut or tostring(reply.status), ray)
  return reply
end

return M
