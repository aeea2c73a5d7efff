-- schedule: all due times of playbooks in a stretch of time, and where they will be in each other's
-- way for a slot of the account.

local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"
local seeds = require "moontap.cmd.seeds"
local show = require "moontap.cmd.showcron"
local times = require "moontap.cron.times"

local DAY <const> = 86400
local SLOT <const> = 60        -- seconds between two simple captures of an account
local ROWS_MAX <const> = 200000

---@type moontap.cmd.Command
local M = {
  summary = "list when playbooks will fire",
  usage = { "moontap schedule [OPTIONS] PATH..." },
  description = "Lists all due times of the playbooks of each PATH, with their zone and jitter. "
    .. "Due times of one account within the same minute are marked: one simple capture a minute is "
    .. "all that an account has, so they will wait for each other.",
  arguments = { { "paths", name = "PATH", help = "files or directories", repeated = true } },
  options = {
    { "--from", arg = "TIME", help = "RFC 3339, a day, or from now on: 2h, -2h (now)" },
    { "--to", arg = "TIME", help = "likewise (a day after --from)" },
    { "--state", arg = "DIR", help = "the daemon's, which has drawn ~ (else "
      .. "XDG_STATE_HOME/moontap)" },
  },
  groups = { "output" },
  examples = { "moontap schedule playbooks --from 2026-10-25 --to 2026-10-26" },
}

local function add_fires(rows, one, from, to, drawn)
  local seed, is_undrawn = seeds.of(drawn, one.playbook)
  local list = times.new(one.playbook, seed)
  if is_undrawn then io.stderr:write(("moontap: %s: %s\n"):format(one.name, seeds.WARNING)) end
  for _, nominal in ipairs(list:list(from - 1, to, ROWS_MAX - #rows)) do
    if nominal >= from then
      rows[#rows + 1] = { nominal = nominal, planned = list:planned(nominal), playbook = one.name,
                          zone = list:zone(), account = one.playbook.account or "",
                          undrawn = is_undrawn or nil }
    end
  end
end

-- Marks each row that has another playbook of its account within a slot.
local function mark(rows)
  local last = {} -- account -> rows within the slot
  for _, row in ipairs(rows) do
    local near = last[row.account] or {}
    local kept = {}
    for _, other in ipairs(near) do
      if row.planned - other.planned < SLOT then
        kept[#kept + 1] = other
        if other.playbook ~= row.playbook then
          row.contends[other.playbook], other.contends[row.playbook] = true, true
        end
      end
    end
    kept[#kept + 1] = row
    last[row.account] = kept
  end
end

local function read_stretch(args)
  local from, why = show.parse_time(args.from or "0s")
  if not from then return nil, errors.new("usage", "--from: " .. why) end
  local to = from + DAY
  if args.to then
    to, why = show.parse_time(args.to)
    if not to then return nil, errors.new("usage", "--to: " .. why) end
  end
  if to <= from then return nil, errors.new("usage", "--to: it lies before --from") end
  return from, to
end

local function names_of(set)
  local names = json.array {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

function M.run(args)
  local from, to = read_stretch(args)
  if not from then return nil, to end
  local list, err = show.load(args)
  if not list then return nil, err end
  local drawn
  drawn, err = seeds.read()
  if not drawn then return nil, err end
  local rows, bad = {}, 0
  for _, one in ipairs(list) do
    if one.playbook then
      add_fires(rows, one, from, to, drawn)
    else
      bad = bad + 1
      io.stderr:write(("moontap: %s cannot be used: see moontap check\n"):format(one.file))
    end
  end
  for _, row in ipairs(rows) do row.contends = {} end
  table.sort(rows, function(a, b)
    if a.planned ~= b.planned then return a.planned < b.planned end
    return a.playbook < b.playbook
  end)
  mark(rows)
  for _, row in ipairs(rows) do
    row.contends = names_of(row.contends)
    row.nominal, row.planned = show.time(row.nominal), show.time(row.planned)
    if row.account == "" then row.account = nil end
  end
  show.print_rows({ "DUE", "WITH JITTER", "PLAYBOOK", "ZONE", "SAME SLOT AS" }, rows, function(row)
    return { row.nominal, row.planned ~= row.nominal and row.planned or "", row.playbook, row.zone,
             table.concat(row.contends, ", ") }
  end, "nothing is due")
  if #rows >= ROWS_MAX and not config.json then
    io.stderr:write(("moontap: no more than %d due times are listed\n"):format(ROWS_MAX))
  end
  return bad == 0 and 0 or 1
end

return M
