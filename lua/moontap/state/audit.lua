-- audit: the chain of what was done. Each row carries the hash of the one before, so that none can
-- be changed or taken out unseen. What a row is about is personal: it stands apart, can be purged,
-- and is named in the chain by a salted digest only.

local clock = require "moontap.clock"
local db = require "moontap.native.db"
local json = require "moontap.json"
local sys = require "moontap.native.sys"

local M = {}

local START <const> = ("0"):rep(64)
local BATCH <const> = 1000

local function hash_of(previous, row)
  return db.digest(("%s\n%d\n%.6f\n%s\n%s\n%s"):format(previous, row.seq, row.at, row.event,
    row.subject, row.digest))
end

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

---Adds a row, within a transaction of the caller's.
---@param state moontap.State
---@param event string such as "create.sending"
---@param subject string what it happened to: "intent 12", a capture's id
---@param data table what is personal about it
---@return any ok nil and an error when it could not be written
---@return table|nil err
function M.add(state, event, subject, data)
  local last, err = state.db:row "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
  if last == nil then return nil, err end
  local salt, text = hex(sys.random_bytes(8)), json.encode(data)
  local row = { seq = (last and last.seq or 0) + 1, at = clock.now(), event = event,
                subject = subject, digest = db.digest(salt .. text) }
  local ok
  ok, err = state.db:run("INSERT INTO audit (seq, at, event, subject, digest, hash) "
    .. "VALUES (?, ?, ?, ?, ?, ?)", row.seq, row.at, event, subject, row.digest,
    hash_of(last and last.hash or START, row))
  if not ok then return nil, err end
  return state.db:run("INSERT INTO audit_data (seq, salt, data) VALUES (?, ?, ?)", row.seq, salt,
    text)
end

local function check(row, previous)
  if row.hash ~= hash_of(previous, row) then
    return ("row %d was changed, or one before it was taken out"):format(row.seq)
  end
  if row.data and db.digest(row.salt .. row.data) ~= row.digest then
    return ("what row %d is about was changed"):format(row.seq)
  end
  return nil
end

---Goes through the whole chain.
---@param state moontap.State
---@return { rows: integer, purged: integer, head: string, problem?: string }|nil report
---@return table|nil err
function M.verify(state)
  local report = { rows = 0, purged = 0, head = START }
  while true do
    local rows, err = state.db:rows("SELECT a.*, d.salt, d.data FROM audit a LEFT JOIN "
      .. "audit_data d ON d.seq = a.seq WHERE a.seq > ? ORDER BY a.seq LIMIT ?", report.rows, BATCH)
    if not rows then return nil, err end
    if #rows == 0 then return report end
    for _, row in ipairs(rows) do
      if row.seq ~= report.rows + 1 then
        report.problem = ("row %d is missing"):format(report.rows + 1)
      else
        report.problem = check(row, report.head)
      end
      if report.problem then return report end
      report.rows, report.head = row.seq, row.hash
      if not row.data then report.purged = report.purged + 1 end
    end
  end
end

---Takes out what rows before `at` are about, within a transaction of the caller's; what belongs to
---`kept` subjects stays.
---@param state moontap.State
---@param at number
---@param kept table<string, true>
---@return integer|nil count
---@return table|nil err
function M.purge(state, at, kept)
  local rows, err = state.db:rows("SELECT a.seq, a.subject FROM audit a JOIN audit_data d "
    .. "ON d.seq = a.seq WHERE a.at < ?", at)
  if not rows then return nil, err end
  local count = 0
  for _, row in ipairs(rows) do
    if not kept[row.subject] then
      local ok
      ok, err = state.db:run("DELETE FROM audit_data WHERE seq = ?", row.seq)
      if not ok then return nil, err end
      count = count + 1
    end
  end
  return count
end

return M
