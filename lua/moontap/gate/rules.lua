-- rules: what a playbook may do, as data: read from its header and from the operator's policy,
-- joined to the set that holds, and asked by grants.lua. Pure.
--
-- A set is a list of layers, each with `whose` it is. A call passes when it passes every layer.

local prefix = require "moontap.gate.prefix"
local schema = require "moontap.native.schema"

local M = {}

local VERBS <const> = {
  "create", "get", "list", "stop", "stop.others", "download", "ownership.create",
  "ownership.list", "ownership.delete", "ownership.validate",
}
local FIELDS <const> = { "buckets", "files", "http", "pcaps" }
local PCAPS_FIELDS <const> = {
  "colos", "destinations", "max_byte_limit", "max_packet_limit", "max_time_limit", "per_day",
  "sources", "types", "verbs",
}
local LIST_MAX <const> = 256

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

-- Reading ----------------------------------------------------------------------------------

-- `note(path, message)` takes each problem.
local function check_list(value, path, note, check_item)
  if type(value) ~= "table" then
    return note(path, ("expected a list, got %s"):format(type(value)))
  end
  local count = 0
  for key in pairs(value) do
    count = count + 1
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      return note(path, "expected a list, got a table with other keys")
    end
  end
  if count > LIST_MAX then return note(path, ("more than %d items"):format(LIST_MAX)) end
  for i, item in ipairs(value) do
    local problem = type(item) ~= "string" and "expected a string, got " .. type(item)
      or check_item(item)
    if problem then note(("%s[%d]"):format(path, i), problem) end
  end
end

local function one_of(known)
  local set = set_of(known)
  return function(item)
    if set[item] then return nil end
    local near = schema.near(item, known)
    return ("unknown %q%s (known: %s)"):format(item,
      near and ("; did you mean %q?"):format(near) or "", table.concat(known, ", "))
  end
end

local function check_prefix(item)
  if not prefix.parse(item) then return ("no address or prefix: %q"):format(item) end
end

local function check_text(item)
  if item == "" or item:find "%c" then return "expected a name" end
end

local function check_host(item)
  if item:find "^%a[%w+.-]*://" or item:find "[/%s%c]" or item == "" then
    return ("expected the name of a host such as example.net, got %q"):format(item)
  end
end

local function check_directory(item)
  if item:find "%c" or item:sub(1, 1) ~= "/" or ("/" .. item .. "/"):find("/../", 1, true) then
    return ("expected the whole path of a directory, from / on and without .., got %q"):format(item)
  end
end

local function check_count(value, path, note)
  if math.type(value) ~= "integer" or value < 0 then
    note(path, "expected an integer from 0 up, got " .. tostring(value))
  end
end

local function check_unknown(value, known, path, note)
  for key in pairs(value) do
    local name, is_known = tostring(key), false
    for _, other in ipairs(known) do is_known = is_known or other == key end
    if not is_known then
      local near = schema.near(name, known)
      note(path .. "." .. name, ("unknown field%s"):format(
        near and ("; did you mean %q?"):format(near) or ""))
    end
  end
end

local CHECKS <const> = {
  verbs = one_of(VERBS), types = one_of { "simple", "full" },
  destinations = check_prefix, sources = check_prefix, colos = check_text,
  buckets = check_text, files = check_directory, http = check_host,
}

---Checks a table of grants.
---@param value any
---@param path string
---@param note fun(path: string, message: string)
function M.check(value, path, note)
  if type(value) ~= "table" then
    return note(path, ("expected a table, got %s"):format(type(value)))
  end
  check_unknown(value, FIELDS, path, note)
  for _, name in ipairs { "buckets", "http", "files" } do
    if value[name] ~= nil then
      check_list(value[name], path .. "." .. name, note, CHECKS[name])
    end
  end
  local pcaps = value.pcaps
  if pcaps == nil then return end
  path = path .. ".pcaps"
  if type(pcaps) ~= "table" then
    return note(path, ("expected a table, got %s"):format(type(pcaps)))
  end
  check_unknown(pcaps, PCAPS_FIELDS, path, note)
  for _, name in ipairs(PCAPS_FIELDS) do
    local given, at = pcaps[name], path .. "." .. name
    if given ~= nil and CHECKS[name] then
      check_list(given, at, note, CHECKS[name])
    elseif given ~= nil then
      check_count(given, at, note)
    end
  end
