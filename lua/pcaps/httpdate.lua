-- httpdate: the dates of HTTP headers (RFC 9110, section 5.6.7, the one form that is still sent).

local clock = require "moontap.clock"

local M = {}

local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8,
                 Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

--- "Sun, 06 Nov 1994 08:49:37 GMT" as seconds since 1970; nil when `text` is no such date.
---@param text any
---@return number|nil
function M.parse(text)
  if type(text) ~= "string" then return nil end
  local day, month, year, time =
    text:match("^%a+, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d:%d%d:%d%d) GMT$")
  if not day or not MONTHS[month] then return nil end
  return clock.parse(("%s-%02d-%sT%sZ"):format(year, MONTHS[month], day, time))
end

return M
