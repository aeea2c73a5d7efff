-- account: what the store knows and decides of one account of the API. Each function is one
-- transaction; where it says durable, it is on the disk when it returns. The queue of a slot is
-- the list of its wanted intents, by priority, then by age.

local atomic = require "moontap.state.atomic"
local audit = require "moontap.state.audit"
local captures = require "moontap.state.captures"
local clock = require "moontap.clock"
local errors = require "moontap.errors"
local json = require "moontap.json"
local owners = require "moontap.state.owners"
local sys = require "moontap.native.sys"
local retention = require "moontap.state.retention"

local must = atomic.must

-- One that shares the capture of another takes no slot: it would stand in the way of the very
-- intent that it waits for.
local AHEAD <const> = "account = ?1 AND kind = ?2 AND state = 'wanted' AND settled IS NULL "
  .. "AND follows IS NULL AND (priority > ?3 OR (priority = ?3 AND id < ?4))"
local STANDS <const> = "id, owner, state, asked, deadline, sent_boot, boot_id"
local OPEN <const> = "settled IS NULL"
local TAKEN_MAX <const> = 900 -- seconds for which a slot can be taken in advance, …
local PAUSE_MAX <const> = 86400 -- … and where the API asked for it
local STALE <const> = 600 -- seconds beyond its deadline; looking for a lost answer takes less
local STALE_UNSENT <const> = 30 -- … of one that was not sent: whoever waits gives up then

---@class moontap.state.Account
---@field id integer
---@field base_url string
---@field account_id string
---@field state moontap.State
local Account = {}
Account.__index = Account

for name, fn in pairs(captures) do Account[name] = fn end
for name, fn in pairs(retention.account) do Account[name] = fn end

---@class moontap.state.Wish
---@field kind "simple"|"full"
---@field params string JSON, as they will be sent
---@field asked number since 1970
---@field deadline number since 1970
---@field priority integer
---@field share_key? string
---@field detach? boolean its capture is to outlive the run
---@field run string
---@field script? string
---@field why? string
---@field case? string

-- Runs `fn` in a transaction in which must() may give up.
local function atomically(self, is_durable, fn)
  local ok, err = owners.declare(self.state)
  if ok and is_durable then ok, err = self.state:check_place() end
  if not ok then return nil, err end
  return atomic.run(self.state.db, is_durable, fn)
end

-- One outcome of an intent, with what is known of it.
local SETTLE <const> = "UPDATE intents SET state = ?, settled = ?, capture = ?, ray = ?, "
  .. "error = ?, error_kind = ? WHERE id = ? AND settled IS NULL"

-- `last`: as for audit.add_all.
local function finish(self, id, state, data, err, last)
  local changed = must(self.state.db:run(SETTLE, state, clock.now(), data.capture, data.ray,
    err.message, err.kind, id))
  if changed == 0 then return end -- others did so, while this process stood still
  must(audit.add_all(self.state, { event = "create." .. state, subject = "intent " .. id,
                                   data = data }, nil, last))
end

local boot_id = sys.boot_id() or ""

local function stood_still()
  return errors.new("cancelled", "this process stood still so long that the others went on",
    { sent = "no" })
end

-- Seconds by which an intent is beyond its deadline, on the clock that nobody sets where possible.
local function overdue(row)
  if boot_id ~= "" and row.boot_id == boot_id and row.sent_boot then
    return clock.boot() - row.sent_boot - (row.deadline - row.asked)
  end
  return clock.now() - row.deadline
end

-- Is there nobody left who will settle this intent? A process that stands still (stopped by a
-- signal, say) does not keep the others waiting for ever.
local function is_gone(self, row)
  local most = row.state == "sending" and STALE or STALE_UNSENT
  return overdue(row) > most or not owners.is_alive(self.state, row.owner)
end

-- The queue ----------------------------------------------------------------------------------

-- When a long pause of a slot was written down.
local PAUSED <const> = "(SELECT at FROM marks WHERE name = 'pause ' || account || ' ' || kind)"

