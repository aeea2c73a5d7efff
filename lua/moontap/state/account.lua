-- account: what the store knows and decides of one account of the API. Each function is one
-- transaction; where it says durable, it is on the disk when it returns. The queue of a slot is
-- the list of its wanted intents, by priority, then by age.

local audit = require "moontap.state.audit"
local captures = require "moontap.state.captures"
local clock = require "moontap.clock"
local json = require "moontap.json"
local owners = require "moontap.state.owners"

-- One that shares the capture of another takes no slot: it would stand in the way of the very
-- intent that it waits for.
local AHEAD <const> = "account = ?1 AND kind = ?2 AND state = 'wanted' AND follows IS NULL AND "
  .. "(priority > ?3 OR (priority = ?3 AND id < ?4))"
local FREE_MAX <const> = 600 -- seconds: no refusal asks to wait longer
local OPEN <const> = "state IN ('wanted', 'claimed', 'sending')"

---@class moontap.state.Account
---@field id integer
---@field base_url string
---@field account_id string
---@field state moontap.State
local Account = {}
Account.__index = Account

for name, fn in pairs(captures) do Account[name] = fn end

---@class moontap.state.Wish
---@field kind "simple"|"full"
---@field params table as they will be sent
---@field asked number since 1970
---@field deadline number since 1970
---@field priority integer
---@field share_key? string
---@field detach? boolean its capture is to outlive the run
---@field run string
---@field script? string
---@field why? string
---@field case? string

function Account:transaction(is_durable, fn, ...)
  return self.state.db:transaction(is_durable, fn, ...)
end

-- A statement that must work; for the bodies of transactions, which `get` rolls back.
local Failed = {}

local function must(ok, ...)
  if ok == nil then error(setmetatable({ err = (...) }, Failed), 0) end
  return ok, ...
end

-- Runs `fn` in a transaction in which must() may give up.
local function atomically(self, is_durable, fn)
  local results = table.pack(pcall(self.transaction, self, is_durable, fn))
  if results[1] then return table.unpack(results, 2, results.n) end
  if getmetatable(results[2]) == Failed then return nil, results[2].err end
  error(results[2], 0)
end

