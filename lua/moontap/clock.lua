-- clock: the two clocks of the host, real or virtual, and the date-times of the API.

local effects = require "moontap.effects"
local native = require "moontap.native.clock"

local M = {}

--- Seconds since 1970, with microseconds.
---@type fun(): number
M.now = effects.define("time.now", native.now)

--- Seconds since the machine was started; goes on while it sleeps, never goes back.
---@type fun(): number
M.boot = effects.define("time.boot", native.boot)

--- `seconds` since 1970 as RFC 3339 in UTC, with a fraction only when there is one.
---@param seconds number
---@return string
--- Raises outside the years 1 to 9999.
---
---     clock.format(1767268800) --> "2026-01-01T12:00:00Z"
M.format = native.format

--- An RFC 3339 date-time with zone as seconds since 1970.
---@param text string
---@return number|nil seconds nil when `text` is no date-time
---
---     clock.parse "2026-01-01T13:00:00.5+01:00" --> 1767268800.5
M.parse = native.parse

return M