local function set_slot(self, kind, free_at, capture)
  local now = clock.now()
  if free_at - now > TAKEN_MAX then
    free_at = math.min(free_at, now + PAUSE_MAX)
    must(self.state.db:run("INSERT INTO marks (name, at) VALUES (?1, ?2) ON CONFLICT (name) "
      .. "DO UPDATE SET at = ?2", ("pause %d %s"):format(self.id, kind), now))
  end
  must(self.state.db:run("INSERT INTO slots (account, kind, free_at, capture) VALUES (?1, ?2, ?3, "
    .. "?4) ON CONFLICT (account, kind) DO UPDATE SET free_at = ?3, capture = ?4", self.id, kind,
    free_at, capture))
end

local STANDING <const> = "SELECT "
  .. "(SELECT count(*) FROM intents WHERE " .. AHEAD .. ") AS ahead, "
  .. "(SELECT min(id) FROM intents WHERE account = ?1 AND kind = ?2 AND settled IS NULL AND "
  .. "state IN ('claimed', 'sending')) AS holder, s.free_at, s.capture, " .. audit.END
  .. " FROM accounts a LEFT JOIN slots s ON s.account = a.id AND s.kind = ?2" .. audit.HEAD
  .. " WHERE a.id = ?1"
local PAUSE <const> = "SELECT " .. PAUSED .. " AS paused FROM slots WHERE account = ? AND kind = ?"
local FIRST <const> = "SELECT " .. STANDS .. " FROM intents WHERE " .. AHEAD
  .. " ORDER BY priority DESC, id LIMIT 1"

-- … and is read only where the slot is taken for so long.
local function free_time(self, kind, slot, now)
  if slot.free_at and slot.free_at - now > TAKEN_MAX then
    slot.paused = must(self.state.db:row(PAUSE, self.id, kind)).paused
  end
  return Account.free_time(slot, now)
end

---When a slot is free, as far as it is a matter of time.
---@param slot { free_at?: number, paused?: number }
---@param now number
---@return number
function Account.free_time(slot, now)
  local free_at, paused = slot.free_at or 0, slot.paused
  local is_asked = paused and paused <= now and free_at - paused <= PAUSE_MAX
  return free_at - now > TAKEN_MAX and not is_asked and 0 or free_at -- the clock was set back since
end

-- Who is before `me`: others in the queue, one that has the slot now, a capture, or time. When
-- there is none: nil, and a row that says where the chain of the audit ends.
local function obstacle(self, me)
  local db, now = self.state.db, clock.now()
  local seen = must(db:row(STANDING, self.id, me.kind, me.priority, me.id))
  local free_at = free_time(self, me.kind, seen, now)
  if seen.ahead == 0 and not seen.holder and not seen.capture and free_at <= now then
    return nil, seen
  end
  local place = { ahead = seen.ahead, free_at = free_at, capture = seen.capture }
  if seen.ahead > 0 then
    place.first = must(db:row(FIRST, self.id, me.kind, me.priority, me.id)) or nil
  elseif seen.holder then
    place.holder = must(db:row("SELECT " .. STANDS .. " FROM intents WHERE id = ?", seen.holder))
  end
  return place
end

local STATUS <const> = "SELECT i.id, kind, priority, state, settled, is_detached, is_lost, "
  .. audit.END .. " FROM intents i" .. audit.HEAD .. " WHERE i.id = ?"

local function read_intent(self, id)
  return must(self.state.db:row(STATUS, id))
end

---Takes the slot for an intent if it is its turn.
---@param id integer
---@return boolean|nil is_claimed nil when the store failed
---@return table|nil place what is in the way: `ahead` (how many), `first` (of them), `holder`
---  (an intent), `capture` (an id), `free_at`; or the error
function Account:claim(id)
  -- most looks find somebody in the way, and need not write
  local place, err = atomic.try(function()
    local me = read_intent(self, id)
    if me.settled then must(nil, stood_still()) end
    return obstacle(self, me) or false
  end)
  if place == nil then return nil, err end
  if place then return false, place end
  return atomically(self, false, function()
    local seen = obstacle(self, read_intent(self, id))
    if seen then return false, seen end
    if must(self.state.db:run("UPDATE intents SET state = 'claimed' WHERE id = ? "
      .. "AND settled IS NULL", id)) == 0 then must(nil, stood_still()) end
    return true
  end)
