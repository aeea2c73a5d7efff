-- playbook: the table that a playbook's file returns, checked: all problems at once, each with its
-- path. It is data from the loader's process; functions are markers there. Pure.

local duration = require "moontap.duration"
local rules = require "moontap.gate.rules"
local schedules = require "moontap.cron.schedules"
local schema = require "moontap.native.schema"

local M = {}

M.API = 1

local TRIGGERS <const> = { "cron" }
local SCHEDULES_MAX <const> = 32
local NAME_MAX <const> = 128
local QUEUE_MAX <const> = 1000

---@class moontap.cron.Playbook
---@field name string
---@field file string
---@field account? string
---@field expressions string[]
---@field tz? string
---@field dst "cron"|"skip"|"utc"
---@field jitter number seconds
---@field timeout number seconds
---@field overlap "skip"|"queue"|"cancel"|"allow"
---@field max_queue integer
---@field catchup { policy: "none"|"last"|"all", window: number, max: integer }
---@field retry { attempts: integer, base: number, factor: number, cap: number, on?: string[],
---  past_next: boolean }
---@field on_lost "skip"|"retry"
---@field uses string[]
---@field priority integer
---@field enabled boolean
---@field ping? string
---@field on_start boolean once after each start of the machine
---@field catchup_on_resume boolean what is due in a pause waits for its end
---@field grants? table

local function describe(value)
  if type(value) == "string" then
    return #value > 60 and "a long string" or ("%q"):format(value)
  end
  if type(value) == "table" then return M.is_function(value) and "a function" or "a table" end
  return tostring(value)
end

---Does a function stand here? The loader sends a marker for one.
---@param value any
---@return boolean
function M.is_function(value)
  if type(value) == "function" then return true end
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and meta.__name == "function"
end

-- Each checker returns the value as it is used, or nil and what is wrong with it.

local function one_of(...)
  local known = { ... }
  return function(value)
    for _, word in ipairs(known) do
      if value == word then return value end
    end
    local near = type(value) == "string" and schema.near(value, known)
    return nil, ("expected %s, got %s%s"):format(table.concat(known, ", "), describe(value),
      near and ("; did you mean %q?"):format(near) or "")
  end
end

local function seconds(low, high)
  return function(value)
    local n = (type(value) == "string" or type(value) == "number") and duration.parse(value)
    if n and n >= low and n <= high then return n end
    return nil, ('expected a length of time such as "5m", from %s to %s, got %s'):format(
      duration.format(low), duration.format(high), describe(value))
  end
end

local function integer(low, high)
  return function(value)
    if math.type(value) == "integer" and value >= low and value <= high then return value end
    return nil, ("expected an integer %d..%d, got %s"):format(low, high, describe(value))
  end
end

local function boolean(value)
  if type(value) == "boolean" then return value end
  return nil, "expected true or false, got " .. describe(value)
end

local function text(value)
  if type(value) == "string" and value ~= "" and #value <= NAME_MAX and not value:find "%c" then
    return value
  end
  return nil, "expected a name, got " .. describe(value)
end

local function name(value)
  if type(value) == "string" and #value <= NAME_MAX and value:match "^[%w_][%w_./-]*$" then
    return value
  end
  return nil, "expected a name of letters, digits, '_', '.', '-' and '/', got " .. describe(value)
end

local function url(value)
  if type(value) == "string" and value:match "^https?://[^/%s]+" and not value:find "[%c%s]" then
    return value
  end
  return nil, "expected a URL, got " .. describe(value)
end

