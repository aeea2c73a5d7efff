-- dues: what the store knows of playbooks: where their schedules stand, the verdict of each due
-- time, the runs. Each function is one transaction. A claim is on the disk before its run starts.

local atomic = require "moontap.state.atomic"
local clock = require "moontap.clock"
local owners = require "moontap.state.owners"

local must = atomic.must

local M = {}

local ACTIVE <const> = "state IN ('waiting', 'claimed', 'running')"
local LOST_MAX <const> = 3 -- attempts of one due time that may get lost

-- Cursors ----------------------------------------------------------------------------------

local function open_cursor(db, wanted)
  local row = must(db:row("SELECT * FROM cursors WHERE playbook = ?", wanted.playbook))
  if row and row.fingerprint == wanted.fingerprint then return row end
  local now = clock.now()
  must(db:run("INSERT INTO cursors (playbook, cursor, effective_since, fingerprint, seed) "
    .. "VALUES (?1, ?2, ?2, ?3, ?4) ON CONFLICT (playbook) DO UPDATE SET cursor = ?2, "
    .. "effective_since = ?2, fingerprint = ?3", wanted.playbook, now, wanted.fingerprint,
    wanted.seed))
  return { playbook = wanted.playbook, cursor = now, effective_since = now,
           seed = row and row.seed or wanted.seed, is_new = not row, is_changed = row ~= false }
end

---Where the schedules of playbooks stand. One that is new, or changed, starts now.
---@param state moontap.State
---@param wanted { playbook: string, fingerprint: string, seed: integer }[] seed: for a new one
---@return { cursor: number, effective_since: number, seed: integer, is_new?: boolean,
---  is_changed?: boolean }[]|nil
---@return table|nil err
function M.open_cursors(state, wanted)
  return atomic.run(state.db, false, function()
    local rows = {}
    for i, item in ipairs(wanted) do rows[i] = open_cursor(state.db, item) end
    return rows
  end)
end

---Sets a cursor that lies in the future back.
---@param state moontap.State
---@param playbook string
---@param at number
---@return any ok
---@return table|nil err
function M.set_cursor(state, playbook, at)
  return state.db:run("UPDATE cursors SET cursor = ?2 WHERE playbook = ?1", playbook, at)
end

-- Claims -----------------------------------------------------------------------------------

local function verdict_of(db, due, verdict, reason)
  must(db:run("UPDATE dues SET verdict = ?, reason = ?, decided = ? WHERE id = ?", verdict, reason,
    clock.now(), due))
end

-- What a due time has to wait for: another run, or a mutex.
local function obstacle(db, playbook)
  if playbook.overlap ~= "allow" then
    local run = must(db:row("SELECT id, attempt FROM runs WHERE playbook = ? AND " .. ACTIVE
      .. " ORDER BY id LIMIT 1", playbook.name))
    if run then return ("overlap: run %d goes on"):format(run.id), "overlap" end
  end
  for _, name in ipairs(playbook.uses) do
    local held = must(db:row("SELECT r.id, r.playbook FROM mutexes m JOIN runs r ON r.id = m.run "
      .. "WHERE m.name = ?", name))
    if held then
      return ("mutex: %s is in use by run %d of %s"):format(name, held.id, held.playbook), "mutex"
    end
  end
end

local function take_mutexes(db, playbook, run)
  for _, name in ipairs(playbook.uses) do
    must(db:run("INSERT INTO mutexes (name, run) VALUES (?, ?)", name, run))
  end
end

local function claim(state, playbook, due, decided)
  local db = state.db
  verdict_of(db, due, "fired", decided)
  local now = clock.now()
  local _, run = must(db:run("INSERT INTO runs (due, playbook, attempt, state, at, owner, claimed, "
    .. "version) VALUES (?1, ?2, 1, 'claimed', ?3, ?4, ?3, ?5)", due, playbook.name, now,
    state.owner.id, playbook.version))
  take_mutexes(db, playbook, run)
  return run
end

local function count_waiting(db, name, before)
  return must(db:row("SELECT count(*) AS n FROM dues WHERE playbook = ? AND verdict IS NULL "
    .. "AND nominal < ?", name, before)).n
end

