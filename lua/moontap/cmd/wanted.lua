-- wanted: what the options of `capture` and `sweep` ask for: the filter and the rest of the
-- parameters, checked with the words of the command line; and where files go.

local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local options = require "moontap.cmd.options"
local schema = require "moontap.native.schema"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"

local M = {}

M.PACKETS_MAX = 10000
local PRIVATE <const> = 448 -- 0700

---@type moontap.cmd.Option[]
M.FILTER = {
  { "--dst", arg = "ADDR", help = "destination address" },
  { "--src", arg = "ADDR", help = "source address" },
  { "--proto", arg = "NAME|N", help = "protocol, such as udp, tcp, icmp, gre or 47" },
  { "--dport", arg = "N", help = "destination port", convert = options.convert.integer },
  { "--sport", arg = "N", help = "source port", convert = options.convert.integer },
  { "--everything", help = "without a filter: every packet" },
  { "--ipv6", help = "send IPv6 addresses, which the API does not document" },
}

---@type moontap.cmd.Option[]
M.NOTES = {
  { "--out", arg = "DIR", help = "where files are written (else below the state directory)" },
  { "--case", arg = "ID", convert = options.convert.note,
    help = "the case that this belongs to, for `moontap bundle`" },
  { "--why", arg = "TEXT", convert = options.convert.note,
    help = "the reason, which the journal keeps" },
  { "--deadline", arg = "DURATION", convert = options.convert.duration,
    help = "how long to wait for the account's slot (30m)" },
  { "--share", help = "may use the capture of an equal request that waits at the same time" },
  { "--yes", help = "do not ask" },
}

M.DEADLINE = 1800

-- Parameter -> the option it comes from.
local OPTION_OF <const> = {
  ["filter_v1.destination_address"] = "--dst", ["filter_v1.source_address"] = "--src",
  ["filter_v1.protocol"] = "--proto", ["filter_v1.destination_port"] = "--dport",
  ["filter_v1.source_port"] = "--sport", packet_limit = "--limit", byte_limit = "--byte-limit",
  time_limit = "--time-limit", colo_name = "--colo", destination_conf = "--bucket",
  offset_time = "--to",
}

local function usage(format, ...)
  return nil, errors.new("usage", format:format(...))
end

---The filter that the options mean; nil for everything.
---@param args table
---@return boolean|nil ok
---@return table|nil err or the filter
function M.filter(args)
  local filter = {
    destination_address = args.dst, source_address = args.src,
    protocol = math.tointeger(tonumber(args.proto)) or args.proto,
    destination_port = args.dport, source_port = args.sport,
  }
  local is_empty = next(filter) == nil
  if is_empty and not args.everything then
    return usage "no filter: give one (--dst, --src, --proto, --dport, --sport), or --everything"
  elseif not is_empty and args.everything then
    return usage "--everything goes with no filter"
  end
  for _, name in ipairs { "dst", "src" } do
    if args[name] and args[name]:find ":" and not args.ipv6 then
      return usage("--%s: IPv6 addresses are not documented by the API; --ipv6 sends it all "
        .. "the same", name)
    end
  end
  return true, not is_empty and filter or nil
end

---Checks the notes that go with a capture.
---@param args table
---@return boolean|nil ok
---@return table|nil err
function M.check_notes(args)
  if args.out == "" then return usage "--out names no directory" end
  return true
end

---Checks the parameters of a create before anything is asked or sent.
---@param params table
---@param args table
---@return boolean|nil ok
---@return table|nil err
function M.check(params, args)
  local problems = schema.check("create", params, "client",
    { allow_ipv6 = args.ipv6, now = clock.now() })
  if #problems == 0 then return true end
  local texts = {}
  for i, problem in ipairs(problems) do
    texts[i] = ("%s: %s"):format(OPTION_OF[problem.path] or problem.path, problem.message)
  end
  return usage("%s", table.concat(texts, "; "))
end

---The options of a create.
---@param args table
---@return table
function M.options(args)
  return {
    deadline = args.deadline or M.DEADLINE, allow_ipv6 = args.ipv6 or nil,
    case = args.case, why = args.why, share = args.share or nil, detach = args.detach or nil,
  }
end

-- Files ------------------------------------------------------------------------------------

local function protocol_word(protocol)
  if type(protocol) == "string" then return protocol:lower() end
  return show.protocol(protocol) or "proto" .. protocol
end

local function file_name(filter, window, id)
  local words = { (clock.format(window.from // 1 | 0):gsub("[-:]", "")) }
  local function add(prefix, value)
    if value then words[#words + 1] = prefix .. value end
  end
  add("from-", filter.source_address)
  add("", filter.destination_address)
  add("", filter.protocol and protocol_word(filter.protocol))
  add("sport", filter.source_port)
  add("dport", filter.destination_port)
  add("", tostring(id):sub(1, 8))
  return (config.sim and "sim-" or "") .. table.concat(words, "-"):gsub("[^%w._-]", "_")
end

-- The simulator's state is thrown away with what is in it, unless it was named.
local function is_kept(args)
  return not config.sim or args.state ~= nil
end

---Where the file of a capture goes: a name in the directory that the user gave, which nothing has
---so far; nil: where captures lie in the state directory.
---@param args table
---@param filter table|nil as it was asked for
---@param window { from: number }
---@param id string
---@return boolean|nil ok
---@return any path or an error
function M.place(args, filter, window, id)
  if not args.out and is_kept(args) then return true end
  local dir = args.out or "."
  local ok, err = sys.mkdir_p(dir, PRIVATE)
  if not ok then return nil, err end
  local base = (dir == "." and "" or dir:gsub("/*$", "/")) .. file_name(filter or {}, window, id)
  local path, n = base .. ".pcap", 1
  while sys.lstat(path) do
    n = n + 1
    path = ("%s-%d.pcap"):format(base, n)
  end
  return true, path
end

-- Questions --------------------------------------------------------------------------------

---Asks on a terminal whether to go on. Without one, and without --yes, the answer is no.
---@param args table
---@param reason string why there is something to ask
---@return boolean|nil ok
---@return table|nil err
function M.confirm(args, reason)
  if args.yes then return true end
  if not (sys.isatty(0) and sys.isatty(2)) then
    return usage("%s; --yes goes on without a question", reason)
  end
  io.stderr:write(reason, ". Go on? [y/N] ")
  io.stderr:flush()
  local line, err = sys.read_line()
  if err then return nil, err end
  if line and line:lower():match "^%s*y" then return true end
  return nil, errors.new("denied", "nothing was done")
end

return M
