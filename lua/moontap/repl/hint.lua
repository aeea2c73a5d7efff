-- hint: what somebody may have meant whose line failed.

local schema = require "moontap.native.schema"

local M = {}

local LEAVE <const> = { exit = true, quit = true, q = true, bye = true }
-- What a capture object can do; a spec compares it with the object.
M.METHODS = { "done", "download", "ray", "refresh", "stop", "wait" }

local function of_message(message)
  local global = message:match "undefined global '([%w_]+)'"
  if global then return LEAVE[global] and "to leave: :quit, or Ctrl-D" or nil end
  local method = message:match "attempt to call a nil value %(method '([%w_]+)'%)"
  local near = method and schema.near(method, M.METHODS)
  return near and ("did you mean %s?"):format(near) or nil
end

---An error with a hint behind its message, where there is one.
---@param err any
---@return any err
---
---     hint.add "undefined global 'exit'" --> "undefined global 'exit'; to leave: :quit, or Ctrl-D"
function M.add(err)
  if type(err) ~= "string" then return err end
  local first, rest = err:match "^([^\n]*)(.*)$"
  local hint = of_message(first)
  return hint and ("%s; %s%s"):format(first, hint, rest) or err
end

return M
