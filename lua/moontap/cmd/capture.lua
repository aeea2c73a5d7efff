-- capture: one capture from the command line, from the request to the file.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local json = require "moontap.json"
local options = require "moontap.cmd.options"
local outcome = require "moontap.cmd.outcome"
local schema = require "moontap.native.schema"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"
local taking = require "moontap.cmd.taking"
local wanted = require "moontap.cmd.wanted"
local windows = require "moontap.cmd.window"

local FULL_SECONDS <const> = 300
local LINE_RATE <const> = 125e6 -- bytes a second of 1 Gbit/s
local PACKET_MAX <const> = 65535 -- bytes
local UNITS <const> = { [""] = 1, K = 1e3, M = 1e6, G = 1e9 }

local function convert_bytes(text)
  local digits, unit = text:upper():match "^(%d+)([KMG]?)B?$"
  local n = digits and math.tointeger(tonumber(digits) * UNITS[unit])
  if not n or n == 0 then return nil, ("expected a size such as 100M, got '%s'"):format(text) end
  return n
end

local OWN <const> = {
  { "--limit", arg = "N", convert = options.convert.integer,
    help = "most packets (simple: 10000)" },
  { "--full", help = "every packet from now on at one data center, into a bucket" },
  { "--colo", arg = "COLO", help = "with --full: the data center, such as ord02 or ORD" },
  { "--bucket", arg = "URI", target = "destination",
    help = "with --full: the bucket, such as s3://NAME/DIR?region=REGION" },
  { "--byte-limit", arg = "SIZE", convert = convert_bytes,
    help = "with --full: most bytes, such as 100M" },
  { "--time-limit", arg = "DURATION", convert = options.convert.duration,
    help = "with --full: how long it captures (5m)" },
  { "--detach", help = "with --full: do not wait; it goes on when this command ends" },
  { "--sim-bucket", arg = "DIR", target = "bucket",
    help = "with --sim: directory that stands for the buckets, and is kept" },
}

---@type moontap.cmd.Command
local M = {
  summary = "open a capture, wait for it and fetch its file",
  usage = {
    "moontap capture [OPTIONS] FILTER [--last DURATION]",
    "moontap capture [OPTIONS] FILTER --from TIME [--to TIME]",
    "moontap capture [OPTIONS] FILTER --full --colo COLO --bucket URI",
  },
  description = "Opens one simple capture of what has passed already: without a window the last 5 "
    .. "minutes, which is the most. Waits for the account's slot and for the capture, fetches the "
    .. "file and prints where it is and how many packets are in it. Without --out the file goes "
    .. "below the state directory, and is kept for 30 days (see `moontap help purge`); under "
    .. "--sim, whose state is thrown away, into the current directory. With --full it captures "
    .. "from now on into a bucket; a full capture that this command waits for is stopped when the "
    .. "command is interrupted. Exit status 7: no packet matched.",
  options = options.join(wanted.FILTER, windows.OPTIONS, OWN, wanted.NOTES),
  groups = { "api", "cron", "simulated", "world", "output" },
  examples = {
    "moontap capture --dst 203.0.113.10 --proto udp --dport 53 --last 5m",
    "moontap capture --dst 203.0.113.10 --from 03:10 --to 03:14 --case INC-7",
    "moontap capture --sim --scenario udp-flood --dst 203.0.113.10",
    "moontap capture --full --colo ord02 --dport 53 --bucket 's3://pcaps?region=eu'",
  },
}

local function usage(format, ...)
  return nil, errors.new("usage", format:format(...))
end

-- Refuses options that belong to the other kind.
local function check_kind(args)
  local others = args.full and { "last", "from", "to", "share" }
    or { "colo", "destination", "byte_limit", "time_limit", "detach" }
  for _, name in ipairs(others) do
    if args[name] then
      local option = name == "destination" and "bucket" or name:gsub("_", "-")
      return usage(args.full and "--%s is of no use with --full: a full capture sees what comes "
        .. "from now on" or "--%s needs --full", option)
    end
  end
  return true
end

local function size(bytes)
  local units, at = { "bytes", "kB", "MB", "GB", "TB" }, 1
  while bytes >= 1000 and at < #units do
    bytes, at = bytes / 1000, at + 1
  end
  return (at == 1 and "%d %s" or "%.3g %s"):format(bytes, units[at])
end

local function print_fields(fields)
  if config.quiet then return end
  for _, field in ipairs(fields) do
    if field[2] ~= nil then print(("%-9s%s"):format(field[1], field[2])) end
  end
end

-- Simple -----------------------------------------------------------------------------------

local function check_window(window)
  local length = window.to - window.from
  if length > windows.LENGTH_MAX then
    return usage("the window is %s long, and one capture looks back %s at most: `moontap sweep` "
      .. "takes the same options and captures it piece by piece", duration.format(length),
      duration.format(windows.LENGTH_MAX))
  end
  local age = clock.now() - window.to
  if age > windows.AGE_MAX then
    return nil, errors.new("limit", ("the window ended %s ago, at %s: the API looks back 24 hours "
      .. "at most, what lies before is gone"):format(duration.format(math.floor(age)),
      windows.text(window.to)), { sent = "no", retryable = false })
  end
  return true
end

