-- purge: removes packet data that is older than it may get.

local config = require "moontap.config"
local duration = require "moontap.duration"
local holding = require "moontap.cmd.holding"
local json = require "moontap.json"
local options = require "moontap.cmd.options"
local outcome = require "moontap.cmd.outcome"
local retention = require "moontap.retention"

local function convert_keep(text)
  if text == "forever" then return "forever" end
  return options.convert.duration(text)
end

---@type moontap.cmd.Command
local M = {
  summary = "remove packet data that is too old",
  usage = { "moontap purge [OPTIONS]" },
  description = "Removes the files of captures that are older than 30 days from the state "
    .. "directory, with what the journal knows of them: who asked, why, and for which packets. "
    .. "This happens by itself once a day, in `moontap cron` and beside commands and scripts that "
    .. "open or download captures. That there was a capture, when, of which case, and what became "
    .. "of it stays, and the audit chain stays whole. What is held (`moontap hold`) is kept. A "
    .. "file that was written where somebody said (--out, -o, a script's path) is never touched.",
  options = {
    { "--older-than", arg = "DURATION", convert = options.convert.duration,
      help = "this once, instead of what is kept" },
    { "--keep", arg = "DURATION|forever", convert = convert_keep,
      help = "from now on keep captures so long, instead of 30d; it holds for all who work with "
        .. "this state directory" },
    { "--dry-run", help = "only say what would be removed" },
  },
  groups = { "state", "output" },
  plans_itself = true,
  examples = { "moontap purge --dry-run", "moontap purge --older-than 7d -q",
    "moontap purge --keep 90d" },
}

local function print_json(report, args)
  report.removed, report.left = json.array(report.removed), json.array(report.left)
  report.dry_run, report.keep = args.dry_run or false, args.keep
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

-- How old what goes is at least.
local function age_of(state, args)
  if args.keep then
    local seconds = args.keep ~= "forever" and args.keep
    if args.dry_run then return args.older_than or seconds end
    local ok, err = retention.keep_for(state, seconds)
    if not ok then return nil, err end
  end
  if args.older_than then return args.older_than end
  return retention.kept_for(state)
end

local function tell_keep(keep)
  print(keep == "forever" and "from now on captures are kept for ever"
    or ("from now on captures are kept for %s"):format(duration.format(keep)))
end

function M.run(args)
  return holding.with_state(function(state)
    local age, err = age_of(state, args)
    if age == nil then return nil, err end
    if args.keep and not args.dry_run and not config.quiet and not config.json then
      tell_keep(args.keep)
    end
    if not age then
      if not config.quiet then outcome.complain "captures are kept for ever: nothing is removed" end
      return outcome.OK
    end
    local report
    report, err = retention.purge(state, age, { is_dry = args.dry_run })
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
