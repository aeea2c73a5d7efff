-- showcron: playbooks, due times and runs as people read them; what the commands about them share.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local files = require "moontap.cron.files"
local json = require "moontap.json"
local state = require "moontap.state"
local zone = require "moontap.cmd.zone"

local M = {}

---@param at number|nil
---@return string
function M.time(at)
  if not at then return "-" end
  return zone.format(at * 1000 // 1 / 1000)
end

-- What the rows of the state tell in seconds.
local TIMES <const> = { "at", "claimed", "decided", "ended", "nominal", "planned", "started",
                        "through" }

---A row of the state as --json prints it: its times are RFC 3339.
---@param row table
---@return table a copy
function M.public(row)
  local copy = {}
  for key, value in pairs(row) do copy[key] = value end
  for _, key in ipairs(TIMES) do
    if type(copy[key]) == "number" then copy[key] = M.time(copy[key]) end
  end
  return copy
end

---The playbooks of the paths that a command was given.
---@return moontap.cron.Loaded[]|nil
---@return table|nil err
function M.load(args)
  if #args.paths == 0 then
    return nil, errors.new("usage", config.command .. ": which files or directories?")
  end
  return files.load(args.paths)
end

---A time that a person wrote: RFC 3339, a day, or from now on: "2h", "-2h". One without a zone
---is of the zone of --tz.
---@param text string
---@return number|nil
---@return string|nil problem
function M.parse_time(text)
  local at = clock.parse(text)
  if at then return at end
  at = clock.parse(text .. "Z") or clock.parse(text .. "T00:00:00Z") or clock.parse(text .. ":00Z")
  if at then return zone.instant(at) end
  local sign, length = text:match "^([-+]?)(.+)$"
  local seconds = length and duration.parse(length)
  if seconds then return clock.now() + (sign == "-" and -seconds or seconds) end
  return nil, ("expected a time such as 2026-11-26T03:00:00Z, 2026-11-26, 2h or -2h, got '%s'")
    :format(text)
end

-- What happens when a due time comes while the one before still runs.
local OVERLAP <const> = {
  skip = "overlap   a due time is skipped while a run goes on",
  queue = "overlap   while a run goes on, up to %d wait",
  cancel = "overlap   the run that goes on is cancelled for the next",
  allow = "overlap   runs may go on beside each other",
}

---What a playbook says besides its times, a line each.
---@param playbook moontap.cron.Playbook
---@return string[]
function M.meaning(playbook)
  local lines = {}
  local function add(format, ...) lines[#lines + 1] = format:format(...) end
  if not playbook.enabled then add "disabled  it never fires" end
  if playbook.on_start then add "start     once after each start of the machine" end
  add(OVERLAP[playbook.overlap], playbook.max_queue)
  add("timeout   %s", duration.format(playbook.timeout))
  if playbook.jitter > 0 then add("jitter    up to %s later", duration.format(playbook.jitter)) end
  local catchup = playbook.catchup
  add("catch-up  %s", catchup.policy == "none" and "what was missed is not made up for"
    or ("of what was missed in the last %s, %s"):format(duration.format(catchup.window),
      catchup.policy == "last" and "the last one" or ("up to %d"):format(catchup.max)))
  if playbook.catchup_on_resume then add "          what is due in a pause too, when it ends" end
  local retry = playbook.retry
  if retry.attempts > 1 then
    add("retry     up to %d attempts, after up to %s, then %g times as long", retry.attempts,
      duration.format(retry.base), retry.factor)
  end
  if playbook.on_lost == "retry" then add "lost      a run that got lost is tried again" end
  if #playbook.uses > 0 then add("uses      %s", table.concat(playbook.uses, ", ")) end
  if playbook.account then add("account   %s", playbook.account) end
  if playbook.priority ~= 0 then add("priority  %d", playbook.priority) end
  if playbook.ping then add "ping      it tells a dead-man URL" end
  return lines
end

---Rows as an aligned table.
---@param head string[]
---@param rows string[][]
function M.print_table(head, rows)
  local widths = {}
  for _, row in ipairs { head, table.unpack(rows) } do
    for c in ipairs(head) do
      widths[c] = math.max(widths[c] or 0, utf8.len(row[c]) or #row[c])
    end
  end
  local function line(row)
    local cells = {}
    for c in ipairs(head) do
      cells[c] = row[c] .. (" "):rep(widths[c] - (utf8.len(row[c]) or #row[c]))
    end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
  line(head)
  for _, row in ipairs(rows) do line(row) end
end

---Text without control characters.
---@param text any
---@return string
function M.clean(text)
  return (tostring(text):gsub("[%c\127]", "?"))
end

---Prints rows as JSON or with `to_cells`.
---@param head string[]
---@param rows table[]
---@param to_cells fun(row: table): string[]
---@param nothing string
function M.print_rows(head, rows, to_cells, nothing)
  if config.json then
    local list = json.array {}
    for i, row in ipairs(rows) do list[i] = M.public(row) end
    print(json.encode(list, { pretty = true }))
  elseif #rows == 0 then
    if not config.quiet then io.stderr:write(nothing, "\n") end
  else
    local cells = {}
    for i, row in ipairs(rows) do
      cells[i] = to_cells(row)
      for c, cell in ipairs(cells[i]) do cells[i][c] = M.clean(cell) end
    end
    M.print_table(head, cells)
  end
end

---Says what a command has done, to people and to programs.
---@param facts table for programs
---@param text string for people
---@return integer status
function M.done(facts, text)
  if config.json then
    print(json.encode(facts))
  elseif not config.quiet then
    print(text)
  end
  return 0
end

---A name that was scheduled here; an error with a near match when there is none.
---@param store moontap.State
---@param name string
---@return boolean|nil
---@return table|nil err
function M.known(store, name)
  local names, err = require "moontap.state.dues".names(store)
  if not names then return nil, err end
  for _, other in ipairs(names) do
    if other == name then return true end
  end
  local near = require "moontap.native.schema".near(name, names)
  return nil, errors.new("usage", ("no playbook called '%s' was ever scheduled here%s"):format(name,
    near and ("; did you mean '%s'?"):format(near) or ""))
end

---Opens the state, calls `body(store)`, closes it.
---@param body fun(store: moontap.State): any, table|nil
function M.with_state(body)
  local store, err = state.current()
  if not store then return nil, err end
  local _ <close> = setmetatable({}, { __close = function() state.close() end })
  return body(store)
end

---Is there a daemon on this state directory?
---@return boolean
function M.has_daemon()
  local lock, err = require "moontap.lock".take "cron"
  if lock then
    lock:release()
    return false
  end
  return errors.is(err, "skipped")
end

return M