-- A due time whose turn it is not: skipped, or it waits.
local function put_off(db, playbook, due, why, kind)
  if playbook.overlap == "cancel" then
    must(db:run("UPDATE dues SET verdict = 'skipped', reason = 'overlap: a later one took its "
      .. "place', decided = ?3 WHERE playbook = ?1 AND verdict IS NULL AND id <> ?2",
      playbook.name, due.id, clock.now()))
    return { waits = true, cancels = kind == "overlap" }
  end
  if playbook.overlap == "skip" then
    verdict_of(db, due.id, "skipped", why)
    return { verdict = "skipped", reason = why }
  end
  if count_waiting(db, playbook.name, due.nominal) >= playbook.max_queue then
    local reason = ("queue: %d wait already; %s"):format(playbook.max_queue, why)
    verdict_of(db, due.id, "skipped", reason)
    return { verdict = "skipped", reason = reason }
  end
  return { waits = true }
end

-- Decides about a due time that stands in the table without a verdict.
local function decide(state, playbook, due)
  local db = state.db
  local pause = must(db:row("SELECT note FROM pauses WHERE playbook = ?", playbook.name))
  if pause and due.trigger ~= "manual" then
    local reason = "paused: " .. pause.note
    verdict_of(db, due.id, "skipped", reason)
    return { verdict = "skipped", reason = reason }
  end
  local why, kind = obstacle(db, playbook)
  if why then return put_off(db, playbook, due, why, kind) end
  local run = claim(state, playbook, due.id, due.reason)
  return { verdict = "fired", run = run, due = due, attempt = 1 }
end

local function decide_item(state, item)
  local db, playbook = state.db, item.playbook
  local changed, id = must(db:run("INSERT OR IGNORE INTO dues (playbook, nominal, planned, "
    .. "trigger, verdict, reason, decided, through, count) VALUES (?, ?, ?, 'cron', ?, ?, ?, ?, ?)",
    playbook.name, item.nominal, item.planned, item.verdict, item.reason,
    item.verdict and clock.now(), item.through, item.count or 1))
  must(db:run("UPDATE cursors SET cursor = max(cursor, ?2) WHERE playbook = ?1", playbook.name,
    item.through or item.nominal))
  if changed == 0 then return { is_known = true } end
  if item.verdict then return { verdict = item.verdict, reason = item.reason } end
  return decide(state, playbook, { id = id, nominal = item.nominal, planned = item.planned,
                                   trigger = "cron", reason = item.reason })
end

---Decides about due times that have come, and moves the cursors. Durable.
---@param state moontap.State
---@param items { playbook: table, nominal: number, planned: number, verdict?: string,
---  reason?: string, through?: number, count?: integer }[] those with a verdict have it already
---@return { verdict?: string, reason?: string, run?: integer, due?: table, waits?: boolean,
---  cancels?: boolean, is_known?: boolean }[]|nil outcomes one for each item
---@return table|nil err
function M.decide(state, items)
  return atomic.run(state.db, true, function()
    local outcomes = {}
    for i, item in ipairs(items) do outcomes[i] = decide_item(state, item) end
    return outcomes
  end)
end