end

-- Asking ----------------------------------------------------------------------------------

-- The open intent whose capture an equal wish may share.
local function find_leader(self, key)
  if not key then return nil end
  for _, row in ipairs(must(self.state.db:rows("SELECT id, owner FROM intents WHERE account = ? "
    .. "AND share_key = ? AND follows IS NULL AND " .. OPEN .. " ORDER BY id", self.id, key))) do
    if owners.is_alive(self.state, row.owner) then return row.id end
  end
  return nil
end

local INSERT <const> = "INSERT INTO intents (account, kind, state, owner, asked, deadline, "
  .. "priority, share_key, follows, is_detached, sent, sent_boot, boot_id, attempts, params, who, "
  .. "run, script, why, case_id) VALUES (?" .. (", ?"):rep(19) .. ")"

-- What the chain says of a wish, whose parameters `params` holds as JSON.
local function wanted(state, id, wish, params)
  local rest = json.encode { who = state.owner.who, run = wish.run, script = wish.script,
                             why = wish.why, case = wish.case }
  return { event = "create.wanted", subject = "intent " .. id,
           data = '{"params":' .. params .. "," .. rest:sub(2) }
end

-- … and of an attempt; without `params` they are those of the wish.
local function sending(id, params)
  return { event = "create.sending", subject = "intent " .. id,
           data = params and '{"params":' .. params .. "}" or "{}" }
end

-- Within a transaction. `sent`: when, if it is sent right now; `last`: as for audit.add_all.
local function write_wish(self, wish, leader, sent, last)
  local state, db = self.state, self.state.db
  local params = wish.params
  local _, id = must(db:run(INSERT, self.id, wish.kind, sent and "sending" or "wanted",
    state.owner.id, wish.asked, wish.deadline, wish.priority, wish.share_key, leader,
    wish.detach and 1 or 0, sent and sent.real, sent and sent.boot or clock.boot(),
    sent and sent.boot_id or boot_id, sent and 1 or 0, params, state.owner.who, wish.run,
    wish.script, wish.why, wish.case))
  if leader then -- it waits for two now
    must(db:run("UPDATE intents SET priority = max(priority, ?) WHERE id = ?", wish.priority,
      leader))
  end
  must(audit.add_all(state, wanted(state, id, wish, params), sent and sending(id), last))
  return id
end

---Writes down that somebody wants a capture; it stands in the queue of its slot from then on.
---@param wish moontap.state.Wish
---@return { id: integer, leader?: integer }|nil intent `leader`: the intent whose capture it may
---  share
---@return table|nil err
function Account:ask(wish)
  return atomically(self, false, function()
    local leader = find_leader(self, wish.share_key)
    return { id = write_wish(self, wish, leader), leader = leader }
  end)
end

-- An attempt -------------------------------------------------------------------------------

---Writes down that an intent is sent now. Durable: a create that is not written down is not sent.
---@param id integer
---@param sent { real: number, boot: number, boot_id: string }
---@param params string JSON, as they are sent
---@return any ok
---@return table|nil err
function Account:sending(id, sent, params)
  return atomically(self, "last", function()
    local changed = must(self.state.db:run("UPDATE intents SET state = 'sending', attempts = "
      .. "attempts + 1, sent = ?, sent_boot = ?, boot_id = ?, params = ? WHERE id = ? "
      .. "AND settled IS NULL", sent.real, sent.boot, sent.boot_id, params, id))
    if changed == 0 then must(nil, stood_still()) end
    must(audit.add_all(self.state, sending(id, params)))
    return true
  end)
end

