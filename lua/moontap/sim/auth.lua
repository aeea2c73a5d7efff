-- auth: who may do what.

local refusals = require "moontap.sim.refusals"

local M = {}

local TOKEN68 <const> = "^[%w%-%._~%+/]+=*$"

---@param state moontap.sim.State
---@param header string
---@return table|nil refusal
---@return "write"|"read"|nil role
local function check_token(state, header)
  local token = header:match "^[Bb][Ee][Aa][Rr][Ee][Rr] +(.*)$"
  if not token or not token:find(TOKEN68) then
    return refusals.header_format("Authorization", 6111)
  end
  local known = state.credentials
  if token == known.token or state.knobs.any_credentials then
    return nil, "write"
  elseif known.read_token and token == known.read_token then
    return nil, "read"
  end
  return refusals.reply(state.knobs, "token_unknown")
end

---@return table|nil refusal
---@return "write"|nil role
local function check_key(state, email, key)
  if not email:find "^[^%s@]+@[^%s@]+$" then
    return refusals.header_format("X-Auth-Email", 6102)
  elseif not key:find "^[%w_%-]+$" then
    return refusals.header_format("X-Auth-Key", 6103)
  end
  local known = state.credentials
  if (email == known.email and key == known.key) or state.knobs.any_credentials then
    return nil, "write"
  end
  return refusals.reply(state.knobs, "key_unknown")
end

---Whether REQUEST may do an operation. A token goes before a key when both
---are sent, as clients do that have both.
---@param state moontap.sim.State
---@param request table
---@param account_id string as in the path
---@param needs "write"|"read"
---@return table|nil refusal
function M.check(state, request, account_id, needs)
  local headers = request.headers
  local refusal, role
  if headers["authorization"] then
    refusal, role = check_token(state, headers["authorization"])
  elseif headers["x-auth-key"] and headers["x-auth-email"] then
    refusal, role = check_key(state, headers["x-auth-email"], headers["x-auth-key"])
  else
    refusal = refusals.reply(state.knobs, "credentials_missing")
  end
  if refusal then
    return refusal
  elseif account_id ~= state.account_id and not state.knobs.any_account then
    return refusals.reply(state.knobs, "account")
  elseif needs == "write" and role ~= "write" then
    return refusals.reply(state.knobs, "permission")
  end
  return nil
end

return M
