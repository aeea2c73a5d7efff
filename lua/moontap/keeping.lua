-- keeping: what is older than it is kept goes by itself, once a day: in `moontap cron`, and beside
-- a command or script that opens or fetches captures, in the pauses of which it does one thing
-- after the other. One process of the machine does it. Whatever goes wrong with it is told and
-- tried again a day later; the command neither waits for it nor fails.

local clock = require "moontap.native.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local log = require "moontap.log"
local retention = require "moontap.retention"
local task = require "moontap.native.task"

local M = {}

local DAY <const> = 86400
local LOOK <const> = 3600   -- seconds between two looks of a daemon at whether it is time
local SLICE <const> = 0.005 -- … of work after which others have their turn
local GRACE <const> = 0.25  -- … in which a process that ends may still finish it

local AHEAD <const> = 7 * DAY -- since the last purge: the machine was off, or its clock is wrong

local MARK <const> = "purging"

local worker -- the task beside this process, while there is one

-- Whoever ends before it was done leaves the rest to the next.
local function give_back(state)
  state:set_mark(MARK, 0) -- best effort: it is a day later else
end

-- Lets others run after each slice of work.
local function make_pause()
  local began = clock.boot()
  return function()
    if clock.boot() - began < SLICE then return end
    task.sleep(0)
    began = clock.boot()
  end
end

local function purge(state)
  local age, err = retention.kept_for(state)
  if not age then return age == false, err end
  local report
  report, err = retention.purge(state, age, { is_automatic = true, pause = make_pause() })
  if report then
    log.info("%d captures older than %d days were purged, %d are held", report.purged,
      age // DAY, report.held)
  end
  return report, err
end

-- Is it time? What is gone cannot be fetched again: a clock that went far ahead is given a day to
-- be put right.
local function is_due_now(state)
  local at, err = state:mark(MARK)
  if at == nil then return nil, err end
  local gap = clock.now() - (at or 0)
  if at and at > 0 and gap > AHEAD then
    log.warn("nothing is purged before tomorrow: it was done last %d days ago, as far as the clock "
      .. "is right (moontap purge does it now)", gap // DAY)
    return state:set_mark(MARK, clock.now()) and false
  end
  return state:take_mark(MARK, DAY)
end

-- Purges if it was not done today.
local function purge_if_due(state)
  local is_due, err = is_due_now(state)
  if is_due then
    host.point "purge_begun"
    local results = table.pack(pcall(purge, state))
    if not results[1] and errors.is(results[2], "cancelled") then
      give_back(state)
      error(results[2], 0)
    end
    err = (not results[1] and errors.new("io", tostring(results[2]))) or results[3]
  end
  if err then log.warn("what is too old could not be removed: %s", err.message) end
end

---Purges in the background of this process, if it was not done today. Once in a process.
---@param state moontap.State
function M.begin(state)
  if worker ~= nil then return end
  worker = false
  if config.sim or config.read_only or config.dry_run then return end
  worker = task.spawn_detached({ name = "removing what is too old" }, purge_if_due, state)
end

---Purges once a day from now on, until the task that is returned is cancelled.
---@param state moontap.State
---@return table task
function M.watch(state)
  worker = false -- its runs need not
  return task.spawn_detached({ name = "removing what is too old" }, function()
    while true do
      purge_if_due(state)
      task.sleep(LOOK)
    end
  end)
end

---Ends a task of `watch`, or what was begun, before the state is closed.
---@param one? table
function M.stop(one)
  one = one or worker
  if not one then return end
  if one == worker then pcall(moontap.timeout, GRACE, one.join, one) end
  one:cancel()
  pcall(one.join, one)
end

return M
