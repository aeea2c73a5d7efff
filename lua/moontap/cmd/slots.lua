-- slots: who has the slots of the account, who waits for them, and until when.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local json = require "moontap.json"
local place = require "moontap.cmd.place"
local queue = require "moontap.cmd.queue"
local show = require "moontap.cmd.show"
local zone = require "moontap.cmd.zone"

---@type moontap.cmd.Command
local M = {
  summary = "show who has the account's slots and who waits",
  usage = { "moontap slots [OPTIONS]" },
  description = "An account allows one simple capture a minute and one full capture at a time. "
    .. "Shows who on this machine has the slot of each kind, who waits for it in which order, and "
    .. "when each can expect it. Reads what is written down on this machine: it asks the API "
    .. "nothing, and needs no token.",
  groups = { "asking", "output" },
}

local function time(seconds)
  return seconds and zone.format(seconds // 1 | 0) or nil
end

local function span(seconds)
  if seconds == nil then return "unknown" end
  return seconds < 1 and "now" or "in " .. duration.format(math.ceil(seconds))
end

local function person(entry)
  local parts = { entry.who or "somebody" }
  parts[#parts + 1] = entry.script or entry.command
  if entry.pid and entry.pid > 0 then parts[#parts + 1] = ("(process %d)"):format(entry.pid) end
  if entry.case then parts[#parts + 1] = "case " .. entry.case end
  if entry.alive == false then parts[#parts + 1] = "- DEAD: the next one settles it" end
  return table.concat(parts, " ")
end

local function describe_holder(slot)
  local holder = slot.holder
  if not holder then return slot.free_in > 0 and "nobody; the last one was just now" or "nobody" end
  local what = holder.capture and "capture " .. holder.capture or "a create that is being sent"
  if holder.ours == false then return what .. ", opened by somebody else" end
  return ("%s of %s"):format(what, person(holder))
end

local function print_slot(slot, now)
  local lines = {
    ("%s: %s"):format(slot.kind, describe_holder(slot)),
    ("  next free: %s"):format(slot.free_at and ("%s (%s)"):format(time(slot.free_at),
      span(slot.free_at - now)) or "unknown"),
  }
  for i, entry in ipairs(slot.queue) do
    local when = entry.shares and ("shares the capture of %d"):format(entry.shares)
      or "expected " .. span(entry.expected and entry.expected - now)
    lines[#lines + 1] = ("  %d. %s, asked %s, %s, %s, priority %d: %s"):format(i, person(entry),
      time(entry.asked), when, entry.deadline < now and "its deadline is over"
      or "gives up " .. span(entry.deadline - now), entry.priority, show.filter(entry.filter_v1))
  end
  if #slot.queue == 0 then lines[#lines + 1] = "  nobody waits" end
  for i, line in ipairs(lines) do lines[i] = show.line(line) end
  print(table.concat(lines, "\n"))
end

-- Times as the API writes them.
local function public_entry(entry)
  local copy = {}
  for name, value in pairs(entry) do copy[name] = value end
  for _, name in ipairs { "asked", "deadline", "expected", "until_about" } do
    copy[name] = time(entry[name])
  end
  return copy
end

local function public(slot)
  local waiting = json.array {}
  for i, entry in ipairs(slot.queue) do waiting[i] = public_entry(entry) end
  return { kind = slot.kind, free_at = time(slot.free_at), free_in = slot.free_in,
           holder = slot.holder and public_entry(slot.holder), queue = waiting }
end

function M.run()
  local here, err = place.find()
  if not here then return nil, err end
  local slots
  slots, err = queue.read(here.account)
  place.leave(here)
  if not slots then return nil, err end
  if config.json then
    local list = json.array {}
    for i, slot in ipairs(slots) do list[i] = public(slot) end
    print(json.encode({ account_id = here.account_id, base_url = here.base_url, slots = list },
      { pretty = true }))
  else
    local now = clock.now()
    for _, slot in ipairs(slots) do print_slot(slot, now) end
  end
  return 0
end

return M