local function set_state(self, id, state, event, data, fields)
  local sets, values = { "state = ?" }, { state }
  for name, value in pairs(fields or {}) do
    sets[#sets + 1] = name .. " = ?"
    values[#values + 1] = value
  end
  values[#values + 1] = id
  must(self.state.db:run(("UPDATE intents SET %s WHERE id = ?"):format(table.concat(sets, ", ")),
    table.unpack(values)))
  must(audit.add(self.state, event, "intent " .. id, data))
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

---Writes down that somebody wants a capture; it stands in the queue of its slot from then on.
---@param wish moontap.state.Wish
---@return integer|nil id of the intent
---@return table|nil err
---@return integer|nil leader the intent whose capture it may share
function Account:ask(wish)
  local state = self.state
  local leader
  local id, err = atomically(self, false, function()
    leader = find_leader(self, wish.share_key)
    local _, row = must(state.db:run("INSERT INTO intents (account, kind, state, owner, asked, "
      .. "deadline, priority, share_key, follows, is_detached) "
      .. "VALUES (?, ?, 'wanted', ?, ?, ?, ?, ?, ?, ?)",
      self.id, wish.kind, state.owner.id, wish.asked, wish.deadline, wish.priority, wish.share_key,
      leader, wish.detach and 1 or 0))
    if leader then -- it waits for two now
      must(state.db:run("UPDATE intents SET priority = max(priority, ?) WHERE id = ?",
        wish.priority, leader))
    end
    must(state.db:run("INSERT INTO details (intent, params, who, run, script, why, case_id) "
      .. "VALUES (?, ?, ?, ?, ?, ?, ?)", row, json.encode(wish.params), state.owner.who, wish.run,
      wish.script, wish.why, wish.case))
    must(audit.add(state, "create.wanted", "intent " .. row, { params = wish.params,
      who = state.owner.who, run = wish.run, script = wish.script, why = wish.why,
      case = wish.case }))
    return row
  end)
  if not id then return nil, err end
  return id, nil, leader
end

-- The queue ----------------------------------------------------------------------------------

local function slot_of(self, kind)
  return must(self.state.db:row("SELECT free_at, capture FROM slots WHERE account = ? AND kind = ?",
    self.id, kind)) or { free_at = 0 }
end

local function set_slot(self, kind, free_at, capture)
  must(self.state.db:run("INSERT INTO slots (account, kind, free_at, capture) VALUES (?1, ?2, ?3, "
    .. "?4) ON CONFLICT (account, kind) DO UPDATE SET free_at = ?3, capture = ?4", self.id, kind,
    free_at, capture))
end

---When a slot is free, as far as it is a matter of time.
---@param slot { free_at: number }
---@param now number
---@param interval number
---@return number
---@return boolean is_absurd it says a time that only a clock that was set back explains
function Account.free_time(slot, now, interval)
  if slot.free_at - now > FREE_MAX + interval then return now + interval, true end
  return slot.free_at, false
end

-- Who is before `me`: others in the queue, one that has the slot now, a capture, or time.
local function obstacle(self, me, now, interval)
  local db = self.state.db
  local ahead = must(db:row("SELECT count(*) AS n FROM intents WHERE " .. AHEAD, self.id, me.kind,
    me.priority, me.id)).n
  local slot = slot_of(self, me.kind)
  local free_at, is_absurd = Account.free_time(slot, now, interval)
  local place = { ahead = ahead, free_at = free_at, capture = slot.capture, kind = me.kind,
                  is_absurd = is_absurd }
  if ahead > 0 then
    place.first = must(db:row("SELECT id, owner FROM intents WHERE " .. AHEAD
      .. " ORDER BY priority DESC, id LIMIT 1", self.id, me.kind, me.priority, me.id))
    return place
  end
  place.holder = must(db:row("SELECT id, owner, state FROM intents WHERE account = ? AND kind = ? "
    .. "AND state IN ('claimed', 'sending') ORDER BY id LIMIT 1", self.id, me.kind)) or nil
  if place.holder or place.capture or free_at > now then return place end
  return nil
end

local function read_intent(self, id)
  return must(self.state.db:row("SELECT * FROM intents WHERE id = ?", id))
end

---Takes the slot for an intent if it is its turn.
---@param id integer
---@param interval number seconds between two creates of its kind at most
---@return boolean|nil is_claimed nil when the store failed
---@return table|nil place what is in the way: `ahead` (how many), `first` (of them), `holder`
---  (an intent), `capture` (an id), `free_at`; or the error
function Account:claim(id, interval)
  local now = clock.now()
  local db = self.state.db
  -- most looks find somebody in the way, and need not write
  local ok, place = pcall(function()
    return obstacle(self, read_intent(self, id), now, interval)
  end)
  if not ok then
    if getmetatable(place) == Failed then return nil, place.err end
    error(place, 0)
  end
  if place and place.is_absurd then -- for all, and once: the next look would put it off again
    local ok_set, err = self:set_slot(place.kind, place.capture, place.free_at)
    if not ok_set then return nil, err end
  end
  if place then return false, place end
  return atomically(self, false, function()
    local me = read_intent(self, id)
    local seen = obstacle(self, me, now, interval)
    if seen then return false, seen end
    must(db:run("UPDATE intents SET state = 'claimed' WHERE id = ?", id))
    return true
  end)
end

-- An attempt -------------------------------------------------------------------------------

---Writes down that an intent is sent now. Durable: a create that is not written down is not sent.
---@param id integer
---@param sent { real: number, boot: number, boot_id: string }
---@param params table as they are sent
---@return any ok
---@return table|nil err
function Account:sending(id, sent, params)
  return atomically(self, true, function()
    must(self.state.db:run("UPDATE details SET params = ? WHERE intent = ?", json.encode(params),
      id))
    must(self.state.db:run("UPDATE intents SET attempts = attempts + 1 WHERE id = ?", id))
    set_state(self, id, "sending", "create.sending", { params = params },
      { sent = sent.real, sent_boot = sent.boot, boot_id = sent.boot_id })
    return true
  end)
end

---An attempt that certainly opened nothing: the intent is in the queue again, where it stood.
---@param id integer
---@param err table
---@param free_at? number the slot is taken until then, as the answer says
---@param capture? string the one that takes it
---@return any ok
---@return table|nil err
function Account:unsent(id, err, free_at, capture)
  return atomically(self, false, function()
    local kind = read_intent(self, id).kind
    set_state(self, id, "wanted", "create.not_done", { error = err.message },
      { error = err.message, error_kind = err.kind, ray = err.ray })
    if free_at or capture then set_slot(self, kind, free_at or 0, capture) end
    return true
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
    if me.settled then return true end
    must(self.state.db:run("UPDATE intents SET error = NULL, error_kind = NULL WHERE id = ?", id))
    set_state(self, id, outcome.state, "create." .. outcome.state,
      { capture = cap and cap.id, error = err.message, ray = outcome.ray }, {
        settled = clock.now(), capture = cap and cap.id, ray = outcome.ray or err.ray,
        error = err.message, error_kind = err.kind,
      })
    if cap and outcome.state ~= "shared" then
      must(self:note_opened(id, cap, outcome.detach or me.is_detached == 1))
    end
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

---An intent and its details.
---@param id integer
---@return table|nil
---@return table|nil err
function Account:intent(id)
  local row, err = self.state.db:row("SELECT i.*, d.params, d.who, d.run, d.script, d.why, "
    .. "d.case_id FROM intents i LEFT JOIN details d ON d.intent = i.id WHERE i.id = ?", id)
  if row and row.params then row.params = json.decode(row.params) end
  return row or nil, err
end

---Intents whose process is gone and which have no outcome. Those that were not sent get theirs
---here; those that were become this process's own, to find out about: no other will.
---@param kind? "simple"|"full"
---@return table[]|nil intents in state sending, with details
---@return table|nil err
function Account:inherit(kind)
  local state = self.state
  return atomically(self, false, function()
    local list = {}
    for _, row in ipairs(must(state.db:rows("SELECT id, owner, state FROM intents "
      .. "WHERE account = ? AND (?2 IS NULL OR kind = ?2) AND " .. OPEN .. " ORDER BY id", self.id,
      kind))) do
      if not owners.is_alive(state, row.owner) then
        if row.state == "sending" then
          must(state.db:run("UPDATE intents SET owner = ?, is_lost = 1 WHERE id = ?",
            state.owner.id, row.id))
          list[#list + 1] = must(self:intent(row.id))
        else
          set_state(self, row.id, "abandoned", "create.abandoned", {},
            { settled = clock.now(), error = "the process that asked has died before it was sent",
              error_kind = "cancelled" })
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
    .. "i.deadline, i.priority, i.follows, d.params, d.who, d.run, d.script, d.why, d.case_id, "
    .. "o.pid, o.command FROM intents i JOIN owners o ON o.id = i.owner LEFT JOIN details d ON "
    .. "d.intent = i.id WHERE i.account = ? AND " .. OPEN .. " ORDER BY i.kind, "
    .. "i.state = 'wanted', i.priority DESC, i.id", self.id)
  if not rows then return nil, err end
  local slots
  slots, err = self.state.db:rows("SELECT kind, free_at, capture FROM slots WHERE account = ?",
    self.id)
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
    if read_intent(self, id).state == "sending" then
      must(state.db:run("INSERT OR IGNORE INTO owners (id, pid, host, command, started, ended) "
        .. "VALUES ('nobody', 0, '', '', 0, 0)"))
      must(state.db:run("UPDATE intents SET owner = 'nobody' WHERE id = ?", id))
      return true
    end
    set_state(self, id, "abandoned", "create.abandoned", {}, { settled = clock.now(),
      error = "its caller did not wait for it", error_kind = "cancelled" })
    return true
  end)
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
  return self.state.db:run("UPDATE intents SET follows = NULL WHERE id = ?", id)
end

local M = {}

---@param state moontap.State
---@param id integer
---@return moontap.state.Account
function M.new(state, id)
  return setmetatable({ state = state, id = id }, Account)
end

return M
