-- sim: the simulated API as a server of its own, for other programs and for several processes.

local config = require "moontap.config"
local errors = require "moontap.errors"
local log = require "moontap.log"
local options = require "moontap.cmd.options"
local sys = require "moontap.native.sys"

local PUBLIC <const> = 420 -- 0644

---@type moontap.cmd.Command
local M = {
  summary = "serve a simulated API on this machine",
  usage = { "moontap sim [OPTIONS]" },
  description = "Serves the packet capture API on loopback and prints three lines to export, so "
    .. "that other programs find it. Runs until it is interrupted.",
  options = {
    { "--listen", arg = "ADDR:PORT", help = "where to listen (127.0.0.1:0; port 0: any)" },
    { "--port-file", arg = "FILE", help = "write the port to FILE once it can be used" },
    { "--speed", target = "sim_speed", arg = "N", convert = options.convert.number,
      help = "divide all times of the API by N" },
    { "--bucket", arg = "DIR", help = "directory that stands for the buckets" },
    { "--scenario", arg = "NAME|FILE", help = "which traffic there is (baseline)" },
    { "--knob", arg = "NAME=VALUE", repeated = true,
      help = "change what the API's documentation leaves open; --knob help lists them" },
    { "--lenient", help = "accept what other clients' test suites send" },
  },
  groups = { "seed", "log" },
  examples = {
    "moontap sim --port-file port > env & ",
    "set -a; . ./env; moontap captures",
  },
}

local function read_knobs(list)
  local knobs = require "moontap.sim.knobs"
  local changes = {}
  for _, text in ipairs(list or {}) do
    local name, value = knobs.parse(text)
    if not name then return nil, errors.new("usage", value) end
    changes[name] = value
  end
  return changes
end

local function list_knobs()
  for _, knob in ipairs(require "moontap.sim.knobs".list()) do
    print(("%-26s %s (%s)"):format(knob.name, knob.doc, tostring(knob.default)))
  end
  return 0
end

-- Until a signal cancels this task.
local function serve()
  local _, interrupted = pcall(function()
    while true do moontap.sleep "1d" end
  end)
  if errors.is(interrupted) and interrupted.kind == "cancelled" then return 0 end
  error(interrupted, 0)
end

function M.run(args)
  for _, text in ipairs(args.knob or {}) do
    if text == "help" then return list_knobs() end
  end
  local knobs, err = read_knobs(args.knob)
  if not knobs then return nil, err end
  if config.verbose > 0 then log.level = "debug" end -- each request
  local sim
  sim, err = require "moontap.sim".start {
    listen = args.listen, speed = args.sim_speed, seed = args.seed, bucket = args.bucket,
    scenario = args.scenario, knobs = knobs, lenient = args.lenient,
  }
  if not sim then return nil, err end
  io.stdout:write(sim:exports())
  io.stdout:flush()
  if args.port_file then
    local ok
    ok, err = sys.write_file(args.port_file, ("%d\n"):format(sim.port), PUBLIC)
    if not ok then
      sim:close()
      return nil, err
    end
  end
  local status = serve()
  if args.port_file then os.remove(args.port_file) end
  sim:close()
  return status
end

return M
