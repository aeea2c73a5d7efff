-- refusals: the errors that the simulated API answers with, by name.
--
-- Codes of the platform (authentication, routing, throttling) are the ones
-- seen from it. No error code of the PCAPs API is documented: those from 1001
-- on are the simulator's own, and where the HTTP status is open too, a knob
-- holds it.

local envelope = require "moontap.sim.envelope"

local M = {}

-- status: a number, or the name of a knob.
local TABLE = {
  -- platform
  no_route = { 404, 7003, "Could not route to %s, perhaps your object identifier is invalid?" },
  method = { 405, 10405, "Method not allowed for this authentication scheme" },
  credentials_missing = { "auth_missing_status", 9106,
    "Missing X-Auth-Key, X-Auth-Email or Authorization headers" },
  token_unknown = { 403, 9109, "Invalid access token" },
  key_unknown = { 403, 9103, "Unknown X-Auth-Key or X-Auth-Email" },
  permission = { 403, 10000, "Authentication error" },
  account = { 403, 9109, "Unauthorized to access requested resource" },
  throttled = { 429, 971, "Please wait and consider throttling your request speed" },
  body_size = { 413, 1013, "The request body is too large" },
  -- this API
  body_syntax = { 400, 1001, "The request body is not valid JSON" },
  body_type = { 400, 1002, "The request body must be a JSON object" },
  invalid = { 400, 1003, "%s" },
  offset_old = { 400, 1004, "offset_time is more than %s seconds in the past" },
  offset_future = { 400, 1005, "offset_time is in the future" },
  colo_unknown = { "colo_unknown_status", 1006, "colo_name is not a known data center" },
  bucket_form = { 400, 1007, "destination_conf is not a bucket that can be used: %s" },
  bucket_unvalidated = { "bucket_unvalidated_status", 1008,
    "The bucket has not been validated for packet captures" },
  simple_limit = { "simple_limit_status", 1009,
    "Only one simple packet capture may be requested per minute" },
  full_busy = { "full_busy_status", 1010,
    "Another full packet capture is already running or pending" },
  capture_unknown = { "capture_unknown_status", 1011, "The packet capture was not found" },
  stop_simple = { "stop_simple_status", 1012, "Only full packet captures can be stopped" },
  stop_finished = { "stop_finished_status", 1014, "The packet capture has already finished" },
  download_unready = { "download_unready_status", 1015, "The packet capture is not ready" },
  download_full = { "download_full_status", 1016,
    "Full packet captures are delivered to their bucket" },
  download_failed = { 404, 1017, "The packet capture failed and has no file" },
  ownership_unknown = { 404, 1018, "The bucket was not found" },
  challenge_wrong = { "validate_status", 1019, "The ownership challenge does not match" },
  challenge_expired = { "validate_status", 1020, "The ownership challenge has expired" },
  bucket_write = { 400, 1021, "The challenge could not be written to the bucket: %s" },
}

---A refusal called NAME. DETAIL fills the `%s` of its message.
---@param knobs table
---@param name string
---@param pointer? string JSON pointer
---@param detail? string
---@return table reply
function M.reply(knobs, name, pointer, detail)
  local row = TABLE[name]
  local status = type(row[1]) == "string" and knobs[row[1]] or row[1]
  local message = detail and row[3]:format(detail) or row[3]
  local chain = knobs.error_chain and { { code = row[2], message = message } } or nil
  return envelope.fail(math.tointeger(status), { envelope.entry(row[2], message, pointer, chain) })
end

---A header that cannot be an Authorization header, as the platform says it.
---@param header string
---@param code integer
---@return table reply
function M.header_format(header, code)
  local chain = { envelope.entry(code, "Invalid format for " .. header .. " header") }
  return envelope.fail(400, { envelope.entry(6003, "Invalid request headers", nil, chain) })
end

---All problems of a body at once.
---@param problems {pointer: string, message: string}[]
---@return table reply
function M.invalid(problems)
  local entries = {}
  for i, problem in ipairs(problems) do
    entries[i] = envelope.entry(TABLE.invalid[2], problem.message, problem.pointer)
  end
  return envelope.fail(TABLE.invalid[1], entries)
end

return M
