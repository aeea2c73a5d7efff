-- zone: the time zone of --tz, in which commands print times and read those without a zone. UTC
-- unless another is given.

local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local later = require "moontap.later"

local native = later "moontap.native.cron"

local M = {}

local DAY <const> = 86400 -- no two offsets that meet are further apart

-- Seconds that local time is ahead of UTC at `t`.
local function offset_at(t, name)
  name = name or config.tz
  return name and assert(native.offset(name, t)) or 0
end

---Whether there is a zone of that name.
---@param name string
---@return boolean|nil
---@return table|nil err
function M.check(name)
  local offset, problem = native.offset(name, 0)
  if offset then return true end
  return nil, errors.new("usage", "--" .. problem.message)
end

---A time as RFC 3339, with the offset of the zone.
---@param seconds number since 1970
---@param name? string another zone
---@return string
function M.format(seconds, name)
  local offset = offset_at(seconds, name)
  if offset % 60 ~= 0 then offset = 0 end -- of times before zones: RFC 3339 cannot say it
  local ok, text = pcall(clock.format, seconds + offset)
  if not ok then offset, text = 0, clock.format(seconds) end -- the last hours of the year 9999
  if offset == 0 then return text end
  local minutes = math.abs(offset) // 60
  return ("%s%s%02d:%02d"):format(text:sub(1, -2), offset < 0 and "-" or "+", minutes // 60,
    minutes % 60)
end

---A date-time of the API in the zone; what is none stays as it is.
---@param text string
---@return string
function M.rewrite(text)
  local seconds = config.tz and clock.parse(text)
  return seconds and M.format(seconds) or text
end

---The instant at which clocks of the zone show a time.
---@param shown number that time, as if it were UTC
---@return number|nil seconds since 1970
---@return string|nil problem it never is that time, or twice
function M.instant(shown)
  local found
  for _, t in ipairs { shown - DAY, shown + DAY } do
    local at = shown - offset_at(t)
    if at + offset_at(at) == shown and at ~= found then
      if found then
        return nil, ("%s comes twice in %s, as %s and %s: say which"):format(
          clock.format(shown):sub(1, -2), config.tz, M.format(found), M.format(at))
      end
      found = at
    end
  end
  if found then return found end
  return nil, ("clocks in %s never show %s: they are put forward then"):format(config.tz,
    clock.format(shown):sub(1, -2))
end

---What clocks of the zone show at an instant, as if it were UTC.
---@param seconds number since 1970
---@return number
function M.shown(seconds)
  return seconds + offset_at(seconds)
end

return M
