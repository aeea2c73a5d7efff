-- repl: the prompt.

local sys = require "moontap.native.sys"

---@type moontap.cmd.Command
local M = {
  summary = "an interactive prompt",
  usage = { "moontap repl [OPTIONS]", "moontap" },
  description = "Reads Lua, a line at a time, runs it and prints what it gives. Lines may wait; "
    .. "tasks that they start go on behind the next lines. Without a terminal it reads standard "
    .. "input and prints results only, with the exit status of the last error.",
  groups = { "api", "script", "world", "log" },
  examples = { "moontap repl --sim", "echo 'pcaps.list()' | moontap repl" },
}

function M.run()
  local session = require "moontap.repl.session".new()
  if sys.isatty(0) and sys.isatty(1) then return session:interactive() end
  return session:plain()
end

return M
