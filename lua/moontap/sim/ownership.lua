-- ownership: which buckets full captures may use. A challenge is written into
-- the bucket, and whoever can read it back owns the bucket.

local bucket = require "moontap.sim.bucket"
local envelope = require "moontap.sim.envelope"
local json = require "moontap.json"
local refusals = require "moontap.sim.refusals"
local rng = require "moontap.sim.rng"
local states = require "moontap.sim.state"
local validate = require "moontap.sim.validate"

local M = {}

-- Buckets remembered; the oldest is forgotten when one more comes.
local KEPT_MAX <const> = 1000
local BASE64URL <const> = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

local function base64url(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local bits = a << 16 | (b or 0) << 8 | (c or 0)
    for k = 0, (c and 3 or b and 2 or 1) do
      local digit = bits >> (18 - 6 * k) & 63
      out[#out + 1] = BASE64URL:sub(digit + 1, digit + 1)
    end
  end
  return table.concat(out)
end

---What the challenge file holds: a token bound to account, bucket and time,
---of the form of a JWT. Its signature is only made to look like one.
local function make_challenge(state, entry)
  local claims = json.encode {
    sub = state.account_id, aud = entry.bucket.conf, jti = entry.id,
    iat = entry.submitted_us // 1000000,
    exp = entry.submitted_us // 1000000 + math.floor(state.knobs.challenge_lifetime),
  }
  local signed = base64url(json.encode { alg = "HS256", typ = "JWT" }) .. "." .. base64url(claims)
  local key = rng.derive(state:draw "challenge", signed)
  return signed .. "." .. base64url(rng.bytes(key, 32))
end

local function result_of(state, entry)
  return {
    id = entry.id,
    status = entry.status,
    submitted = states.timestamp(entry.submitted_us),
    validated = entry.validated_us and states.timestamp(entry.validated_us) or "",
    destination_conf = state.knobs.echo_secrets and entry.conf or entry.bucket.conf,
    filename = entry.filename,
  }
end

local function new_entry(state, conf, place)
  local id = rng.uuid1(state:now_us(), state:draw "ownership")
  return { id = id, conf = conf, bucket = place, status = "pending",
           submitted_us = state:now_us(), filename = "ownership-challenge-" .. id .. ".txt" }
end

local function keep(state, entry)
  state.ownerships[#state.ownerships + 1] = entry
  if #state.ownerships > KEPT_MAX then
    table.remove(state.ownerships, 1)
  end
end

local function succeed(state, entry)
  entry.status, entry.validated_us = "success", state:now_us()
end

---POST /pcaps/ownership
---@param state moontap.sim.State
---@param params table
---@return table reply
function M.create(state, params)
  local problems = validate.problems("ownership.create", params)
  if problems then
    return refusals.invalid(problems)
  end
  local place, problem = bucket.parse(params.destination_conf)
  if place and place.missing then
    problem = "the parameter " .. place.missing .. " is missing"
  end
  if problem then
    return refusals.reply(state.knobs, "bucket_form", "/destination_conf", problem)
  end
  local entry = new_entry(state, params.destination_conf, place)
  entry.challenge = make_challenge(state, entry)
  local ok, err = bucket.write(state, place, entry.filename, entry.challenge)
  if not ok then
    return refusals.reply(state.knobs, "bucket_write", "/destination_conf", tostring(err))
  end
  if place.scheme == "r2" and state.knobs.r2_validated then
    succeed(state, entry)
  end
  keep(state, entry)
  return envelope.ok(result_of(state, entry))
end

---GET /pcaps/ownership
---@param state moontap.sim.State
---@return table reply
function M.list(state)
  local results = json.array {}
  for i, entry in ipairs(state.ownerships) do
    results[i] = result_of(state, entry)
  end
  local info = { count = #results, page = 1, per_page = KEPT_MAX, total_count = #results }
  return envelope.ok((#results > 0 or not state.knobs.list_null) and results or nil, info)
end

---DELETE /pcaps/ownership/{ownership_id}
---@param state moontap.sim.State
---@param id string
---@return table reply
function M.delete(state, _, id)
  for i, entry in ipairs(state.ownerships) do
    if entry.id == id then
      table.remove(state.ownerships, i)
      return envelope.empty()
    end
  end
  if state.knobs.invent_ids then
    return envelope.empty()
  end
  return refusals.reply(state.knobs, "ownership_unknown")
end

---The entries for the bucket that CONF names, newest first.
local function entries_for(state, conf)
  local place = bucket.parse(conf)
  local found = {}
  for i = #state.ownerships, 1, -1 do
    local entry = state.ownerships[i]
    if place and entry.bucket.key == place.key then
      found[#found + 1] = entry
    end
  end
  return found, place
end

---A bucket that was never added, for clients whose tests ask about one.
local function invent(state, params, place)
  local entry = new_entry(state, params.destination_conf,
    place or { conf = params.destination_conf, key = "", path = "", scheme = "" })
  succeed(state, entry)
  return envelope.ok(result_of(state, entry))
end

local function answers(state, entry, given)
  return given == entry.challenge
    or (state.knobs.challenge_by_name and given == entry.filename)
    or (state.knobs.challenge_by_name and state.knobs.invent_ids
      and given:find "^ownership%-challenge%-%x+%.txt$" ~= nil)
end

---POST /pcaps/ownership/validate
---@param state moontap.sim.State
---@param params table
---@return table reply
function M.validate(state, params)
  local problems = validate.problems("ownership.validate", params)
  if problems then
    return refusals.invalid(problems)
  end
  local knobs = state.knobs
  local entries, place = entries_for(state, params.destination_conf)
  if #entries == 0 then
    if knobs.invent_ids then
      return invent(state, params, place)
    end
    return refusals.reply(knobs, "ownership_unknown", "/destination_conf")
  end
  local given = params.ownership_challenge:match "^%s*(.-)%s*$"
  for _, entry in ipairs(entries) do
    if answers(state, entry, given) then
      local age = (state:now_us() - entry.submitted_us) / 1e6
      if age > knobs.challenge_lifetime and entry.status ~= "success" then
        return refusals.reply(knobs, "challenge_expired", "/ownership_challenge")
      end
      if entry.status ~= "success" then
        succeed(state, entry)
      end
      return envelope.ok(result_of(state, entry))
    end
  end
  if knobs.validate_failure == "status" then
    entries[1].status = "failed"
    return envelope.ok(result_of(state, entries[1]))
  end
  return refusals.reply(knobs, "challenge_wrong", "/ownership_challenge")
end

---The bucket that a full capture may use, when CONF names one.
---@param state moontap.sim.State
---@param conf string
---@return moontap.sim.Bucket|nil bucket nil: none to write to
---@return boolean allowed
function M.find_validated(state, conf)
  local entries, place = entries_for(state, conf)
  for _, entry in ipairs(entries) do
    if entry.status == "success" then
      return place, true
    end
  end
  return place, state.knobs.any_bucket
end

return M
