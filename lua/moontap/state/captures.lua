-- captures: what the store knows of captures: which intent opened them, how they stand, where
-- their files are, what is held and what was purged. These functions become methods of an account
-- (account.lua).

local audit = require "moontap.state.audit"
local clock = require "moontap.clock"
local json = require "moontap.json"

local M = {}

local DONE <const> = { success = true, complete = true, failed = true }
local PAST_SLOT <const> = { conversion_pending = true, conversion_running = true }

-- What an answer says may be of any type; what is no text is left out.
local function text(value)
  return type(value) == "string" and value or nil
end

---Does a full capture in this status leave the slot to the next?
---@param status any
---@return boolean
function M.frees_slot(status)
  return DONE[status] or PAST_SLOT[status] or false
end

local OPENED <const> = "INSERT INTO captures (account, id, intent, type, status, seen, is_done, "
  .. "is_detached, submitted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) "
  .. "ON CONFLICT (account, id) DO UPDATE SET intent = ?3, type = ?4, status = ?5, seen = ?6, "
  .. "is_done = ?7, is_detached = ?8, submitted = ?9"

---Notes the capture that an intent was answered with, within a transaction of the caller's.
---@param intent integer
---@param cap table
---@param is_detached? boolean
---@return any ok
---@return table|nil err
function M.note_opened(self, intent, cap, is_detached)
  return self.state.db:run(OPENED, self.id, text(cap.id), intent, text(cap.type),
    text(cap.status), clock.now(), DONE[cap.status] and 1 or 0, is_detached and 1 or 0,
    text(cap.submitted))
end

---Takes over how a capture stands. Unknown ones are left alone.
---@param cap table as the API answered
---@return any ok
---@return table|nil err
function M.observe(self, cap)
  local db = self.state.db
  return db:transaction(false, function()
    local status = text(cap.status)
    local ok, err = db:run("UPDATE captures SET status = ?, seen = ?, is_done = ? "
      .. "WHERE account = ? AND id = ?", status, clock.now(), DONE[status] and 1 or 0, self.id,
      cap.id)
    if not ok then return nil, err end
    if not M.frees_slot(status) then return true end
    return db:run("UPDATE slots SET capture = NULL, free_at = 0 WHERE account = ? AND capture = ?",
      self.id, cap.id)
  end)
end

---Remembers a capture of somebody else that is in the way.
---@param cap table
---@return any ok
---@return table|nil err
function M.note_foreign(self, cap)
  local db = self.state.db
  return db:transaction(false, function()
    local ok, err = db:run("INSERT OR IGNORE INTO captures (account, id, type, status, seen) "
      .. "VALUES (?, ?, ?, ?, ?)", self.id, text(cap.id), text(cap.type), text(cap.status),
      clock.now())
    if not ok then return nil, err end
    return db:run("INSERT INTO slots (account, kind, capture) VALUES (?1, 'full', ?2) ON CONFLICT "
      .. "(account, kind) DO UPDATE SET capture = ?2", self.id, cap.id)
  end)
end

---One capture.
---@param id string
---@return table|nil row
---@return table|nil err
function M.capture(self, id)
  local row, err = self.state.db:row("SELECT * FROM captures WHERE account = ? AND id = ?", self.id,
    id)
  return row or nil, err
end

---The playbook whose run opened a capture; nil: a person did, or somebody elsewhere.
---@param id string
---@return string|nil playbook
---@return table|nil err
function M.opener(self, id)
  local row, err = self.state.db:row("SELECT i.script, i.run FROM captures c JOIN intents i ON "
    .. "i.id = c.intent WHERE c.account = ? AND c.id = ?", self.id, id)
  return row and row.run and row.run:find "^run %d+$" and row.script or nil, err
end

---Notes where the file of a capture was written, also of one that was not opened here: what lies
---below the state directory is to be known.
---@param id string
---@param file { path: string, bytes: integer, sha256?: string }
---@return any ok
---@return table|nil err
function M.note_file(self, id, file)
  local db = self.state.db
  return db:transaction(false, function()
    local ok, err = db:run("INSERT INTO captures (account, id, type, seen, is_done, file, bytes, "
      .. "sha256, downloaded) VALUES (?1, ?2, 'simple', ?3, 1, ?4, ?5, ?6, ?3) ON CONFLICT "
      .. "(account, id) DO UPDATE SET file = ?4, bytes = ?5, sha256 = ?6, downloaded = ?3, "
      .. "purged = NULL", self.id, id, clock.now(), file.path, file.bytes, file.sha256)
    if not ok then return nil, err end
    return audit.add(self.state, "capture.downloaded", "capture " .. id, file)
  end)
end

