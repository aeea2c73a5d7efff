-- sweep: saves a period that has passed, capture by capture, before the API forgets it.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local json = require "moontap.json"
local options = require "moontap.cmd.options"
local outcome = require "moontap.cmd.outcome"
local past = require "moontap.cmd.past"
local quota = require "moontap.gate.quota"
local taking = require "moontap.cmd.taking"
local wanted = require "moontap.cmd.wanted"
local windows = require "moontap.cmd.window"

local MARGIN <const> = 60     -- seconds before it expires that a window counts as lost
local ASKED_FROM <const> = 600 -- seconds; what takes longer is asked for

-- What the next window would meet as well.
local ENDS_IT <const> = { credentials = true, denied = true }

local OWN <const> = {
  { "--limit", arg = "N", convert = options.convert.integer,
    help = "most packets of each window (10000)" },
  { "--again", help = "capture again what may have been captured already, when nobody can tell" },
}

---@type moontap.cmd.Command
local M = {
  summary = "save a past period, capture by capture",
  usage = { "moontap sweep [OPTIONS] FILTER --from TIME [--to TIME]" },
  description = "Saves a period of the last 24 hours: cuts it into windows of 5 minutes and "
    .. "captures one after the other, the oldest first, one a minute. Says before it starts how "
    .. "long that takes and which windows will be older than 24 hours before it is their turn, "
    .. "and asks when it takes more than 10 minutes. Run again with the same filter and case, it "
    .. "captures only what is missing. A window that fails does not stop the others; one that may "
    .. "have been captured without an answer is looked for in the account's list, and not captured "
    .. "again unless --again says so. Exit status 0: the whole period was saved.",
  options = options.join(wanted.FILTER, windows.OPTIONS, OWN, wanted.NOTES),
  groups = { "api", "cron", "simulated", "world", "output" },
  examples = {
    "moontap sweep --dst 203.0.113.10 --from 03:00 --to 05:00 --case INC-7 --yes",
    "moontap sweep --dst 203.0.113.10 --proto udp --last 1h --out evidence",
  },
}

---@class moontap.cmd.Part a window and what became of it
---@field from integer
---@field to integer
---@field state "open"|"saved"|"already"|"lost"|"failed"|"unknown" the last: it may be captured
---@field count? integer windows that it stands for, one by default
---@field capture? string known already, its file was not fetched
---@field taken? moontap.cmd.Taken
---@field error? table

-- When a window can be asked for no more.
local function expires(part)
  return part.to + windows.AGE_MAX - MARGIN
end

-- Marks what will be lost, and says how long the rest takes. Windows expire more slowly than the
-- slot comes round, so what can be saved at first can be saved to the end.
local function plan(parts, free_at)
  local now = clock.now()
  local interval = quota.SIMPLE_INTERVAL / config.speed
  local slot, last = math.max(now, free_at), now
  for _, part in ipairs(parts) do
    if part.state == "open" and not part.capture then
      if expires(part) < slot then
        part.state = "lost"
      else
        last, slot = slot, slot + interval
      end
    end
  end
  return last - now
end

local function count(parts, state)
  local n = 0
  for _, part in ipairs(parts) do
    if part.state == state then n = n + (part.count or 1) end
  end
  return n
end

local function span(part)
  return ("%s to %s"):format(windows.text(part.from), windows.text(part.to))
end

local function tell_plan(parts, seconds)
  if config.quiet then return end
  local function say(...) io.stderr:write("moontap: ", string.format(...), "\n") end
  local open, already = count(parts, "open"), count(parts, "already")
  say("%d window%s to capture, one a minute: about %s%s", open, open == 1 and "" or "s",
    duration.format(math.ceil(seconds)), already > 0
      and ("; %d captured before"):format(already) or "")
  for _, part in ipairs(parts) do
    if part.count then
      say("lost: %s, %d windows, is older than 24 hours by now", span(part), part.count)
    elseif part.state == "lost" then
      say("lost: %s is older than 24 hours before its turn comes", span(part))
    elseif part.state == "unknown" then
      say("unknown: %s may have been captured, and no answer came; --again captures it again",
        span(part))
    end
  end
end