local function read_window(args)
  if not args.last and not args.from and not args.to then args.last = windows.LENGTH_MAX end
  local window, err = windows.read(args)
  if not window then return nil, err end
  local ok
  ok, err = check_window(window)
  if not ok then return nil, err end
  return window
end

-- A plan has said already what would be; its answers are invented.
local function print_simple(taken, args)
  local cap, window = taken.cap, taken.window
  if config.dry_run then return end
  if config.json then
    print(json.encode(taking.record(taken, args), { pretty = true }))
    return
  end
  print_fields {
    { "id", cap.id }, { "filter", show.filter(cap.filter_v1) },
    { "window", ("%s to %s"):format(windows.text(window.from // 1 | 0),
      windows.text(window.to // 1 | 0)) },
    { "file", taken.file }, { "size", taken.bytes and taken.bytes .. " bytes" },
    { "packets", taken.packets
      and taken.packets .. (taken.is_full and " (the limit: there were more)" or "") },
  }
end

local function run_simple(args, filter)
  local window, err = read_window(args)
  if not window then return nil, err end
  local params = taking.params(filter, window, args.limit or wanted.PACKETS_MAX)
  local ok, taken
  ok, err = wanted.check(params, args)
  if not ok then return nil, err end
  taken, err = taking.take(args, params, window, wanted.options(args))
  if not taken then return nil, err end
  print_simple(taken, args)
  if taken.packets ~= 0 then return outcome.OK end
  if not config.quiet then outcome.complain "no packet matched" end
  return outcome.EMPTY
end

-- Full -------------------------------------------------------------------------------------

local function confirm_cost(args, params)
  if args.byte_limit then return true end
  local most = math.min(LINE_RATE * params.time_limit, (args.limit or math.huge) * PACKET_MAX)
  return wanted.confirm(args, ("this full capture has no --byte-limit: of 1 Gbit/s of traffic it "
    .. "writes up to %s into the bucket in %s, stored at your cost"):format(size(most),
    duration.format(params.time_limit)))
end

-- The bucket; the embedded simulator's own is proved to it on the way.
local function claim_bucket(args)
  if not config.sim then return args.destination end
  local bucket = require "moontap.bucket"
  local conf = args.destination or assert(bucket.simulated())
  local ok, err = bucket.claim(conf)
  if not ok then return nil, err end
  return conf
end

-- Where its files lie, and what they are called.
local function print_full(cap, args, conf)
  if config.dry_run then return end
  local place = schema.redact(conf):gsub("%?.*", "")
  local files = config.sim and args.bucket and require "moontap.bucket".files(cap) or nil
  if config.json then
    local record = show.public(cap)
    record.ray, record.case, record.bucket = cap:ray(), args.case, place
    record.empty = cap:done() and cap.packets_captured == 0
    record.files = files and json.array(files)
    print(json.encode(record, { pretty = true }))
    return
  end
  print_fields {
    { "id", cap.id }, { "status", cap.status }, { "filter", show.filter(cap.filter_v1) },
    { "colo", cap.colo_name or cap.colo }, { "packets", cap.packets_captured },
    { "files", ("in %s, their names hold %s"):format(place, cap.id) },
  }
  for _, path in ipairs(files or {}) do print_fields { { "", path } } end
  if config.sim and not args.bucket and not config.quiet then
    print "         (the simulator's bucket is gone now; --sim-bucket DIR keeps it)"
  end
end

local function wait_full(cap, args, conf)
  if not config.quiet and sys.isatty(2) then
    io.stderr:write(("moontap: capture %s has begun; to end it: Ctrl-C, or moontap stop %s\n")
      :format(cap.id, cap.id))
  end
  local done, err = cap:wait()
  local is_empty = cap.packets_captured == 0
  if not done and not (is_empty and taking.is_empty_text(err.error_message)) then
    return nil, err
  end
  print_full(cap, args, conf)
  if not is_empty then return outcome.OK end
  if not config.quiet then outcome.complain "no packet matched" end
  return outcome.EMPTY
end

local function run_full(args, filter)
  if not args.colo then return usage "--full needs --colo: one data center" end
  local params = {
    type = "full", colo_name = args.colo, filter_v1 = filter, packet_limit = args.limit,
    byte_limit = args.byte_limit, time_limit = math.ceil(args.time_limit or FULL_SECONDS),
    destination_conf = args.destination or "s3://none",
  }
  local ok, err = wanted.check(params, args)
  if not ok then return nil, err end
  if not args.destination and not config.sim then
    return usage "--full needs --bucket: where its files go"
  end
  ok, err = confirm_cost(args, params)
  if not ok then return nil, err end
  local conf, cap
  conf, err = claim_bucket(args)
  if not conf then return nil, err end
  params.destination_conf = conf
  cap, err = require "pcaps".create(params, wanted.options(args))
  if not cap then return nil, err end
  if not args.detach then return wait_full(cap, args, conf) end
  print_full(cap, args, conf)
  return outcome.OK
end

function M.run(args)
  local ok, err = check_kind(args)
  if ok then ok, err = wanted.check_notes(args) end
  if not ok then return nil, err end
  local filter
  ok, filter = wanted.filter(args)
  if not ok then return nil, filter end
  return (args.full and run_full or run_simple)(args, filter)
end

return M
