-- history: each due time of playbooks with its verdict.

local dues = require "moontap.state.dues"
local options = require "moontap.cmd.options"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "list due times of playbooks, and what became of them",
  usage = { "moontap history [OPTIONS] [PLAYBOOK]" },
  description = "Lists due times, the newest first, each with its verdict: fired, skipped, missed "
    .. "or lost; and why.",
  arguments = { { "playbook", name = "PLAYBOOK", help = "which one (all)", optional = true } },
  options = {
    { "--limit", arg = "N", convert = options.convert.integer, help = "how many (50)" },
    { "--events", help = "what else happened: steps of the clock, pauses, reloads" },
  },
  groups = { "state", "output" },
}

local function print_events(store, limit)
  local rows, err = dues.happenings(store, limit)
  if not rows then return nil, err end
  show.print_rows({ "AT", "WHAT", "PLAYBOOK", "" }, rows, function(row)
    return { show.time(row.at), row.event, row.playbook or "", row.message }
  end, "nothing has happened")
  return 0
end

function M.run(args)
  return show.with_state(function(store)
    if args.events then return print_events(store, args.limit or 50) end
    local rows, err = dues.history(store, { playbook = args.playbook, limit = args.limit or 50 })
    if not rows then return nil, err end
    if #rows == 0 and args.playbook then
      local ok, why = show.known(store, args.playbook)
      if not ok then return nil, why end
    end
    show.print_rows({ "DUE", "PLAYBOOK", "VERDICT", "RUN", "RESULT", "WHY" }, rows, function(row)
      local count = row.count > 1 and (" (%d)"):format(row.count) or ""
      local result = row.result or ""
      if row.attempts and row.attempts > 1 then
        result = ("%s, attempt %d"):format(result, row.attempts)
      end
      return { show.time(row.nominal), row.playbook, (row.verdict or "waits") .. count,
               row.run and tostring(row.run) or "", result, row.reason or "" }
    end, "nothing was due")
    return 0
  end)
end

return M
