-- pings: tells the dead-man URLs of playbooks how their runs begin and end, and that of the daemon
-- that its loop goes on: each within a short time, those of a run in their order, and none of them
-- can fail a run.

local http = require "moontap.http"
local log = require "moontap.log"
local task = require "moontap.native.task"

local M = {}

local TIMEOUT <const> = 10 -- seconds
local TEXT_MAX <const> = 10000

local Pings = {}
Pings.__index = Pings

---@return table pings
function M.new()
  return setmetatable({ open = {} }, Pings)
end

local function url_of(playbook, run, what)
  return ("%s%s?rid=00000000-0000-4000-8000-%012x"):format(playbook.ping:gsub("/+$", ""), what, run)
end

local function send(whose, url, text)
  local ok, answer, err = pcall(http.request, { url = url, method = "POST", body = text,
    timeout = TIMEOUT })
  if ok and answer and answer.status < 300 then return end
  log.warn("cron: the ping of %s failed: %s", whose, log.redact(tostring(
    not ok and answer or err or answer.status)))
end

---Sends one; does not wait.
---@param playbook moontap.cron.Playbook
---@param run integer
---@param what "/start"|""|"/fail"
---@param text? string
function Pings:send(playbook, run, what, text)
  if not playbook.ping then return end
  local url, before = url_of(playbook, run, what), self.open[run]
  local one
  one = task.spawn_detached({ name = "ping of " .. playbook.name }, function()
    if before then pcall(before.join, before) end
    send(playbook.name, url, log.redact(text or ""):sub(1, TEXT_MAX))
    if self.open[run] == one then self.open[run] = nil end
  end)
  self.open[run] = one
end

---Tells `url` that the daemon's loop goes on, unless the last time is under way. Does not wait.
---@param url string
function Pings:beat(url)
  if self.open.beat then return end
  self.open.beat = task.spawn_detached({ name = "heartbeat" }, function()
    send("the daemon", url, "")
    self.open.beat = nil
  end)
end

---Waits for those that are on their way.
function Pings:settle()
  for _, one in pairs(self.open) do pcall(one.join, one) end
end

return M
