-- A place with a daemon, its playbooks, and a simulator, as a user has them: everything goes
-- through the built program.

local assert = require "luassert"
local clock = require "moontap.clock"
local command = require "support.command"
local json = require "moontap.json"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local M = {}

M.SPEED = 100
M.NEVER = "0 0 1 1 *"
M.FULL = [[{ type = "full", colo_name = "ams01", time_limit = 86400, byte_limit = 1000000000,
  destination_conf = "s3://captures/x?region=a", filter_v1 = { destination_port = 53 } }]]
M.FULL_GRANTS = [[pcaps = { types = { "full" }, colos = { "ams01" }, max_byte_limit = 1000000000,
  per_day = 1000 }, buckets = { "captures" }]]

local Place = {}
Place.__index = Place

--- A directory of its own, without anything that runs; `close` ends and removes all.
---@return table place dir, env
function M.new()
  local dir = tempdir.new()
  assert(lfs.mkdir(dir .. "/pb"))
  return setmetatable({ dir = dir, env = { XDG_STATE_HOME = dir .. "/state" } }, Place)
end

function Place:close()
  self:kill()
  if self.simulator then self.simulator.stop() end
  tempdir.remove(self.dir)
end

--- Starts a simulator; the environment leads to it.
function Place:simulate(...)
  self.simulator = command.start({ command.moontap, "sim", "--port-file", self.dir .. "/port",
    "--bucket", self.dir .. "/bucket", "--speed", tostring(M.SPEED), "--knob", "rate_limit=0",
    ... }, { cwd = self.dir, limit = 300 })
  command.poll(function() return command.read_file(self.dir .. "/port") end)
  for name, value in self.simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do
    self.env[name] = value
  end
end

--- Makes the bucket of M.FULL usable.
function Place:validate_bucket()
  self:succeeds("run", "-e", [[
    local bucket = "s3://captures/x?region=a"
    local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
    local f = assert(io.open("bucket/s3/captures/x/" .. ownership.filename))
    assert(pcaps.ownership.validate { destination_conf = bucket,
      ownership_challenge = f:read "a" })]])
end

--- Writes a file below the directory.
function Place:write(name, text)
  local f <close> = assert(io.open(self.dir .. "/" .. name, "w"))
  f:write(text)
end

--- Writes a playbook; `fields` is Lua text such as 'retry = 3,'.
function Place:playbook(name, body, fields, expression)
  self:write(("pb/%s.lua"):format(name), ('return { api = 1, on = { cron = "%s" }, %s\n'
    .. "  run = function(ctx) %s end }\n"):format(expression or M.NEVER, fields or "", body))
end

--- The environment with changes.
function Place:with(changes)
  local copy = {}
  for _, source in ipairs { self.env, changes or {} } do
    for name, value in pairs(source) do copy[name] = value end
  end
  return copy
end

