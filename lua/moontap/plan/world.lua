-- world: one run of a script in which nothing is changed. What it would change is a step; the
-- answers are invented. The program runs a script in two worlds that differ in every invented
-- value and in nothing else: what it does in both does not depend on them.

local duration = require "moontap.duration"
local errors = require "moontap.errors"
local native = require "moontap.native.clock"
local task = require "moontap.native.task"
local where = require "moontap.plan.where"

local M = {}

M.STEPS_MAX = 1000
M.READS_MAX = 200       -- the API is really asked
M.SPAN = 86400          -- seconds that a plan covers
M.PACKETS = 1000000     -- of an invented capture without a packet_limit
local PARKED <const> = 3600

---What is invented, in each of the two. `mark` is in ids and names, `late` in times. A capture is
---as full as it can be, or empty: what lies between must not decide alike in both.
M.VALUES = {
  { mark = 1, late = 0, pending = "pending", final = "success", is_empty = false,
    is_file_empty = false, ownership = "pending", http_status = 200, http_body = "",
    succeeds = true, output = "invented\n" },
  { mark = 2, late = 1, pending = "running", final = "complete", is_empty = true,
    is_file_empty = true, ownership = "submitted", http_status = 503, http_body = "invented",
    succeeds = false, output = "" },
}

---Names that values have in plans -> which of VALUES is behind them.
M.ORIGINS = {
  ["HTTP status"] = "http_status", body = "http_body", ["bytes of the file"] = "is_file_empty",
  challenge = "mark", ["exit status"] = "succeeds", filename = "mark", files = "is_file_empty",
  ["final status"] = "final", id = "mark", name = "mark", output = "output",
  ["ownership status"] = "ownership", ["packets in the file"] = "is_file_empty",
  packets_captured = "is_empty", status = "pending", submitted = "late", validated = "late",
}

---@class moontap.plan.Step
---@field number integer
---@field op string
---@field at number seconds after the start
---@field details table what it does, in simple values; compared, not shown as it is
---@field chain moontap.plan.Place[]
---@field given integer how many invented values the script had been given
---@field slot? moontap.plan.Slot
---@field invents? string[] names of the invented values of its answer
---@field signature string

---@class moontap.plan.World
---@field values table of VALUES
---@field steps moontap.plan.Step[]
---@field given { step: integer, name: string, value: any }[] invented values, as they were given
---@field captures table<string, table> invented ones, by id
---@field ownerships table<string, table>
---@field files table<string, table> files that the run would have changed
---@field shared table what both worlds have in common: `reads`, `slots`, the clock at the start
---@field over? table how it ended
local World = {}
World.__index = World

local current

---The world that runs; nil before and after.
---@return moontap.plan.World|nil
function M.current()
  return current
end

-- The values of one of the two; with `key`, those of the first but for that one.
local function choose(number, key)
  if not key then return M.VALUES[number] end
  local values = {}
  for name, value in pairs(M.VALUES[1]) do values[name] = value end
  values[key] = M.VALUES[2][key]
  return values
end

---@param number 1|2
---@param shared table
---@param key? string the only one of the values that is the second's
---@return moontap.plan.World
function M.new(number, shared, key)
  shared.reads = shared.reads or {}
  shared.slots = shared.slots or {}
  shared.real_reads = shared.real_reads or 0
  shared.began = shared.began or native.boot()
  return setmetatable({
    values = choose(number, key), shared = shared, steps = {}, given = {},
    was_given = {}, captures = {}, ownerships = {}, files = {}, looks = {}, made = 0, names = {},
    read_at = {}, tasks = setmetatable({}, { __mode = "k" }), slots = {},
  }, World)
end

---Makes it the one that runs; nil: none does.
---@param world moontap.plan.World|nil
function M.enter(world)
  current = world
  if world then world.offset = native.boot() - world.shared.began end
end

-- Time ---------------------------------------------------------------------------------------

local function round(seconds)
  return math.floor(seconds * 1e6 + 0.5) / 1e6
end

---A time of the clock as it is in this world: each begins at the same moment.
---@param seconds number
---@return number
function World:time(seconds)
  return round(seconds - self.offset)
end

---@return number seconds since 1970
function World:now()
  return self:time(native.now())
end

---@return number seconds since the start
function World:elapsed()
  return round(native.boot() - self.offset - self.shared.began)
end

-- Invented values ------------------------------------------------------------------------------

local TOKEN <const> = "invented" .. ("%x"):rep(24)

---A text that stands for something that is only planned. It says so, and differs in each world.
---@param what string such as "the id of step 3"
---@return string
function World:token(what)
  self.made = self.made + 1
  local token = ("invented%08x%016x"):format(self.values.mark, self.made)
  self.names[token] = what
  return token
