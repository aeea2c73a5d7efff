-- follow: `moontap captures --follow`, a line for each capture whose state changed. It looks at
-- the API and at what is written down, and outlives failures of either that pass.

local clock = require "moontap.clock"
local config = require "moontap.config"
local errors = require "moontap.errors"
local json = require "moontap.json"
local ledger = require "moontap.cmd.ledger"
local log = require "moontap.log"
local place = require "moontap.cmd.place"
local retry = require "pcaps.retry"
local show = require "moontap.cmd.show"
local sys = require "moontap.native.sys"
local zone = require "moontap.cmd.zone"

local M = {}

local INTERVAL <const> = 5  -- seconds
local TIMEOUT <const> = 30  -- … of one look
local NOTICE <const> = 1    -- … in which a reader that has left is noticed

-- What is known of a capture in two parts: the API's is missing while it cannot be asked.
local function states_of(entry)
  return { status = entry.status,
    api = json.encode { entry.status or "", entry.stop_requested or "", entry.error_message or "" },
    journal = json.encode { entry.state or "", entry.file or "", entry.sha256 or "",
      entry.held and "held" or "", entry.purged or "", entry.case or "", entry.id or "",
      entry.alive == false and "dead" or "" } }
end

local function has_changed(entry, old, new)
  if not old or old.journal ~= new.journal then return true end
  if entry.listed then return old.api ~= new.api end
  return new.status ~= nil and old.status ~= new.status
end

local function text_of(entry)
  local parts = { zone.format(clock.now() // 1 | 0),
                  entry.id or ("intent %d"):format(entry.intent), entry.type or "-",
                  entry.status or entry.note or "-" }
  if entry.id and entry.note then parts[#parts + 1] = "(" .. entry.note .. ")" end
  if entry.who then parts[#parts + 1] = "by " .. entry.who end
  if entry.script then parts[#parts + 1] = entry.script end
  if entry.case then parts[#parts + 1] = "case " .. entry.case end
  parts[#parts + 1] = show.filter(entry.filter_v1)
  return show.line(table.concat(parts, "  "))
end

local function line_of(entry)
  if not config.json then return text_of(entry) .. "\n" end
  entry.note = nil
  return json.encode(entry) .. "\n"
end

---@class moontap.cmd.Follower
---@field seen table<string|integer, table> what was told of each
---@field here? moontap.cmd.Place
local Follower = {}
Follower.__index = Follower

-- Says a problem once, until it is over.
function Follower:complain(what, err)
  local message = err and err.message
  if message and self[what] ~= message then log.warn("%s; goes on", message) end
  self[what] = message
end

-- What is written down; what was read before, when nobody has written since.
function Follower:read_book()
  if not (self.here and self.here.account) then
    if self.here then place.leave(self.here) end
    local problem
    self.here, problem = place.find()
    self.version = nil
    if not self.here then return nil, problem end
  end
  local account = self.here.account
  if not account then return ledger.read() end
  local version = self.here.state:version()
  if version and version == self.version and not next(self.book.dead) then return self.book end
  local book, err = ledger.read(account)
  if not book then
    place.leave(self.here)
    self.here = nil
    return nil, err
  end
  self.book, self.version = book, version
  return book
end

-- One look. nil and an error when there is no point in another.
function Follower:look()
  local caps, err = require "pcaps".list { max_retries = 0, timeout = TIMEOUT }
  if not caps and not retry.is_passing(err) and err.kind ~= "quota" then return nil, err end
  self:complain("api_problem", err)
  local book, problem = self:read_book()
  self:complain("book_problem", problem)
  local list = ledger.merge(caps or {}, book or self.book or ledger.read())
  return ledger.select(list, self.args)
end

function Follower:tell(list)
  for i = #list, 1, -1 do -- the oldest first
    local entry = list[i]
    local key = entry.id or entry.intent or "?"
    local now = states_of(entry)
    if has_changed(entry, self.seen[key], now) then
      local ok, err = sys.write(1, line_of(entry))
      if not ok then return nil, err end
    end
    self.seen[key] = now
  end
  return true
end

-- Sleeps, but not longer than somebody reads. Returns whether somebody does.
local function rest(seconds)
  local ends = clock.boot() + seconds
  while true do
    if sys.is_hung_up(1) then return false end
    local left = ends - clock.boot()
    if left <= 0 then return true end
    moontap.sleep(math.max(0.001, math.min(left, NOTICE)))
  end
end

function Follower:run()
  local interval = (self.args.interval or INTERVAL) / config.speed
  repeat
    local list, err = self:look()
    if not list then return nil, err end
    local ok
    ok, err = self:tell(list)
    if not ok then
      if sys.is_hung_up(1) then return 0 end
      return nil, err
    end
  until not rest(interval)
  return 0
end

---Tells what changes until a signal ends it, or nobody reads any more.
---@param args table
---@return integer|nil status
---@return table|nil err
function M.run(args)
  local follower = setmetatable({ args = args, seen = {} }, Follower)
  local outcome = table.pack(pcall(follower.run, follower))
  if follower.here then place.leave(follower.here) end
  local err = outcome[outcome[1] and 3 or 2]
  if errors.is(err, "cancelled") then return 0 end
  if not outcome[1] then error(err, 0) end
  return outcome[2], err
end

return M