---Decides again about due times that wait, the urgent first. Durable.
---@param state moontap.State
---@param playbooks table<string, table> by name
---@return table[]|nil outcomes as of `decide`, of those that fire, each with its `playbook`
---@return table|nil err
function M.decide_waiting(state, playbooks)
  local db = state.db
  local rows, err = db:rows "SELECT * FROM dues WHERE verdict IS NULL ORDER BY nominal"
  if not rows or #rows == 0 then return rows, err end
  table.sort(rows, function(a, b)
    local p, q = playbooks[a.playbook], playbooks[b.playbook]
    local m, n = p and p.priority or 0, q and q.priority or 0
    if m ~= n then return m > n end
    if a.nominal ~= b.nominal then return a.nominal < b.nominal end
    return a.id < b.id
  end)
  return atomic.run(db, true, function()
    local outcomes, blocked = {}, {}
    for _, due in ipairs(rows) do
      local playbook = playbooks[due.playbook]
      if not playbook then
        verdict_of(db, due.id, "skipped", "the playbook is not there any more")
      elseif not blocked[due.playbook] then
        local pause = due.trigger ~= "manual"
          and must(db:row("SELECT 1 AS is_so FROM pauses WHERE playbook = ?", due.playbook))
        local why, kind = nil, nil
        if not pause then why, kind = obstacle(db, playbook) end
        if why then
          blocked[due.playbook] = true
          if kind == "overlap" and playbook.overlap == "cancel" then
            outcomes[#outcomes + 1] = { waits = true, cancels = true, playbook = playbook }
          end
        else
          local outcome = decide(state, playbook, due)
          outcome.playbook = playbook
          outcomes[#outcomes + 1] = outcome
        end
      end
    end
    return outcomes
  end)
end

---Attempts whose time has come. Durable.
---@param state moontap.State
---@param playbooks table<string, table> by name
---@return table[]|nil outcomes as of `decide_waiting`
---@return number|table|nil next when the next one is due; or the error
function M.claim_attempts(state, playbooks)
  local db = state.db
  local rows, err = db:rows("SELECT r.id AS run, r.attempt, r.at, d.id, d.playbook, d.nominal, "
    .. "d.planned, d.trigger FROM runs r JOIN dues d ON d.id = r.due WHERE r.state = 'waiting' "
    .. "AND r." .. ACTIVE .. " ORDER BY r.at, r.id")
  if not rows then return nil, err end
  local now, next_at, ready = clock.now(), nil, {}
  for _, row in ipairs(rows) do
    if row.at <= now then
      ready[#ready + 1] = row
    else
      next_at = math.min(next_at or row.at, row.at)
    end
  end
  if #ready == 0 then return {}, next_at end
  local outcomes
  outcomes, err = atomic.run(db, true, function()
    local list = {}
    for _, row in ipairs(ready) do
      local playbook = playbooks[row.playbook]
      if not playbook then
        must(db:run("UPDATE runs SET state = 'cancelled', ended = ?, error = 'the playbook is not "
          .. "there any more' WHERE id = ?", now, row.run))
      else
        local is_free = true
        for _, name in ipairs(playbook.uses) do
          is_free = is_free and not must(db:row("SELECT run FROM mutexes WHERE name = ?", name))
        end
        if is_free then
          must(db:run("UPDATE runs SET state = 'claimed', claimed = ?, owner = ?, version = ? "
            .. "WHERE id = ?", now, state.owner.id, playbook.version, row.run))
          take_mutexes(db, playbook, row.run)
          list[#list + 1] = { verdict = "fired", run = row.run, attempt = row.attempt, due = row,
                              playbook = playbook }
        else
          next_at = math.min(next_at or now + 1, now + 1)
        end
      end
    end
    return list
  end)
  if not outcomes then return nil, err end
  return outcomes, next_at
end

-- Runs -------------------------------------------------------------------------------------

---Notes that runs have begun.
---@param state moontap.State
---@param list { run: integer, log?: string, tzdb?: string }[] tzdb: release of the tz database
---@return any ok
---@return table|nil err
function M.started(state, list)
  local db = state.db
  return atomic.run(db, false, function()
    for _, item in ipairs(list) do
      must(db:run("UPDATE runs SET state = 'running', started = ?, log = ?, tzdb = ? WHERE id = ?",
        clock.now(), item.log, item.tzdb, item.run))
    end
    return true
  end)
end

local function add_attempt(db, row, at)
  must(db:run("INSERT OR IGNORE INTO runs (due, playbook, attempt, state, at) VALUES (?, ?, ?, "
    .. "'waiting', ?)", row.due, row.playbook, row.attempt + 1, at))
end

---Gives a claim back whose run did not start: it is claimed again by whoever comes next.
---@param state moontap.State
---@param run integer
---@return any ok
---@return table|nil err
function M.unclaim(state, run)
  local db = state.db
  return atomic.run(db, true, function()
    must(db:run("DELETE FROM mutexes WHERE run = ?", run))
    must(db:run("UPDATE runs SET state = 'waiting', owner = NULL, claimed = NULL WHERE id = ?",
      run))
    return true
  end)
end

local function note_end(db, item)
  must(db:run("UPDATE runs SET state = ?, ended = ?, error = ?, error_kind = ?, log = ? "
    .. "WHERE id = ?", item.state, item.at or clock.now(), item.error, item.kind, item.log,
    item.run))
  must(db:run("DELETE FROM mutexes WHERE run = ?", item.run))
  if item.retry_at then
    add_attempt(db, must(db:row("SELECT due, playbook, attempt FROM runs WHERE id = ?", item.run)),
      item.retry_at)
  end
end

---Notes how runs have ended. Durable.
---@param state moontap.State
---@param list { run: integer, state: string, at?: number, error?: string, kind?: string,
---  retry_at?: number,
---  log?: string }[]
---@return any ok
---@return table|nil err
function M.ended(state, list)
  return atomic.run(state.db, true, function()
    for _, item in ipairs(list) do note_end(state.db, item) end
    return true
  end)
end

---Runs whose process has died are lost; their due times get a new attempt, or that verdict.
---Durable.
---@param state moontap.State
---@param retries fun(playbook: string): boolean is a lost run of it tried again?
---@return table[]|nil lost
---@return table|nil err
function M.settle_lost(state, retries)
  local db = state.db
  local ok, err = owners.declare(state)
  if not ok then return nil, err end
  local rows
  rows, err = db:rows "SELECT * FROM runs WHERE state IN ('claimed', 'running') ORDER BY id"
  if not rows then return nil, err end
  local lost, alive = {}, {}
  for _, row in ipairs(rows) do
    if alive[row.owner] == nil then
      alive[row.owner] = row.owner ~= state.owner.id and owners.is_alive(state, row.owner)
    end
    if not alive[row.owner] and row.owner ~= state.owner.id then lost[#lost + 1] = row end
  end
  if #lost == 0 then return lost end
  ok, err = atomic.run(db, true, function()
    for _, row in ipairs(lost) do
      must(db:run("UPDATE runs SET state = 'lost', ended = ?, error = 'the daemon died' "
        .. "WHERE id = ?", clock.now(), row.id))
      must(db:run("DELETE FROM mutexes WHERE run = ?", row.id))
      local times = must(db:row("SELECT count(*) AS n FROM runs WHERE due = ? AND state = 'lost'",
        row.due)).n
      if retries(row.playbook) and times < LOST_MAX then
        add_attempt(db, row, clock.now())
        row.is_retried = true
      else
        verdict_of(db, row.due, "lost", ("run %d was lost: the daemon died"):format(row.id))
      end
    end
    return true
  end)
  return ok and lost, err
end

---Due times that waited while no daemon ran, longer than their playbooks catch up.
---@param state moontap.State
---@param name string
---@param before number
---@return any ok
---@return table|nil err
function M.give_up_waiting(state, name, before)
  return state.db:run("UPDATE dues SET verdict = 'missed', reason = 'it waited for its turn longer "
    .. "than the catch-up window', decided = ?3 WHERE playbook = ?1 AND verdict IS NULL AND "
    .. "planned < ?2 AND trigger = 'cron'", name, before, clock.now())
end

---Are there creates whose outcome is open, or full captures that may still run?
---@param state moontap.State
---@return boolean
function M.has_open_creates(state)
  local row = state.db:row("SELECT EXISTS (SELECT 1 FROM intents WHERE settled IS NULL) OR EXISTS "
    .. "(SELECT 1 FROM captures WHERE is_done = 0 AND type = 'full' AND is_detached = 0) AS is_so")
  return row ~= nil and row ~= false and row.is_so == 1
end

-- What people do ---------------------------------------------------------------------------

---Asks for a run beside the schedule. The daemon, or the next one, starts it.
---@param state moontap.State
---@param playbook string
---@return integer|nil due
---@return table|nil err
function M.trigger(state, playbook)
  local db = state.db
  return atomic.run(db, true, function()
    local at = clock.now()
    if at % 1 == 0 then at = at + 0.001 end -- a whole second may be one of the schedule's
    while must(db:row("SELECT id FROM dues WHERE playbook = ? AND nominal = ?", playbook, at)) do
      at = at + 0.001
    end
    local _, id = must(db:run("INSERT INTO dues (playbook, nominal, planned, trigger, reason) "
      .. "VALUES (?1, ?2, ?2, 'manual', ?3)", playbook, at, "triggered by " .. state.owner.who))
    return id
  end)
end

---@param state moontap.State
---@param playbook string
---@param note string
---@param who? string when it is not whom this process belongs to
---@return any ok
---@return table|nil err
function M.pause(state, playbook, note, who)
  local db = state.db
  who = who or state.owner.who
  return atomic.run(db, true, function()
    must(db:run("INSERT INTO pauses (playbook, at, who, note) VALUES (?, ?, ?, ?) ON CONFLICT "
      .. "(playbook) DO UPDATE SET note = excluded.note, who = excluded.who, at = excluded.at",
      playbook, clock.now(), who, note))
    must(M.note(state, "paused", playbook, ("by %s: %s"):format(who, note)))
    return true
  end)
end

---Takes a pause back. What was due meanwhile is made up for only where its playbook says so.
---@param state moontap.State
---@param playbook string
---@param note? string
---@return boolean|nil was_paused
---@return table|nil err
function M.resume(state, playbook, note)
  local db = state.db
  return atomic.run(db, true, function()
    local changed = must(db:run("DELETE FROM pauses WHERE playbook = ?", playbook))
    if changed == 0 then return false end
    must(db:run("UPDATE cursors SET resumed = ?2 WHERE playbook = ?1", playbook, clock.now()))
    must(M.note(state, "resumed", playbook, ("by %s%s"):format(state.owner.who,
      note and ": " .. note or "")))
    return true
  end)
end

---@param state moontap.State
---@param playbook string
---@return table|false|nil pause
---@return table|nil err
function M.pause_of(state, playbook)
  return state.db:row("SELECT * FROM pauses WHERE playbook = ?", playbook)
end

---All pauses, by playbook.
---@param state moontap.State
---@return table<string, table>|nil
---@return table|nil err
function M.pauses(state)
  local rows, err = state.db:rows "SELECT * FROM pauses ORDER BY playbook"
  if not rows then return nil, err end
  local by_name = {}
  for _, row in ipairs(rows) do by_name[row.playbook] = row end
  return by_name
end

-- Writing down and looking up --------------------------------------------------------------

---Writes down what a schedule has met. May stand in a transaction of the caller's.
---@param state moontap.State
---@param event string
---@param playbook? string
---@param message string
---@return any ok
---@return table|nil err
function M.note(state, event, playbook, message)
  return state.db:run("INSERT INTO happenings (at, event, playbook, message) VALUES (?, ?, ?, ?)",
    clock.now(), event, playbook, message)
end

---@param state moontap.State
---@param limit integer
---@return table[]|nil rows the newest first
---@return table|nil err
function M.happenings(state, limit)
  return state.db:rows("SELECT * FROM happenings ORDER BY id DESC LIMIT ?", limit)
end

---Due times with their verdicts, the newest first.
---@param state moontap.State
---@param filter { playbook?: string, limit: integer }
---@return table[]|nil
---@return table|nil err
function M.history(state, filter)
  return state.db:rows("SELECT d.*, (SELECT max(attempt) FROM runs WHERE due = d.id) AS attempts, "
    .. "(SELECT id FROM runs WHERE due = d.id ORDER BY attempt DESC LIMIT 1) AS run, "
    .. "(SELECT state FROM runs WHERE due = d.id ORDER BY attempt DESC LIMIT 1) AS result "
    .. "FROM dues d WHERE (?1 IS NULL OR d.playbook = ?1) ORDER BY d.nominal DESC, d.id DESC "
    .. "LIMIT ?2", filter.playbook, filter.limit)
end

---@param state moontap.State
---@param filter { playbook?: string, open?: boolean, limit: integer, id?: integer }
---@return table[]|nil rows the newest first
---@return table|nil err
function M.runs(state, filter)
  return state.db:rows("SELECT r.*, d.nominal, d.trigger FROM runs r JOIN dues d ON d.id = r.due "
    .. "WHERE (?1 IS NULL OR r.playbook = ?1) AND (?2 IS NULL OR r.id = ?2) AND (?3 = 0 OR r."
    .. ACTIVE .. ") ORDER BY r.id DESC LIMIT ?4", filter.playbook, filter.id,
    filter.open and 1 or 0, filter.limit)
end

---Runs that have ended and have a log, those that went well first, the oldest first.
---@param state moontap.State
---@return { id: integer, log: string }[]|nil
---@return table|nil err
function M.logged(state)
  return state.db:rows("SELECT id, log FROM runs WHERE log <> '' AND ended IS NOT NULL "
    .. "ORDER BY state <> 'ok', id")
end

---Notes that the logs of runs were removed: they have the name "".
---@param state moontap.State
---@param runs integer[]
---@return any ok
---@return table|nil err
function M.forget_logs(state, runs)
  return atomic.run(state.db, false, function()
    for _, run in ipairs(runs) do
      must(state.db:run("UPDATE runs SET log = '' WHERE id = ?", run))
    end
    return true
  end)
end

---What became of the due time of a playbook at `at`, and of its neighbours when there is none.
---@param state moontap.State
---@param playbook string
---@param at number
---@return table|nil due with `runs`; false: none
---@return table|nil err
function M.find(state, playbook, at)
  local due, err = state.db:row("SELECT * FROM dues WHERE playbook = ?1 AND nominal <= ?2 AND "
    .. "ifnull(through, nominal) >= ?3 ORDER BY nominal DESC LIMIT 1", playbook, at + 0.5, at - 0.5)
  if not due then return due, err end
  due.runs, err = state.db:rows("SELECT * FROM runs WHERE due = ? ORDER BY attempt", due.id)
  if not due.runs then return nil, err end
  return due
end

---@param state moontap.State
---@param playbook string
---@return table|nil row false: never seen
---@return table|nil err
function M.cursor(state, playbook)
  return state.db:row("SELECT * FROM cursors WHERE playbook = ?", playbook)
end

---What ~ is drawn from, of each playbook that was ever scheduled here.
---@param state moontap.State
---@return table<string, integer>|nil
---@return table|nil err
function M.seeds(state)
  local rows, err = state.db:rows "SELECT playbook, seed FROM cursors"
  if not rows then return nil, err end
  local seeds = {}
  for _, row in ipairs(rows) do seeds[row.playbook] = row.seed end
  return seeds
end

---Names of all playbooks that were ever scheduled here.
---@param state moontap.State
---@return string[]|nil
---@return table|nil err
function M.names(state)
  local rows, err = state.db:rows "SELECT playbook FROM cursors ORDER BY playbook"
  if not rows then return nil, err end
  local names = {}
  for i, row in ipairs(rows) do names[i] = row.playbook end
  return names
end

---Counts a create of a playbook, unless that would be more than `max` today. Durable.
---@param state moontap.State
---@param playbook string
---@param max integer
---@return boolean|nil is_allowed
---@return table|nil err
function M.use(state, playbook, max)
  local db, day = state.db, clock.format(clock.now() // 1):sub(1, 10)
  return atomic.run(db, true, function()
    local row = must(db:row("SELECT count FROM used WHERE playbook = ? AND day = ?", playbook, day))
    if (row and row.count or 0) >= max then return false end
    must(db:run("INSERT INTO used (playbook, day, count) VALUES (?, ?, 1) ON CONFLICT (playbook, "
      .. "day) DO UPDATE SET count = count + 1", playbook, day))
    return true
  end)
end

local KEPT_ROWS <const> = 200
local KEPT <const>, KEPT_FAILED <const> = 30 * 86400, 90 * 86400

---Takes out history that is old. Cursors stay.
---@param state moontap.State
---@return string[]|nil logs files that nothing names any more
---@return table|nil err
function M.purge(state)
  local db, now = state.db, clock.now()
  return atomic.run(db, false, function()
    local old = must(db:rows("SELECT id FROM (SELECT d.id, row_number() OVER (PARTITION BY "
      .. "playbook ORDER BY nominal DESC) AS place, decided, EXISTS (SELECT 1 FROM runs r WHERE "
      .. "r.due = d.id AND r.state IN ('failed', 'lost', 'cancelled')) AS has_failed, EXISTS "
      .. "(SELECT 1 FROM runs r WHERE r.due = d.id AND r." .. ACTIVE .. ") AS is_open FROM dues d "
      .. "WHERE verdict IS NOT NULL) WHERE place > ?1 AND NOT is_open AND decided < "
      .. "CASE WHEN has_failed THEN ?3 ELSE ?2 END", KEPT_ROWS, now - KEPT, now - KEPT_FAILED))
    local logs = {}
    for _, due in ipairs(old) do
      for _, run in ipairs(must(db:rows("SELECT log FROM runs WHERE due = ? AND log <> ''",
        due.id))) do
        logs[#logs + 1] = run.log
      end
      must(db:run("DELETE FROM runs WHERE due = ?", due.id))
      must(db:run("DELETE FROM dues WHERE id = ?", due.id))
    end
    must(db:run("DELETE FROM happenings WHERE at < ?", now - KEPT_FAILED))
    must(db:run("DELETE FROM used WHERE day < ?", clock.format((now - KEPT) // 1):sub(1, 10)))
    return logs
  end)
end

return M
