-- engine: the loop that carries playbooks out. It keeps the next due time of each in a heap,
-- decides about those that have come in one transaction (state/dues.lua), starts the runs that
-- were claimed, and writes down how they ended. How a run is made is the business of `run`, which
-- it is given. It knows no processes, no files and no command line.

local catchup = require "moontap.cron.catchup"
local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local effects = require "moontap.effects"
local errors = require "moontap.errors"
local heap = require "moontap.cron.heap"
local host = require "moontap.native.host"
local log = require "moontap.log"
local retries = require "moontap.cron.retries"
local starts = require "moontap.state.starts"
local sys = require "moontap.native.sys"
local tally = require "moontap.cron.tally"
local task = require "moontap.native.task"
local times = require "moontap.cron.times"
local tzdb = require "moontap.tzdb"

local sleep = effects.caller "sleep"

local M = {}

-- Seconds between two looks at the clock and at requests; below one the loop arms no timer of the
-- kernel.
local NAP <const> = 0.9
local NAP_VIRTUAL <const> = 3600
local STEP <const> = 1             -- seconds that the clock may drift between two looks
local AHEAD <const> = 300          -- … that a cursor may be in the future
local AGAIN <const> = 1            -- … until what could not be decided is tried again
local BATCH <const> = 500          -- due times in one transaction
local OLD_MAX <const> = 100000     -- … that are counted before the catch-up window
local CHECK_ZONES <const> = 60     -- naps
local PURGE_EVERY <const> = 86400
local RUNS_MAX <const> = 64
local SHARE <const> = 4            -- one playbook has the fourth part of the places at most
local FEW <const> = 8              -- runs under way, below which an end is noted at once
local TOGETHER <const> = 0.005     -- … else after so many seconds, with others that end meanwhile

---@class moontap.cron.Job what `run` is given
---@field run integer
---@field attempt integer
---@field nominal number
---@field planned number
---@field trigger string
---@field late_by number seconds
---@field playbook moontap.cron.Playbook
---@field cancel? fun(why: string) set by `run`; asks the run to end
---@field log? string its file; `run` sets it to nil when there is none
---@field quota table what its creates tell of slots
---@field forbidden? table the error of a 403
---@field cancelled? string why it was asked to end

local Engine = {}
Engine.__index = Engine

-- What is due at the same time goes by priority, then by name.
local function is_sooner(a, b)
  if a.planned ~= b.planned then return a.planned < b.planned end
  local p, q = a.entry.playbook, b.entry.playbook
  if p.priority ~= q.priority then return p.priority > q.priority end
  return p.name < q.name
end

---@param options { state: moontap.State, run: fun(job: moontap.cron.Job): any, table?,
---  runs_max?: integer, on_tick?: fun(), log_of?: fun(run: integer): string } log_of: file of a log
---@return table engine
function M.new(options)
  return setmetatable({
    state = options.state, run_job = options.run, runs_max = options.runs_max or RUNS_MAX,
    on_tick = options.on_tick or function() end, log_of = options.log_of or function() end,
    entries = {}, playbooks = {}, queue = heap.new(is_sooner),
    running = {}, ready = {}, ended = {}, held = {}, count = 0, is_dirty = true,
    nap_max = host.is_virtual() and NAP_VIRTUAL or NAP,
    tally = tally.new(),
  }, Engine)
end

local function check(ok, err)
  if ok == nil and err then log.error("cron: %s", err.message) end
  return ok
end

function Engine:note(event, playbook, message)
  log.info("cron: %s%s: %s", event, playbook and " of " .. playbook or "", message)
  check(dues.note(self.state, event, playbook, message))
end

-- Playbooks ----------------------------------------------------------------------------------

local function arm(self, entry)
  entry.nominal = entry.times:next(entry.cursor)
  entry.planned = entry.nominal and entry.times:planned(entry.nominal)
  entry.turn = (entry.turn or 0) + 1
  if entry.planned then
    self.queue:push { planned = entry.planned, entry = entry, turn = entry.turn }
  end
end

local function make_entry(self, playbook, row)
  local since = math.max(row.effective_since, not playbook.catchup_on_resume and row.resumed or 0)
  local entry = { playbook = playbook, cursor = math.max(row.cursor, since),
                  times = times.new(playbook, row.seed), fingerprint = row.fingerprint }
  local now = clock.now()
  if entry.cursor > now + AHEAD then
    self:note("cursor", playbook.name, ("it was %.0f s in the future and was set back to now")
      :format(entry.cursor - now))
    check(dues.set_cursor(self.state, playbook.name, now))
    entry.cursor = now
  end
  return entry
