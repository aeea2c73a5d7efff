-- daemon: the life of `moontap cron`: loads playbooks, carries them out, loads them anew when it is
-- told to or a file changes, and ends in order.

local clock = require "moontap.clock"
local credentials = require "pcaps.credentials"
local descriptors = require "moontap.cron.descriptors"
local dues = require "moontap.state.dues"
local effects = require "moontap.effects"
local engine = require "moontap.cron.engine"
local errors = require "moontap.errors"
local files = require "moontap.cron.files"
local gate = require "moontap.gate"
local host = require "moontap.native.host"
local keeping = require "moontap.keeping"
local lock = require "moontap.lock"
local log = require "moontap.log"
local logs = require "moontap.cron.logs"
local metrics = require "moontap.cron.metrics"
local pings = require "moontap.cron.pings"
local runlog = require "moontap.cron.runlog"
local runner = require "moontap.cron.runner"
local states = require "moontap.state"
local sys = require "moontap.native.sys"
local task = require "moontap.native.task"

local sleep = effects.caller "sleep"

local M = {}

local DRAIN <const> = 60      -- seconds
local WATCH_EVERY <const> = 1
local RUNS_MAX <const> = 64
local BEAT_EVERY <const> = 60
local STOPPED <const> = 4     -- exit status after a second signal
local PUBLIC <const> = 420    -- 0644

local Daemon = {}
Daemon.__index = Daemon

-- Runs that find no descriptor fail; those that there are none for wait instead.
local function places(args)
  local wanted = args.max_runs or RUNS_MAX
  local most, limit = descriptors.runs(wanted)
  if limit then
    log.warn("cron: %d descriptors (ulimit -n) are enough for %d runs at a time, not for %d: "
      .. "others wait", limit, most, wanted)
  end
  return most
end

local function say(format, ...)
  io.stderr:write("moontap: ", log.redact(format:format(...)), "\n")
end

-- Loading ------------------------------------------------------------------------------------

local function tell_problems(one)
  for _, problem in ipairs(one.problems) do
    say("%s: %s%s", one.file, problem.path ~= "" and problem.path .. ": " or "", problem.message)
  end
end

