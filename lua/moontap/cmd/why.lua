-- why: what became of one due time, and why.

local clock = require "moontap.clock"
local config = require "moontap.config"
local dues = require "moontap.state.dues"
local errors = require "moontap.errors"
local json = require "moontap.json"
local show = require "moontap.cmd.showcron"

---@type moontap.cmd.Command
local M = {
  summary = "say why a playbook ran at a time, or did not",
  usage = { "moontap why [OPTIONS] PLAYBOOK TIME" },
  description = "Says what became of the due time TIME (RFC 3339) of a playbook: its verdict, why, "
    .. "and its runs.",
  arguments = {
    { "playbook", name = "PLAYBOOK", help = "its name" },
    { "time", name = "TIME", help = "such as 2026-11-26T03:00:00Z" },
  },
  groups = { "state", "output" },
  examples = { "moontap why nightly-baseline 2026-11-26T03:00:00Z" },
}

-- Why nothing is known of a time.
local function explain(store, playbook, at)
  local row, err = dues.cursor(store, playbook)
  if not row then return nil, err end
  local pause = dues.pause_of(store, playbook)
  if at > row.cursor and at <= clock.now() and pause then
    return ("it is paused (%s): that is decided when it goes on"):format(show.clean(pause.note))
  end
  if at > row.cursor then
    return "nothing was decided yet: that time has not come, or no daemon runs"
  end
  local since = math.max(row.effective_since, row.resumed or 0)
  if at < since then
    return ("its schedule counts from %s on"):format(show.time(since))
  end
  return "its schedule has no such time, or its history was purged"
end

local function print_due(due)
  print(("%s  %s%s"):format(show.time(due.nominal), due.verdict or "waits for its turn",
    due.reason and ": " .. show.clean(due.reason) or ""))
  if due.planned ~= due.nominal then print(("  planned for %s"):format(show.time(due.planned))) end
  if due.count > 1 then
    print(("  one of %d up to %s"):format(due.count, show.time(due.through)))
  end
  for _, run in ipairs(due.runs) do
    print(("  run %d, attempt %d: %s%s"):format(run.id, run.attempt, run.state,
      run.error and ": " .. show.clean(run.error) or ""))
  end
end

local function print_json(facts)
  local out = show.public(facts)
  for i, run in ipairs(facts.runs or {}) do out.runs[i] = show.public(run) end
  print(json.encode(out, { pretty = true }))
end

function M.run(args)
  local at, problem = show.parse_time(args.time)
  if not at then return nil, errors.new("usage", "why: " .. problem) end
  return show.with_state(function(store)
    local ok, err = show.known(store, args.playbook)
    if not ok then return nil, err end
    local due
    due, err = dues.find(store, args.playbook, at)
    if due == nil then return nil, err end
    local text
    if not due then
      text, err = explain(store, args.playbook, at)
      if not text then return nil, err end
    end
    if config.json then
      print_json(due or { playbook = args.playbook, why = text })
    elseif due then
      print_due(due)
    else
      print(text)
    end
    return due and 0 or 1
  end)
end

return M
