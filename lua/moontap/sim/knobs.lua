-- knobs: what no documentation settles about the API, each with a name, a
-- default and a line of explanation, changeable when a simulator starts.

local schema = require "moontap.native.schema"

local M = {}

---@class moontap.sim.Knob
---@field name string
---@field default boolean|number|string
---@field values? string[] the only words allowed
---@field min? number
---@field max? number
---@field integer? boolean
---@field doc string

---@type moontap.sim.Knob[]
local KNOBS = {}

local function knob(name, default, doc, values)
  KNOBS[#KNOBS + 1] = { name = name, default = default, doc = doc, values = values }
end

local function number(name, default, min, max, doc)
  KNOBS[#KNOBS + 1] = { name = name, default = default, min = min, max = max, doc = doc }
end

local function integer(name, default, min, max, doc)
  KNOBS[#KNOBS + 1] = { name = name, default = default, min = min, max = max, doc = doc,
                        integer = true }
end

local function status(name, default, doc)
  integer(name, default, 200, 599, "HTTP status " .. doc)
end

-- Limits. Durations are in seconds of the API; the simulator's speed divides them.
integer("rate_limit", 1200, 0, 1000000000, "requests in five minutes before all are refused; "
  .. "0: no limit")
number("simple_interval", 60, 0, 86400, "seconds between two simple captures; 0: no limit")
status("simple_limit_status", 429, "of a simple capture that comes too early")
knob("simple_retry_after", true, "whether that refusal carries retry-after")
integer("full_slots", 1, 0, 1000, "full captures that may be open at once; 0: no limit")
status("full_busy_status", 409, "of a full capture while the slots are taken")
knob("full_busy_retry_after", false, "whether that refusal carries retry-after (ten seconds)")
knob("full_busy_until", "captured", "a full capture holds its slot until its packets are "
  .. "captured, or until its file is finished too", { "captured", "finished" })

-- Life cycle.
number("simple_ready", 1, 0, 86400, "seconds until a simple capture is ready")
knob("simple_conversion", false, "whether a simple capture passes through the conversion states")
knob("simple_empty", "success", "how a simple capture without a packet ends",
  { "success", "failed" })
number("full_pending", 2, 0, 86400, "seconds that a full capture stays pending")
number("full_conversion_pending", 1, 0, 86400, "seconds of conversion_pending")
number("full_conversion_running", 2, 0, 86400, "seconds of conversion_running")
integer("full_bytes_max", 64 * 1024 * 1024, 1, 1000000000,
  "packet bytes at which any full capture ends, as if byte_limit said so")
knob("first_status", "pending", "the first status of every capture", { "pending", "unknown" })
knob("final_status", "success", "the word for done", { "success", "complete" })
knob("never_finish", false, "captures stay in their last state before the end")
status("stop_simple_status", 400, "of stopping a simple capture")
status("stop_finished_status", 204, "of stopping a full capture that is finished")

-- Shape of the answers.
knob("colo_key", "colo_name", "the field that names the colo of a full capture",
  { "colo_name", "colo", "both" })
knob("echo_packet_limit", false, "answers carry packet_limit")
knob("echo_secrets", true, "answers repeat the keys inside an R2 destination_conf")
knob("list_order", "newest", "which captures a list shows first", { "newest", "oldest" })
integer("list_max", 50, 1, 1000000, "captures in a list")
knob("list_null", false, "an empty list is null instead of []")
integer("retention_max", 1000, 1, 1000000, "captures remembered; older ones are unknown")
number("retention", 0, 0, 1e9, "seconds after which a capture is unknown; 0: never")
status("auth_missing_status", 400, "of a request without credentials")
status("capture_unknown_status", 404, "of asking for a capture that is not known")
knob("error_chain", false, "errors carry an error_chain")
knob("gzip", false, "JSON is compressed for clients that accept gzip")
number("latency", 0, 0, 3600, "seconds that every request takes longer; real ones")
number("clock_skew", 0, -86400, 86400, "seconds by which the simulator's clock is ahead")

-- Filters and windows.
knob("filter_ipv6", "accept", "an IPv6 address in a filter", { "accept", "reject", "ignore" })
knob("filter_cidr", "reject", "a CIDR in a filter", { "accept", "reject", "ignore" })
knob("filter_zero", "literal", "a 0 in a filter means zero, or that the field is unset",
  { "literal", "unset" })
number("offset_age_max", 86400, 0, 1e9, "seconds that an offset_time may lie back")
number("offset_future_max", 1, 0, 1e9, "seconds that an offset_time may lie ahead")

-- Buckets and colos.
status("colo_unknown_status", 400, "of a full capture at a colo that is not known")
status("bucket_unvalidated_status", 400, "of a full capture into a bucket not validated")
knob("colo_unknown", "reject", "a colo_name that the scenario does not have (accepted, it "
  .. "sees no packet)", { "reject", "accept" })
status("validate_status", 400, "of a wrong ownership_challenge")
knob("validate_failure", "error", "a wrong ownership_challenge is an error, or an answer whose "
  .. "status is failed", { "error", "status" })
knob("challenge_by_name", false, "the challenge's file name is accepted for its content")
number("challenge_lifetime", 604800, 0, 1e9, "seconds that a challenge can be answered")
knob("r2_validated", false, "an R2 bucket is validated when it is added")
knob("file_name", "pcap_{id}_{server}.pcap", "name of a full capture's file in the bucket")

-- Files.
status("download_unready_status", 409, "of downloading a capture that is not ready")
status("download_full_status", 400, "of downloading a full capture")
integer("simple_snaplen", 160, 1, 65535, "bytes kept of each packet of a simple capture")
integer("full_snaplen", 65535, 1, 65535, "bytes kept of each packet of a full capture")
knob("simple_selection", "spread", "which packets a simple capture keeps when there are more "
  .. "than packet_limit", { "spread", "first", "last" })
knob("link_type", "raw", "link layer of the files", { "raw", "ethernet" })
knob("byte_order", "little", "byte order of the files' headers", { "little", "big" })
knob("precision", "micro", "time stamps of the files", { "micro", "nano" })

-- Strictness.
knob("any_account", false, "every account_id is ours")
knob("any_credentials", false, "every well-formed credential is accepted")
knob("short_paths", false, "paths without /client/v4 are served too")
knob("invent_ids", false, "ids that were never given out name a finished capture or bucket")
knob("any_bucket", false, "full captures need no validated bucket")

local BY_NAME = {}
for _, entry in ipairs(KNOBS) do
  BY_NAME[entry.name] = entry
end

---What `--lenient` stands for: what the test suites of other clients send passes.
M.LENIENT = {
  simple_interval = 0, full_slots = 0, rate_limit = 0, offset_age_max = 1e9,
  colo_unknown = "accept", challenge_by_name = true, any_account = true,
  any_credentials = true, short_paths = true, invent_ids = true,
  any_bucket = true, filter_cidr = "accept",
}

---All knobs in the order in which help shows them.
---@return moontap.sim.Knob[]
function M.list()
  return KNOBS
end

---@param entry moontap.sim.Knob
---@param value any
---@return string|nil problem
local function problem_of(entry, value)
  if type(value) ~= type(entry.default) then
    return ("expected a %s, got %s"):format(type(entry.default), type(value))
  end
  if entry.values then
    for _, word in ipairs(entry.values) do
      if word == value then
        return nil
      end
    end
    return "expected one of " .. table.concat(entry.values, ", ")
  end
  if entry.integer and not math.tointeger(value) then
    return "expected a whole number"
  end
  if entry.min and not (value >= entry.min and value <= entry.max) then
    return ("expected %g to %g"):format(entry.min, entry.max)
  end
  return nil
end

local function unknown(name)
  local names = {}
  for i, entry in ipairs(KNOBS) do
    names[i] = entry.name
  end
  local near = schema.near(name:match "^[^=]*", names)
  return ("knob %s: expected NAME=VALUE with a known name%s; --knob help lists them"):format(name,
    near and ", such as " .. near or "")
end

---The defaults with CHANGES laid over them.
---@param changes? table<string, any>
---@return table<string, any>|nil knobs
---@return string|nil problem
function M.make(changes)
  local made = {}
  for _, entry in ipairs(KNOBS) do
    made[entry.name] = entry.default
  end
  for name, value in pairs(changes or {}) do
    local entry = BY_NAME[name]
    if not entry then
      return nil, unknown(tostring(name))
    end
    local problem = problem_of(entry, value)
    if problem then
      return nil, ("knob %s: %s"):format(name, problem)
    end
    made[name] = entry.integer and math.tointeger(value) or value
  end
  return made
end

---Reads "name=value" as a command line has it.
---@param text string
---@return string|nil name
---@return any value or the problem
function M.parse(text)
  local name, word = text:match "^([%w_]+)=(.*)$"
  local entry = name and BY_NAME[name]
  if not entry then
    return nil, unknown(text)
  end
  local value = word
  if type(entry.default) == "number" then
    value = tonumber(word)
  elseif type(entry.default) == "boolean" then
    value = ({ ["true"] = true, ["false"] = false })[word]
  end
  local problem = problem_of(entry, value)
  if problem then
    return nil, ("knob %s: %s"):format(name, problem)
  end
  return name, value
end

return M
