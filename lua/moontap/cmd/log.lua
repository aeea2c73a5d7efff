-- log: what a run of a playbook has printed.

local config = require "moontap.config"
local dues = require "moontap.state.dues"
local errors = require "moontap.errors"
local json = require "moontap.json"
local runlog = require "moontap.cron.runlog"
local show = require "moontap.cmd.showcron"
local zone = require "moontap.cmd.zone"

---@type moontap.cmd.Command
local M = {
  summary = "print the log of a run",
  usage = { "moontap log [OPTIONS] RUN" },
  description = "Prints the log of a run, by its number in `moontap runs`.",
  arguments = { { "run", name = "RUN", help = "number of the run" } },
  groups = { "state", "output" },
}

-- The log is kept in UTC; each line begins with its time.
local function in_zone(text)
  if not config.tz then return text end
  return (("\n" .. text):gsub("\n(%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z)", function(stamp)
    return "\n" .. zone.rewrite(stamp)
  end):sub(2))
end

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
      local run = show.public(rows[1])
      run.log = text
      print(json.encode(run, { pretty = true }))
    else
      io.stdout:write(in_zone(text))
    end
    return 0
  end)
end

return M
