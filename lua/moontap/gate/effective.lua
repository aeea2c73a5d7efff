-- effective: what a playbook may do in all, when each layer of its rules (rules.lua) has had its
-- say, as data. For people to read: what is asked when it matters are the rules themselves. Pure.

local prefix = require "moontap.gate.prefix"
local rules = require "moontap.gate.rules"

local M = {}

-- Those of `a` that are in `b`; nil stands for all.
local function both(a, b)
  if not (a and b) then return a or b end
  local set, list = {}, {}
  for _, item in ipairs(b) do set[item] = true end
  for _, item in ipairs(a) do
    if set[item] then list[#list + 1] = item end
  end
  return list
end

-- Joins lists of what lies in each other or apart: the inner ones are left.
local function both_inner(is_in)
  return function(a, b)
    if not (a and b) then return a or b end
    local list, seen = {}, {}
    local function add(inner, outer)
      if is_in(inner, outer) and not seen[inner] then
        seen[inner], list[#list + 1] = true, inner
      end
    end
    for _, one in ipairs(a) do
      for _, other in ipairs(b) do
        add(one, other)
        add(other, one)
      end
    end
    return list
  end
end

local both_prefixes = both_inner(function(inner, outer)
  return prefix.contains(assert(prefix.parse(outer)), assert(prefix.parse(inner)))
end)

local both_directories = both_inner(function(inner, outer)
  return inner:sub(1, #outer) == outer
end)

-- Each ends in one slash, so that what begins with it is below it.
local function as_directories(list)
  local directories = {}
  for i, item in ipairs(list) do directories[i] = item:gsub("/*$", "/") end
  return directories
end

local function least(a, b)
  return a and b and math.min(a, b) or a or b
end

local function in_small_letters(list)
  local small = {}
  for i, item in ipairs(list) do small[i] = item:lower() end
  return small
end

-- How each field of two layers makes one.
local PCAPS <const> = {
  colos = both, destinations = both_prefixes, sources = both_prefixes, verbs = both,
  max_byte_limit = least, max_packet_limit = least, max_time_limit = least, per_day = least,
}

---What all layers leave: the fields of grants, where absent ones do not bound. `types`, `http` and
---`files` are always there. Files that a run has downloaded are its own beside those.
---@param set moontap.gate.Rules
---@return { types: string[], http: string[], files: string[], buckets?: string[], colos?: string[],
---  destinations?: string[], sources?: string[], verbs?: string[], max_byte_limit?: integer,
---  max_packet_limit?: integer, max_time_limit?: integer, per_day?: integer }
function M.of(set)
  local all = set.is_default and { types = { "simple" }, http = {} } or {}
  for _, layer in ipairs(set.layers) do
    local pcaps = layer.grants.pcaps or {}
    for name, join in pairs(PCAPS) do all[name] = join(all[name], pcaps[name]) end
    all.types = both(all.types, pcaps.types or { "simple" })
    all.buckets = both(all.buckets, layer.grants.buckets)
    all.http = both(all.http, in_small_letters(layer.grants.http or {}))
    local files = layer.grants.files or layer.is_operator and {}
    all.files = both_directories(all.files, files and as_directories(files) or nil)
  end
  all.files = all.files or {}
  if rules.full_needs(set) then all.types = both(all.types, { "simple" }) end
  return all
end

local ORDER <const> = {
  "types", "verbs", "destinations", "sources", "max_time_limit", "max_packet_limit",
  "max_byte_limit", "per_day", "colos", "buckets", "http", "files",
}

---In one line.
---@param all table of `of`
---@return string
function M.describe(all)
  local parts = {}
  for _, name in ipairs(ORDER) do
    local value = all[name]
    if type(value) == "table" then
      value = #value > 0 and table.concat(value, ", ") or "none"
    end
    if value ~= nil then parts[#parts + 1] = ("%s %s"):format(name, value) end
  end
  return table.concat(parts, "; ")
end

return M
