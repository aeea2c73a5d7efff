-- cron: schedules: when "30 2 * * mon-fri" fires. docs/schedules.md is the grammar. What a schedule
-- can do is in C; here its options are checked.

local duration = require "moontap.duration"
local native = require "moontap.native.cron"
local schema = require "moontap.native.schema"

local M = {}

local OPTIONS <const> = { "dst", "name", "phase", "seed" }
local DST <const> = { cron = true, skip = true, utc = true }

-- What is wrong with the names of the options, or nil.
local function check_names(options)
  for key in pairs(options) do
    local known = false
    for _, name in ipairs(OPTIONS) do known = known or key == name end
    if not known then
      local near = schema.near(tostring(key), OPTIONS)
      return ("unknown option %q%s (known: %s)"):format(tostring(key),
        near and ("; did you mean %q?"):format(near) or "", table.concat(OPTIONS, ", "))
    end
  end
end

-- What is wrong with the values of the options, or nil.
local function check_values(options)
  local dst, name, seed, phase = options.dst, options.name, options.seed, options.phase
  if dst ~= nil and not DST[dst] then
    return ('dst: expected "cron", "skip" or "utc", got %s'):format(tostring(dst))
  elseif name ~= nil and type(name) ~= "string" then
    return ("name: expected a string, got %s"):format(type(name))
  elseif seed ~= nil and math.type(seed) ~= "integer" then
    return ("seed: expected an integer, got %s"):format(tostring(seed))
  elseif phase ~= nil and math.type(duration.parse(phase)) ~= "integer" then
    return ("phase: expected a length of time in whole seconds, got %s"):format(tostring(phase))
  end
end

local function check(expression, tz, options)
  if type(expression) ~= "string" then
    return ("expected an expression, got %s"):format(type(expression))
  elseif tz ~= nil and type(tz) ~= "string" then
    return ("expected the name of a zone, got %s"):format(type(tz))
  elseif type(options) ~= "table" then
    return ("expected a table of options, got %s"):format(type(options))
  end
  return check_names(options) or check_values(options)
end

--- A schedule.
---@param expression string five fields, six with the second first, or a macro
---@param tz? string zone; UTC, or what the expression says in front (CRON_TZ=…)
---@param options? table dst: "cron", "skip" or "utc"; name: for H; seed: for ~; phase: of @every
---@return any|nil schedule
---@return table|nil err of kind usage, with `field` and, mostly, `hint`
--- Raises when an argument has the wrong type and for an unknown option.
---
---     local nightly = assert(cron.parse("30 2 * * *", "Europe/Berlin"))
---     print(clock.format(nightly:next(clock.now())))
function M.parse(expression, tz, options)
  if options == nil then options = {} end
  local problem = check(expression, tz, options)
  if problem then error("cron.parse: " .. problem, 2) end
  return native.parse(expression, tz, options.dst, options.name, options.seed,
    options.phase and duration.parse(options.phase))
end

return M
