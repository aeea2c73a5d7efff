-- The simulator for specs: in this process, or as one of its own.

local command = require "support.command"
local tempdir = require "support.tempdir"

local M = {}

--- Starts a simulator on loopback in this process, with a throwaway bucket.
---@param options? table as for `moontap.sim`.start
---@return table sim as `moontap.sim`.start gives it; `stop()` also removes the bucket
---@return table client a pcaps client that talks to it
function M.start(options)
  local settings = { listen = "127.0.0.1:0", seed = 1 }
  for key, value in pairs(options or {}) do settings[key] = value end
  local own_bucket = not settings.bucket and tempdir.new()
  settings.bucket = settings.bucket or own_bucket
  local sim = assert(require("moontap.sim").start(settings))
  local client = require("pcaps").client {
    account_id = sim.account_id, api_token = sim.api_token, base_url = sim.base_url,
  }
  function sim.stop()
    sim:close()
    if own_bucket then tempdir.remove(own_bucket) end
  end
  return sim, client
end

--- Runs `fn(sim, client)` with a simulator that is gone afterwards.
---@param options table|nil
---@param fn fun(sim: table, client: table): any
function M.with(options, fn)
  local sim, client = M.start(options)
  local outcome = table.pack(pcall(fn, sim, client))
  sim.stop()
  if not outcome[1] then error(outcome[2], 0) end
  return table.unpack(outcome, 2, outcome.n)
end

--- Starts `moontap sim` as a process of its own and waits until it listens.
---@param args? string[] further arguments
---@return table process with `env` (the variables a client needs), `port`, `stop()`
function M.process(args)
  local dir = tempdir.new()
  local argv = { command.moontap, "sim", "--port-file", dir .. "/port", "--bucket", dir }
  for _, word in ipairs(args or {}) do argv[#argv + 1] = word end
  local process = command.start(argv)
  local ok, why = pcall(command.poll, function()
    process.port = tonumber(command.read_file(dir .. "/port") or "")
    return process.port
  end, 20, "the simulator's port file")
  if not ok then
    local status, _, err = process.stop()
    error(("%s (exit status %s)\n%s"):format(why, status, err), 2)
  end
  process.env = { CLOUDFLARE_EMAIL = false, CLOUDFLARE_API_KEY = false }
  for name, value in process.stdout():gmatch("(CLOUDFLARE_[%w_]+)=(%S+)") do
    process.env[name] = value
  end
  local stop = process.stop
  function process.stop()
    local status, out, err = stop()
    tempdir.remove(dir)
    return status, out, err
  end
  return process
end

return M
