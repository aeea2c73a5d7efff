-- runlog: the log of a run, a file below the state directory. It is made when there is something to
-- keep: a run that prints nothing and ends well has none, and reading it tells as much.

local clock = require "moontap.clock"
local errors = require "moontap.errors"
local log = require "moontap.log"
local sys = require "moontap.native.sys"

local M = {}

local PRIVATE <const> = 448 -- 0700
local READ_MAX <const> = 16 << 20

local Log = {}
Log.__index = Log

---Where the log of a run is, if it has one.
---@param dir string of the state
---@param run integer
---@return string
function M.path(dir, run)
  return ("%s/logs/%d.log"):format(dir, run)
end

-- A line of the host's own.
local function line_of(at, text)
  return ("%s moontap: %s"):format(clock.format(at * 1000 // 1 / 1000),
    (log.redact(text):gsub("\n", "\n  ")))
end

local function head_of(run, playbook, nominal, attempt)
  return ("run %d of %s, due %s, attempt %d"):format(run, playbook, clock.format(nominal), attempt)
end

---The log of a run that begins.
---@param dir string of the state
---@param job moontap.cron.Job
---@return table log
function M.new(dir, job)
  local head = head_of(job.run, job.playbook.name, job.nominal, job.attempt)
  if job.late_by >= 1 then head = head .. (", %.0f s late"):format(job.late_by) end
  return setmetatable({ dir = dir, run = job.run, began = clock.now(), head = head }, Log)
end

local function make_file(self)
  local ok, err = sys.mkdir_p(self.dir .. "/logs", PRIVATE)
  if ok then self.file, err = io.open(M.path(self.dir, self.run), "w") end
  if not self.file then
    self.is_broken = true
    log.error("cron: the log of run %d cannot be written: %s", self.run, tostring(err))
    return
  end
  self.file:setvbuf "line"
  self.file:write(line_of(self.began, self.head), "\n")
end

---Adds a line.
---@param line string
function Log:write(line)
  if not self.file and not self.is_broken then make_file(self) end
  if self.file then self.file:write(line, "\n") end
end

---Adds a line of the host's own. `is_idle`: only to a log that is there already.
---@param text string
---@param is_idle? boolean
function Log:say(text, is_idle)
  if self.file or not is_idle then self:write(line_of(clock.now(), text)) end
end

---Ends the log.
---@return boolean is_kept is there a file?
function Log:close()
  local file = self.file
  if file then file:close() end
  self.file, self.is_broken = nil, true
  return file ~= nil
end

Log.__close = Log.close

---The log of a run, as it is now.
---@param dir string of the state
---@param row table of dues.runs
---@return string|nil text
---@return table|nil err
function M.read(dir, row)
  local path = M.path(dir, row.id)
  if row.log == "" then
    return nil, errors.new("io", ("the log of run %d was removed, as the oldest are when there is "
      .. "too much of all"):format(row.id))
  end
  if sys.stat(path) then return sys.read_file(path, READ_MAX) end
  local text = ""
  if row.started then
    text = line_of(row.started, head_of(row.id, row.playbook, row.nominal, row.attempt)) .. "\n"
  end
  if row.ended then
    local how = row.state == "ok" and "done" or row.state
    text = text .. line_of(row.ended, how .. "; it printed nothing") .. "\n"
  end
  return text
end

return M
