-- captures: what captures the account has, and what this machine knows of them.

local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"
local ledger = require "moontap.cmd.ledger"
local log = require "moontap.log"
local options = require "moontap.cmd.options"
local place = require "moontap.cmd.place"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"

---@type moontap.cmd.Command
local M = {
  summary = "list the captures of the account, and who asked for them",
  usage = { "moontap captures [OPTIONS]" },
  description = "Lists the captures of the account, as far as the API shows them (50), and all "
    .. "that this machine asked for: by whom, with which script, why, for which case, and where "
    .. "the file is. Creates that wait for their slot or whose outcome is unknown are there too; "
    .. "what the API no longer lists is marked 'journal only'. When the API cannot be asked, what "
    .. "this machine knows is shown all the same.\n\nWith --follow, a line for each capture, then "
    .. "one for each whose state changes, until it is interrupted.",
  options = {
    { "--all", help = "also creates that came to nothing: refused, given up" },
    { "--ours", help = "only what this machine asked for" },
    { "--others", help = "only what it did not" },
    { "--case", arg = "ID", help = "only what belongs to this case" },
    { "--since", arg = "DURATION", convert = options.convert.duration,
      help = "only those of the last DURATION, such as 24h" },
    { "--follow", help = "go on, and tell what changes" },
    { "--interval", arg = "DURATION", convert = options.convert.duration,
      help = "with --follow: how often to look (5s)" },
  },
  groups = { "asking", "output" },
  examples = { "moontap captures --case INC-7", "moontap captures --follow --json | logger" },
}

-- The columns of the journal.
local COLUMNS <const> = {
  { "NOTE", function(entry) return entry.note end },
  { "BY", function(entry)
    return entry.who and (entry.script and ("%s, %s"):format(entry.who, entry.script) or entry.who)
  end },
  { "CASE", function(entry) return entry.case end },
  { "WHY", function(entry) return entry.why end },
  { "BYTES", function(entry) return entry.bytes end, right = true },
  { "FILE", function(entry) return entry.file end },
  { "RAY", function(entry) return entry.ray end },
}

-- What is written down of the account, or an empty book and the error.
local function read_book()
  local here, err = place.find()
  if not here then return ledger.read(), err end
  local book
  book, err = ledger.read(here.account)
  place.leave(here)
  if not book then return ledger.read(), err end
  return book
end

local function check(args)
  local problem
  if args.ours and args.others then
    problem = "give one of --ours and --others"
  elseif args.interval and not args.follow then
    problem = "--interval goes with --follow"
  end
  return problem == nil, problem and errors.new("usage", "captures: " .. problem)
end

local function print_list(list)
  if config.json then
    for _, entry in ipairs(list) do entry.note = nil end
    print(json.encode(list, { pretty = true }))
  elseif #list > 0 then
    print(show.table(list, sys.isatty(1) and sys.terminal_size(1) or nil, COLUMNS))
  elseif not config.quiet then
    io.stderr:write("no captures\n")
  end
end

function M.run(args)
  local ok, err = check(args)
  if not ok then return nil, err end
  if args.follow then return require "moontap.cmd.follow".run(args) end
  local caps, book
  caps, err = require "pcaps".list()
  local why
  book, why = read_book()
  -- whoever could not open the state to write has said so already
  if why and caps and require "moontap.state".is_open() then
    log.warn("%s; what was asked for here is not shown", why.message)
  end
  local list = ledger.select(ledger.merge(caps or {}, book), args)
  if not caps and #list == 0 then return nil, err end
  print_list(list)
  if caps then return 0 end
  err.message = "the API could not be asked, this is what was written down here: " .. err.message
  return nil, err
end

return M
