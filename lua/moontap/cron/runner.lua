-- runner: makes one run of a playbook: a process that is shut in (moontap.child), a client that
-- works for it, its log, and the captures it leaves behind. Nothing else of the daemon knows of
-- these processes.

local child = require "moontap.child.runner"
local clock = require "moontap.clock"
local config = require "moontap.config"
local creates = require "moontap.cron.creates"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local files = require "moontap.cron.files"
local gate = require "moontap.gate"
local host = require "moontap.native.host"
local log = require "moontap.log"
local opened = require "pcaps.opened"
local outside = require "moontap.cron.outside"
local pcaps = require "pcaps"
local pings = require "moontap.cron.pings"
local rules = require "moontap.gate.rules"
local runlog = require "moontap.cron.runlog"
local secrets = require "moontap.secrets"
local stops = require "moontap.gate.stops"

local M = {}

local STOP_TIMEOUT <const> = 10
local CALLS <const> = 50 -- of a run, in a second; a wait makes two at most

local function client_of(job, policy)
  local options = {}
  if job.playbook.account then options.account = job.playbook.account end
  local ok, client, err = pcall(pcaps.client, options)
  if not ok then return nil, errors.new("usage", tostring(client)) end
  if not client then return nil, err end
  gate.set_caller(client, {
    playbook = job.playbook.name, run = ("run %d"):format(job.run),
    priority = job.playbook.priority, quota = job.quota,
    rules = rules.join(job.playbook.name, job.playbook.grants, policy),
  })
  return client
end

-- Notes a 403, of whatever kind, after which the playbook is paused, and the full captures that a
-- run opens.
local function watched(job, fn)
  return function(...)
    local result, err = fn(...)
    if err ~= nil and errors.is(err) and err.status == 403 then
      job.forbidden = err
    end
    return result, err
  end
end

local function effects_of(job, client)
  local function create(params, options, call)
    local cap, err = client.create(params, options)
    if cap and cap.type == "full" then
      job.captures[#job.captures + 1] = { cap = cap, is_detached = options.detach, call = call }
    end
    return cap, err
  end
  local effects = { ["pcaps.create"] = watched(job, function(params, options)
    return job.creates:call(create, params, options)
  end) }
  for _, verb in ipairs { "get", "list", "stop" } do
    effects["pcaps." .. verb] = watched(job, client[verb])
  end
  for _, verb in ipairs { "create", "list", "delete", "validate" } do
    effects["pcaps.ownership." .. verb] = watched(job, client.ownership[verb])
  end
  local set = gate.caller(client).rules
  effects["pcaps.download"] = watched(job, function(id, path, options)
    if path ~= nil then
      local ok, err = outside.may_write(set, path)
      if not ok then return nil, err end
    end
    local written, err = client.download(id, path, options)
    if written then job.files[written] = true end
    return written, err
  end)
  effects["http.request"] = outside.http(set)
  effects["file.open"] = outside.open(set, job.files)
  return effects
end

-- The captures of a run that did not end well are stopped, and one that its run knows nothing of;
-- others are left to go on. That is the host's business, whatever the playbook may do.
local function look_after(job, is_good)
  local run, context = gate.caller(job.client).run, gate.context(job.client)
  local account = context and context.account or nil
  gate.set_caller(job.client, nil)
  for _, one in ipairs(job.captures) do
    local cap = one.cap
    local is_wanted = is_good and not one.call.is_left
    if not is_wanted and stops.is_needed(account, cap.id, run) then
      log.info("cron: capture %s of run %d goes on, for another run got it too", cap.id, job.run)
    elseif not is_wanted and not one.is_detached and not cap:done() then
      local ok, err = cap:stop { timeout = STOP_TIMEOUT, deadline = STOP_TIMEOUT, force = true }
      if ok then
        log.warn("cron: stopped capture %s of run %d, which did not end well", cap.id, job.run)
      else
        log.warn("cron: capture %s of run %d goes on: %s", cap.id, job.run, err.message)
      end
    elseif is_good then
      if account then account:detach(cap.id) end
    end
    opened.forget(cap)
  end
end

local function context_of(job)
  return { nominal = job.nominal // 1 | 0, late_by = job.late_by, run_id = job.run,
           attempt = job.attempt, playbook = job.playbook.name,
           event = { trigger = job.trigger, nominal = clock.format(job.nominal) } }
end

-- The file of the playbook as it was loaded, and those of its tree as they are now.
local function tree_of(playbook)
  local find = files.source_of(playbook.root)
  return setmetatable({ [playbook.file] = playbook.source }, { __index = function(_, path)
    local name = type(path) == "string" and path:match "^([%w_/-]+)%.lua$"
    return name and find((name:gsub("/", "."))) or nil
  end })
end

-- Runs the function in its process.
local function perform(job, client, lines)
  local playbook = job.playbook
  return child.run {
    files = tree_of(playbook), entry = playbook.file,
    fn = "run", ctx = context_of(job), effects = effects_of(job, client),
    limits = { timeout = playbook.timeout, calls_per_second = CALLS * config.speed },
    tz = playbook.tz or "UTC", speed = config.speed,
    on_log = function(line) -- what a playbook prints does not look like the host's own words
      lines:write((line:gsub("^(%S+ )(moontap: )", "%1| %2")))
    end, mask = log.redact, secrets = secrets.list(),
    on_start = function(session)
      job.cancel = function() session:cancel() end
      if job.cancelled then session:cancel() end
    end,
  }
end

-- Which limit ended a run, and where it is raised.
local function explain_timeout(playbook, err)
  if not errors.is(err, "timeout") or not err.message:find "^time was up" then return end
  err.message = ("%s: a run of it may take %s (its field timeout)"):format(err.message,
    duration.format(playbook.timeout))
end

---A function that makes runs.
---@param options { dir: string, policy?: (fun(): table|nil), pings?: table, logs?: table } dir:
---  of the state
---@return fun(job: moontap.cron.Job): any, table?
function M.new(options)
  local tell = options.pings or pings.new()
  return function(job)
    local lines <close> = runlog.new(options.dir, job)
    job.captures, job.files, job.creates = {}, {}, creates.new()
    local client, err = client_of(job, options.policy and options.policy())
    if not client then
      lines:say("failed: " .. err.message)
      return nil, err
    end
    job.client = client
    tell:send(job.playbook, job.run, "/start")
    local result
    local ok, why = pcall(function() result, err = perform(job, client, lines) end)
    job.creates:settle()
    if not ok then result, err = nil, why end
    explain_timeout(job.playbook, err)
    local is_good = result ~= nil or err == nil
    host.point "run.performed"
    look_after(job, is_good)
    local text = is_good and "done" or ("failed: %s"):format(errors.is(err)
      and ("%s: %s"):format(err.kind, err.message) or tostring(err))
    lines:say(text, is_good)
    if not is_good and errors.is(err) and err.traceback then lines:say(err.traceback) end
    if not lines:close() then
      job.log = nil
    elseif options.logs then
      options.logs:added(runlog.path(options.dir, job.run))
    end
    tell:send(job.playbook, job.run, is_good and "" or "/fail", text)
    if result == nil and err == nil then return true end
    return result, err
  end
end

return M
