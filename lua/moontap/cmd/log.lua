-- log: what a run of a playbook has printed.

local config = require "moontap.config"
local dues = require "moontap.state.dues"
local errors = require "moontap.errors"
local json = require "moontap.json"
local runlog = require "moontap.cron.runlog"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "print the log of a run",
  usage = { "moontap log [OPTIONS] RUN" },
  description = "Prints the log of a run, by its number in `moontap runs`.",
  arguments = { { "run", name = "RUN", help = "number of the run" } },
  groups = { "state", "output" },
}

function M.run(args)
  local id = math.tointeger(tonumber(args.run))
  if not id then
    return nil, errors.new("usage", ("log: expected the number of a run, got '%s'"):format(
      args.run))
  end
  return show.with_state(function(store)
    local rows, err = dues.runs(store, { id = id, limit = 1 })
    if not rows then return nil, err end
    if not rows[1] then return nil, errors.new("io", ("there is no run %d"):format(id)) end
    local text
    text, err = runlog.read(store.dir, rows[1])
    if not text then return nil, err end
    if config.json then
      rows[1].log = text
      print(json.encode(rows[1], { pretty = true }))
    else
      io.stdout:write(text)
    end
    return 0
  end)
end

return M
