-- runs: the runs of playbooks.

local dues = require "moontap.state.dues"
local duration = require "moontap.duration"
local options = require "moontap.cmd.options"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "list the runs of playbooks",
  usage = { "moontap runs [OPTIONS] [PLAYBOOK]" },
  description = "Lists runs, the newest first. An attempt is a run of its own.",
  arguments = { { "playbook", name = "PLAYBOOK", help = "which one (all)", optional = true } },
  options = {
    { "--open", help = "only those that go on or wait" },
    { "--limit", arg = "N", convert = options.convert.integer, help = "how many (50)" },
  },
  groups = { "state", "output" },
}

function M.run(args)
  return show.with_state(function(store)
    if args.playbook then
      local ok, why = show.known(store, args.playbook)
      if not ok then return nil, why end
    end
    local rows, err = dues.runs(store, { playbook = args.playbook, open = args.open,
                                         limit = args.limit or 50 })
    if not rows then return nil, err end
    local head = { "RUN", "PLAYBOOK", "DUE", "ATTEMPT", "STARTED", "TOOK", "RESULT", "WHY" }
    show.print_rows(head, rows,
      function(row)
        local took = row.ended and row.started and math.max(0, row.ended - row.started)
        return { tostring(row.id), row.playbook, show.time(row.nominal), tostring(row.attempt),
                 show.time(row.started), took and duration.format(took * 1000 // 1 / 1000) or "",
                 row.state, row.error or "" }
      end, "no runs")
    return 0
  end)
end

return M
