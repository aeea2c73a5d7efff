-- A directory of a test's own for the commands for hands, which run against the embedded simulator
-- or against one of a process of its own. What they write is read with foreign programs.

local command = require "support.command"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local M = {}

--- What the simulator of its own process divides its times by.
M.SPEED = "100"

local DST <const> = { "--dst", "203.0.113.10", "--proto", "udp", "--dport", "53" }

--- The words of a filter, and more words behind.
---@param ... string
---@return string ...
function M.with_filter(...)
  local words = table.move(DST, 1, #DST, 1, {})
  return table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1, words))
end

local Place = {}
Place.__index = Place

--- A new place: `dir`, and `env` once there is a simulator.
---@return table
function M.new()
  return setmetatable({ dir = tempdir.new() }, Place)
end

--- Removes it, with its simulator.
function Place:close()
  if self.simulator then self.simulator.stop() end
  tempdir.remove(self.dir)
end

--- Runs the program; exit status, standard output and error.
function Place:run(...)
  return command.run({ command.moontap, ... }, { cwd = self.dir, env = self.env })
end

--- As run, of what must end well; standard output and error.
function Place:succeeds(...)
  local status, out, err = self:run(...)
  assert(status == 0, err)
  return out, err
end

--- As run, with the embedded simulator under virtual time, which starts at 2026-01-01T00:00:00Z.
function Place:sim(name, ...)
  return self:run(name, "--sim", "--virtual-time", ...)
end

--- Starts a simulator of its own process, which the program talks to from now on.
---@param speed? string
function Place:start_simulator(speed)
  local dir = self.dir
  self.simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port",
    "--bucket", dir .. "/bucket", "--speed", speed or M.SPEED }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  self.env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in self.simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do
    self.env[name] = value
  end
end

--- Records in a file, as tcpdump sees them.
function Place:records(path)
  local status, out, err = command.run({ "tcpdump", "-n", "-r", path }, { cwd = self.dir })
  assert(status == 0, err)
  return select(2, out:gsub("\n", ""))
end

--- What sqlite3 finds in the state directory "st".
function Place:query(sql)
  return command.query(self.dir .. "/st/state.db", sql)
end

--- The mode of a file or directory.
function Place:mode(path)
  return sys.lstat(self.dir .. "/" .. path).mode
end

return M
