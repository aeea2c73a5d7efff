-- retention: what is held, and what is purged. A purge is written down before the file goes, so
-- that nothing that exists counts as never purged; what a kill leaves behind in between is found
-- again by the next purge (leftovers). The chain keeps the trace, the personal data goes.

local audit = require "moontap.state.audit"
local clock = require "moontap.clock"
local errors = require "moontap.errors"
local host = require "moontap.native.host"

local M = { account = {} }

local Account = M.account

-- A capture counts from when its create was answered, one of others from its download.
local AGE <const> = "coalesce(i.settled, i.asked, c.downloaded, c.seen)"
local PIECE <const> = 500 -- rows that go at once
local TRACE <const> = 365 * 86400 -- seconds for which what was purged is still listed
local RUNS_MAX <const> = 2 * 86400 -- seconds after which every capture has ended

local function day(at)
  return clock.format(at // 1 | 0)
end

local function find(self, id)
  local row, err = self:capture(id)
  if row then return row end
  return nil, err or errors.new("io", ("capture %s: this machine knows of none"):format(id))
end

---Keeps a capture from being purged.
---@param id string
---@param why? string
---@return any ok
---@return table|nil err
function Account:hold(id, why)
  local db = self.state.db
  return db:transaction(true, function()
    local row, err = find(self, id)
    if not row then return nil, err end
    if row.purged then
      return nil, errors.new("io", ("capture %s: it was purged at %s"):format(id, day(row.purged)))
    end
    local ok
    ok, err = db:run("UPDATE captures SET held_at = coalesce(held_at, ?), held_why = "
      .. "coalesce(?, held_why) WHERE account = ? AND id = ?", clock.now(), why, self.id, id)
    if not ok then return nil, err end
    return audit.add(self.state, "capture.held", "capture " .. id, { who = self.state.owner.who,
      why = why })
  end)
end

---Lets a capture be purged again.
---@param id string
---@return any ok
---@return table|nil err
function Account:unhold(id)
  local db = self.state.db
  return db:transaction(true, function()
    local row, err = find(self, id)
    if not row then return nil, err end
    if not row.held_at then
      return nil, errors.new("io", ("capture %s: it is not held"):format(id))
    end
    local ok
    ok, err = db:run("UPDATE captures SET held_at = NULL, held_why = NULL WHERE account = ? "
      .. "AND id = ?", self.id, id)
    if not ok then return nil, err end
    return audit.add(self.state, "capture.released", "capture " .. id,
      { who = self.state.owner.who })
  end)
end

---The captures of a case, the oldest first.
---@param case string
---@return string[]|nil ids
---@return table|nil err
function Account:captures_of(case)
  local rows, err = self.state.db:rows("SELECT id FROM captures WHERE account = ?1 "
    .. "AND (case_id = ?2 OR id IN (SELECT capture FROM intents "
    .. "WHERE case_id = ?2 AND account = ?1)) ORDER BY seen", self.id, case)
  if not rows then return nil, err end
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = row.id end
  return ids
end

---Captures older than `before` that were not purged so far; held ones have `held_at`.
---@param before number since 1970
---@return table[]|nil rows id, at, file, bytes, sha256, held_at, case_id
---@return table|nil err
function Account:expired(before)
  return self.state.db:rows("SELECT c.id, c.file, c.bytes, c.sha256, c.held_at, i.case_id, "
    .. AGE .. " AS at FROM captures c LEFT JOIN intents i ON i.id = c.intent "
    .. "WHERE c.account = ?1 AND c.purged IS NULL AND at < ?2 "
    .. "AND (c.is_done = 1 OR at < ?3) ORDER BY at", self.id, before, clock.now() - RUNS_MAX)
end

---Files of captures that were purged; one that is there all the same was left by a kill.
---@param since number when the last complete purge began
---@return table[]|nil rows id, file, bytes
---@return table|nil err
function Account:leftovers(since)
  return self.state.db:rows("SELECT id, file, bytes, purged FROM captures WHERE account = ? "
    .. "AND purged >= ? AND file IS NOT NULL", self.id, since)
end

---Writes down that a capture is purged, unless it is held by now. Durable: its file may go then.
---@param row table of expired()
---@param is_automatic? boolean nobody asked for it
---@return boolean|nil is_purged
---@return table|nil err
function Account:mark_purged(row, is_automatic)
  local db = self.state.db
  return db:transaction(true, function()
    local changed, err = db:run("UPDATE captures SET purged = ?, case_id = ? WHERE account = ? "
      .. "AND id = ? AND held_at IS NULL AND purged IS NULL", clock.now(), row.case_id, self.id,
      row.id)
    if not changed then return nil, err end
    if changed == 0 then return false end
    local ok
    ok, err = audit.add(self.state, "capture.purged", "capture " .. row.id, { file = row.file,
      bytes = row.bytes, sha256 = row.sha256, case = row.case_id, who = self.state.owner.who,
      automatic = is_automatic })
    if not ok then return nil, err end
    return true
  end)
end

-- Records ------------------------------------------------------------------------------------

-- What is to go, some at a time, behind ?2 in their order; and how each goes. What is found stays
-- to be found until it is gone, so looking needs no lock: only what changes waits for others.
local DETAILS <const> = {
  find = "SELECT i.id FROM intents i LEFT JOIN captures c ON c.account = i.account "
    .. "AND c.id = i.capture WHERE i.id > ?2 AND i.settled < ?1 AND i.params IS NOT NULL "
    .. "AND (c.id IS NULL OR c.purged IS NOT NULL) ORDER BY i.id LIMIT ?3",
  change = "UPDATE intents SET params = NULL, who = NULL, run = NULL, script = NULL, why = NULL, "
    .. "case_id = NULL WHERE id = ?",
}
-- Captures that were purged long ago, whose trace is the chain's alone from now on.
local CAPTURES <const> = {
  find = "SELECT account || ' ' || id AS id FROM captures WHERE account || ' ' || id > ?2 "
    .. "AND purged < ?1 ORDER BY 1 LIMIT ?3",
  change = "DELETE FROM captures WHERE account = CAST(?1 AS INTEGER) "
    .. "AND id = substr(?1, instr(?1, ' ') + 1)",
  first = "",
}
-- Creates that came to nothing. The last one stays: its number must not be given again.
local INTENTS <const> = {
  find = "SELECT i.id FROM intents i LEFT JOIN captures c ON c.account = i.account "
    .. "AND c.id = i.capture WHERE i.id > ?2 AND i.settled < ?1 AND c.id IS NULL "
    .. "AND i.params IS NULL AND i.id < (SELECT max(id) FROM intents) "
    .. "AND i.id NOT IN (SELECT intent FROM captures WHERE intent IS NOT NULL) "
    .. "ORDER BY i.id LIMIT ?3",
  change = "DELETE FROM intents WHERE id = ?",
}
local OWNERS <const> = {
  find = "SELECT id FROM owners WHERE id > ?2 AND ended < ?1 "
    .. "AND id NOT IN (SELECT owner FROM intents) ORDER BY id LIMIT ?3",
  change = "DELETE FROM owners WHERE id = ?",
  first = "",
}

-- Changes what `look(after)` finds, a piece in a transaction, so that others come in between.
local function in_pieces(state, pause, first, look, change)
  local count, after = 0, first
  while true do
    pause()
    local found, err = look(after)
    if not found then return nil, err end
    local ok
    ok, err = state.db:transaction(true, function() return change(found) end)
    if not ok then return nil, err end
    host.point "purge_piece"
    count, after = count + #found, found[#found]
    if #found < PIECE then return count end
  end
end

local function purge_rows(state, pause, what, before)
  return in_pieces(state, pause, what.first or 0, function(after)
    local rows, err = state.db:rows(what.find, before, after, PIECE)
    for i, row in ipairs(rows or {}) do rows[i] = row.id end
    return rows, err
  end, function(ids)
    for _, id in ipairs(ids) do
      local ok, err = state.db:run(what.change, id)
      if not ok then return nil, err end
    end
    return true
  end)
end

local function purge_audit(state, pause, before)
  return in_pieces(state, pause, 0, function(after)
    return audit.old(state, before, after, PIECE)
  end, function(numbers) return audit.purge(state, numbers) end)
end

local function purge_all(state, run)
  local pause, before = run.pause, run.before
  local details, err = purge_rows(state, pause, DETAILS, before)
  if not details then return nil, err end
  local told, captures, intents, owners
  told, err = purge_audit(state, pause, before)
  if not told then return nil, err end
  captures, err = purge_rows(state, pause, CAPTURES, math.min(before, clock.now() - TRACE))
  if not captures then return nil, err end
  intents, err = purge_rows(state, pause, INTENTS, before)
  if not intents then return nil, err end
  owners, err = purge_rows(state, pause, OWNERS, before)
  if not owners then return nil, err end
  return { details = details, intents = intents, audit = told }
end

---Takes out what is personal of intents and events before `before`: of purged captures, and of
---creates that came to none; then the records of those that came to none, and of captures that were
---purged long ago. What goes is overwritten, not only unlinked.
---@param state moontap.State
---@param run { before: number, pause: fun(), is_automatic?: boolean }
---@return { details: integer, audit: integer, intents: integer }|nil
---@return table|nil err
function M.purge_records(state, run)
  local db = state.db
  local ok, err = db:row "PRAGMA secure_delete = ON"
  if ok == nil then return nil, err end
  -- what goes is not referred to: it was looked for so, and a look for each row alone takes long
  ok, err = db:row "PRAGMA foreign_keys = OFF"
  if ok == nil then return nil, err end
  local _ <close> = setmetatable({}, { __close = function() db:row "PRAGMA foreign_keys = ON" end })
  local report
  report, err = purge_all(state, run)
  if not report then return nil, err end
  -- best effort: others may be reading, and whoever works beside it does not wait for them
  db:row(run.is_automatic and "PRAGMA wal_checkpoint(PASSIVE)" or "PRAGMA wal_checkpoint(TRUNCATE)")
  return report
end

-- Marks --------------------------------------------------------------------------------------

---When something was last done, or how it was set.
---@param state moontap.State
---@param name string
---@return number|false|nil
---@return table|nil err
function M.mark(state, name)
  local row, err = state.db:row("SELECT at FROM marks WHERE name = ?", name)
  if not row then return row, err end
  return row.at
end

---Sets a mark; with an `event` the audit says so.
---@param state moontap.State
---@param name string
---@param value number
---@param event? string
---@return any ok
---@return table|nil err
function M.set_mark(state, name, value, event)
  local db = state.db
  return db:transaction(true, function()
    local ok, err = db:run("INSERT INTO marks (name, at) VALUES (?1, ?2) ON CONFLICT (name) "
      .. "DO UPDATE SET at = ?2", name, value)
    if not ok or not event then return ok, err end
    return audit.add(state, event, name, { who = state.owner.who, seconds = value })
  end)
end

---Takes a mark for now, if it is older than `age` seconds: one process of all does then what is
---done once in a while.
---@param state moontap.State
---@param name string
---@param age number
---@return boolean|nil is_taken
---@return table|nil err
function M.take_mark(state, name, age)
  local now = clock.now()
  local at, err = M.mark(state, name)
  if at == nil then return nil, err end
  if at and at <= now and at > now - age then return false end
  local changed
  changed, err = state.db:transaction(false, function()
    return state.db:run("INSERT INTO marks (name, at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE "
      .. "SET at = ?2 WHERE at <= ?3 OR at > ?2", name, now, now - age)
  end)
  return changed and changed == 1, err
end

return M