--- Starts the daemon and waits until it has loaded its playbooks, or has ended. `prefix`: words
--- before the program.
---@param options? { args?: string[], env?: table, prefix?: string[], no_wait?: boolean }
---@return table process
function Place:start(options)
  options = options or {}
  local argv = table.move(options.prefix or {}, 1, #(options.prefix or {}), 1, {})
  for _, word in ipairs { command.moontap, "cron", "--listen", "127.0.0.1:0", "--port-file",
                          self.dir .. "/listen" } do
    argv[#argv + 1] = word
  end
  if self.simulator then table.move({ "--speed", tostring(M.SPEED) }, 1, 2, #argv + 1, argv) end
  table.move(options.args or {}, 1, #(options.args or {}), #argv + 1, argv)
  argv[#argv + 1] = self.dir .. "/pb"
  local process = command.start(argv, { cwd = self.dir, env = self:with(options.env),
                                        limit = 300 })
  self.daemon = process
  if options.no_wait then return process end
  self:await("the daemon", function()
    return process.stderr():find("times are UTC unless", 1, true) or process.has_ended()
  end)
  return process
end

--- Ends the daemon as a power failure would.
function Place:kill()
  local process = self.daemon
  if not process then return end
  self.daemon = nil
  process.signal "KILL"
  return process.wait()
end

--- Ends the daemon in order; returns what it wrote to standard error.
function Place:stop()
  local process = self.daemon
  self.daemon = nil
  local status, _, err = process.stop()
  assert.equal(0, status, err)
  return err
end

--- Polls until `fn` returns something true; returns that.
function Place:await(what, fn)
  local has_come, found = pcall(command.poll, fn, what)
  if has_come then return found end
  error(("%s\n%s\nthe daemon said: %s"):format(found, select(2, self:run "runs"),
    self.daemon and self.daemon.stderr() or "-"), 2)
end

--- Waits until the daemon has written `words`.
function Place:await_words(words)
  local process = self.daemon
  return self:await(words, function() return process.stderr():find(words, 1, true) end)
end

--- Runs a command of the program beside the daemon; status, output, errors. `inside`: words before
--- it, which take it to where the daemon is.
function Place:run(...)
  local argv = table.move(self.inside or {}, 1, #(self.inside or {}), 1, {})
  for _, word in ipairs { command.moontap, ... } do argv[#argv + 1] = word end
  return command.run(argv, { cwd = self.dir, env = self.env })
end

function Place:succeeds(...)
  local status, out, err = self:run(...)
  assert.equal(0, status, err)
  return out
end

--- What a command with --json prints; times of due times and runs as seconds.
function Place:list(...)
  local rows = json.decode(self:succeeds(...))
  if ... ~= "runs" and ... ~= "history" then return rows end
  for _, row in ipairs(rows) do
    for _, key in ipairs { "nominal", "planned", "through", "started", "ended" } do
      if row[key] then row[key] = clock.parse(row[key]) end
    end
  end
  return rows
end

--- What the daemon's own server answers.
function Place:get(path)
  local port = command.read_file(self.dir .. "/listen"):match "%d+"
  return select(2, command.run { "curl", "-s", ("http://127.0.0.1:%s%s"):format(port, path) })
end

--- The runs of a playbook, or of all, the oldest first.
function Place:runs(playbook)
  local words = { "runs", "--json", "--limit", "1000", playbook }
  local found, list = self:list(table.unpack(words)), {}
  for i, one in ipairs(found) do list[#found + 1 - i] = one end
  return list
end

--- Waits until so many runs of a playbook, or of all, have ended, with `state` where that is given;
--- returns all of its runs, the oldest first.
function Place:await_runs(playbook, count, state)
  return self:await(("%d runs of %s"):format(count, playbook or "all"), function()
    local runs, n = self:runs(playbook), 0
    for _, one in ipairs(runs) do
      if one.ended and (not state or one.state == state) then n = n + 1 end
    end
    return n >= count and runs
  end)
end

--- Waits until a run has begun that has not ended.
function Place:await_open_run()
  self:await("an open run", function() return #self:list("runs", "--open", "--json") > 0 end)
end

--- Triggers a playbook and waits for that run: the run, and its log.
function Place:once(playbook)
  local before = #self:runs(playbook)
  self:succeeds("trigger", playbook)
  local runs = self:await_runs(playbook, before + 1)
  return runs[#runs], self:log(runs[#runs])
end

--- The log of a run.
function Place:log(run)
  return self:succeeds("log", tostring(run.id))
end

--- Due times with their verdicts, the newest first. Each has one, and none stands there twice.
function Place:history(playbook)
  local words = { "history", "--json", "--limit", "1000", playbook }
  local dues, seen = self:list(table.unpack(words)), {}
  for _, due in ipairs(dues) do
    local key = due.playbook .. due.nominal
    assert.is_nil(seen[key], key)
    seen[key] = true
  end
  return dues
end

--- What a statement on the database of the state returns, as text.
function Place:query(sql)
  return (command.query(self.dir .. "/state/moontap/state.db", sql):gsub("\n$", ""))
end

--- All captures that the simulator has, by id.
function Place:captures()
  local out = self:succeeds("run", "-e",
    'print(require "moontap.json".encode(assert(pcaps.list())))')
  local by_id = {}
  for _, cap in ipairs(json.decode(out)) do by_id[cap.id] = cap end
  return by_id
end

return M
