-- past: what of a period was captured before, as the journal of this machine knows it.

local adopt = require "pcaps.adopt"
local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local gate = require "moontap.gate"
local json = require "moontap.json"
local match = require "pcaps.match"
local sys = require "moontap.native.sys"
local taking = require "moontap.cmd.taking"
local wanted = require "moontap.cmd.wanted"
local windows = require "moontap.cmd.window"

local M = {}

local LOST_MAX <const> = 288 -- windows of a gap that are certainly lost, and stand one by one
local LIST_MAX <const> = 50 -- captures that the API lists
local OPENED <const> = { done = true, adopted = true, shared = true }

-- The account of the state, once it is known what became of every create that was sent: one of a
-- process that died may have captured a window of this very period. False: nothing is known of it.
-- And what the API lists.
local function account_of()
  local client = require "pcaps".client {}
  local listed, err = client.list()
  if not listed then return nil, err end
  local context = gate.context(client)
  if not context then return nil, errors.new("usage", "a sweep needs the gate, which is off") end
  if not context.account and context.err then return nil, context.err end
  if config.dry_run then return context.account or false, listed end
  local ok
  ok, err = require "moontap.gate.reconcile".inherit(client, context, "simple")
  if not ok then return nil, err end
  return context.account, listed
end

-- The capture that the API lists of the very window that `row` asked for: whoever opened it, its
-- packets are those.
local function listed_of(row, listed)
  local params = row.params
  for _, cap in ipairs(listed) do
    local is_same = type(cap) == "table" and cap.type == "simple" and cap.status ~= "failed"
      and type(cap.id) == "string" and type(cap.offset_time) == "string"
      and clock.parse(cap.offset_time) == clock.parse(params.offset_time)
      and cap.time_limit == params.time_limit
      and json.encode(cap.filter_v1 or {}) == json.encode(params.filter_v1 or {})
    if is_same then return cap.id end
  end
  return nil
end

-- A create whose outcome is unknown and which the API does not list was not done, if a list would
-- show it by now: it is not too young, and the list reaches back to it.
local function was_not_done(row, listed)
  local sent = row.sent or row.asked
  if clock.now() - sent < adopt.WINDOW / config.speed then return false end
  if #listed < LIST_MAX then return true end
  for _, cap in ipairs(listed) do
    local submitted = type(cap) == "table" and match.submitted(cap)
    if submitted and submitted < sent then return true end
  end
  return false
end

-- The window of a row of the journal; nil when it is none that a sweep could count on.
local function window_of(row, wire, listed)
  local params = row.params
  local is_open = OPENED[row.state] or row.state == "unknown"
  if row.kind ~= "simple" or not is_open or not params or row.status == "failed"
    or json.encode(params.filter_v1 or {}) ~= json.encode(wire.filter_v1 or {})
    or params.packet_limit < wire.packet_limit then return nil end
  local to = type(params.offset_time) == "string" and clock.parse(params.offset_time)
  if not to then return nil end
  local capture = row.capture or listed_of(row, listed)
  if not capture and was_not_done(row, listed) then return nil end
  return { from = math.ceil(to - params.time_limit), to = math.floor(to),
           file = row.file and sys.stat(row.file) and row.file or nil, -- else it is fetched again
           capture = capture }
end

local function is_within(part, window)
  return part.from < window.to and part.to > window.from
end

-- What was captured of a period, the saved ones first; nothing twice.
local function known_parts(account, window, wire, args, listed)
  local rows, err = account:journal { case = args.case }
  if not rows then return nil, err end
  local saved, unfetched, unknown, known = {}, {}, {}, {}
  for _, row in ipairs(rows) do
    local part = window_of(row, wire, listed)
    if part and is_within(part, window) then
      table.insert(part.file and saved or part.capture and unfetched or unknown, part)
    end
  end
  for _, list in ipairs { saved, unfetched, not args.again and unknown or nil } do
    for _, part in ipairs(list) do
      if #windows.uncovered(part, known) > 0 then
        part.state = part.file and "already" or part.capture and "open" or "unknown"
        known[#known + 1] = part
      end
    end
  end
  return known
end

-- The windows of the gaps. Of a gap that begins long ago, decades perhaps, those that are too old
-- by now are one part, which says how many they are.
local function open_parts(gaps)
  local parts, edge = {}, clock.now() - windows.AGE_MAX
  for _, gap in ipairs(gaps) do
    local count = (math.min(edge, gap.to) - gap.from) // windows.LENGTH_MAX | 0
    local from = gap.from
    if count > LOST_MAX then
      from = gap.from + count * windows.LENGTH_MAX
      parts[#parts + 1] = { from = gap.from, to = from, state = "lost", count = count }
    end
    for _, tile in ipairs(windows.tile { { from = from, to = gap.to } }) do
      tile.state = "open"
      parts[#parts + 1] = tile
    end
  end
  return parts
end

---The windows that a period falls into, in the order of time: those that were captured before
---with the same filter and case, and new ones for the rest. Very many that are lost are one part.
---@param window moontap.cmd.Window
---@param filter table|nil
---@param args table
---@return moontap.cmd.Part[]|nil parts
---@return any free_at when the account's slot is free; or an error
function M.parts(window, filter, args)
  local account, listed = account_of()
  if account == nil then return nil, listed end
  local err
  local wire = taking.wire(taking.params(filter, { from = 0, to = 1, is_now = true },
    args.limit or wanted.PACKETS_MAX))
  local parts, queue = {}, { slots = {} }
  if account then parts, err = known_parts(account, window, wire, args, listed) end
  if not parts then return nil, err end
  local new = open_parts(windows.uncovered(window, parts))
  table.move(new, 1, #new, #parts + 1, parts)
  table.sort(parts, function(a, b)
    if a.from ~= b.from then return a.from < b.from end
    return a.to < b.to
  end)
  if account then queue, err = account:queue() end
  if not queue then return nil, err end
  for _, slot in ipairs(queue.slots) do
    if slot.kind == "simple" then return parts, account.free_time(slot, clock.now()) end
  end
  return parts, 0
end

return M
