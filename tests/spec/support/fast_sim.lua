-- A simulator of its own process whose times are divided by much, for specs in which many processes
-- share an account for long; and what the state that they share says afterwards.

local command = require "support.command"
local http = require "moontap.http"
local json = require "moontap.json"

local M = {}

local LIST_ALL <const> = 1000000

local Sim = {}
Sim.__index = Sim

--- Starts one below `dir`; `env` is what its clients need.
---@param dir string
---@param speed number
---@param ... string more words for `moontap sim`
---@return table
function M.start(dir, speed, ...)
  local process = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--speed",
    tostring(speed), "--knob", "rate_limit=0", "--knob", "retention_max=" .. LIST_ALL, ... },
    { cwd = dir, limit = 600 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  local env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in process.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
  return setmetatable({ process = process, dir = dir, speed = speed, env = env }, Sim)
end

--- Ends it.
function Sim:stop()
  self.process.stop()
end

-- Asks its control path.
local function control(self, method, path, body)
  local answer = assert(http.request { method = method, body = body and json.encode(body),
    headers = body and { ["Content-Type"] = "application/json" } or nil,
    url = self.env.CLOUDFLARE_BASE_URL:match "^http://[^/]+" .. "/_sim" .. path })
  assert(answer.status < 300, answer.body)
end

--- All captures that it has, asked for without faults; whatever was open is settled by that.
---@return table[]
function Sim:list_all()
  control(self, "DELETE", "/faults")
  control(self, "POST", "/knobs", { list_max = LIST_ALL })
  local status, out, err = command.run({ command.moontap, "run", "--speed", tostring(self.speed),
    "-e", 'print(require "moontap.json".encode(assert(pcaps.list())))' },
    { cwd = self.dir, env = self.env })
  assert(status == 0, err)
  return json.decode(out)
end

--- What sqlite3 finds in the state.
---@param sql string
---@return string
function Sim:query(sql)
  return command.query(self.dir .. "/state/moontap/state.db", sql)
end

return M
