-- session: applies the shared options before a command runs, and takes everything back after it,
-- whether it ended well, failed or was interrupted.

local config = require "moontap.config"
local errors = require "moontap.errors"

local M = {}

local VIRTUAL_START <const> = "2026-01-01T00:00:00Z"
local DEFAULT_SEED <const> = 1
local GRACE <const> = 0.5 -- seconds that a deadline has to work in the usual way

local function usage(message)
  return nil, errors.new("usage", message)
end

-- Is the host of this URL the machine itself?
local function is_loopback(url)
  local host = url:match "^https?://%[([^%]]+)%]" or url:match "^https?://([^/:]+)" or ""
  return host == "localhost" or host == "::1" or host:match "^127%.%d+%.%d+%.%d+$" ~= nil
end

-- The address that an account of a name brings along.
local function url_of_account(args)
  if not args.account then return nil end
  config.accounts = args.accounts
  local account = require "moontap.accounts".find(args.account)
  return account and account.base_url
end

-- What goes with --sim only.
local function check_simulated(args)
  if args.virtual_time and not args.sim then
    return usage "--virtual-time needs --sim: a real API does not wait for it"
  end
  if args.sim or args.command == "sim" then return true end
  if args.bucket then
    return usage "--bucket needs --sim: real buckets are named by the script"
  end
  for _, name in ipairs { "scenario", "knob", "fault" } do
    if args[name] and #args[name] > 0 then
      return usage(("--%s needs --sim: a real API does as it likes"):format(name))
    end
  end
  return true
end

-- Options that name one account, and where it is.
local function check_place(args)
  for _, name in ipairs { "account_id", "token_file" } do
    if args.account and args[name] then
      return usage(("--account names the account and its token: leave out --%s"):format(
        (name:gsub("_", "-"))))
    end
  end
  if args.sim then
    for _, name in ipairs { "base_url", "account", "account_id", "token_file", "cacert" } do
      if args[name] then
        return usage(("--sim brings its own API and account: leave out --%s"):format(
          (name:gsub("_", "-"))))
      end
    end
  elseif args.speed and args.speed ~= 1 then
    local url = args.base_url or url_of_account(args) or os.getenv "CLOUDFLARE_BASE_URL"
    url = url and require "pcaps.address".base_url(url)
    if not url or not is_loopback(url) then
      return usage(("--speed is for simulators only; %s is none on this machine"):format(
        url or "Cloudflare's API"))
    end
  end
  return true
end

-- How a command prints.
local function check_output(args)
  if args.dry_run and args.command == "repl" then
    return usage "--dry-run plans scripts and commands; at a prompt, --read-only changes nothing"
  end
  if args.command == "run" and args.json and not args.dry_run then
    return usage "--json needs --dry-run: what a script prints is up to the script"
  end
  if args.tz then
    local ok, err = require "moontap.cmd.zone".check(args.tz)
    if not ok then return nil, err end
  end
  if args.quiet and (args.verbose or 0) > 0 then
    return usage "give one of --quiet and --verbose"
  end
  return true
end

local function check(args)
  for _, part in ipairs { check_simulated, check_output, check_place } do
    local ok, err = part(args)
    if not ok then return nil, err end
  end
  return true
end

local function apply(args)
  for _, name in ipairs { "base_url", "account", "accounts", "account_id", "token_file", "cacert",
                          "speed", "state", "quiet", "json", "tz", "dry_run", "read_only" } do
    config[name] = args[name]
  end
  config.command, config.verbose = args.command, args.verbose
  local log = require "moontap.log"
  if args.quiet then
    log.level = "error"
  elseif (args.verbose or 0) > 0 then
    log.level = args.verbose > 1 and "debug" or "info"
  end
end

-- What is left to release, as functions; the last one goes first. __gc is for a script that leaves
-- through os.exit.
local Releases = {}

function Releases.run(list)
  for i = #list, 1, -1 do table.remove(list, i)() end
end

Releases.__close, Releases.__gc = Releases.run, Releases.run

-- Is what the command would do planned instead of done?
local function is_planned(args)
  return args.dry_run and not args.plans_itself
end

-- From now on time jumps; in a dry run it begins with the real one.
local function set_virtual(args)
  local clock = require "moontap.native.clock"
  local start = args.virtual_time and clock.parse(VIRTUAL_START) or clock.now()
  require "moontap.native.host".set_virtual(start)
end

local function start_sim(args, releases)
  local sys = require "moontap.native.sys"
  local dir, why = sys.tempdir "moontap-sim-"
  if not dir then return nil, why end
  table.insert(releases, function() sys.remove_tree(dir) end)
  table.insert(releases, function() -- before its directory goes
    if package.loaded["moontap.state"] then require "moontap.state".close() end
  end)
  config.state = args.state or dir .. "/state"
  local simargs = require "moontap.cmd.simargs"
  local knobs, err = simargs.knobs(args.knob)
  if not knobs then return nil, err end
  local sim
  sim, err = require "moontap.sim".start {
    scenario = args.scenario, knobs = knobs,
    bucket = args.bucket or dir .. "/bucket", seed = args.seed or DEFAULT_SEED, speed = args.speed,
    transport = (args.virtual_time or is_planned(args)) and "inproc" or nil,
  }
  if not sim then return nil, err end
  table.insert(releases, function() sim:close() end)
  local ok
  ok, err = simargs.add_faults(sim, args.fault)
  if not ok then return nil, err end
  config.sim = sim
  config.base_url, config.account_id = sim.base_url, sim.account_id
  return true
end

local function take_lock(args, releases)
  local lock, err = require "moontap.lock".take(args.lock)
  if not lock then return nil, err end
  table.insert(releases, function() lock:release() end)
  return true
end

local function open(args, releases)
  local ok, err = check(args)
  if not ok then return nil, err end
  apply(args)
  if args.lock and not args.dry_run then
    ok, err = take_lock(args, releases)
    if not ok then return nil, err end
  end
  if args.virtual_time or is_planned(args) then set_virtual(args) end
  if args.seed or args.virtual_time then
    require "moontap.random".seed(args.seed or DEFAULT_SEED)
  end
  if args.sim then
    ok, err = start_sim(args, releases)
    if not ok then return nil, err end
  end
  if args.read_only or args.dry_run then require "moontap.gate".open() end
  if args.memory then require "moontap.native.host".set_memory_max(args.memory) end
  return true
end

---Runs `body` with the options in `args`, and a deadline when there is one.
---@param args table
---@param body fun(): integer|nil, table|nil
---@return integer|nil status
---@return table|nil err
--- Raises what `body` raises.
function M.with(args, body)
  local releases <close> = setmetatable({}, Releases)
  local ok, err = open(args, releases)
  if not ok then return nil, err end
  if is_planned(args) then return require "moontap.plan".run(args, body) end
  if not args.timeout then return body() end
  if not args.virtual_time then
    -- for a script that never waits, so that no timer of the loop can stop it
    require "moontap.native.host".set_alarm(args.timeout + GRACE)
  end
  return moontap.timeout(args.timeout, body)
end

return M