end

---`text`, with what tokens stand for in their places.
---@param text string
---@return string
function World:plain(text)
  return (text:gsub(TOKEN, function(token)
    local name = self.names[token]
    return name and "{" .. name .. "}" or nil
  end))
end

---Does `text` hold something that is only planned?
---@param text string
---@return boolean
function World:is_invented(text)
  local token = text:match(TOKEN)
  return token ~= nil and self.names[token] ~= nil
end

---Notes that the script was given invented values.
---@param step moontap.plan.Step|integer
---@param values table<string, any>
function World:give(step, values)
  local number = type(step) == "table" and step.number or step
  local names = {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local key = number .. " " .. name
    if not self.was_given[key] then
      self.was_given[key] = true
      self.given[#self.given + 1] = { step = number, name = name, value = values[name] }
    end
  end
  if type(step) == "table" then step.invents = names end
end

-- Comparing ------------------------------------------------------------------------------------

---A value as text, the same for equal ones; what tokens stand for instead of them.
---@param value any
---@return string
function World:sign(value)
  if type(value) == "string" then return ("%q"):format(self:plain(value)) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = self:sign(key) .. "=" .. self:sign(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Files ----------------------------------------------------------------------------------------

local function normal(path)
  return (path:gsub("/+", "/"):gsub("/%./", "/"):gsub("^%./", ""))
end

---Notes that the run would have changed a file.
---@param path string
---@param file { step: integer, is_capture?: boolean, most?: integer } `most`: its packets
function World:plan_file(path, file)
  self.files[normal(path)] = file
end

---@param path string
---@return { step: integer, is_capture?: boolean, most?: integer }|nil
function World:planned_file(path)
  return self.files[normal(path)]
end

-- Ending ---------------------------------------------------------------------------------------

---Ends this world here. Does not return.
---@param ends "exit"|"limit"|"undecided"
---@param message string
function World:stop(ends, message)
  self.over = self.over or { ends = ends, message = message, chain = where.chain(3),
                             given = #self.given }
  self.tasks[task.current()] = true
  task.spawn_detached({ name = "plan" }, function()
    for running in pairs(self.tasks) do running:kill() end -- a pcall would swallow less
  end)
  task.sleep(PARKED)
  error(errors.new("cancelled", "the plan ends here"), 0)
end

-- To be called wherever a script comes by.
function World:check()
  self.tasks[task.current()] = true
  if self.over then self:stop(self.over.ends, self.over.message) end
end

---Waits, as far as the plan covers.
---@param sleep fun(seconds: any)
---@param length any as the script gave it
function World:wait(sleep, length)
  self:check()
  local seconds = duration.parse(length)
  local left = M.SPAN - self:elapsed()
  if not seconds or seconds <= left then return sleep(length) end
  sleep(math.max(left, 0))
  return self:stop("limit", ("a plan covers %s, and the script goes on"):format(
    duration.format(M.SPAN)))
end

-- Steps and reads ------------------------------------------------------------------------------

---Writes a step down.
---@param op string
---@param details table
---@param slot? moontap.plan.Slot
---@return moontap.plan.Step
function World:step(op, details, slot)
  self:check()
  if #self.steps >= M.STEPS_MAX then
    self:stop("limit", ("a plan has at most %d steps, and the script goes on"):format(M.STEPS_MAX))
  end
  local step = { number = #self.steps + 1, op = op, at = self:elapsed(), details = details,
                 slot = slot, chain = where.chain(3), given = #self.given }
  step.signature = self:sign { op, step.at, details, slot or false, step.chain }
  self.steps[step.number] = step
  return step
end

-- A copy as deep as it goes; metatables and what cannot be copied are shared.
local function copy(value, seen)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local to = {}
  seen[value] = to
  for key, item in next, value do to[copy(key, seen)] = copy(item, seen) end
  return debug.setmetatable(to, debug.getmetatable(value))
end

---Reads something of the real world, once for both: the other is given the same.
---@param name string
---@param arguments table
---@param read fun(): ...
---@return any ...
function World:read(name, arguments, read)
  self:check()
  local key = name .. self:sign(arguments)
  local results = self.shared.reads[key] or {}
  self.shared.reads[key] = results
  local at = (self.read_at[key] or 0) + 1
  self.read_at[key] = at
  if not results[at] then
    self.shared.real_reads = self.shared.real_reads + 1
    if self.shared.real_reads > M.READS_MAX then
      self:stop("limit", ("a plan reads %d times at most, and the script goes on"):format(
        M.READS_MAX))
    end
    results[at] = copy(table.pack(read()), {})
  end
  local given = copy(results[at], {})
  return table.unpack(given, 1, given.n)
end

return M