end

-- Joining ----------------------------------------------------------------------------------

---@class moontap.gate.Layer
---@field whose string "the playbook's grants", "the operator's policy (…)"
---@field grants table
---@field is_operator boolean

---@class moontap.gate.Rules
---@field layers moontap.gate.Layer[]
---@field is_default boolean neither header nor policy says anything: simple captures with a filter

---Does `name` match a pattern of the policy, in which * stands for anything?
---@param name string
---@param pattern string
---@return boolean
function M.matches(name, pattern)
  local lua = pattern:gsub("[^%w*]", "%%%0"):gsub("%*", ".*")
  return name:match("^" .. lua .. "$") ~= nil
end

---The rules of a playbook: its header and each matching entry of the policy.
---@param name string of the playbook
---@param header? table
---@param policy? table<string, table> pattern → grants
---@return moontap.gate.Rules
function M.join(name, header, policy)
  local layers, patterns, matching = {}, {}, {}
  if header then
    layers[1] = { whose = "the playbook's grants", grants = header, is_operator = false }
  end
  for pattern in pairs(policy or {}) do patterns[#patterns + 1] = pattern end
  table.sort(patterns)
  for _, pattern in ipairs(patterns) do
    if M.matches(name, pattern) then matching[#matching + 1] = pattern end
  end
  for _, pattern in ipairs(matching) do
    layers[#layers + 1] = { whose = ("the operator's policy (%s)"):format(pattern),
                            grants = policy[pattern], is_operator = true }
  end
  if policy and #matching == 0 then
    layers[#layers + 1] = { whose = "the operator's policy (no entry for it)", grants = {},
                            is_operator = true }
  end
  return { layers = layers, is_default = #layers == 0 }
end

-- Asking -----------------------------------------------------------------------------------

-- Nothing, or the rule that is in the way.
local function in_list(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

local function in_prefixes(list, text)
  local inner = prefix.parse(text)
  if not inner then return false end
  for _, item in ipairs(list) do
    local outer = prefix.parse(item)
    if outer and prefix.contains(outer, inner) then return true end
  end
  return false
end

local function colo_of(params)
  return params.colo_name or params.colo
end

local function bucket_of(uri)
  return type(uri) == "string" and uri:match "^%w+://([^/?]+)" or nil
end

local function check_address(list, filter, field, rule)
  if not list then return nil end
  local value = filter and filter[field]
  if value == nil then return ("%s: the capture has no %s"):format(rule, field) end
  if not in_prefixes(list, tostring(value)) then
    return ("%s: %s lies in none of %s"):format(rule, tostring(value), table.concat(list, ", "))
  end
end

local function check_limit(grants, params, field)
  local max, value = grants["max_" .. field], params[field]
  if max and type(value) == "number" and value > max then
    return ("pcaps.max_%s: %s is more than %d"):format(field, tostring(value), max)
  end
  if max and value == nil and field ~= "time_limit" and params.type == "full" then
    return ("pcaps.max_%s: the capture has no %s"):format(field, field)
  end
end

-- What is in the way of a create in one layer.
local function create_in(layer, params)
  local grants = layer.grants.pcaps or {}
  local filter = type(params.filter_v1) == "table" and params.filter_v1 or nil
  if not in_list(grants.types or { "simple" }, params.type) then
    return ("pcaps.types: %s"):format(tostring(params.type))
  end
  local problem = check_address(grants.destinations, filter, "destination_address",
    "pcaps.destinations") or check_address(grants.sources, filter, "source_address",
    "pcaps.sources")
  if problem then return problem end
  for _, field in ipairs { "time_limit", "packet_limit", "byte_limit" } do
    problem = check_limit(grants, params, field)
    if problem then return problem end
  end
  if params.type ~= "full" then return nil end
  local colo, bucket = colo_of(params), bucket_of(params.destination_conf)
  if grants.colos and not in_list(grants.colos, colo) then
    return ("pcaps.colos: %s"):format(tostring(colo))
  end
  if layer.grants.buckets and not in_list(layer.grants.buckets, bucket) then
    return ("buckets: %s"):format(tostring(bucket))
  end
end

---What a full capture still needs of the operator, whoever else grants it; nil when it has all.
---@param rules moontap.gate.Rules
---@return string|nil
function M.full_needs(rules)
  for _, layer in ipairs(rules.layers) do
    local grants = layer.grants.pcaps or {}
    if layer.is_operator and layer.grants.buckets and grants.colos and grants.max_byte_limit
      and grants.per_day and in_list(grants.types or {}, "full") then
      return nil
    end
  end
  return "full captures need an entry of the operator's policy with types, buckets, colos, "
    .. "max_byte_limit and per_day"
end

local function denied(what, whose, rule)
  return ("%s refused by %s: %s"):format(what, whose, rule)
end

---Why a create may not be, or nil.
---@param rules moontap.gate.Rules
---@param params table
---@return string|nil
function M.refuses_create(rules, params)
  local what = ("create of a %s capture"):format(tostring(params.type))
  local filter = params.filter_v1
  if type(filter) ~= "table" or next(filter) == nil then
    return denied(what, "the defaults", "a playbook captures with a filter only")
  end
  if rules.is_default and params.type ~= "simple" then
    return denied(what, "the defaults", M.full_needs(rules))
  end
  for _, layer in ipairs(rules.layers) do
    local rule = create_in(layer, params)
    if rule then return denied(what, layer.whose, rule) end
  end
  local needs = params.type == "full" and M.full_needs(rules)
  if needs then return denied(what, "the defaults", needs) end
end

---Why a verb may not be used, or nil.
---@param rules moontap.gate.Rules
---@param verb string
---@param bucket_uri? string of an ownership
---@return string|nil
function M.refuses_verb(rules, verb, bucket_uri)
  if rules.is_default and verb:find "^ownership%." and verb ~= "ownership.list" then
    return denied(verb, "the defaults", "pcaps.verbs: without grants buckets are only listed")
  end
  for _, layer in ipairs(rules.layers) do
    local verbs = (layer.grants.pcaps or {}).verbs
    if verbs and not in_list(verbs, verb) then return denied(verb, layer.whose, "pcaps.verbs") end
    local bucket = bucket_of(bucket_uri)
    if bucket and layer.grants.buckets and not in_list(layer.grants.buckets, bucket) then
      return denied(verb, layer.whose, "buckets: " .. bucket)
    end
  end
end

-- Does the operator let it stop what others have opened? Who writes a header cannot.
local function may_stop_others(rules)
  for _, layer in ipairs(rules.layers) do
    local verbs = (layer.grants.pcaps or {}).verbs
    if layer.is_operator and verbs and in_list(verbs, "stop.others") then return true end
  end
  return false
end

---Why a capture may not be stopped, or nil.
---@param rules moontap.gate.Rules
---@param id string
---@param is_own boolean a run of this playbook has opened it
---@return string|nil
function M.refuses_stop(rules, id, is_own)
  local why = M.refuses_verb(rules, "stop")
  if why or is_own then return why end
  if not may_stop_others(rules) then
    return denied("stop " .. id, "the defaults", "no run of this playbook opened it; that needs "
      .. "an entry of the operator's policy with the verb stop.others")
  end
  return M.refuses_verb(rules, "stop.others")
end

---Why a request to `host`, in small letters, may not be, or nil. Without grants none is.
---@param rules moontap.gate.Rules
---@param host string
---@return string|nil
function M.refuses_http(rules, host)
  if rules.is_default then
    return denied("HTTP to " .. host, "the defaults", "http: none granted")
  end
  for _, layer in ipairs(rules.layers) do
    local is_named = false
    for _, name in ipairs(layer.grants.http or {}) do
      is_named = is_named or name:lower() == host
    end
    if not is_named then
      return denied("HTTP to " .. host, layer.whose, "http")
    end
  end
end

local function dir_above(layer, path)
  local found
  for _, dir in ipairs(layer.grants.files or {}) do
    local root = dir:gsub("/+$", "")
    local is_above = path:sub(1, #root + 1) == root .. "/"
    if is_above and (not found or #root > #found) then found = root end
  end
  return found
end

---Does the operator have a policy? Else a playbook's own header is all there is.
---@param rules moontap.gate.Rules
---@return boolean
function M.has_policy(rules)
  for _, layer in ipairs(rules.layers) do
    if layer.is_operator then return true end
  end
  return false
end

---The granted directory below which the file `path` may be read or written; or nil and why not.
---What a playbook's own header names without a policy opens less of it (cron/outside.lua).
---@param rules moontap.gate.Rules
---@param what "reading"|"writing"
---@param path string
---@return string|nil
---@return string|nil why
function M.root_of(rules, what, path)
  what = ("%s %s"):format(what, path)
  local root
  local has_policy = M.has_policy(rules)
  for _, layer in ipairs(rules.layers) do
    local dir = dir_above(layer, path)
    if not dir and (layer.grants.files or layer.is_operator) then
      return nil, denied(what, layer.whose, "files")
    end
    if layer.is_operator == has_policy and dir and (not root or #dir > #root) then root = dir end
  end
  if not root then
    return nil, denied(what, "the defaults", "files: a playbook has what it downloads to the "
      .. "capture directory; others need grants.files")
  end
  return root
end

---The least number of captures a day that a layer allows, or nil.
---@param rules moontap.gate.Rules
---@return integer|nil
---@return string|nil whose
function M.per_day(rules)
  local least, whose
  for _, layer in ipairs(rules.layers) do
    local n = (layer.grants.pcaps or {}).per_day
    if n and (not least or n < least) then least, whose = n, layer.whose end
  end
  return least, whose
end

---What its author may not expect.
---@param rules moontap.gate.Rules
---@return string[]
function M.warnings(rules)
  local list, wants_full, has_files, lacks_files = {}, false, false, false
  for _, layer in ipairs(rules.layers) do
    wants_full = wants_full or in_list((layer.grants.pcaps or {}).types or {}, "full")
    has_files = has_files or layer.grants.files ~= nil
    lacks_files = lacks_files or layer.is_operator and layer.grants.files == nil
  end
  local needs = wants_full and M.full_needs(rules)
  if needs then list[1] = "grants: " .. needs end
  if has_files and lacks_files then
    list[#list + 1] = "grants: files need each entry of the operator's policy that names the "
      .. "playbook to have files"
  elseif has_files and not M.has_policy(rules) then
    list[#list + 1] = "grants: without an operator's policy, files open what every user of the "
      .. "machine may read, and take new .pcap files"
  end
  return list
end

-- Telling ----------------------------------------------------------------------------------

local function words(value)
  return type(value) == "table" and table.concat(value, ", ") or tostring(value)
end

---The set that holds, a line each.
---@param rules moontap.gate.Rules
---@return string[]
function M.describe(rules)
  if rules.is_default then
    return { "defaults: simple captures with a filter; no HTTP but the API; files only in its own "
      .. "capture directory" }
  end
  local lines = {}
  for _, layer in ipairs(rules.layers) do
    local parts = {}
    for _, name in ipairs(PCAPS_FIELDS) do
      local value = (layer.grants.pcaps or {})[name]
      if value ~= nil then parts[#parts + 1] = ("%s %s"):format(name, words(value)) end
    end
    for _, name in ipairs { "buckets", "http", "files" } do
      if layer.grants[name] then
        parts[#parts + 1] = ("%s %s"):format(name, words(layer.grants[name]))
      end
    end
    lines[#lines + 1] = ("%s: %s"):format(layer.whose, #parts > 0 and table.concat(parts, "; ")
      or "simple captures with a filter")
  end
  return lines
end

return M
