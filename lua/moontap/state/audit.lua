-- audit: the chain of what was done. Each row carries the hash of the one before, so that none can
-- be changed or taken out unseen; the head stands apart, so that the last ones cannot either. What
-- a row is about is personal: it can be purged (`salt` and `data` become NULL), and is named in the
-- chain by a salted digest only. A purge is a row of the chain itself.

local clock = require "moontap.clock"
local db = require "moontap.native.db"
local json = require "moontap.json"
local sys = require "moontap.native.sys"

local M = {}

local START <const> = ("0"):rep(64)
local BATCH <const> = 1000
local PURGED <const> = "audit.purged" -- its subject names rows; it covers what they lack

local digest_of <const> = db.digest_values -- of a salt and what it is about

-- … of the row before, number, time, event, subject and digest.
local hash_of <const> = db.digest_values

local SALT <const> = 16 -- digits: 64 random bits, which need not be secret from this process
local seed, drawn, salts, next_salt = nil, 0, "", 1

local function new_salt()
  if next_salt > #salts then
    seed, drawn = seed or sys.random_bytes(32), drawn + 1
    salts, next_salt = db.digest_values(seed, drawn), 1
  end
  next_salt = next_salt + SALT
  return salts:sub(next_salt - SALT, next_salt - 1)
end

---@class moontap.state.Event
---@field event string such as "create.sending"
---@field subject string what it happened to: "intent 12", a capture's id
---@field data table|string what is personal about it; a string is JSON already


---Columns of a SELECT that joins HEAD: where the chain ends, for those who ask for more at once.
---@type string
M.END = "(SELECT max(seq) FROM audit) AS chain_last, h.seq AS chain_seq, h.hash AS chain_hash"
---@type string
M.HEAD = " LEFT JOIN audit_head h ON h.id = 1"

local LAST <const> = "SELECT " .. M.END .. " FROM (SELECT 1)" .. M.HEAD
local ROW <const> = "(?, ?, ?, ?, ?, ?, ?, ?)"
local INSERT <const> = "INSERT INTO audit (seq, at, event, subject, digest, hash, salt, data) "
  .. "VALUES " .. ROW
local INSERT_TWO <const> = INSERT .. ", " .. ROW

-- What a row behind the one of `previous` holds besides what it says: digest, hash, salt, data.
local function seal(previous, seq, at, event)
  local data, salt = event.data, new_salt()
  local text = type(data) == "string" and data or json.encode(data)
  local digest = digest_of(salt, text)
  return digest, hash_of(previous, seq, at, event.event, event.subject, digest), salt, text
end

local function set_head(state, seq, hash)
  local changed, err = state.db:run("UPDATE audit_head SET seq = ?, hash = ?", seq, hash)
  if changed ~= 0 then return changed, err end
  return state.db:run("INSERT INTO audit_head (id, seq, hash) VALUES (1, ?, ?)", seq, hash)
end

---Adds rows, within a transaction of the caller's.
---@param state moontap.State
---@param first moontap.state.Event
---@param second? moontap.state.Event
---@param last? table a row with M.END, read in the same transaction
---@return any ok nil and an error when they could not be written
---@return table|nil err
function M.add_all(state, first, second, last)
  local ok, err
  if not last then last, err = state.db:row(LAST) end
  if not last then return nil, err end
  -- rows that something else has put there are left to those who verify
  local seq = math.max(last.chain_last or 0, last.chain_seq or 0) + 1
  local at = clock.now() + 0.0
  local digest, hash, salt, data = seal(last.chain_hash or START, seq, at, first)
  if second then
    local digest_two, hash_two, salt_two, data_two = seal(hash, seq + 1, at, second)
    ok, err = state.db:run(INSERT_TWO, seq, at, first.event, first.subject, digest, hash, salt,
      data, seq + 1, at, second.event, second.subject, digest_two, hash_two, salt_two, data_two)
    seq, hash = seq + 1, hash_two
  else
    ok, err = state.db:run(INSERT, seq, at, first.event, first.subject, digest, hash, salt, data)
  end
  if not ok then return nil, err end
  return set_head(state, seq, hash)
end

---Adds one row: see add_all.
---@param state moontap.State
---@param event string
---@param subject string
---@param data table|string
---@return any ok
---@return table|nil err
function M.add(state, event, subject, data)
  return M.add_all(state, { event = event, subject = subject, data = data })
end

-- Sets of rows as text ------------------------------------------------------------------

