-- audit: the chain of what was done, to read and to check.

local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"
local log = require "moontap.log"
local options = require "moontap.cmd.options"
local show = require "moontap.cmd.show"
local zone = require "moontap.cmd.zone"

---@type moontap.cmd.Command
local M = {
  summary = "check or show the chain of what was done",
  usage = { "moontap audit [OPTIONS] verify", "moontap audit [OPTIONS] show" },
  description = "Everything that moontap does to captures becomes a row of a chain, each with the "
    .. "hash of the one before. verify goes through all of it: exit status 0 when it holds, 1 when "
    .. "a row was changed, put in or taken out behind moontap's back. Details that were purged are "
    .. "no break. show prints the rows. Neither needs the API or credentials.",
  arguments = { { "what", name = "verify|show", help = "what to do" } },
  options = {
    { "--since", arg = "DURATION", convert = options.convert.duration,
      help = "show: only rows of the last DURATION, such as 24h" },
  },
  groups = { "state", "output" },
  examples = { "moontap audit verify", "moontap audit show --since 24h --json" },
}

local function verify(state)
  local report, err = state:verify_audit()
  if not report then return nil, err end
  if config.json then
    print(json.encode { holds = report.problem == nil, rows = report.rows, purged = report.purged,
                        head = report.head, row = report.row, problem = report.problem })
    return report.problem and 1 or 0
  end
  local text = ("%d rows, %d of them purged, head %s"):format(report.rows, report.purged,
    report.head)
  if report.problem then
    print("does not hold: " .. report.problem)
    print("holds up to there: " .. text)
    return 1
  end
  if not config.quiet then print("holds: " .. text) end
  return 0
end

-- What a row is about, in short; keys of buckets never got into it.
local function describe(data)
  if data == nil then return "(purged)" end
  local copy = {}
  for name, value in pairs(data) do
    copy[name] = name == "params" and type(value) == "table" and show.public(value) or value
  end
  return next(copy) and log.redact(json.encode(copy)) or ""
end

local function entry(row)
  return { seq = row.seq, at = zone.format(row.at), event = row.event, subject = row.subject,
           hash = row.hash, data = row.data and show.public(row.data), purged = row.data == nil }
end

local function show_rows(state, since)
  local list, after = json.array {}, 0
  while true do
    local rows, err = state:audit_rows(since and clock.now() - since, after)
    if not rows then return nil, err end
    if #rows == 0 then break end
    for _, row in ipairs(rows) do
      if config.json then
        list[#list + 1] = entry(row)
      else
        print((show.line(("%6d  %s  %-18s %-12s %s"):format(row.seq, zone.format(row.at // 1 | 0),
          row.event, row.subject, describe(row.data))):gsub("%s+$", "")))
      end
    end
    after = rows[#rows].seq
  end
  if config.json then print(json.encode(list, { pretty = true })) end
  return 0
end

local ACTIONS <const> = {
  verify = function(state) return verify(state) end,
  show = function(state, args) return show_rows(state, args.since) end,
}

function M.run(args)
  local action = ACTIONS[args.what]
  if not action then
    return nil, errors.new("usage", ("audit: expected verify or show, got '%s'"):format(args.what))
  end
  if args.since and args.what ~= "show" then
    return nil, errors.new("usage", "audit: --since is for show: part of a chain proves nothing")
  end
  local state, err = require "moontap.state".reader()
  if not state then return nil, err end
  local status, problem = action(state, args)
  state:close()
  return status, problem
end

return M
