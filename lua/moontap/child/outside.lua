-- outside: in a playbook's process, what reaches beyond it by the names that scripts know: files
-- and HTTP are asked of the host. What a playbook does not have says why, and what to do instead.

local effects = require "moontap.effects"
local errors = require "moontap.errors"
local hex = require "moontap.hex"

local M = {}

local CHUNK <const> = 65536
local OPEN_MAX <const> = 16 -- files; the process has few descriptors

-- Reasons ------------------------------------------------------------------------------------

local ABSENT <const> = {
  arg = "a playbook has no command line: what it needs is in its file, or in ctx",
  dofile = "use require for files of the playbook's tree",
  loadfile = "use require for files of the playbook's tree",
  package = "a playbook's process loads no modules but those of its tree and moontap's own",
  ["io.input"] = "open the file with io.open",
  ["io.output"] = "use print: it writes to the run's log",
  ["io.popen"] = "a playbook starts no programs",
  ["io.read"] = "a playbook has no standard input",
  ["io.stderr"] = "use print: it writes to the run's log",
  ["io.stdin"] = "a playbook has no standard input",
  ["io.stdout"] = "use print: it writes to the run's log",
  ["io.tmpfile"] = "a playbook writes no files; keep it in memory",
  ["io.write"] = "use print: it writes to the run's log",
  ["os.execute"] = "a playbook starts no programs",
  ["os.exit"] = "return from run, or raise an error",
  ["os.getenv"] = "a playbook's process has no environment: write it into the playbook's file",
  ["os.remove"] = "a playbook changes no files; moontap purge removes captures",
  ["os.rename"] = "a playbook changes no files", ["os.setlocale"] = "it is C for all playbooks",
  ["os.tmpname"] = "a playbook writes no files; keep it in memory",
}

local MODULES <const> = {
  ["moontap.log"] = "use print: it writes to the run's log",
  ["moontap.bucket"] = "files of full captures are fetched outside of playbooks",
  ["pcaps.client"] = "a playbook has the account of its field account",
}

---Why a playbook has no `name`, or nil.
---@param name string "io.popen", "package"
---@return string|nil
function M.reason(name)
  return ABSENT[name] and ("%s is not there for playbooks: %s"):format(name, ABSENT[name])
end

---Why a playbook cannot require module `name`, or nil.
---@param name string
---@return string|nil
function M.no_module(name)
  return MODULES[name] and ("module '%s' is not there for playbooks: %s"):format(name,
    MODULES[name])
end

---Raises why a library does not have `key`, where there is a reason.
---@param library string
---@param key any
function M.explain(library, key)
  local why = type(key) == "string" and M.reason(library .. "." .. key)
  if why then error(why, 3) end
end

-- Has the host given this effect?
local function has(name)
  for _, other in ipairs(effects.names()) do
    if other == name then return true end
  end
  return false
end

-- Files --------------------------------------------------------------------------------------

local File = {}
File.__index = File
File.__name = "file"
File.__metatable = false

local function check_open(file)
  if not file.raw then error("attempt to use a closed file", 3) end
end

-- What was read of it and not taken: `rest` from `at` on.
local function left(file)
  return #file.rest - file.at + 1
end

