-- sim: the simulated API as a server of its own, for other programs and for several processes.

local config = require "moontap.config"
local errors = require "moontap.errors"
local log = require "moontap.log"
local options = require "moontap.cmd.options"
local simargs = require "moontap.cmd.simargs"
local sys = require "moontap.native.sys"

local PUBLIC <const> = 420 -- 0644

---@type moontap.cmd.Command
local M = {
  summary = "serve a simulated API on this machine",
  usage = {
    "moontap sim [OPTIONS]",
    "moontap sim [OPTIONS] state",
    "moontap sim [OPTIONS] fault SPEC|list|clear",
    "moontap sim [OPTIONS] attack list|start NAME|stop NAME",
  },
  description = "Serves the packet capture API on loopback and prints three lines to export, so "
    .. "that other programs find it. Runs until it is interrupted.\n\nWith words behind it, steers "
    .. "a simulator that runs (--base-url, else CLOUDFLARE_BASE_URL): shows its state, makes "
    .. "requests go wrong, starts and stops attacks.",
  arguments = { { "words", name = "WORD", help = "what to do with a simulator that runs",
                  repeated = true } },
  options = {
    { "--listen", arg = "ADDR:PORT", help = "where to listen (127.0.0.1:0; port 0: any)" },
    { "--port-file", arg = "FILE", help = "write the port to FILE once it can be used" },
    { "--speed", target = "sim_speed", arg = "N", convert = options.convert.number,
      help = "divide all times of the API by N" },
    { "--bucket", arg = "DIR", help = "directory that stands for the buckets" },
    { "--lenient", help = "accept what other clients' test suites send" },
    { "--base-url", arg = "URL", convert = options.convert.url,
      help = "which simulator to steer (else CLOUDFLARE_BASE_URL)" },
    { "--for", arg = "DURATION", convert = options.convert.duration,
      help = "how long a started attack lasts (until it is stopped)" },
    { "--json", help = "print JSON" },
  },
  groups = { "world", "seed", "log" },
  examples = {
    "moontap sim --port-file port > env & ",
    "set -a; . ./env; moontap captures",
    "moontap sim --scenario syn-flood --fault '*:error_html,rate=0.02'",
    "moontap sim fault create:cut_after,count=1",
  },
}

-- Until a signal cancels this task.
local function serve()
  local _, interrupted = pcall(function()
    while true do moontap.sleep "1d" end
  end)
  if errors.is(interrupted) and interrupted.kind == "cancelled" then return 0 end
  error(interrupted, 0)
end

function M.run(args)
  if simargs.help(args) then return 0 end
  if #args.words > 0 then return require "moontap.cmd.simcontrol".run(args.words, args) end
  local knobs, err = simargs.knobs(args.knob)
  if not knobs then return nil, err end
  if config.verbose > 0 then log.level = "debug" end -- each request
  local sim
  sim, err = require "moontap.sim".start {
    listen = args.listen, speed = args.sim_speed, seed = args.seed, bucket = args.bucket,
    scenario = args.scenario, knobs = knobs, lenient = args.lenient,
  }
  if not sim then return nil, err end
  local ok
  ok, err = simargs.add_faults(sim, args.fault)
  if not ok then
    sim:close()
    return nil, err
  end
  io.stdout:write(sim:exports())
  io.stdout:flush()
  if args.port_file then
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
