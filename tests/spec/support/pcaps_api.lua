-- pcaps_api: an API in process that answers what a test says, and a client for it.

local clock = require "moontap.clock"
local http = require "moontap.native.http"
local json = require "moontap.json"
local pcaps = require "pcaps"

local M = {}

M.URL = "http://sim.internal"
M.ID = "66802ca5668e47a2b82c2e6746e45037"
M.TOKEN = "secret-token-0123456789"

--- A JSON reply.
function M.json(status, body, headers)
  local all = { ["Content-Type"] = "application/json", ["cf-ray"] = "8f00ba4-ORD" }
  for name, value in pairs(headers or {}) do all[name] = value end
  if type(body) ~= "string" then body = json.encode(body) end
  return { status = status, headers = all, body = body }
end

function M.ok(result)
  return M.json(200, { success = true, errors = json.array {}, messages = json.array {},
                       result = result })
end

function M.fail(status, code, message, headers, pointer)
  return M.json(status, { success = false, messages = json.array {}, result = nil, errors = {
    { code = code, message = message, source = pointer and { pointer = pointer } or nil },
  } }, headers)
end

function M.capture(fields)
  local result = { id = M.ID, type = "simple", status = "pending", system = "magic-transit",
                   time_limit = 300, submitted = "2026-01-01T12:00:00.000001Z" }
  for name, value in pairs(fields or {}) do result[name] = value end
  return M.ok(result)
end

--- Serves `replies`: one after another (the last one again and again), or what the function
--- makes of each request. Returns a table with the requests so far and a client.
function M.start(replies, options)
  local api = { requests = {} }
  http.set_inproc(M.URL, function(request)
    local n = #api.requests + 1
    request.at = clock.boot()
    api.requests[n] = request
    if type(replies) == "function" then return replies(request, n) end
    return replies[math.min(n, #replies)]
  end)
  local settings = { base_url = M.URL .. "/client/v4", account_id = "acc", api_token = M.TOKEN }
  for name, value in pairs(options or {}) do settings[name] = value end
  api.client = assert(pcaps.client(settings))
  return api
end

--- How many requests with `method` a server of this module was sent.
function M.count(server, method)
  local n = 0
  for _, request in ipairs(server.requests) do n = n + (request.method == method and 1 or 0) end
  return n
end

function M.stop()
  http.set_inproc(M.URL, nil)
end

M.SIMPLE = { type = "simple", time_limit = 300, packet_limit = 10000 }

return M