local function print_part(part)
  if config.json or config.quiet or part.state == "lost" or part.state == "unknown" then return end
  local text = part.error and part.error.message
  if part.taken and config.dry_run then
    text = "" -- the plan says it
  elseif part.taken then
    text = ("%s packets%s  %s"):format(part.taken.packets or "?",
      part.taken.is_full and " (the limit)" or "", part.taken.file or "")
  elseif part.state == "already" then
    text = part.file or ""
  end
  local word = config.dry_run and part.state == "saved" and "planned" or part.state
  print(("%s  %-5s %-8s %s"):format(windows.text(part.from), duration.format(part.to - part.from),
    word, text or ""))
end

-- A capture that an earlier sweep opened and did not come to fetch.
local function fetch_known(args, part, params)
  local cap, err = require "pcaps".get(part.capture)
  if not cap then return nil, err end
  return taking.finish(args, cap, params, part)
end

local function take(args, filter, part)
  local params = taking.params(filter, part, args.limit or wanted.PACKETS_MAX)
  if part.capture then
    local taken, err = fetch_known(args, part, params)
    if taken or err.status ~= 404 then return taken, err end -- else it is gone: once more
  end
  local left = expires(part) - clock.now()
  if left <= 0 then
    return nil, errors.new("limit", "it got older than 24 hours before its turn came")
  end
  local how = wanted.options(args)
  how.deadline = math.min(how.deadline, left)
  return taking.take(args, params, part, how)
end

-- Captures what is open; an error when the others would meet it too.
local function capture_all(args, filter, parts)
  for _, part in ipairs(parts) do
    if part.state == "open" then
      local taken, err = take(args, filter, part)
      part.taken, part.error = taken, err
      part.state = taken and "saved" or "failed"
    end
    print_part(part)
    if part.error and config.json then outcome.complain(part.error.message) end
    if part.error and ENDS_IT[part.error.kind] then return nil, part.error end
  end
  return true
end

local function record(part, args)
  local made = part.taken and taking.record(part.taken, args) or { id = part.capture }
  made.from, made.to, made.state = windows.text(part.from), windows.text(part.to), part.state
  made.file = made.file or part.file
  made.count = part.count
  made.error = part.error and part.error.message
  return made
end

local function summarize(args, window, parts)
  local n = {}
  for _, state in ipairs { "saved", "already", "lost", "failed", "open", "unknown" } do
    n[state] = count(parts, state)
  end
  if config.json then
    local list = json.array {}
    for i, part in ipairs(parts) do list[i] = record(part, args) end
    n.windows, n.from, n.to, n.case = list, windows.text(window.from), windows.text(window.to),
      args.case
    print(json.encode(n, { pretty = true }))
  elseif not config.quiet then
    print(("%d %s, %d saved before, %d failed, %d lost%s%s"):format(n.saved,
      config.dry_run and "would be saved" or "saved", n.already, n.failed, n.lost,
      n.unknown > 0 and (", %d unknown"):format(n.unknown) or "",
      n.open > 0 and (", %d not tried"):format(n.open) or ""))
  end
  return n.lost + n.failed + n.open + n.unknown == 0 and outcome.OK or outcome.FAILED
end

local function read(args)
  if not args.from and not args.last then
    return nil, errors.new("usage", "which period? give --from TIME, and --to TIME")
  end
  local ok, err = wanted.check_notes(args)
  if not ok then return nil, err end
  local filter, window
  ok, filter = wanted.filter(args)
  if not ok then return nil, filter end
  window, err = windows.read(args)
  if not window then return nil, err end
  window.is_now = nil
  local sample = { from = 0, to = 1, is_now = true }
  ok, err = wanted.check(taking.params(filter, sample, args.limit or wanted.PACKETS_MAX), args)
  if not ok then return nil, err end
  return window, nil, filter
end

function M.run(args)
  local window, err, filter = read(args)
  if not window then return nil, err end
  local parts, free_at = past.parts(window, filter, args)
  if not parts then return nil, free_at end
  local seconds = plan(parts, free_at)
  tell_plan(parts, seconds)
  local ok
  if seconds > ASKED_FROM then
    ok, err = wanted.confirm(args, ("this takes about %s"):format(
      duration.format(math.ceil(seconds))))
    if not ok then return nil, err end
  end
  -- whoever interrupts it gets what there is so far
  local outcomes = table.pack(pcall(capture_all, args, filter, parts))
  if not outcomes[1] and not errors.is(outcomes[2]) then error(outcomes[2], 0) end
  local status = summarize(args, window, parts)
  if not outcomes[1] then error(outcomes[2], 0) end
  if not outcomes[2] then return nil, outcomes[3] end
  return status
end

return M