---Notes that a capture was asked to stop.
---@param id string
---@return any ok
---@return table|nil err
function M.note_stop(self, id)
  local db = self.state.db
  return db:transaction(false, function()
    local ok, err = db:run("UPDATE captures SET stop_asked = ? WHERE account = ? AND id = ?",
      clock.now(), self.id, id)
    if not ok then return nil, err end
    return audit.add(self.state, "capture.stopped", "capture " .. id, {})
  end)
end

---Lets a capture outlive the run that opened it.
---@param id string
---@return any ok
---@return table|nil err
function M.detach(self, id)
  local db = self.state.db
  return db:transaction(false, function()
    return db:run("UPDATE captures SET is_detached = 1 WHERE account = ? AND id = ?", self.id, id)
  end)
end

-- How the run of an intent stands: it goes on, it ended well, or neither.
local RUN_ON <const> = { claimed = true, running = true }

local function goes_on(self, row)
  if row.ended or not self:is_alive(row.owner) then return false end
  return not row.run_state or RUN_ON[row.run_state] or false
end

local function ended_well(row)
  if row.run_state then return row.run_state == "ok" end
  return row.ended ~= nil and row.failed == 0
end

---Is a capture shared, and does a run other than `me` still need it?
---@param id string
---@param me { owner: string, run?: string } without `run` all of that process
---@param is_kept? boolean a run that ended well counts: what it leaves running is to go on
---@return boolean|nil
---@return table|nil err
function M.is_needed(self, id, me, is_kept)
  local rows, err = self.state.db:rows("SELECT i.owner, i.state, i.run, o.ended, o.failed, "
    .. "r.state AS run_state FROM intents i JOIN owners o ON o.id = i.owner "
    .. "LEFT JOIN runs r ON i.run LIKE 'run %' AND r.id = CAST(substr(i.run, 5) AS INTEGER) "
    .. "WHERE i.id = (SELECT intent FROM captures WHERE account = ?1 AND id = ?2) "
    .. "OR i.id IN (SELECT id FROM intents WHERE state = 'shared' AND account = ?1 "
    .. "AND capture = ?2)", self.id, id)
  if not rows then return nil, err end
  local is_shared, is_needed = false, false
  for _, row in ipairs(rows) do
    is_shared = is_shared or row.state == "shared"
    local is_mine = row.owner == me.owner and (not me.run or row.run == me.run)
    if not is_mine and (goes_on(self, row) or is_kept and ended_well(row)) then is_needed = true end
  end
  return is_shared and is_needed
end

---Full captures that still ran when the process that opened them failed or vanished, and that
---nobody has stopped.
---@param is_gone fun(owner: string): boolean
---@return string[]|nil ids
---@return table|nil err
function M.orphans(self, is_gone)
  local rows, err = self.state.db:rows("SELECT c.id, i.owner, i.is_lost, o.ended, o.failed "
    .. "FROM captures c INDEXED BY captures_open JOIN intents i ON i.id = c.intent "
    .. "JOIN owners o ON o.id = i.owner WHERE c.account = ? AND c.type = 'full' "
    .. "AND c.is_done = 0 AND c.is_detached = 0 AND c.stop_asked IS NULL", self.id)
  if not rows then return nil, err end
  local ids = {}
  for _, row in ipairs(rows) do
    local is_left = row.failed == 1 or row.is_lost == 1
    if is_left or (not row.ended and is_gone(row.owner)) then
      local is_needed, problem = M.is_needed(self, row.id, row, true)
      if is_needed == nil then return nil, problem end
      if not is_needed then ids[#ids + 1] = row.id end
    end
  end
  return ids
end

---All captures that are known here, also those of others.
---@return table[]|nil rows
---@return table|nil err
function M.known_captures(self)
  return self.state.db:rows("SELECT * FROM captures WHERE account = ?", self.id)
end

---Everything that was asked for here, the newest first.
---@param filter? { case?: string }
---@return table[]|nil rows of intents with their captures
---@return table|nil err
function M.journal(self, filter)
  filter = filter or {}
  local rows, err = self.state.db:rows("SELECT i.id AS intent, i.kind, i.state, i.asked, i.sent, "
    .. "i.settled, i.attempts, i.priority, i.capture, i.ray, i.error, i.error_kind, i.params, "
    .. "i.who, i.run, i.script, i.why, coalesce(i.case_id, c.case_id) AS case_id, c.status, "
    .. "c.seen, c.submitted, c.is_done, c.is_detached, c.file, c.bytes, c.sha256, c.downloaded, "
    .. "c.held_at, c.held_why, c.purged FROM intents i LEFT JOIN captures c "
    .. "ON c.account = i.account AND c.id = i.capture "
    .. "WHERE i.account = ?1 AND (?2 IS NULL OR ?2 IN (i.case_id, c.case_id)) "
    .. "ORDER BY i.id DESC", self.id, filter.case)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.params = row.params and json.decode(row.params) end
  return rows
end

return M