-- The set that holds from now on: what is good, and the old version of what is broken.
function Daemon:choose(list)
  local set, broken, names = {}, {}, {}
  for _, one in ipairs(list) do
    if one.playbook then
      set[#set + 1] = one.playbook
      names[one.playbook.name] = true
    end
  end
  for _, one in ipairs(list) do
    if not one.playbook then
      broken[#broken + 1] = one.file
      tell_problems(one)
      local old = self.by_file[one.file]
      if old and not names[old.name] then
        names[old.name] = true
        set[#set + 1] = old
        say("%s: its version from before goes on", one.file)
      end
    end
  end
  return set, broken
end

---Loads everything anew, and takes it over as a whole.
---@return boolean|nil
---@return table|nil err
function Daemon:load()
  local policy, err
  if self.args.policy then
    policy, err = files.policy(self.args.policy)
    if not policy then return nil, err end
  end
  local list
  list, err = files.load(self.args.paths, self.list)
  if not list then return nil, err end
  local set, broken = self:choose(list)
  local ok
  ok, err = self.engine:set(set)
  if not ok then return nil, err end
  self.policy, self.broken, self.by_file, self.list = policy, broken, {}, list
  for _, playbook in ipairs(set) do self.by_file[playbook.file] = playbook end
  self.engine.tally:reloaded(#broken == 0)
  return #set
end

-- Loads in a task of its own, which is cancelled when the daemon is told to stop meanwhile.
function Daemon:load_apart()
  self.loading = task.spawn({ name = "loading playbooks" }, self.load, self)
  local results = table.pack(pcall(self.loading.join, self.loading))
  self.loading = nil
  if results[1] then return results[2], results[3] end
  if not self.is_stopping then error(results[2], 0) end
  return nil, errors.new("cancelled", "the daemon is stopped")
end

-- What was loaded.
local function describe(self, count)
  local bad = #self.broken
  local found = ("%d playbook%s"):format(count, count == 1 and "" or "s")
  if bad == 0 then return found end
  return ("%s, and %d file%s that cannot be used"):format(found, bad, bad == 1 and "" or "s")
end

function Daemon:reload()
  if self.is_loading then
    self.wants_reload = true
    return
  end
  self.is_loading = true
  sys.notify "RELOADING=1"
  local ok, count, err = pcall(self.load_apart, self)
  self.is_loading = false
  if self.is_stopping then return end
  if not ok then count, err = nil, errors.new("script", tostring(count)) end
  if count then
    local found = describe(self, count)
    dues.note(self.state, "reload", nil, found)
    say("loaded anew: %s", found)
  else
    self.engine.tally:reloaded(false)
    dues.note(self.state, "reload", nil, "nothing was taken over: " .. err.message)
    say("not loaded anew: %s", err.message)
  end
  sys.notify "READY=1"
  if self.wants_reload then
    self.wants_reload = false
    self:reload()
  end
end

-- What is on the disk, as text that changes when a file does.
local function picture(paths)
  local parts = {}
  for _, one in ipairs(files.find(paths) or {}) do
    local stat = sys.stat(one.file)
    parts[#parts + 1] = ("%s %s %s"):format(one.file, stat and stat.size, stat and stat.mtime)
  end
  return table.concat(parts, "\n")
end

-- `known`: the picture before files were loaded.
function Daemon:watch(known)
  while true do
    sleep(WATCH_EVERY)
    local now = picture(self.args.paths)
    if now ~= known then
      known = now
      self:reload()
    end
  end
end

-- Life ---------------------------------------------------------------------------------------

function Daemon:stop()
  if self.is_stopping then
    say "leaving at once"
    self.is_leaving = true -- captures of its runs are stopped by whoever comes next
    self.engine:cancel_all "the daemon leaves"
    host.exit(STOPPED)
  end
  self.is_stopping = true
  sys.notify "STOPPING=1"
  local left = self.engine.count
  say("stopping%s", left > 0 and ("; %d run%s still going on"):format(left,
    left == 1 and " is" or "s are") or "")
  if self.loading then self.loading:cancel "the daemon is stopped" end
  self.engine:drain(self.args.drain or DRAIN)
end

local function listen_to_signals(self)
  for _, name in ipairs { "TERM", "INT" } do
    host.on_signal(name, function() self:stop() end)
  end
  host.on_signal("HUP", function() self:reload() end)
end

-- The watchdog of the service manager is fed by the loop that does the work.
local function make_heartbeat()
  local every = tonumber(os.getenv "WATCHDOG_USEC" or "")
  if not every then return function() end end
  every = every / 2e6
  local told = 0
  return function()
    if clock.boot() - told >= every then
      told = clock.boot()
      sys.notify "WATCHDOG=1"
    end
  end
end

-- A dead-man URL is told by it too: that a machine is up says nothing about its schedules.
local function make_beat(self)
  local url, told = self.args.heartbeat, -BEAT_EVERY
  return function()
    if not url or clock.boot() - told < BEAT_EVERY then return end
    told = clock.boot()
    self.pings:beat(url)
  end
end

local function open_server(self)
  if not self.args.listen then return true end
  local server, err = metrics.listen(self.args.listen, self)
  if not server then return nil, err end
  self.server = server
  if self.args.port_file then
    return sys.write_file(self.args.port_file, ("%d\n"):format(server.port), PUBLIC)
  end
  return true
end

-- What runs that died have left at the API is settled and stopped: that is what the first call of
-- a client does. The schedule does not wait for it.
local function settle_creates(self)
  local open = dues.has_open_creates(self.state)
  if not open then return end
  task.spawn_detached({ name = "what dead runs have left" }, function()
    local ok, list, err = pcall(require "pcaps".list)
    if not ok then list, err = nil, list end
    if not list then
      log.warn("cron: what dead runs may have left at the API is not known yet: %s", tostring(err))
    end
  end)
end

-- Where it works, and how it is ended, in a line.
local function tell_place(self)
  local where = credentials.resolve {}
  local account = where and where.account_id and "account " .. where.account_id
    or "no account of its own"
  local served = ""
  if self.server then
    local address = self.args.listen:match "^(.*):%d+$"
    served = ("; metrics at http://%s:%d/metrics"):format(address, self.server.port)
  end
  say("%s%s%s; Ctrl-C or SIGTERM (process %d) ends it in order", account,
    where and " at " .. where.base_url or "", served, sys.getpid())
end

local function note_stop(self)
  dues.note(self.state, "stop", nil, "the daemon was told to stop")
  return 0
end

local function live(self)
  local ok, err = open_server(self)
  if not ok then return nil, err end
  listen_to_signals(self)
  local count
  local known = self.args.watch and picture(self.args.paths)
  self.is_loading = true
  count, err = self:load_apart()
  self.is_loading = false
  if not count and self.is_stopping then return note_stop(self) end
  if not count then return nil, err end
  ok, err = self.engine:settle()
  if not ok then return nil, err end
  settle_creates(self)
  local found = describe(self, count)
  dues.note(self.state, "start", nil, found)
  tell_place(self)
  say("%s; times are UTC unless a playbook says otherwise", found)
  sys.notify(("READY=1\nMAINPID=%d"):format(sys.getpid()))
  local watcher = known and task.spawn({ name = "watching files" }, self.watch, self, known)
  if self.wants_reload then
    self.wants_reload = false
    self:reload()
  end
  local keeper = keeping.watch(self.state)
  self.engine:run()
  self.pings:settle()
  keeping.stop(keeper)
  if watcher then
    watcher:cancel()
    pcall(watcher.join, watcher)
  end
  return note_stop(self)
end

---Runs a daemon until it is told to stop. Waits.
---@param args table of the command line
---@return integer|nil status
---@return table|nil err
function M.run(args)
  if #args.paths == 0 then
    return nil, errors.new("usage", "cron: which files or directories of playbooks?")
  end
  if args.heartbeat and not args.heartbeat:find "^https?://[^/%s]" then
    return nil, errors.new("usage", ("--heartbeat: expected a URL, got '%s'"):format(
      args.heartbeat))
  end
  local held, err = lock.take "cron"
  if not held then
    if errors.is(err, "skipped") then
      err = errors.new("skipped", "another daemon works on this state directory")
      say("%s (--state)", err.message)
    end
    return nil, err
  end
  local state
  state, err = states.current()
  if not state then return nil, err end
  gate.open()
  local self = setmetatable({ args = args, state = state, broken = {}, by_file = {},
                              pings = pings.new() }, Daemon)
  local watchdog, beat = make_heartbeat(), make_beat(self)
  self.engine = engine.new {
    state = state, runs_max = places(args), on_tick = function() watchdog() beat() end,
    log_of = function(run) return runlog.path(state.dir, run) end,
    run = runner.new { dir = state.dir, logs = logs.new(state),
                       policy = function() return self.policy end,
                       pings = self.pings },
  }
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
    for _, name in ipairs { "TERM", "INT", "HUP" } do host.on_signal(name, nil) end
    if self.server then self.server:close() end
    if args.port_file then sys.remove(args.port_file) end
    states.close(self.is_leaving)
    held:release()
  end })
  return live(self)
end

return M
