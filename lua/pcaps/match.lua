-- match: whether a capture of a list can be the one that a request asked for. Compared is what
-- the answer carries: no field of it is required, and packet_limit is usually missing.

local clock = require "moontap.clock"

local M = {}

local FILTER_FIELDS = { "source_address", "source_port", "destination_address",
                        "destination_port", "protocol" }
local LIMITS = { packet_limit = 10000, byte_limit = 1000000000 } -- what "no limit" may be told as
local SECRETS = { ["access-key-id"] = true, ["secret-access-key"] = true }
local OFFSET_SLACK = 1   -- seconds: an API may keep less of a time than it was given
local DEFAULT_SLACK = 5  -- seconds between submitted and an offset_time that defaults to it

local function is_same_number(a, b)
  a, b = tonumber(a), tonumber(b)
  return a ~= nil and a == b
end

-- IPv6 has many spellings; this makes one of them.
local function expand(text)
  local head, tail = text:match("^(.-)::(.*)$")
  local function groups(part)
    local list = {}
    for group in (part or ""):gmatch("[^:]+") do list[#list + 1] = group:gsub("^0+(.)", "%1") end
    return list
  end
  if not head then return table.concat(groups(text), ":") end
  local first, last = groups(head), groups(tail)
  for _ = 1, 8 - #first - #last do first[#first + 1] = "0" end
  return table.concat(table.move(last, 1, #last, #first + 1, first), ":")
end

local function canonical(address)
  local text = tostring(address):lower():gsub("/32$", ""):gsub("/128$", "")
  return text:find(":", 1, true) and expand((text:gsub("/128$", ""))) or text
end

-- A service may take 0 and "" for a field that is not set, and the other way round.
local function is_unset(value)
  return value == nil or value == "" or value == 0
end

local function is_same_filter(asked, carried)
  if type(carried) ~= "table" then return false end
  for _, name in ipairs(FILTER_FIELDS) do
    local a, b = asked[name], carried[name]
    if is_unset(a) or is_unset(b) then
      if not (is_unset(a) and is_unset(b)) then return false end
    elseif name:find("address", 1, true) then
      if canonical(a) ~= canonical(b) then return false end
    elseif not is_same_number(a, b) then
      return false
    end
  end
  return true
end

-- The parts of a bucket's address: what stands before the query, and its parameters but keys.
local function split_bucket(conf)
  local place, query = tostring(conf):match("^([^?]*)%??(.*)$")
  local params = {}
  for name, value in query:gmatch("([^&=]+)=([^&]*)") do
    if not SECRETS[name] then params[name] = value end
  end
  return place:gsub("/+$", ""), params
end

--- Whether two bucket addresses name the same bucket. Keys do not count, and neither does a
--- parameter that only one of them carries: answers leave some of them out.
---@param a string
---@param b any
---@return boolean
function M.is_same_bucket(a, b)
  if type(b) ~= "string" then return false end
  local place_a, params_a = split_bucket(a)
  local place_b, params_b = split_bucket(b)
  for name, value in pairs(params_a) do
    if params_b[name] and params_b[name] ~= value and not params_b[name]:find("*", 1, true) then
      return false
    end
  end
  return place_a == place_b
end

local function is_same_text(a, b)
  return type(b) == "string" and a:lower() == b:lower()
end

local function time_of(value)
  return type(value) == "string" and clock.parse(value) or nil
end

-- Without an offset_time of its own a window ends when the capture was submitted.
local function is_same_window(params, cap)
  local carried = time_of(cap.offset_time)
  if not carried then return false end
  local asked = time_of(params.offset_time)
  if asked then return math.abs(asked - carried) <= OFFSET_SLACK end
  local submitted = time_of(cap.submitted)
  return submitted == nil or math.abs(submitted - carried) <= DEFAULT_SLACK
end

local function is_same_limit(name, asked, carried)
  if asked == nil then return is_unset(carried) or is_same_number(carried, LIMITS[name]) end
  return is_same_number(asked, carried)
end

--- Whether capture `cap` of an answer is what `params` asked for, as far as it says.
---@param params table the parameters as they were sent
---@param cap table
---@return boolean
function M.is_same(params, cap)
  local function differs(name, is_same)
    return cap[name] ~= nil and not is_same(params[name], cap[name])
  end
  return not (differs("type", is_same_text) or differs("system", is_same_text)
    or differs("time_limit", is_same_number)
    or cap.packet_limit ~= nil
      and not is_same_limit("packet_limit", params.packet_limit, cap.packet_limit)
    or cap.byte_limit ~= nil and not is_same_limit("byte_limit", params.byte_limit, cap.byte_limit)
    or cap.filter_v1 ~= nil and not is_same_filter(params.filter_v1 or {}, cap.filter_v1)
    or params.type == "full" and differs("colo_name", is_same_text)
    or params.type == "full" and differs("destination_conf", M.is_same_bucket)
    or params.type == "simple" and cap.offset_time ~= nil and not is_same_window(params, cap))
end

--- When `cap` was submitted, in seconds since 1970 of the server's clock; nil when it does not say.
---@param cap table
---@return number|nil
function M.submitted(cap)
  return time_of(cap.submitted)
end

return M