---Writes down a wish that is sent now, as `ask`, `claim` and `sending` do one after the other.
---@param wish moontap.state.Wish
---@param sent { real: number, boot: number, boot_id: string }
---@return integer|false|nil id of the intent; false when somebody is in the way; nil and an error
---@return table|nil err
function Account:send_at_once(wish, sent)
  local written
  local id, err = atomically(self, "last", function()
    local newest = { id = math.maxinteger, kind = wish.kind, priority = wish.priority }
    local place, last = obstacle(self, newest)
    if place then return false end
    written = write_wish(self, wish, nil, sent, last)
    return written
  end)
  -- others see it already: it must not keep the slot
  if err and err.is_done then self:settle(written, { state = "refused", error = err }) end
  return id, err
end

---An attempt that certainly opened nothing: the intent is in the queue again, where it stood.
---@param id integer
---@param err table
---@return any ok
---@return table|nil err
function Account:unsent(id, err)
  return atomically(self, false, function()
    must(self.state.db:run("UPDATE intents SET state = 'wanted', error = ?, error_kind = ?, "
      .. "ray = ? WHERE id = ? AND settled IS NULL", err.message, err.kind, err.ray, id))
    return must(audit.add(self.state, "create.not_done", "intent " .. id, { error = err.message }))
  end)
end

---@class moontap.state.Outcome
---@field state "done"|"adopted"|"shared"|"refused"|"unknown"|"abandoned"
---@field capture? table as the API answered
---@field ray? string
---@field error? table
---@field free_at? number when the slot is free again, if the create took it
---@field detach? boolean

---Writes down what became of an intent. There is one outcome of each.
---@param id integer
---@param outcome moontap.state.Outcome
---@return any ok
---@return table|nil err
function Account:settle(id, outcome)
  local cap, err = outcome.capture, outcome.error or {}
  return atomically(self, false, function()
    local me = read_intent(self, id)
    if cap and outcome.state ~= "shared" then
      must(self:note_opened(id, cap, outcome.detach or me.is_detached == 1))
    end
    if outcome.state == "done" and me.is_lost == 1 then -- whoever asked is there
      must(self.state.db:run("UPDATE intents SET is_lost = 0 WHERE id = ?", id))
    end
    if me.settled then -- by others, while this process stood still
      return must(self.state.db:run("UPDATE intents SET capture = ? WHERE id = ? AND capture IS "
        .. "NULL", cap and cap.id, id))
    end
    finish(self, id, outcome.state, { capture = cap and cap.id, error = err.message,
      ray = outcome.ray or err.ray }, err, me)
    local holds = cap and me.kind == "full" and outcome.state ~= "shared"
      and not captures.frees_slot(cap.status)
    if outcome.free_at or holds then
      set_slot(self, me.kind, outcome.free_at or 0, holds and cap.id or nil)
    end
    return true
  end)
end

-- What others need to know ------------------------------------------------------------------

---The ids of captures that intents of this account were answered with, as a set.
---@return table<string, true>|nil
---@return table|nil err
function Account:taken()
  local rows, err = self.state.db:rows("SELECT id FROM captures WHERE account = ? AND intent IS "
    .. "NOT NULL ORDER BY seen DESC LIMIT 1000", self.id)
  if not rows then return nil, err end
  local set = {}
  for _, row in ipairs(rows) do set[row.id] = true end
  return set
end

---All that is known of an intent.
---@param id integer
---@return table|nil
---@return table|nil err
function Account:intent(id)
  local row, err = self.state.db:row("SELECT * FROM intents WHERE id = ?", id)
  if row and row.params then row.params = json.decode(row.params) end
  return row or nil, err
end