end

-- Those that run once after each start of the machine.
local function mark_starts(self, playbooks)
  local names, boot_id = {}, sys.boot_id()
  for _, playbook in ipairs(playbooks) do
    if playbook.on_start and playbook.enabled then names[#names + 1] = playbook.name end
  end
  if #names > 0 and boot_id then check(starts.mark(self.state, names, boot_id)) end
end

---Takes over a set of playbooks, as a whole. What did not change keeps its times.
---@param playbooks moontap.cron.Playbook[]
---@return boolean|nil
---@return table|nil err
function Engine:set(playbooks)
  local wanted, added, drawn = {}, {}, sys.random_bytes(16)
  for _, playbook in ipairs(playbooks) do
    local old = self.entries[playbook.name]
    local is_same = old and old.playbook == playbook
    local fingerprint = is_same and old.fingerprint or times.fingerprint(playbook)
    if not old or old.fingerprint ~= fingerprint then
      wanted[#wanted + 1] = { playbook = playbook.name, fingerprint = fingerprint,
                              seed = times.seed(playbook.name, drawn) }
      added[#added + 1] = playbook
    end
  end
  local rows, err = dues.open_cursors(self.state, wanted)
  if not rows then return nil, err end
  local entries, by_name = {}, {}
  for i, playbook in ipairs(added) do
    rows[i].fingerprint = wanted[i].fingerprint
    if rows[i].is_changed and rows[i].is_new == false then
      self:note("schedule", playbook.name, "it was changed, and counts from now")
    end
    entries[playbook.name] = make_entry(self, playbook, rows[i])
  end
  for _, playbook in ipairs(playbooks) do
    local name = playbook.name
    by_name[name] = playbook
    if not entries[name] then
      entries[name] = self.entries[name]
      if entries[name].playbook.jitter ~= playbook.jitter then
        entries[name].times.jitter = playbook.jitter
        entries[name].is_rearmed = true
      end
      entries[name].playbook = playbook
    end
  end
  for name, entry in pairs(self.entries) do
    if entries[name] ~= entry then entry.turn = -1 end -- its place in the heap means nothing now
  end
  local olds = self.entries
  self.entries, self.playbooks, self.is_dirty = entries, by_name, true
  self.zones_at = nil -- whoever loads anew may have changed them
  for name, entry in pairs(entries) do
    if olds[name] ~= entry or entry.is_rearmed then
      entry.is_rearmed = nil
      arm(self, entry)
    end
  end
  mark_starts(self, playbooks)
  self:wake()
  return true
end

-- Runs ---------------------------------------------------------------------------------------

-- When a failed attempt is tried again; nil and why not.
local function retry_at(self, job, err)
  if job.cancelled or job.forbidden then return nil end
  local entry = self.entries[job.playbook.name]
  return retries.at(job, err, entry and entry.times:next(clock.now()))
end

local function outcome_of(self, job, result, err)
  if result ~= nil or err == nil then return { state = "ok" } end
  local text = errors.is(err) and err.message or tostring(err)
  if not errors.is(err) then err = { kind = "script", message = text } end
  local at, why = retry_at(self, job, err)
  if why then text = text .. " (" .. why .. ")" end
  return { state = job.cancelled and "cancelled" or "failed", error = log.redact(text):sub(1, 4000),
           kind = err.kind, retry_at = at }
end

local function pause_forbidden(self, job)
  local note = "403: " .. log.redact(job.forbidden.message)
  log.error("cron: %s is paused, because the API refused it: %s", job.playbook.name, note)
  check(dues.pause(self.state, job.playbook.name, note, "the daemon"))
end

-- Notes the ends of runs: one transaction, and one sync of the disk, for all that ended by now.
-- What cannot be noted now is tried again, by the next end or the next look.
local function note_ends(self)
  if #self.ended == 0 then return end
  if not check(dues.ended(self.state, self.ended)) then return end
  self.ended, self.is_dirty = {}, true -- others may have waited for them
end

-- Returns when the end of the run is noted, by this task or by that of another run.
local function end_run(self, job, outcome)
  outcome.run, outcome.log = job.run, job.log
  self.ended[#self.ended + 1] = outcome
  pcall(sleep, self.count > FEW and TOGETHER or 0) -- cancelled: no time to wait for others
  note_ends(self)
end

local function carry_out(self, job)
  host.point "run.started"
  local began = clock.boot()
  self.tally:started(job)
  local results = table.pack(pcall(self.run_job, job))
  local result, err = results[2], results[3]
  if not results[1] then result, err = nil, results[2] end
  local outcome = outcome_of(self, job, result, err)
  self.tally:ended(job, outcome, clock.boot() - began)
  if outcome.state == "failed" and not job.forbidden then
    log.warn("cron: run %d of %s, due %s, failed%s: %s", job.run, job.playbook.name,
      clock.format(job.nominal // 1), outcome.retry_at and " and is tried again" or "",
      outcome.error:match "^[^\n]*")
  end
  outcome.at = clock.now()
  host.point "run.ending"
  end_run(self, job, outcome)
  host.point "run.ended"
  if job.forbidden then pause_forbidden(self, job) end
end

local function start(self, job)
  self.count = self.count + 1
  self.running[job.run] = job
  job.task = task.spawn({ name = ("run %d of %s"):format(job.run, job.playbook.name) }, function()
    local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
      self.running[job.run] = nil
      self.count = self.count - 1
      self.is_dirty = true
      self:wake()
    end })
    carry_out(self, job)
  end)
end

-- Those that there are places for, in their turn, and the others: a playbook whose runs pile up
-- (overlap = "allow") leaves places to the rest.
local function choose_ready(self)
  local free, most = self.runs_max - self.count, math.ceil(self.runs_max / SHARE)
  local of, jobs, others = {}, {}, {}
  for _, job in pairs(self.running) do
    of[job.playbook.name] = (of[job.playbook.name] or 0) + 1
  end
  for _, job in ipairs(self.ready) do
    local name = job.playbook.name
    local has_place = #jobs < free and (of[name] or 0) < most
    if has_place then of[name] = (of[name] or 0) + 1 end
    table.insert(has_place and jobs or others, job)
  end
  return jobs, others
end

-- What cannot be noted is not started, but tried again.
local function start_ready(self)
  if self.count >= self.runs_max or #self.ready == 0 or self.is_draining then return end
  local jobs, others = choose_ready(self)
  if #jobs == 0 then return end
  local release = tzdb.version()
  for _, job in ipairs(jobs) do
    host.point "run.claimed"
    job.log, job.tzdb = self.log_of(job.run), release
  end
  if not check(dues.started(self.state, jobs)) then return end
  self.ready = others
  for _, job in ipairs(jobs) do start(self, job) end
end

local function cancel_running(self, name, why)
  for _, job in pairs(self.running) do
    if job.playbook.name == name and not job.cancelled then
      job.cancelled = why
      if job.cancel then job.cancel(why) else job.task:cancel(why) end
    end
  end
end

local function take(self, outcome, playbook)
  if outcome.cancels then
    cancel_running(self, playbook.name, "overlap: the next one takes its place")
  end
  if outcome.verdict == "fired" then
    local due = outcome.due
    local nominal = due.nominal
    if nominal % 1 == 0 then nominal = nominal // 1 | 0 end
    self.ready[#self.ready + 1] = {
      run = outcome.run, attempt = outcome.attempt, nominal = nominal,
      planned = due.planned, trigger = due.trigger, playbook = playbook,
      late_by = math.max(0, clock.now() - due.planned), reason = outcome.reason,
      quota = self.tally:quota(playbook.name),
    }
  end
  self.tally:verdict(playbook.name, outcome)
end

-- Due times ----------------------------------------------------------------------------------

-- The due times of an entry that lie before its catch-up window: one row, when there are many.
local function take_old(entry, now, items)
  local edge = now - entry.playbook.catchup.window
  if entry.nominal >= edge then return end
  local old = entry.times:list(entry.cursor, edge, OLD_MAX)
  if #old == 0 then return end
  local last = #old
  local reason = "later than the catch-up window allows"
  if last == OLD_MAX then reason = reason .. ("; %d or more"):format(OLD_MAX) end
  if last <= BATCH then
    for _, nominal in ipairs(old) do
      items[#items + 1] = { nominal = nominal, planned = entry.times:planned(nominal),
                            verdict = "missed", reason = reason }
    end
  else
    items[#items + 1] = { nominal = old[1], planned = old[1], verdict = "missed", reason = reason,
                          through = last == OLD_MAX and edge // 1 or old[last], count = last }
  end
  entry.cursor = last == OLD_MAX and edge // 1 or old[last]
end

-- All due times of an entry that have come.
local function collect(entry, now)
  local old, items = {}, {}
  take_old(entry, now, old)
  local at = entry.cursor
  while #items < OLD_MAX do
    local nominal = entry.times:next(at)
    if not nominal then break end
    local planned = entry.times:planned(nominal)
    if planned > now then break end
    items[#items + 1] = { nominal = nominal, planned = planned }
    at = nominal
  end
  entry.cursor = at
  items = catchup.decide(entry.playbook.catchup, items, now)
  table.move(items, 1, #items, #old + 1, old)
  for _, item in ipairs(old) do item.playbook = entry.playbook end
  return old
end

local function decide(self, items)
  for first = 1, #items, BATCH do
    local batch = table.move(items, first, math.min(first + BATCH - 1, #items), 1, {})
    host.point "due.deciding"
    local outcomes, err = dues.decide(self.state, batch)
    if not outcomes then return nil, err end
    host.point "due.claimed"
    for i, outcome in ipairs(outcomes) do
      if not outcome.is_known then take(self, outcome, batch[i].playbook) end
    end
  end
  return true
end

-- Does what is due wait until the playbook goes on?
local function is_held(self, entry)
  return entry.playbook.catchup_on_resume
    and dues.pause_of(self.state, entry.playbook.name) ~= false
end

-- What waited for the end of a pause is due now.
local function release_held(self)
  for entry in pairs(self.held) do
    local is_current = self.entries[entry.playbook.name] == entry
    if not is_current or not is_held(self, entry) then
      self.held[entry] = nil
      if is_current then arm(self, entry) end
    end
  end
end

local function take_due(self, now)
  local items, entries, cursors = {}, {}, {}
  while true do
    local top = self.queue:top()
    if not top or top.planned > now then break end
    self.queue:pop()
    if top.turn == top.entry.turn and is_held(self, top.entry) then
      self.held[top.entry] = true
    elseif top.turn == top.entry.turn then
      entries[#entries + 1], cursors[#cursors + 1] = top.entry, top.entry.cursor
      local found = collect(top.entry, now)
      table.move(found, 1, #found, #items + 1, items)
    end
  end
  if #entries == 0 then return end
  local ok, err = decide(self, items)
  for i, entry in ipairs(entries) do
    if not ok then entry.cursor = cursors[i] end -- nothing was decided; it is tried again
    arm(self, entry)
  end
  if not ok then
    log.error("cron: due times could not be decided, which is tried again: %s", err.message)
    self.is_blocked = true
  end
end

-- What waits for its turn, and attempts.
local function take_waiting(self, now)
  self.attempt_at = now + AGAIN -- unless all goes well
  local outcomes, err = dues.decide_waiting(self.state, self.playbooks)
  if not outcomes then return check(nil, err) end
  for _, outcome in ipairs(outcomes) do take(self, outcome, outcome.playbook) end
  local claimed, next_at = dues.claim_attempts(self.state, self.playbooks)
  if not claimed then return check(nil, next_at) end
  for _, outcome in ipairs(claimed) do take(self, outcome, outcome.playbook) end
  self.attempt_at = next_at
end

-- The clock ----------------------------------------------------------------------------------

local function look_at_clock(self, now)
  local offset = now - clock.boot()
  local step = self.offset and offset - self.offset or 0
  self.offset = offset
  if math.abs(step) <= STEP then return end
  self.tally:stepped(step)
  self:note("clock", nil, ("it was set %s by %.0f s"):format(step > 0 and "forward" or "back",
    math.abs(step)))
  self.is_dirty = true
  for name, entry in pairs(self.entries) do
    if entry.cursor > now + AHEAD then
      self:note("cursor", name, ("it was %.0f s in the future and was set back to now"):format(
        entry.cursor - now))
      check(dues.set_cursor(self.state, name, now))
      entry.cursor = now
      arm(self, entry)
    end
  end
end

-- The next due time moves when the file of a zone has changed.
local function look_at_zones(self, now)
  local every = CHECK_ZONES * self.nap_max
  if self.zones_at and now < self.zones_at and now > self.zones_at - 2 * every then return end
  self.zones_at = now + every
  local before, version = self.tzdb or tzdb.version(), tzdb.version()
  self.tzdb = version
  local origin = before ~= version and (", tzdb %s to %s"):format(before, version)
    or (", tzdb %s"):format(version)
  if before ~= version then
    self:note("tzdb", nil, ("it went from %s to %s"):format(before, version))
  end
  for name, entry in pairs(self.entries) do
    local nominal = entry.times:next(entry.cursor)
    if nominal ~= entry.nominal then
      self:note("zone", name, ("%s has changed: the next due time moved from %s to %s%s"):format(
        entry.times:zone(), entry.nominal and clock.format(entry.nominal) or "never",
        nominal and clock.format(nominal) or "never", origin))
      arm(self, entry)
    end
  end
end

local function look_at_sleep(self, now)
  local slept = self.woken_at and now - self.woken_at or 0
  self.woken_at = now
  if slept > self.nap_max + catchup.LATE then
    self:note("late", nil, ("nothing was looked at for %.0f s: the machine slept, or was too busy")
      :format(slept))
  end
end

local function look_at_requests(self)
  local row = self.state.db:row "PRAGMA data_version"
  local version = row and row.data_version
  if version ~= self.data_version then self.is_dirty = true end
  self.data_version = version
end

local function look_at_history(self, now)
  if self.purge_at and now < self.purge_at then return end
  self.purge_at = now + PURGE_EVERY
  local logs = check(dues.purge(self.state))
  for _, path in ipairs(logs or {}) do sys.remove(path) end
end

-- The loop -----------------------------------------------------------------------------------

---Looks once at everything.
function Engine:tick()
  local now = clock.now()
  look_at_sleep(self, clock.boot())
  look_at_clock(self, now)
  look_at_requests(self)
  if not self.is_draining then
    look_at_zones(self, now)
    if self.is_dirty then release_held(self) end
    local has_attempt = self.attempt_at and self.attempt_at <= now
    if self.is_dirty or has_attempt then -- before what is due now: who waits was first
      self.is_dirty = false
      take_waiting(self, now)
    end
    self.is_blocked = false
    take_due(self, now)
    start_ready(self)
    look_at_history(self, now)
  end
  note_ends(self)
  self.tally:ticked(now)
  self.on_tick()
end

local function nap(self)
  local now, wait = clock.now(), self.nap_max
  local top = not self.is_draining and not self.is_blocked and self.queue:top()
  if top then wait = math.min(wait, top.planned - now) end
  if self.attempt_at and not self.is_draining then wait = math.min(wait, self.attempt_at - now) end
  if self.is_dirty and not self.is_draining then return end
  if wait <= 0 then return task.sleep(0) end
  local napping = task.spawn({ name = "until the next due time" }, sleep, wait)
  self.napping = napping
  pcall(napping.join, napping)
  self.napping = nil
end

---Makes the loop look again now.
function Engine:wake()
  if self.napping then self.napping:cancel() end
end

---What a daemon that died has left: its runs are lost.
---@return boolean|nil
---@return table|nil err
function Engine:settle()
  local lost, err = dues.settle_lost(self.state, function(name)
    local playbook = self.playbooks[name]
    return playbook ~= nil and playbook.on_lost == "retry"
  end)
  if not lost then return nil, err end
  for _, row in ipairs(lost) do
    log.warn("cron: run %d of %s was lost%s", row.id, row.playbook,
      row.is_retried and "; it is tried again" or "")
    self.tally:lost(row.playbook)
  end
  local now = clock.now()
  for name, playbook in pairs(self.playbooks) do
    check(dues.give_up_waiting(self.state, name, now - playbook.catchup.window))
  end
  self.is_dirty = true
  return true
end

local function give_back(self)
  for _, job in ipairs(self.ready) do check(dues.unclaim(self.state, job.run)) end
  self.ready = {}
end

---Carries playbooks out until it is drained or its task is cancelled.
function Engine:run()
  while not (self.is_draining and self.count == 0) do
    self:tick()
    if self.is_draining then
      give_back(self)
      if self.count == 0 then break end
      if clock.boot() >= self.drain_until then self:cancel_all "the daemon is stopped" end
    end
    nap(self)
  end
end

---No new runs; those under way have `seconds`, then they are asked to end.
---@param seconds number
function Engine:drain(seconds)
  self.is_draining = true
  self.drain_until = clock.boot() + seconds
  self:wake()
end

---@param why string
function Engine:cancel_all(why)
  for _, job in pairs(self.running) do
    if not job.cancelled then
      job.cancelled = why
      if job.cancel then job.cancel(why) else job.task:cancel(why) end
    end
  end
end

---The next due time of a playbook: nominal and planned, or nil.
---@param name string
---@return integer|nil
---@return number|nil
function Engine:next_of(name)
  local entry = self.entries[name]
  if not entry then return nil end
  return entry.nominal, entry.planned
end

return M
