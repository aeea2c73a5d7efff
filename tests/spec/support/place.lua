-- A daemon with a directory of playbooks and, where asked for, a simulator of its own, for specs
-- that look at it from outside.

local assert = require "luassert"
local command = require "support.command"
local json = require "moontap.json"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local M = {}

M.SPEED = 100
M.NEVER = "0 0 1 1 *"

local Place = {}
Place.__index = Place

--- A directory with nothing running in it; `place:close()` ends all and removes it.
function M.new()
  local dir = tempdir.new()
  assert(lfs.mkdir(dir .. "/pb"))
  return setmetatable({ dir = dir, env = { XDG_STATE_HOME = dir .. "/state" } }, Place)
end

function Place:close()
  if self.daemon then self.daemon.signal "KILL" self.daemon.wait() end
  if self.simulator then self.simulator.stop() end
  tempdir.remove(self.dir)
end

function Place:simulate(...)
  self.simulator = command.start({ command.moontap, "sim", "--port-file", self.dir .. "/port",
    "--bucket", self.dir .. "/bucket", "--speed", tostring(M.SPEED), ... },
    { cwd = self.dir, limit = 300 })
  command.poll(function() return command.read_file(self.dir .. "/port") end)
  for name, value in self.simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do
    self.env[name] = value
  end
end

--- Writes a file below the directory.
function Place:write(name, text)
  local f <close> = assert(io.open(self.dir .. "/" .. name, "w"))
  f:write(text)
end

--- A playbook with this body of `run`; `fields` is Lua for its table.
function Place:playbook(name, body, fields, expression)
  self:write(("pb/%s.lua"):format(name), ('return { api = 1, on = { cron = "%s" }, %s\n'
    .. "  run = function(ctx) %s end }\n"):format(expression or M.NEVER, fields or "", body))
end

--- Starts the daemon and waits until it has loaded.
function Place:start(options, changes)
  local argv = { command.moontap, "cron", "--listen", "127.0.0.1:0", "--port-file",
                 self.dir .. "/listen" }
  if self.simulator then table.move({ "--speed", tostring(M.SPEED) }, 1, 2, #argv + 1, argv) end
  table.move(options or {}, 1, #(options or {}), #argv + 1, argv)
  argv[#argv + 1] = self.dir .. "/pb"
  local env = {}
  for _, source in ipairs { self.env, changes or {} } do
    for name, value in pairs(source) do env[name] = value end
  end
  local process = command.start(argv, { cwd = self.dir, env = env, limit = 300 })
  self.daemon = process
  command.poll(function()
    return process.stderr():find("; times are UTC", 1, true) or process.has_ended()
  end, 30, "the daemon")
  return process
end

--- Ends the daemon in order; its status and what it wrote on standard error.
function Place:stop()
  local status, _, err = self.daemon.stop()
  self.daemon = nil
  return status, err
end

function Place:run(...)
  return command.run({ command.moontap, ... }, { cwd = self.dir, env = self.env })
end

function Place:succeeds(...)
  local status, out, err = self:run(...)
  assert.equal(0, status, err)
  return out
end

function Place:list(...)
  return json.decode(self:succeeds(...))
end

--- Waits until `count` runs have ended, the newest first.
function Place:await_runs(count)
  return command.poll(function()
    local n, runs = 0, self:list("runs", "--json", "--limit", "1000")
    for _, one in ipairs(runs) do n = n + (one.ended and 1 or 0) end
    return n >= count and runs
  end, 60, ("%d runs"):format(count))
end

--- Triggers a playbook and waits for its run: the run, and its log.
function Place:once(name, already)
  self:succeeds("trigger", name)
  local one = self:await_runs((already or 0) + 1)[1]
  return one, self:succeeds("log", tostring(one.id))
end

--- What the daemon's own server answers.
function Place:get(path)
  local port = command.read_file(self.dir .. "/listen"):match "%d+"
  local _, out = command.run { "curl", "-s", ("http://127.0.0.1:%s%s"):format(port, path) }
  return out
end

return M