---Intents whose process is gone and which have no outcome. Those that were not sent get theirs
---here; those that were become this process's own, to find out about: no other will.
---@param kind? "simple"|"full"
---@return table[]|nil intents in state sending
---@return table|nil err
function Account:inherit(kind)
  local state = self.state
  local open = "SELECT " .. STANDS .. " FROM intents WHERE account = ? AND "
    .. "(?2 IS NULL OR kind = ?2) AND " .. OPEN .. " ORDER BY id"
  local rows, err = state.db:rows(open, self.id, kind)
  if not rows then return nil, err end
  local has_dead = false
  for _, row in ipairs(rows) do
    has_dead = has_dead or is_gone(self, row)
  end
  if not has_dead then return {} end
  return atomically(self, false, function()
    local list = {}
    for _, row in ipairs(must(state.db:rows(open, self.id, kind))) do
      if is_gone(self, row) then
        if row.state == "sending" then
          must(state.db:run("UPDATE intents SET owner = ?, is_lost = 1, "
            .. "deadline = max(deadline, ?) WHERE id = ?", state.owner.id, clock.now(), row.id))
          list[#list + 1] = must(self:intent(row.id))
        else
          finish(self, row.id, "abandoned", {}, { kind = "cancelled",
            message = "the process that asked has died before it was sent" })
        end
      end
    end
    return list
  end)
end

---Everything that is open, in the order in which it will be served, and how the slots stand.
---@return { intents: table[], slots: table[] }|nil
---@return table|nil err
function Account:queue()
  local rows, err = self.state.db:rows("SELECT i.id, i.kind, i.state, i.owner, i.asked, "
    .. "i.deadline, i.priority, i.follows, i.params, i.who, i.run, i.script, i.why, i.case_id, "
    .. "o.pid, o.command FROM intents i JOIN owners o ON o.id = i.owner "
    .. "WHERE i.account = ? AND " .. OPEN .. " ORDER BY i.kind, "
    .. "i.state = 'wanted', i.priority DESC, i.id", self.id)
  if not rows then return nil, err end
  local slots
  slots, err = self.state.db:rows("SELECT kind, free_at, capture, " .. PAUSED .. " AS paused "
    .. "FROM slots WHERE account = ?", self.id)
  if not slots then return nil, err end
  for _, row in ipairs(rows) do
    row.params = row.params and json.decode(row.params)
    row.is_alive = owners.is_alive(self.state, row.owner)
  end
  return { intents = rows, slots = slots }
end

---Frees the slot that `capture` was in the way of, or takes it for a capture of others.
---@param kind "simple"|"full"
---@param capture? string
---@param free_at? number
---@return any ok
---@return table|nil err
function Account:set_slot(kind, capture, free_at)
  return atomically(self, false, function()
    set_slot(self, kind, free_at or 0, capture)
    return true
  end)
end

---Gives up an intent that nobody here waits for any more. One that was sent is left to whoever
---comes next: what became of it is found out then.
---@param id integer
---@return any ok
---@return table|nil err
function Account:release(id)
  local state = self.state
  return atomically(self, false, function()
    local me = read_intent(self, id)
    if me.settled then return true end
    if me.state == "sending" then
      must(state.db:run("INSERT OR IGNORE INTO owners (id, pid, host, command, started, ended) "
        .. "VALUES ('nobody', 0, '', '', 0, 0)"))
      must(state.db:run("UPDATE intents SET owner = 'nobody' WHERE id = ?", id))
      return true
    end
    finish(self, id, "abandoned", {}, { kind = "cancelled",
      message = "its caller did not wait for it" })
    return true
  end)
end

---Will nobody settle this intent?
---@param row table as `claim` gave it
---@return boolean
function Account:is_gone(row)
  return is_gone(self, row)
end

---Is the process `owner` still there?
---@param owner string
---@return boolean
function Account:is_alive(owner)
  return owners.is_alive(self.state, owner)
end

---The state of an intent alone.
---@param id integer
---@return table|nil row with state, capture, error, owner
---@return table|nil err
function Account:peek(id)
  local row, err = self.state.db:row("SELECT state, capture, error, error_kind, owner FROM intents "
    .. "WHERE id = ?", id)
  return row or nil, err
end

---Lets an intent stand for itself again, whose leader came to nothing.
---@param id integer
---@return any ok
---@return table|nil err
function Account:part(id)
  return atomically(self, false, function()
    return self.state.db:run("UPDATE intents SET follows = NULL WHERE id = ?", id)
  end)
end

local M = {}

---@param state moontap.State
---@param id integer
---@return moontap.state.Account
function M.new(state, id)
  return setmetatable({ state = state, id = id }, Account)
end

return M
