-- window: which stretch of time the options --last, --from and --to mean, and how a long one is cut
-- into what the API gives at once.

local clock = require "moontap.clock"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local zone = require "moontap.cmd.zone"

local M = {}

M.LENGTH_MAX = 300       -- seconds that one simple capture looks back at most
M.AGE_MAX = 86400        -- seconds that the end of what it looks at may lie back
local DAY <const> = 86400
local AHEAD_MAX <const> = 1 -- seconds that the end may lie in the future, for clocks that differ

---@class moontap.cmd.Window
---@field from integer seconds since 1970
---@field to integer
---@field is_now? boolean it ends now, whenever that is
---@field is_relative? boolean it was given relative to now

---@type moontap.cmd.Option[]
M.OPTIONS = {
  { "--last", arg = "DURATION", help = "the time up to now, such as 5m",
    convert = require "moontap.cmd.options".convert.duration },
  { "--from", arg = "TIME",
    help = "where the window begins: 2026-11-26T10:00:00Z, 10:00 (UTC, or --tz), or -30m" },
  { "--to", arg = "TIME", help = "where it ends (now)" },
}

local function usage(format, ...)
  return nil, errors.new("usage", format:format(...))
end

-- The last time that clocks in the zone of --tz showed so much; nil for what is no time of a day.
local function clock_time(text, now)
  local hour, minute, second = text:match "^(%d%d?):(%d%d):?(%d*)Z?$"
  if not hour or (second ~= "" and #second ~= 2) then return nil end
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second) or 0
  if hour > 23 or minute > 59 or second > 59 then return nil end
  local is_utc = text:find "Z$"
  local shown = is_utc and now or zone.shown(now)
  local at = shown // DAY * DAY + hour * 3600 + minute * 60 + second
  at = at > shown and at - DAY or at
  if is_utc then return at end
  return zone.instant(at)
end

---A time as the options take it.
---@param text string RFC 3339, a time of the day in the zone of --tz, "-10m" or "now"
---@param now number
---@return number|nil seconds since 1970
---@return boolean|string is_relative or the problem
function M.parse_time(text, now)
  if text == "now" or text == "0" then return now, true end
  local ago = text:match "^%-(.+)$"
  ago = ago and duration.parse(ago)
  if ago then return now - ago, true end
  local given = clock.parse(text)
  if given then return given, false end
  local at, problem = clock_time(text, now)
  if not (at or problem) then
    at = clock.parse(text .. "Z") or clock.parse(text .. ":00Z")
    if at then at, problem = zone.instant(at) end
  end
  if at or problem then return at, problem or false end
  if text:find "^%d%d%d%d%-%d%d%-%d%d" then
    return nil, ("'%s' is no date-time such as 2026-11-26T10:00:00Z"):format(text)
  end
  return nil, ("expected a time such as 2026-11-26T10:00:00Z, 10:00 (UTC, or --tz) or -30m, "
    .. "got '%s'"):format(text)
end

local function read_ends(args, now)
  if args.last then
    if args.from or args.to then return usage "give --last, or --from and --to" end
    return { from = now - args.last, to = now, is_now = true, is_relative = true }
  end
  if not args.from then return usage "--to needs --from" end
  local from, is_relative = M.parse_time(args.from, now)
  if not from then return usage("--from: %s", is_relative) end
  local to, is_end_relative = M.parse_time(args.to or "now", now)
  if not to then return usage("--to: %s", is_end_relative) end
  return { from = from, to = to, is_now = not args.to or args.to == "now",
           is_relative = is_relative and is_end_relative }
end

---The window that the options mean, in whole seconds.
---@param args table with `last`, `from` and `to`
---@param now? number
---@return moontap.cmd.Window|nil
---@return table|nil err
function M.read(args, now)
  now = math.floor(now or clock.now()) -- both ends mean the same moment
  local window, err = read_ends(args, now)
  if not window then return nil, err end
  if window.to > now + AHEAD_MAX then
    return usage("--to: %s lies in the future: captures look back", M.text(window.to // 1))
  end
  window.from = math.floor(window.from)
  window.to = window.is_now and math.floor(now) or math.ceil(window.to)
  if window.to <= window.from then
    return usage("the window ends (%s) before it begins (%s)", M.text(window.to),
      M.text(window.from))
  end
  return window
end

---A time as it is printed.
---@param at number
---@return string
function M.text(at)
  return zone.format(at)
end

---What is left of a window when `covered` ones are there already, in the order of time.
---@param window moontap.cmd.Window
---@param covered { from: integer, to: integer }[]
---@return { from: integer, to: integer }[]
function M.uncovered(window, covered)
  local sorted = table.move(covered, 1, #covered, 1, {})
  table.sort(sorted, function(a, b) return a.from < b.from end)
  local gaps, at = {}, window.from
  for _, part in ipairs(sorted) do
    if part.from > at and at < window.to then
      gaps[#gaps + 1] = { from = at, to = math.min(part.from, window.to) }
    end
    at = math.max(at, part.to)
  end
  if at < window.to then gaps[#gaps + 1] = { from = at, to = window.to } end
  return gaps
end

---Cuts windows into such of one capture, which touch and do not overlap.
---@param gaps { from: integer, to: integer }[]
---@param length? integer seconds of each at most
---@return { from: integer, to: integer }[]
function M.tile(gaps, length)
  length = length or M.LENGTH_MAX
  local tiles = {}
  for _, gap in ipairs(gaps) do
    for from = gap.from, gap.to - 1, length do
      tiles[#tiles + 1] = { from = from, to = math.min(from + length, gap.to) }
    end
  end
  return tiles
end

return M
