-- outcome: what a command or script came to, as one line on standard error and an exit status.

local config = require "moontap.config"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local sys = require "moontap.native.sys"

local M = {}

M.OK = 0
M.FAILED = 1
M.USAGE = 2
M.EMPTY = 7
M.SKIPPED = 8

---The exit status for a kind of error.
---@param kind? string
---@return integer
function M.status_of(kind)
  return host.exit_status(kind)
end

---Writes one line to standard error.
---@param message string
function M.complain(message)
  io.stderr:write("moontap: ", message, "\n")
end

---Says what was wrong with a command line and where help is.
---@param problem string
---@param command? string
---@return integer status
function M.usage(problem, command)
  problem = problem:gsub("\nDid you mean ", "; did you mean ")
  local has_page = command and command ~= "help"
  local see = has_page and "moontap help " .. command or "moontap help"
  M.complain(("%s (see: %s)"):format(problem, see))
  return M.USAGE
end

---Says what failed.
---@param err any an error object of the host
---@param command? string
---@return integer status
function M.failure(err, command)
  if not errors.is(err) then
    M.complain(tostring(err))
    return M.FAILED
  end
  -- a crontab line mails what is written, and the status says it already
  if err.kind == "skipped" and (config.quiet or config.verbose == 0 and not sys.isatty(2)) then
    return M.SKIPPED
  end
  if err.kind == "usage" then return M.usage(err.message, command) end
  M.complain(tostring(err))
  return M.status_of(err.outcome == "unknown" and "unknown_outcome" or err.kind)
end

return M
