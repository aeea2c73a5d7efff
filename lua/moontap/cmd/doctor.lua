-- doctor: whether moontap can work here: its parts, its credentials, the API, the clock, the
-- state. It asks and reads; nothing is created at the API.

local config = require "moontap.config"
local examine = require "moontap.cmd.examine"
local json = require "moontap.json"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"

---@type moontap.cmd.Command
local M = {
  summary = "check credentials, API, clock and state",
  usage = { "moontap doctor [OPTIONS]" },
  description = "Checks what moontap needs, a line each: the parts that load, time zones, "
    .. "what playbooks are shut in with, where account and credentials come from, what the "
    .. "token may read, buckets, the clock against the API's, the state directory. It only reads: "
    .. "that the token may create captures is not tested. Exit status 0 (ok, or warnings), 1 when "
    .. "something fails, 3 when it is the credentials.",
  groups = { "asking", "output" },
}

local COLOURS <const> = { ok = "32", warn = "33", fail = "31" }
local CREDENTIALS <const> = 3

local function print_checks(checks)
  local has_colour = sys.isatty(1) and (os.getenv "NO_COLOR" or "") == ""
  for _, check in ipairs(checks) do
    local status = ("%-4s"):format(check.status)
    if has_colour then status = ("\27[%sm%s\27[0m"):format(COLOURS[check.status], status) end
    if not (config.quiet and check.status == "ok") then
      print(("%s  %-12s %s"):format(status, check.name, show.line(check.message)))
    end
  end
end

local function outcome(checks)
  local status = 0
  for _, check in ipairs(checks) do
    if check.status == "fail" then
      status = math.max(status, check.is_credentials and CREDENTIALS or 1)
    end
  end
  return status
end

local function print_json(checks, status)
  local list, worst = json.array {}, "ok"
  for i, check in ipairs(checks) do
    list[i] = { name = check.name, status = check.status, message = show.line(check.message),
                data = check.data }
    local is_news = check.status ~= "ok" and not (check.data and check.data.tested == false)
    if check.status == "fail" or is_news and worst == "ok" then worst = check.status end
  end
  print(json.encode({ status = worst, exit_status = status, checks = list }, { pretty = true }))
end

function M.run()
  local checks = examine.run()
  local status = outcome(checks)
  if config.json then print_json(checks, status) else print_checks(checks) end
  return status
end

return M
