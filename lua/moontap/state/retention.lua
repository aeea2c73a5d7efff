-- retention: what is held, and what is purged. A purge is written down before the file goes, so
-- that nothing that exists counts as never purged; what a kill leaves behind in between is found
-- again by the next purge (leftovers). The chain keeps the trace, the personal data goes.

local audit = require "moontap.state.audit"
local clock = require "moontap.clock"
local errors = require "moontap.errors"

local M = { account = {} }

local Account = M.account

-- A capture counts from when its create was answered, one of others from its download.
local AGE <const> = "coalesce(i.settled, i.asked, c.downloaded, c.seen)"
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
  local rows, err = self.state.db:rows("SELECT DISTINCT c.id FROM captures c LEFT JOIN intents i "
    .. "ON i.account = c.account AND i.capture = c.id LEFT JOIN details d ON d.intent = i.id "
    .. "WHERE c.account = ?1 AND ?2 IN (d.case_id, c.case_id) ORDER BY c.seen", self.id, case)
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
  return self.state.db:rows("SELECT c.id, c.file, c.bytes, c.sha256, c.held_at, d.case_id, "
    .. AGE .. " AS at FROM captures c LEFT JOIN intents i ON i.id = c.intent LEFT JOIN details d "
    .. "ON d.intent = i.id WHERE c.account = ?1 AND c.purged IS NULL AND at < ?2 "
    .. "AND (c.is_done = 1 OR at < ?3) ORDER BY at", self.id, before, clock.now() - RUNS_MAX)
end

---Files of captures that were purged; one that is there all the same was left by a kill.
---@return table[]|nil rows id, file, bytes
---@return table|nil err
function Account:leftovers()
  return self.state.db:rows("SELECT id, file, bytes, purged FROM captures WHERE account = ? "
    .. "AND purged IS NOT NULL AND file IS NOT NULL", self.id)
end

---Writes down that a capture is purged, unless it is held by now. Durable: its file may go then.
---@param row table of expired()
---@return boolean|nil is_purged
---@return table|nil err
function Account:mark_purged(row)
  local db = self.state.db
  return db:transaction(true, function()
    local changed, err = db:run("UPDATE captures SET purged = ?, case_id = ? WHERE account = ? "
      .. "AND id = ? AND held_at IS NULL AND purged IS NULL", clock.now(), row.case_id, self.id,
      row.id)
    if not changed then return nil, err end
    if changed == 0 then return false end
    local ok
    ok, err = audit.add(self.state, "capture.purged", "capture " .. row.id, { file = row.file,
      bytes = row.bytes, sha256 = row.sha256, case = row.case_id, who = self.state.owner.who })
    if not ok then return nil, err end
    return true
  end)
end

-- What the chain may still say in full: whatever was not purged.
local function kept_subjects(state)
  local kept = {}
  for name, sql in pairs { intent = "SELECT intent AS id FROM details",
                           capture = "SELECT id FROM captures WHERE purged IS NULL" } do
    local rows, err = state.db:rows(sql)
    if not rows then return nil, err end
    for _, row in ipairs(rows) do kept[("%s %s"):format(name, row.id)] = true end
  end
  return kept
end

---Takes out what is personal of intents and events before `before`: of purged captures, and of
---creates that came to none. The rows that have to stay are overwritten, not only unlinked.
---@param state moontap.State
---@param before number
---@return { details: integer, audit: integer }|nil
---@return table|nil err
function M.purge_records(state, before)
  local db = state.db
  local ok, err = db:row "PRAGMA secure_delete = ON"
  if ok == nil then return nil, err end
  local report
  report, err = db:transaction(true, function()
    local details, problem = db:run("DELETE FROM details WHERE intent IN (SELECT i.id FROM "
      .. "intents i LEFT JOIN captures c ON c.account = i.account AND c.id = i.capture "
      .. "WHERE i.settled < ? AND (c.id IS NULL OR c.purged IS NOT NULL))", before)
    if not details then return nil, problem end
    local kept
    kept, problem = kept_subjects(state)
    if not kept then return nil, problem end
    local count
    count, problem = audit.purge(state, before, kept)
    if not count then return nil, problem end
    return { details = details, audit = count }
  end)
  if not report then return nil, err end
  db:row "PRAGMA wal_checkpoint(TRUNCATE)" -- best effort: others may be reading
  return report
end

return M
