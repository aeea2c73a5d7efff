-- Options that several commands share, as data: argparse is fed from it, and the scanner of the
-- command line asks it which options take a value.

local address = require "pcaps.address"
local duration = require "moontap.duration"
local printable = require "moontap.printable"

local M = {}

---@class moontap.cmd.Option
---@field [1] string names, "-v --verbose"
---@field arg? string name of its value; without one it is a flag
---@field help string
---@field target? string where its value goes; else its long name with "_" for "-"
---@field convert? fun(text: string): any, string?
---@field count? boolean a flag that may be repeated; its value is how often
---@field repeated? boolean it may be given several times; its value is a list

local function convert_number(text)
  local n = tonumber(text)
  if not n or n ~= n or n <= 0 or n == math.huge then
    return nil, ("expected a number above 0, got '%s'"):format(text)
  end
  return n
end

local function convert_integer(text)
  local n = math.tointeger(tonumber(text))
  if not n then return nil, ("expected an integer, got '%s'"):format(text) end
  return n
end

local function convert_duration(text)
  local seconds = duration.parse(text)
  if not seconds or seconds <= 0 then
    return nil, ("expected a duration such as 90s, 5m or 2h, got '%s'"):format(text)
  end
  return seconds
end

local UNITS <const> = { [""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30 }

local function convert_size(text)
  local digits, unit = text:upper():match "^(%d+)([KMG]?)I?B?$"
  local n = digits and math.tointeger(tonumber(digits))
  if not n or n == 0 or n > 1 << 32 then
    return nil, ("expected a size such as 64M, got '%s'"):format(text)
  end
  return n * UNITS[unit]
end

local function convert_lock(text)
  if not text:match "^[%w_][%w._-]*$" or #text > 64 then
    return nil, ("expected a name of letters, digits, '.', '_' and '-', got '%s'"):format(text)
  end
  return text
end

local function convert_url(text)
  local url = address.base_url(text)
  if not url:match "^https?://[^/%s]+" then
    return nil, ("expected a URL such as https://host/client/v4, got '%s'"):format(text)
  end
  return url
end

local NOTE_MAX <const> = 1000 -- bytes

-- A case or a reason: what is stored is shown to others, on their terminals.
local function convert_note(text)
  if text == "" or #text > NOTE_MAX then return nil, ("expected 1 to %d bytes"):format(NOTE_MAX) end
  if not utf8.len(text) then return nil, "expected UTF-8, and some bytes are none" end
  if printable(text) ~= text then return nil, "expected text without control characters" end
  return text
end

-- An id of the API in a command line, as it was pasted.
local function convert_id(text)
  local id = text:match "^%s*(%S+)%s*$"
  if not id or #id > 32 or id:find "[%c/]" then
    return nil, ("expected an id of at most 32 characters, got '%s'"):format(text)
  end
  return id
end

M.convert = {
  id = convert_id, number = convert_number, integer = convert_integer, duration = convert_duration,
  note = convert_note, size = convert_size, url = convert_url,
}

---@type table<string, moontap.cmd.Option>
local ALL = {
  sim = { "--sim", help = "use a simulated API inside the program; no account is needed" },
  base_url = { "--base-url", arg = "URL", convert = convert_url,
    help = "where the API is (else CLOUDFLARE_BASE_URL, else Cloudflare's)" },
  account_id = { "--account-id", arg = "ID",
    help = "which account (else CLOUDFLARE_ACCOUNT_ID)" },
  account = { "--account", arg = "NAME",
    help = "which account of the accounts file, instead of --account-id and --token-file" },
  accounts = { "--accounts", arg = "FILE",
    help = "the accounts file (else ~/.config/moontap/accounts.ini, /etc/moontap/accounts.ini)" },
  token_file = { "--token-file", arg = "FILE",
    help = "file that holds the API token (else CLOUDFLARE_API_TOKEN)" },
  cacert = { "--cacert", arg = "FILE",
    help = "trust the certificates in FILE instead of the system's" },
  speed = { "--speed", arg = "N", convert = convert_number,
    help = "a simulator's times are divided by N" },
  dry_run = { "--dry-run",
    help = "change nothing; print what would be done, as far as that can be said" },
  read_only = { "--read-only", help = "refuse whatever would change something" },
  state = { "--state", arg = "DIR",
    help = "state directory (else XDG_STATE_HOME/moontap)" },
  tz = { "--tz", arg = "ZONE",
    help = "print times in this zone, such as Europe/Vienna (UTC)" },
  json = { "--json", help = "print JSON" },
  verbose = { "-v --verbose", count = true,
    help = "log each exchange on standard error; -vv logs more" },
  quiet = { "-q --quiet", help = "print errors only; no progress line" },
  timeout = { "--timeout", arg = "DURATION", convert = convert_duration,
    help = "stop after this long, with exit status 4" },
  lock = { "--lock", arg = "NAME", convert = convert_lock,
    help = "leave with exit status 8 while another run holds this lock" },
  memory = { "--memory", arg = "SIZE", convert = convert_size,
    help = "most memory that Lua may use" },
  virtual_time = { "--virtual-time",
    help = "with --sim: time jumps instead of passing; it starts at 2026-01-01T00:00:00Z" },
  bucket = { "--bucket", arg = "DIR",
    help = "with --sim: directory that stands for the buckets, and is kept" },
  scenario = { "--scenario", arg = "NAME|FILE",
    help = "which traffic the simulator has (baseline); help lists them" },
  knob = { "--knob", arg = "NAME=VALUE", repeated = true,
    help = "change what the API's documentation leaves open; help lists them" },
  fault = { "--fault", arg = "SPEC", repeated = true,
    help = "make requests go wrong, as in create:cut_after,count=1; help lists how" },
  seed = { "--seed", arg = "N", convert = convert_integer,
    help = "seed of the simulator and of random numbers" },
}

---@type table<string, string[]>
local GROUPS = {
  api = { "sim", "account", "accounts", "base_url", "account_id", "token_file", "cacert", "speed",
          "state", "dry_run", "read_only" },
  -- of commands that change nothing: there is nothing to plan
  asking = { "sim", "account", "accounts", "base_url", "account_id", "token_file", "cacert",
             "speed", "state", "read_only" },
  output = { "json", "tz", "verbose", "quiet" },
  log = { "verbose", "quiet" },
  cron = { "timeout", "lock" },
  script = { "virtual_time", "seed", "bucket", "memory" },
  world = { "scenario", "knob", "fault" },
  simulated = { "virtual_time", "seed" },
  state = { "state" },
  seed = { "seed" },
}

---Lists of options as one.
---@param ... moontap.cmd.Option[]
---@return moontap.cmd.Option[]
function M.join(...)
  local list = {}
  for _, part in ipairs { ... } do table.move(part, 1, #part, #list + 1, list) end
  return list
end

---The options of a group.
---@param name string
---@return moontap.cmd.Option[]
function M.group(name)
  local list = {}
  for i, key in ipairs(GROUPS[name]) do list[i] = ALL[key] end
  return list
end

---@return moontap.cmd.Option[] every shared option
function M.all()
  local keys, list = {}, {}
  for key in pairs(ALL) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do list[i] = ALL[key] end
  return list
end

---Which option names take a value: name -> true, or false for a flag.
---@param list moontap.cmd.Option[]
---@param into? table<string, boolean>
---@return table<string, boolean>
function M.values(list, into)
  into = into or {}
  for _, option in ipairs(list) do
    for name in option[1]:gmatch "%S+" do into[name] = option.arg ~= nil end
  end
  return into
end

return M