-- A list of strings, or one.
local function texts(max)
  return function(value)
    local list = type(value) == "string" and { value } or value
    if type(list) ~= "table" or M.is_function(list) then
      return nil, "expected a name or a list of names, got " .. describe(value)
    end
    local count = 0
    for _ in pairs(list) do count = count + 1 end
    if count ~= #list or count > max then
      return nil, ("expected a list of up to %d names"):format(max)
    end
    for i, item in ipairs(list) do
      local ok, problem = text(item)
      if not ok then return nil, problem, i end
    end
    return table.move(list, 1, #list, 1, {})
  end
end

local function number(low, high)
  return function(value)
    if type(value) == "number" and value >= low and value <= high then return value end
    return nil, ("expected a number %g..%g, got %s"):format(low, high, describe(value))
  end
end

local CATCHUP <const> = {
  policy = one_of("none", "last", "all"), window = seconds(0, 31 * 86400), max = integer(1, 1000),
}
-- What a run can fail with, as docs/cron.md lists it.
local KINDS <const> = {
  "api", "http", "network", "tls", "timeout", "cancelled", "denied", "quota", "unknown_outcome",
  "limit", "io", "usage", "credentials", "memory", "script", "cpu", "frames", "output", "crash",
  "sandbox",
}
local is_kind = one_of(table.unpack(KINDS))

-- A playbook may have kinds of its own, but none that looks like one of these.
local function kinds(value)
  local list, problem, at = texts(32)(value)
  for i, kind in ipairs(list or {}) do
    local ok, why = is_kind(kind)
    if not ok and schema.near(kind, KINDS) then return nil, why, i end
  end
  return list, problem, at
end

local RETRY <const> = {
  attempts = integer(1, 100), base = seconds(0, 86400), factor = number(1, 10),
  cap = seconds(0, 86400), on = kinds, past_next = boolean,
}

local FIELDS <const> = {
  account = name, jitter = seconds(0, 86400), timeout = seconds(1, 7 * 86400),
  overlap = one_of("skip", "queue", "cancel", "allow"), max_queue = integer(1, QUEUE_MAX),
  on_lost = one_of("skip", "retry"), priority = integer(-100, 100), enabled = boolean, ping = url,
  on_start = boolean, catchup_on_resume = boolean,
  dst = one_of("cron", "skip", "utc"), tz = text, uses = texts(16), name = name,
}

local KNOWN <const> = {
  "account", "api", "catchup", "catchup_on_resume", "dst", "enabled", "grants", "jitter",
  "max_queue", "name", "on", "on_lost", "on_start", "overlap", "ping", "priority", "retry", "run",
  "timeout", "tz", "uses",
}

local IS_KNOWN <const> = {}
for _, key in ipairs(KNOWN) do IS_KNOWN[key] = true end

-- Fields that playbooks with other triggers have.
local LATER <const> = { when = true, by = true, once_within = true, collect = true }

-- What people write who know other schedulers.
local HINTS <const> = {
  timezone = "tz", time_zone = "tz", zone = "tz", cron = "on.cron", schedule = "on.cron",
  schedules = "on.cron",
}

local function unknown(key, known)
  if known == KNOWN and HINTS[key] then
    return ("unknown field; did you mean %q?"):format(HINTS[key])
  end
  local near = type(key) == "string" and schema.near(key, known)
  return ("unknown field%s"):format(near and ("; did you mean %q?"):format(near) or "")
end

local function path_of(path, key)
  if type(key) == "string" and key:match "^[%a_][%w_]*$" then
    return path == "" and key or path .. "." .. key
  end
  return ("%s[%s]"):format(path, type(key) == "string" and ("%q"):format(key) or tostring(key))
end

local function names_of(checks)
  local list = {}
  for key in pairs(checks) do list[#list + 1] = key end
  table.sort(list)
  return list
end

-- A table of fields, each with its checker; `shorts` reads what stands for a table.
local function record(value, path, note, checks, short)
  if short and type(value) ~= "table" then
    local made, problem = short(value)
    if not made then note(path, problem) end
    return made or {}
  end
  if type(value) ~= "table" or M.is_function(value) then
    note(path, "expected a table, got " .. describe(value))
    return {}
  end
  local out, known = {}, names_of(checks)
  for key, item in pairs(value) do
    local check = checks[key]
    if not check then
      note(path_of(path, key), unknown(key, known))
    else
      local read, problem, at = check(item)
      if problem then
        note(path_of(path, key) .. (at and ("[%d]"):format(at) or ""), problem)
      end
      out[key] = read
    end
  end
  return out
end

local function short_retry(value)
  local n, problem = integer(1, 100)(value)
  return n and { attempts = n }, problem
end

local function short_catchup(value)
  local policy, problem = CATCHUP.policy(value)
  return policy and { policy = policy }, problem
end

local function with_defaults(given, defaults)
  for key, value in pairs(defaults) do
    if given[key] == nil then given[key] = value end
  end
  return given
end

-- The expressions of `on`. `has_start`: there is another trigger beside it.
local function read_on(on, note, has_start)
  if on == nil and has_start then return {} end
  if type(on) ~= "table" or M.is_function(on) then
    note("on", 'expected a table such as { cron = "*/5 * * * *" }, got ' .. describe(on))
    return {}
  end
  for key in pairs(on) do
    if key ~= "cron" then
      local near = type(key) == "string" and (HINTS[key] == "on.cron" and "cron"
        or schema.near(key, TRIGGERS))
      note(path_of("on", key), ("this version has no such trigger%s (it has: %s)"):format(
        near and ("; did you mean %q?"):format(near) or "", table.concat(TRIGGERS, ", ")))
    end
  end
  local given = on.cron
  if given == nil then
    if next(on) == nil and not has_start then note("on", "no trigger") end
    return {}
  end
  local list = type(given) == "string" and { given } or given
  if type(list) ~= "table" or M.is_function(list) or #list == 0 then
    note("on.cron", "expected an expression or a list of them, got " .. describe(given))
    return {}
  end
  local count = 0
  for _ in pairs(list) do count = count + 1 end
  if count ~= #list or count > SCHEDULES_MAX then
    note("on.cron", ("expected a list of up to %d expressions"):format(SCHEDULES_MAX))
    return {}
  end
  return table.move(list, 1, #list, 1, {})
end

-- Schedules parse; what does not is told with its place.
local function check_schedules(playbook, on, note)
  local is_list = type(on) == "table" and type(on.cron) == "table"
  for i, expression in ipairs(playbook.expressions) do
    local path = is_list and ("on.cron[%d]"):format(i) or "on.cron"
    if type(expression) ~= "string" then
      note(path, "expected an expression, got " .. describe(expression))
    else
      local ok, err = schedules.parse(expression, playbook, 1)
      if not ok and err.field == "tz" and playbook.tz then
        note("tz", (err.message:gsub("^tz: ", ""))) -- the path says it already
      elseif not ok then
        note(path, err.message)
      end
    end
  end
end

local function default_name(file)
  return (file:gsub("^.*/", ""):gsub("%.lua$", ""))
end

local function check_unknown(data, note)
  for key in pairs(data) do
    if LATER[key] then
      note(path_of("", key), "belongs to triggers that this version does not have")
    elseif not IS_KNOWN[key] then
      note(path_of("", key), unknown(key, KNOWN))
    end
  end
end

-- What holds where a playbook says nothing. Playbooks share these tables: nobody changes them.
local DEFAULT_CATCHUP <const> = { policy = "last", window = 3600, max = 20 }
local DEFAULT_RETRY <const> = { attempts = 1, base = 30, factor = 2, cap = 3600, past_next = false }
local DEFAULTS <const> = {
  dst = "cron", jitter = 0, timeout = 1200, overlap = "skip", max_queue = 1, on_lost = "skip",
  uses = {}, priority = 0, enabled = true, on_start = false, catchup_on_resume = false,
  catchup = DEFAULT_CATCHUP, retry = DEFAULT_RETRY,
}

local function read_fields(data, playbook, note)
  for key, item in pairs(data) do
    local check = FIELDS[key]
    if check then
      local value, problem, at = check(item)
      if problem then note(key .. (at and ("[%d]"):format(at) or ""), problem) end
      playbook[key] = value
    end
  end
end

local function read(data, file, note)
  local playbook = { file = file }
  check_unknown(data, note)
  if data.api ~= M.API then
    note("api", ("expected api = %d, got %s"):format(M.API, describe(data.api)))
  end
  if not M.is_function(data.run) then
    note("run", "expected a function, got " .. describe(data.run))
  end
  read_fields(data, playbook, note)
  playbook.expressions = read_on(data.on, note, data.on_start == true)
  playbook.catchup = data.catchup ~= nil and with_defaults(
    record(data.catchup, "catchup", note, CATCHUP, short_catchup), DEFAULT_CATCHUP) or nil
  playbook.retry = data.retry ~= nil and with_defaults(
    record(data.retry, "retry", note, RETRY, short_retry), DEFAULT_RETRY) or nil
  if data.grants ~= nil then
    rules.check(data.grants, "grants", note)
    playbook.grants = data.grants
  end
  if playbook.max_queue and playbook.overlap ~= "queue" then
    note("max_queue", 'it is for overlap = "queue" only')
  end
  playbook.name = playbook.name or default_name(file)
  return with_defaults(playbook, DEFAULTS)
end

---Reads what a playbook's file returned.
---@param data table
---@param file string
---@return moontap.cron.Playbook|nil nil when there are problems
---@return { path: string, message: string }[] problems, by path
---@return string name also of a playbook with problems
function M.check(data, file)
  local problems = {}
  local function note(path, message)
    problems[#problems + 1] = { path = path, message = message }
  end
  if type(data) ~= "table" then
    note("", "the file returns " .. describe(data) .. ", not a table")
    return nil, problems, default_name(file)
  end
  local playbook = read(data, file, note)
  if data.name == nil and not name(playbook.name) then
    note("name", ("%q, from the file, is none of letters, digits, '_', '.' and '-': give another")
      :format(playbook.name))
  end
  check_schedules(playbook, data.on, note)
  if #problems == 0 then return playbook, problems, playbook.name end
  table.sort(problems, function(a, b)
    if a.path ~= b.path then return a.path < b.path end
    return a.message < b.message
  end)
  return nil, problems, playbook.name
end

return M
