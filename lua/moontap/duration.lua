-- duration: lengths of time as people write them: "90", "1.5s", "5m", "1h30m", "250ms".

local native = require "moontap.native.clock"

local M = {}

--- Seconds of a duration; a bare number means seconds. An integer when it is whole.
---@param value string|number
---@return number|nil seconds nil when `value` is no duration, negative, or above 400 days
---
---     duration.parse "1h30m" --> 5400
function M.parse(value)
  return native.parse_duration(value)
end

--- `seconds` the short way.
---@param seconds number
---@return string
--- Raises when `seconds` is negative or above 400 days.
---
---     duration.format(5400) --> "1h30m"
M.format = native.format_duration

return M
