-- ledger: what the API says of captures, and what this machine has written down of them, as one
-- list. An entry has the API's fields, as far as they are known, and: `ours`, `listed` (the API
-- shows it), `intent`, `state`, `who`, `script`, `run`, `case`, `why`, `ray`, `asked`, `file`,
-- `bytes`, `sha256`, …

local clock = require "moontap.clock"
local json = require "moontap.json"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"

local M = {}

local OPEN <const> = { wanted = true, claimed = true, sending = true }

-- What an intent without a capture is doing, for people.
local STATES <const> = {
  wanted = "waits for its slot", claimed = "about to be sent", sending = "being sent",
  unknown = "outcome unknown", refused = "refused", abandoned = "given up",
}

local function time(seconds)
  return seconds and clock.format(seconds // 1 | 0) or nil
end

local function yes(value)
  return (value == 1 or value == true) or nil
end

-- What the journal says of an intent.
local function add_intent(entry, row)
  entry.ours, entry.intent, entry.state = true, row.intent, row.state
  entry.who, entry.script, entry.run = row.who, row.script, row.run
  entry.case, entry.why, entry.ray = row.case_id, row.why, row.ray
  entry.asked, entry.attempts = time(row.asked), row.attempts
  entry.error = row.error
  entry.detached = yes(row.is_detached)
  entry.details_purged = row.params == nil or nil
end

local function add_file(entry, row)
  entry.file, entry.bytes, entry.sha256 = row.file, row.bytes, row.sha256
  entry.downloaded, entry.purged = time(row.downloaded), time(row.purged)
  entry.held, entry.held_why = yes(row.held_at ~= nil), row.held_why
  entry.case = entry.case or row.case_id
end

-- Those who got the capture of somebody else.
local function add_sharer(entry, row)
  entry.shared_with = entry.shared_with or json.array {}
  entry.shared_with[#entry.shared_with + 1] = { intent = row.intent, who = row.who,
    script = row.script, run = row.run, case = row.case_id, why = row.why }
end

-- An intent's own parameters stand for an answer that is not there.
local function from_journal(row)
  local entry = show.public(row.params or {})
  entry.id, entry.type, entry.status = row.capture, row.kind, row.status
  entry.listed = false
  return entry
end

local function note_of(entry)
  if not entry.id and entry.state then
    if entry.alive == false and OPEN[entry.state] then
      return STATES[entry.state] .. "; its process died"
    end
    local says_why = entry.state == "refused" and entry.error
    return (STATES[entry.state] or entry.state) .. (says_why and ": " .. entry.error or "")
  end
  local parts = {}
  if entry.ours and not entry.listed then parts[1] = "journal only" end
  if entry.held then parts[#parts + 1] = "held" end
  if entry.purged then -- a file that lies where somebody said is never removed
    local is_left = entry.file and sys.lstat(entry.file)
    parts[#parts + 1] = is_left and "records purged, its file is left" or "purged"
  end
  return #parts > 0 and table.concat(parts, ", ") or nil
end

-- Capture id -> the intent that opened it, and the intents that share it.
local function by_capture(rows)
  local openers, sharers = {}, {}
  for _, row in ipairs(rows) do
    if row.capture and row.state == "shared" then
      sharers[row.capture] = sharers[row.capture] or {}
      table.insert(sharers[row.capture], 1, row)
    elseif row.capture then
      openers[row.capture] = row
    end
  end
  for id, list in pairs(sharers) do -- its opener is of another time
    if not openers[id] then openers[id] = table.remove(list, 1) end
  end
  return openers, sharers
end

local function when(entry)
  return clock.parse(tostring(entry.submitted)) or clock.parse(tostring(entry.asked)) or 0
end

local function sort(list)
  local order = {}
  for i, entry in ipairs(list) do order[entry] = { when(entry), i } end
  table.sort(list, function(a, b)
    a, b = order[a], order[b]
    if a[1] ~= b[1] then return a[1] > b[1] end
    return a[2] < b[2]
  end)
  return list
end

---Makes one list of both, the newest first.
---@param caps table[] as the API lists them
---@param book { rows: table[], files: table<string, table>, dead: table<integer, true> }
---@return table[] entries
function M.merge(caps, book)
  local openers, sharers = by_capture(book.rows)
  local list, is_listed = {}, {}
  local function add(entry, row)
    if row then add_intent(entry, row) end
    local file = entry.id and book.files[entry.id]
    if file then add_file(entry, file) end
    for _, sharer in ipairs(entry.id and sharers[entry.id] or {}) do add_sharer(entry, sharer) end
    if row and book.dead[row.intent] then entry.alive = false end
    entry.note = note_of(entry)
    list[#list + 1] = entry
  end
  for _, cap in ipairs(caps) do
    local entry = show.public(cap)
    entry.ours, entry.listed = false, true
    is_listed[tostring(cap.id)] = true
    add(entry, openers[cap.id])
  end
  for _, row in ipairs(book.rows) do
    local is_own = not row.capture or openers[row.capture] == row
    if is_own and not is_listed[tostring(row.capture)] then add(from_journal(row), row) end
  end
  return sort(list)
end

---Reads what is written down of an account.
---@param account? moontap.state.Account
---@return table|nil book
---@return table|nil err
function M.read(account)
  local book = { rows = {}, files = {}, dead = {} }
  if not account then return book end
  local rows, err = account:journal()
  if not rows then return nil, err end
  local files
  files, err = account:known_captures()
  if not files then return nil, err end
  local queue
  queue, err = account:queue()
  if not queue then return nil, err end
  book.rows = rows
  for _, row in ipairs(files) do book.files[row.id] = row end
  for _, row in ipairs(queue.intents) do book.dead[row.id] = not row.is_alive or nil end
  return book
end

local function is_of_case(entry, case)
  if entry.case == case then return true end
  for _, sharer in ipairs(entry.shared_with or {}) do
    if sharer.case == case then return true end
  end
  return false
end

---Those of `list` that the filters of the command line let through.
---@param list table[]
---@param args { all?: boolean, ours?: boolean, others?: boolean, case?: string, since?: number }
---@return table[]
function M.select(list, args)
  local from = args.since and clock.now() - args.since
  local out = json.array {}
  for _, entry in ipairs(list) do
    local came_to_nothing = not entry.id and not OPEN[entry.state] and entry.state ~= "unknown"
      and entry.ours
    if (args.all or not came_to_nothing) and not (args.ours and not entry.ours)
      and not (args.others and entry.ours) and (not args.case or is_of_case(entry, args.case))
      and (not from or when(entry) >= from) then
      out[#out + 1] = entry
    end
  end
  return out
end

return M
