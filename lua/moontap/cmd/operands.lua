-- operands: finds the operands in a command line before anything is parsed, so that what follows
-- a script's name reaches the script untouched, and options may stand before the command.

local M = {}

-- How many arguments an option takes up: 1, or 2 when its value is the next one.
local function width(argument, takes_value)
  if argument:sub(1, 2) == "--" then
    return (not argument:find("=", 1, true) and takes_value[argument]) and 2 or 1
  end
  for i = 2, #argument do
    if takes_value["-" .. argument:sub(i, i)] then return i == #argument and 2 or 1 end
  end
  return 1
end

local function is_option(argument)
  return argument:sub(1, 1) == "-" and argument ~= "-"
end

---Where the first operand of argv is.
---@param argv string[]
---@param takes_value table<string, boolean> for each option, whether it takes a value
---@return integer|nil at nil when there are only options
---@return integer last the options before it are argv[1..last]; a "--" is not one
function M.first(argv, takes_value)
  local i = 1
  while i <= #argv do
    local argument = argv[i]
    if argument == "--" then return argv[i + 1] and i + 1, i - 1 end
    if not is_option(argument) then return i, i - 1 end
    i = i + width(argument, takes_value)
  end
  return nil, #argv
end

---Whether one of the options `names` stands in argv[1..last].
---@param argv string[]
---@param last integer
---@param names table<string, boolean>
---@param takes_value table<string, boolean>
---@return boolean
function M.has(argv, last, names, takes_value)
  local i = 1
  while i <= last do
    local argument = argv[i]
    if argument == "--" then return false end
    if names[argument] then return true end
    i = i + (is_option(argument) and width(argument, takes_value) or 1)
  end
  return false
end

return M
