-- progress: the one line that waits show on a terminal, rewritten as they go on and erased at the
-- end. Standard error only, so that what a script prints stays clean.

local config = require "moontap.config"
local duration = require "moontap.duration"
local sys = require "moontap.native.sys"

local M = {}

local STDERR <const> = 2
local WIDTH <const> = 80
local ERASE <const> = "\r\27[K"

local waits = {}    -- captures that are waited for, in the order in which their waits began
local lines = {}    -- capture -> its text
local note = nil    -- what is said while no capture is waited for
local is_shown = false

local function describe(cap, elapsed, timeout)
  return ("%s %s, %s of %s"):format(cap.id, cap.status or "without a status",
    duration.format(math.floor(elapsed)), duration.format(math.ceil(timeout)))
end

local function redraw()
  local cap = waits[1]
  if not cap and not note then return M.clear() end
  local more = #waits > 1 and (" (and %d more)"):format(#waits - 1) or ""
  local width = (sys.terminal_size(STDERR) or WIDTH) - 1 -- a full line would wrap
  local text = cap and lines[cap] .. more or note
  io.stderr:write(ERASE, (text:gsub("%c", "?"):sub(1, width)))
  is_shown = true
end

--- Erases the line, so that something else can be written.
function M.clear()
  if is_shown then
    io.stderr:write(ERASE)
    is_shown = false
  end
end

--- Shows how a wait stands.
---@param cap table
---@param elapsed number seconds
---@param timeout number seconds at most
---@param is_over? boolean the wait has ended
function M.show(cap, elapsed, timeout, is_over)
  if not is_over and not lines[cap] then waits[#waits + 1] = cap end
  lines[cap] = not is_over and describe(cap, elapsed, timeout) or nil
  for i = #waits, 1, -1 do
    if not lines[waits[i]] then table.remove(waits, i) end
  end
  redraw()
end

--- Says on the line what is waited for that is no capture; nil takes it back.
---@param text string|nil
function M.note(text)
  if not M.default() then return end
  note = text
  redraw()
end

--- What a wait calls that was given no progress function: the line, where standard error is a
--- terminal that nothing else is logged to.
---@return fun(cap: table, elapsed: number, timeout: number, is_over?: boolean)|nil
function M.default()
  local is_wanted = not config.quiet and config.verbose == 0 and sys.isatty(STDERR)
    and os.getenv "TERM" ~= "dumb"
  return is_wanted and M.show or nil
end

return M
