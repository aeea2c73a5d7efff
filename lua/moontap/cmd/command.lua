-- command: what a command is, its parser and its help, all from the data in its file.

local options = require "moontap.cmd.options"

-- The order of `moontap help`. Each is a file of this folder.
local NAMES <const> = {
  "run", "repl", "capture", "sweep", "captures", "get", "stop", "download", "slots", "bundle",
  "hold", "release", "purge", "audit", "doctor", "cron", "check", "schedule", "history", "runs",
  "log", "why", "trigger", "pause", "resume", "sim", "version", "help",
}

local TITLES <const> = {
  api = "Which API", asking = "Which API",
  output = "Output", log = "Output", cron = "For crontab lines",
  script = "The script's world", seed = "Randomness", world = "The simulated world",
  simulated = "The simulator's time", state = "State",
}

---@class moontap.cmd.Argument
---@field [1] string the field of the arguments it becomes
---@field name string how help calls it
---@field help string
---@field optional? boolean
---@field repeated? boolean any number of them; the field is a list
---@field convert? fun(text: string): any, string?

---@class moontap.cmd.Command
---@field summary string one line of `moontap help`
---@field usage string[]
---@field description? string
---@field arguments? moontap.cmd.Argument[]
---@field groups? string[] shared options
---@field options? moontap.cmd.Option[] its own
---@field examples? string[]
---@field passes_rest? boolean the first operand and all that follows belong to a script
---@field plans_itself? boolean --dry-run is its own affair; the gate lets no change through then
---@field run fun(args: table): integer|nil, table|nil exit status; nil and an error

local HELP <const> = { "-h --help", help = "show this help" }

local M = {}

---@param name string
---@return boolean
function M.exists(name)
  for _, other in ipairs(NAMES) do
    if other == name then return true end
  end
  return false
end

---@param name string
---@return moontap.cmd.Command
function M.load(name)
  return require("moontap.cmd." .. name)
end

---The names of all commands, in the order of the help text, and what each is for.
---@return { name: string, summary: string }[]
function M.list()
  local list = {}
  for i, name in ipairs(NAMES) do
    list[i] = { name = name, summary = M.load(name).summary }
  end
  return list
end

-- Says which option a value was not good for.
local function converter(option)
  local name = option[1]:match "%S+$"
  return function(text)
    local value, problem = option.convert(text)
    if value == nil then return nil, name .. ": " .. problem end
    return value
  end
end

local function add_option(parser, option)
  local element
  if option.arg then
    element = parser:option(option[1]):argname(option.arg)
  else
    element = parser:flag(option[1])
  end
  if option.target then element:target(option.target) end
  if option.count then element:count "*" end
  if option.repeated then element:count "*" end
  if option.convert then element:convert(converter(option)) end
  return element:description(option.help)
end

local function add_group(parser, title, list)
  local elements = {}
  for i, option in ipairs(list) do elements[i] = add_option(parser, option) end
  parser:group(title, table.unpack(elements))
end

local function make_parser(name, command)
  local parser = require "argparse"("moontap " .. name):add_help(false)
  parser:help_max_width(80):help_description_margin(26):help_usage_margin(2)
  parser:usage("usage: " .. table.concat(command.usage, "\n       "))
  parser:description(command.description or command.summary)
  for _, argument in ipairs(command.arguments or {}) do
    local element = parser:argument(argument.name):target(argument[1]):description(argument.help)
      :args(argument.repeated and "*" or argument.optional and "?" or "1"):argname(argument.name)
    if argument.convert then
      element:convert(converter { argument.name, convert = argument.convert })
    end
  end
  local own = table.move(command.options or {}, 1, #(command.options or {}), 1, {})
  own[#own + 1] = HELP
  add_group(parser, "Options", own)
  for _, group in ipairs(command.groups or {}) do
    add_group(parser, TITLES[group], options.group(group))
  end
  if command.examples then
    parser:epilog("Examples:\n  " .. table.concat(command.examples, "\n  "))
  end
  return parser
end

---The help text of a command.
---@param name string
---@return string
function M.help_of(name)
  return make_parser(name, M.load(name)):get_help()
end

---Which options of a command take a value.
---@param name string
---@return table<string, boolean>
function M.takes_value(name)
  local command = M.load(name)
  local takes = options.values({ HELP })
  options.values(command.options or {}, takes)
  for _, group in ipairs(command.groups or {}) do options.values(options.group(group), takes) end
  return takes
end

-- argparse takes "-10m" for options; behind one that wants a value it is its value.
local function join_negatives(name, argv)
  local takes, joined, i = M.takes_value(name), {}, 1
  while argv[i] and argv[i] ~= "--" do
    local word, value = argv[i], argv[i + 1]
    local is_value = takes[word] and word:find "^%-%-" and value and value:find "^%-%d"
    joined[#joined + 1] = is_value and word .. "=" .. value or word
    i = i + (is_value and 2 or 1)
  end
  return table.move(argv, i, #argv, #joined + 1, joined)
end

---Parses what follows a command's name.
---@param name string
---@param argv string[]
---@return table|nil args
---@return string|nil problem
function M.parse(name, argv)
  local ok, args = make_parser(name, M.load(name)):pparse(join_negatives(name, argv))
  if not ok then return nil, args end
  return args
end

---What argparse says about a command that does not exist, with a near match.
---@param word string
---@return string
function M.unknown(word)
  local parser = require "argparse"("moontap"):add_help(false)
  for _, name in ipairs(NAMES) do parser:command(name):add_help(false) end
  local _, problem = parser:pparse { word }
  return problem
end

return M
