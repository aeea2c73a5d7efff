-- The io, os and math that scripts see: the standard ones, with what touches the world (files,
-- processes, time, randomness) going through effects. Host code keeps the standard libraries.

local clock = require "moontap.clock"
local effects = require "moontap.effects"
local host = require "moontap.native.host"

local M = {}

local function copy(from)
  local to = {}
  for key, value in pairs(from) do to[key] = value end
  return to
end

M.io = copy(io)
M.io.open = effects.define("file.open", io.open)
M.io.popen = effects.define("process.popen", io.popen)
M.io.tmpfile = effects.define("file.tmpfile", io.tmpfile)

--- As io.read; a line of standard input is foreign as a file is.
M.io.read = effects.define("input.read", io.read)

--- As io.lines; a named file is opened through the effect "file.open".
function M.io.lines(name, ...)
  if name == nil then return io.lines(nil, ...) end
  local file, why = M.io.open(name)
  if not file then error(why, 2) end
  local read = file:lines(...)
  return function()
    local line = table.pack(read())
    if line[1] == nil then file:close() end
    return table.unpack(line, 1, line.n)
  end, nil, nil, file
end

-- io.input and io.output: a name is opened through the effect, a file is taken as it is.
local function redirect(standard, mode)
  return function(file)
    if type(file) == "string" then
      local opened, why = M.io.open(file, mode)
      if not opened then error(why, 2) end
      file = opened
    end
    return standard(file)
  end
end

M.io.input = redirect(io.input, "r")
M.io.output = redirect(io.output, "w")

M.os = copy(os)
M.os.execute = effects.define("process.execute", os.execute)
M.os.remove = effects.define("file.remove", os.remove)
M.os.rename = effects.define("file.rename", os.rename)
M.os.tmpname = effects.define("file.tmpname", os.tmpname)
M.os.getenv = effects.define("process.getenv", os.getenv)

--- As os.time, on the host's clock.
function M.os.time(when)
  if when ~= nil then return os.time(when) end
  return math.floor(clock.now())
end

--- As os.date, on the host's clock.
function M.os.date(format, when)
  return os.date(format or "%c", when or math.floor(clock.now()))
end

--- As os.clock: processor time; under virtual time, the seconds that have gone by.
function M.os.clock()
  if host.is_virtual() then return clock.boot() end
  return os.clock()
end

local exit = effects.define("process.exit", host.exit)

--- As os.exit, but what the program holds is released first.
--- Raises unless `code` is a boolean or an exit status 0..255.
function M.os.exit(code)
  if code == nil or code == true then code = 0 elseif code == false then code = 1 end
  if math.type(code) ~= "integer" or code < 0 or code > 255 then
    error("bad argument #1 to 'exit' (expected a boolean or 0..255)", 2)
  end
  exit(code)
end

M.math = copy(math)
M.math.random = effects.define("random", math.random)
M.math.randomseed = effects.define("randomseed", math.randomseed)

return M