-- {1, 2, 3, 7} -> "rows 1-3,7"
local function name_rows(list)
  local parts, i = {}, 1
  while i <= #list do
    local from = list[i]
    while list[i + 1] == list[i] + 1 do i = i + 1 end
    parts[#parts + 1] = from == list[i] and ("%d"):format(from) or ("%d-%d"):format(from, list[i])
    i = i + 1
  end
  return "rows " .. table.concat(parts, ",")
end

-- Takes the rows that `text` names out of the set `missing`.
local function cover(missing, text)
  for from, to in text:gmatch "(%d+)%-?(%d*)" do
    from = math.tointeger(tonumber(from)) or 0
    for seq = from, to ~= "" and math.tointeger(tonumber(to)) or from do missing[seq] = nil end
  end
end

-- Verifying ------------------------------------------------------------------------------

local function break_at(report, seq, problem, ...)
  report.row, report.problem = seq, problem:format(seq, ...)
  return report
end

local function check(report, row)
  if row.seq ~= report.rows + 1 then
    return break_at(report, report.rows + 1, "row %d is missing")
  end
  if row.hash ~= hash_of(report.head, row.seq, row.at, row.event, row.subject, row.digest) then
    return break_at(report, row.seq, "row %d was changed, or one before it was taken out")
  end
  if row.data and digest_of(row.salt, row.data) ~= row.digest then
    return break_at(report, row.seq, "what row %d is about was changed")
  end
  return nil
end

-- What the rows themselves cannot show: whether there are some before or behind them.
local function check_ends(report, ends)
  local head = ends.head or 0
  if ends.first and ends.first < 1 then
    return break_at(report, ends.first, "row %d was put in")
  elseif (ends.last or 0) > head then
    return break_at(report, head + 1, "row %d was put in, or the head of the chain was changed")
  elseif (ends.last or 0) < head then
    return break_at(report, (ends.last or 0) + 1, "row %d is missing, as are all up to %d", head)
  elseif ends.hash and ends.hash ~= report.head then
    return break_at(report, head, "row %d is not the head that was written down")
  end
  return nil
end

local ENDS <const> = "SELECT (SELECT min(seq) FROM audit) AS first, (SELECT max(seq) FROM audit) "
  .. "AS last, (SELECT seq FROM audit_head) AS head, (SELECT hash FROM audit_head) AS hash"

local function go_through(state)
  local report = { rows = 0, purged = 0, head = START }
  local ends, err = state.db:row(ENDS)
  if not ends then return nil, err end
  local missing = {}
  while true do
    local rows
    rows, err = state.db:rows("SELECT * FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq "
      .. "LIMIT ?", report.rows, ends.last or 0, BATCH)
    if not rows then return nil, err end
    for _, row in ipairs(rows) do
      if check(report, row) then return report end
      report.rows, report.head = row.seq, row.hash
      if not row.data then
        report.purged = report.purged + 1
        missing[row.seq] = true
      end
      if row.event == PURGED then cover(missing, row.subject) end
    end
    if #rows < BATCH then break end
  end
  if check_ends(report, ends) then return report end
  local first
  for seq in pairs(missing) do first = math.min(first or seq, seq) end
  if first then
    break_at(report, first, "what row %d is about was taken out, and no purge says so")
  end
  return report
end

---Goes through the whole chain.
---@param state moontap.State
---@return { rows: integer, purged: integer, head: string, problem?: string, row?: integer }|nil
---  report `problem` says at which `row` the chain does not hold
---@return table|nil err
function M.verify(state)
  local report, err = go_through(state)
  -- a purge of another process in between looks like a break, once
  if report and report.problem then return go_through(state) end
  return report, err
end

---The rows of the chain, the oldest first.
---@param state moontap.State
---@param since? number
---@param after? integer rows behind this one
---@return table[]|nil rows seq, at, event, subject, hash, and data unless it was purged
---@return table|nil err
function M.rows(state, since, after)
  local rows, err = state.db:rows("SELECT seq, at, event, subject, hash, data FROM audit "
    .. "WHERE at >= ? AND seq > ? ORDER BY seq LIMIT ?", since or 0, after or 0, BATCH)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do row.data = row.data and json.decode(row.data) end
  return rows
end

-- Rows that are old, of subjects of which nothing is kept. A purge itself tells of nobody.
local OLD <const> = "SELECT a.seq FROM audit a WHERE a.seq > ?2 AND a.data IS NOT NULL "
  .. "AND a.at < ?1 AND a.event <> '" .. PURGED .. "' AND NOT (a.subject LIKE 'intent %' AND "
  .. "EXISTS (SELECT 1 FROM intents i WHERE i.id = CAST(substr(a.subject, 8) AS INTEGER) "
  .. "AND i.params IS NOT NULL)) "
  .. "AND NOT (a.subject LIKE 'capture %' AND EXISTS (SELECT 1 FROM accounts o JOIN captures c "
  .. "ON c.account = o.id AND c.id = substr(a.subject, 9) WHERE c.purged IS NULL)) "
  .. "ORDER BY a.seq LIMIT ?3"

---The rows before `at` whose subjects nothing is kept of.
---@param state moontap.State
---@param at number
---@param after integer rows behind this one
---@param most integer
---@return integer[]|nil numbers ascending
---@return table|nil err
function M.old(state, at, after, most)
  local rows, err = state.db:rows(OLD, at, after, most)
  if not rows then return nil, err end
  local numbers = {}
  for i, row in ipairs(rows) do numbers[i] = row.seq end
  return numbers
end

---Takes out what rows are about, within a transaction of the caller's.
---@param state moontap.State
---@param numbers integer[] ascending
---@return any ok
---@return table|nil err
function M.purge(state, numbers)
  for _, seq in ipairs(numbers) do
    local ok, err = state.db:run("UPDATE audit SET salt = NULL, data = NULL WHERE seq = ?", seq)
    if not ok then return nil, err end
  end
  if #numbers == 0 then return true end
  return M.add(state, PURGED, name_rows(numbers), {})
end

return M
