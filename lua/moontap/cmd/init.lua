-- The command line: which command is meant, its options and operands, and what the shell is told.
-- `require "moontap.cmd"` is the function that the program runs with its arguments; its result is
-- the exit status.

local command = require "moontap.cmd.command"
local operands = require "moontap.cmd.operands"
local options = require "moontap.cmd.options"
local outcome = require "moontap.cmd.outcome"
local sys = require "moontap.native.sys"

local HELP <const> = { ["-h"] = true, ["--help"] = true }
local VERSION <const> = { ["--version"] = true }
local CODE <const> = { ["-e"] = true }

local function is_script(word)
  return word == "-" or word:find("/", 1, true) ~= nil or word:find "%.lua$" ~= nil
end

-- The command that argv means, and argv without its name. Options may stand before it.
local function find_command(argv)
  local takes_value = options.values(options.all(), { ["-e"] = true })
  local at, last = operands.first(argv, takes_value)
  if operands.has(argv, last, CODE, takes_value) then return "run", argv end
  if not at then
    if operands.has(argv, last, HELP, takes_value) then return "help", {} end
    if operands.has(argv, last, VERSION, takes_value) then return "version", {} end
    return nil, "a command is required"
  end
  local word = argv[at]
  if command.exists(word) and last == at - 1 then
    local rest = table.move(argv, 1, last, 1, {})
    return word, table.move(argv, at + 1, #argv, at, rest)
  end
  if is_script(word) then return "run", argv end
  if sys.stat(word) then
    return nil, ("unknown command '%s'; to run the file: moontap run %s"):format(word, word)
  end
  return nil, command.unknown(word)
end

local function parse(name, argv)
  local takes_value = command.takes_value(name)
  local rest
  if command.load(name).passes_rest then
    local at, last = operands.first(argv, takes_value)
    rest = at and table.move(argv, at, #argv, 1, {}) or {}
    argv = table.move(argv, 1, last, 1, {})
  end
  if operands.has(argv, #argv, HELP, takes_value) then return { shows_help = true } end
  local args, problem = command.parse(name, argv)
  if args then args.command, args.rest = name, rest end
  return args, problem
end

local function run(name, args)
  if args.fault and require "moontap.cmd.simargs".help(args) then return 0 end
  local session = require "moontap.cmd.session"
  args.plans_itself = command.load(name).plans_itself
  return session.with(args, function() return command.load(name).run(args) end)
end

return function(...)
  local argv = { ... }
  if #argv == 0 and sys.isatty(0) and sys.isatty(1) then argv[1] = "repl" end
  if #argv == 0 then
    io.stderr:write(command.load("help").short(), "\n")
    return outcome.USAGE
  end
  local name, found = find_command(argv)
  if not name then return outcome.usage(found) end
  local args, problem = parse(name, found)
  if not args then return outcome.usage(problem, name) end
  if args.shows_help then
    io.stdout:write(command.help_of(name), "\n")
    return outcome.OK
  end
  local status, err = run(name, args)
  if err ~= nil then return outcome.failure(err, name) end
  return status or outcome.OK
end
