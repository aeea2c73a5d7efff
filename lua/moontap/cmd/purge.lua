-- purge: removes packet data that is older than it may get.

local config = require "moontap.config"
local holding = require "moontap.cmd.holding"
local json = require "moontap.json"
local options = require "moontap.cmd.options"
local outcome = require "moontap.cmd.outcome"
local retention = require "moontap.retention"

local DAY <const> = 86400

---@type moontap.cmd.Command
local M = {
  summary = "remove packet data that is too old",
  usage = { "moontap purge [OPTIONS]" },
  description = "Removes the files of captures that are older than 30 days from the state "
    .. "directory, with what the journal knows of them: who asked, why, and for which packets. "
    .. "That there was a capture, when, of which case, and what became of it stays, and the audit "
    .. "chain stays whole. What is held (`moontap hold`) is kept. A file that was written where "
    .. "somebody said (--out, -o, a script's path) is never touched.",
  options = {
    { "--older-than", arg = "DURATION", convert = options.convert.duration,
      help = "instead of 30d" },
    { "--dry-run", help = "only say what would be removed" },
  },
  groups = { "state", "output" },
  plans_itself = true,
  examples = { "moontap purge --dry-run", "moontap purge --older-than 7d -q" },
}

local function print_json(report, args)
  report.removed, report.left = json.array(report.removed), json.array(report.left)
  report.dry_run = args.dry_run or false
  print(json.encode(report, { pretty = true }))
end

local function count(n, word)
  return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

local function print_text(report, args)
  local bytes = 0
  for _, file in ipairs(report.removed) do
    bytes = bytes + file.bytes
    print(("%s  %s  %d bytes%s"):format(args.dry_run and "would remove" or "removed", file.path,
      file.bytes, file.case and "  case " .. file.case or ""))
  end
  for _, file in ipairs(report.left) do
    print(("left  %s  %s"):format(file.path, file.reason))
  end
  print(("%s%s with %d bytes, the records of %s; %d held"):format(
    args.dry_run and "would remove " or "removed ", count(#report.removed, "file"), bytes,
    count(report.purged, "capture"), report.held))
end

function M.run(args)
  return holding.with_state(function(state)
    local report, err = retention.purge(state, args.older_than or retention.DAYS * DAY,
      args.dry_run)
    if not report then return nil, err end
    if config.json then
      print_json(report, args)
    elseif not config.quiet then
      print_text(report, args)
    end
    return outcome.OK
  end)
end

return M