-- Makes sure that `n` bytes are there, unless the file ends before, or cannot be read: file.why.
local function fill(file, n)
  local size = left(file)
  if size >= n or file.is_over then return end
  local parts = { file.rest:sub(file.at) }
  while size < n and not file.is_over and not file.why do
    local bytes, why = file.raw:read(math.min(math.max(n - size, CHUNK), 1 << 20))
    file.is_over, file.why = not bytes and not why, why
    parts[#parts + 1] = bytes
    size = size + (bytes and #bytes or 0)
  end
  file.rest, file.at = table.concat(parts), 1
end

local function take(file, n)
  local text = file.rest:sub(file.at, file.at + n - 1)
  file.at = file.at + #text
  return text
end

local function read_count(file, n)
  fill(file, math.max(n, 1))
  if left(file) == 0 then return nil end
  return take(file, n)
end

local function read_line(file, keeps_end)
  local known = 0
  while true do
    local stop = file.rest:find("\n", file.at + known, true)
    if stop then
      local line = take(file, stop - file.at + 1)
      return keeps_end and line or line:sub(1, -2)
    end
    if file.is_over or file.why then break end
    known = left(file)
    fill(file, known + math.max(known, CHUNK))
  end
  return left(file) > 0 and take(file, left(file)) or nil
end

local function read_number(file)
  fill(file, 512)
  local space = #file.rest:match("^%s*", file.at)
  local word = file.rest:match("^[-+]?[%w.]+[-+]?%w*", file.at + space)
  local number = word and (tonumber(word) or tonumber(word:match "^[-+]?[%w.]+"))
  take(file, space + (number and #word or 0))
  return number
end

local function read_all(file)
  fill(file, math.huge)
  return take(file, left(file))
end

local FORMATS <const> = {
  a = read_all, l = function(file) return read_line(file) end, n = read_number,
  L = function(file) return read_line(file, true) end,
}

local function read_one(file, format)
  if math.type(format) then
    local count = math.tointeger(format)
    if not count then
      error("bad argument to 'read' (number has no integer representation)", 3)
    end
    return read_count(file, count)
  end
  local read = type(format) == "string" and FORMATS[format:gsub("^%*", ""):sub(1, 1)]
  if not read then error("bad argument to 'read' (invalid format)", 3) end
  return read(file)
end

--- As file:read.
function File:read(...)
  check_open(self)
  local results, n = {}, math.max(select("#", ...), 1)
  local formats = select("#", ...) > 0 and { ... } or { "l" }
  self.why = nil
  for i = 1, n do
    results[i] = read_one(self, formats[i])
    if self.why then return nil, self.why end
    if results[i] == nil then return table.unpack(results, 1, i) end
  end
  return table.unpack(results, 1, n)
end

--- As file:lines.
function File:lines(...)
  check_open(self)
  local formats = table.pack(...)
  return function()
    local results = table.pack(self:read(table.unpack(formats, 1, formats.n)))
    if results[1] == nil and results[2] then error(results[2], 2) end
    return table.unpack(results, 1, results.n)
  end
end

--- As file:seek.
function File:seek(whence, offset)
  check_open(self)
  whence, offset = whence or "cur", offset or 0
  if whence == "cur" then offset = offset - left(self) end
  local at, why = self.raw:seek(whence, offset)
  if not at then return nil, why end
  self.rest, self.at, self.is_over = "", 1, false
  return at
end

function File:close()
  check_open(self)
  self.raw:close()
  self.raw = nil
  return true
end

function File:write()
  check_open(self)
  return nil, "a playbook only reads files; captures are written by cap:download()"
end

File.__close = function(file)
  if file.raw then file:close() end
end
File.__tostring = function(file) return file.raw and "file" or "file (closed)" end

local opened = setmetatable({}, { __mode = "k" })

-- Is there room for one more file? Those that nobody holds any more are let go of first.
local function has_room()
  for turn = 1, 2 do
    local count = 0
    for file in pairs(opened) do count = count + (file.raw and 1 or 0) end
    if count < OPEN_MAX then return true end
    if turn == 1 then collectgarbage() end
  end
  return false
end

local io = {}

--- As io.open, for reading.
function io.open(path, mode)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'open' (string expected, got %s)"):format(type(path)), 2)
  end
  if mode ~= nil and mode ~= "r" and mode ~= "rb" then
    return nil, path .. ": a playbook only reads files; captures are written by cap:download()"
  end
  if not has "file.open" then
    return nil, path .. ": files can be opened by run, not while the playbook is loaded"
  end
  if not has_room() then
    return nil, ("%s: %d files are open already; close them"):format(path, OPEN_MAX)
  end
  local file = { raw = true, rest = "", at = 1, is_over = false }
  opened[file] = true -- it counts while it is asked for
  local raw, err = effects.call("file.open", path)
  file.raw = raw
  if not raw then return nil, err and err.message or path .. ": it was not handed over", err end
  return setmetatable(file, File)
end

--- As io.lines, of a file.
function io.lines(path, ...)
  local file, why = io.open(path)
  if not file then error(why, 2) end
  local read = file:lines(...)
  return function()
    local results = table.pack(read())
    if results[1] == nil then file:close() end
    return table.unpack(results, 1, results.n)
  end, nil, nil, file
end

function io.type(value)
  if getmetatable(value) ~= false or type(value) ~= "table" or rawget(value, "rest") == nil then
    return nil
  end
  return value.raw and "file" or "closed file"
end

M.io = setmetatable(io, { __metatable = false, __index = function(_, key)
  M.explain("io", key)
end })

-- HTTP ---------------------------------------------------------------------------------------

local http = {}

--- As moontap.http.request, to the hosts that grants.http names.
function http.request(request)
  if type(request) ~= "table" then
    error(("http.request: expected a table, got a %s"):format(type(request)), 2)
  end
  if not has "http.request" then
    return nil, errors.new("denied", "requests are sent by run, not while the playbook is loaded")
  end
  local sent = {}
  for key, value in pairs(request) do sent[key] = value end
  if type(sent.body) == "string" and not utf8.len(sent.body) then -- frames hold text
    sent.body, sent.body_hex = nil, hex.encode(sent.body)
  end
  local answer, err = effects.call("http.request", sent)
  if not answer then return nil, err end
  if answer.body_hex then answer.body, answer.body_hex = hex.decode(answer.body_hex), nil end
  return answer
end

local modules = { ["moontap.http"] = http }

---What `require` finds here, or nil.
---@param name string
---@return any
function M.module(name)
  return modules[name]
end

return M
