-- batches: the host's side of child/batch.lua: has many files evaluated in the loader's process,
-- two frames ahead of it, so that neither waits for the other. It hands on what is data; which
-- files are left over, it says: those that went wrong, wanted more than is there, or were under way
-- when the process ended.

local clock = require "moontap.clock"
local effects = require "moontap.effects"
local json = require "moontap.json"
local protocol = require "moontap.child.protocol"
local session = require "moontap.child.session"
local task = require "moontap.native.task"

local sleep = effects.caller "sleep"

local M = {}

local AHEAD <const> = 2              -- frames sent before the first is answered
local FILES_MAX <const> = 64         -- in a frame
local BYTES_MAX <const> = 128 << 10  -- … and of text
local NEEDS_MAX <const> = 32         -- times that a file is evaluated again for a source
local LOADED <const> = { loaded = true }
local RESULT <const> = { again = true, needs = true, used = true, v = true }

local Work = {}
Work.__index = Work

-- Frames ---------------------------------------------------------------------------------------

-- The next files, all of one tree; nil when none are left.
function Work:take()
  local batch, bytes = { names = {}, files = {}, at = 0 }, 0
  while #batch.names < FILES_MAX and bytes < BYTES_MAX do
    local name = self.redo[self.redo_at] or self.names[self.at]
    if name == nil then break end
    local tree = self.tree(name)
    if #batch.names > 0 and tree ~= batch.tree then break end
    if self.redo[self.redo_at] then self.redo_at = self.redo_at + 1 else self.at = self.at + 1 end
    local text = self.text(name) or ""
    if text == "" or #text > BYTES_MAX or not utf8.len(text) or not utf8.len(name) then
      self.left[#self.left + 1] = name
    else
      batch.tree, bytes = tree, bytes + #text
      batch.names[#batch.names + 1], batch.files[#batch.files + 1] = name, { name, text }
    end
  end
  return #batch.names > 0 and batch or nil
end

-- Sources that the process does not have yet; all of them when it has those of another tree.
local function sources_for(self, tree)
  local known = self.sources[tree]
  local is_new = self.sent_tree ~= tree
  local list = table.move(known, is_new and 1 or self.sent_count + 1, #known, 1, {})
  self.sent_tree, self.sent_count = tree, #known
  return list, is_new
end

local function known_of(self, tree)
  local known = self.sources[tree]
  if not known then
    known = { names = {} }
    self.sources[tree] = known
  end
  return known
end

local function leave(self, batch)
  table.move(batch.names, batch.at + 1, #batch.names, #self.left + 1, self.left)
end

local function send(self, batch)
  known_of(self, batch.tree)
  local sources, is_new = sources_for(self, batch.tree)
  local ok, text = pcall(protocol.encode, { batch = batch.files, sources = sources,
                                            is_new = is_new })
  if ok and self.run.child:send(text) == true then
    self.flying[#self.flying + 1] = batch
    batch.files = nil
  else
    self.sent_tree = nil
    leave(self, batch)
  end
end

-- Results --------------------------------------------------------------------------------------

-- The file needs a source of its tree, and is evaluated again with it.
local function fetch(self, tree, name, needs)
  local known = known_of(self, tree)
  local count = (self.needed[name] or 0) + 1
  self.needed[name] = count
  if type(needs) ~= "string" or count > NEEDS_MAX then return false end
  if not known.names[needs] then
    local find = session.safe_source(function(wanted) return self.source(wanted, name) end)
    local text, path = find(needs)
    if text and (#text > BYTES_MAX or not utf8.len(text)) then return false end
    known.names[needs] = true
    known[#known + 1] = text and { needs, text, path } or { needs }
  end
  self.redo[#self.redo + 1] = name
  return true
end

local function used_by(result)
  local used = {}
  for i, name in ipairs(result.used) do used[i] = tostring(name) end
  return used
end

local function take_result(self, batch, result)
  batch.at = batch.at + 1
  local name = batch.names[batch.at]
  if result.again then
    if not (result.needs and fetch(self, batch.tree, name, result.needs)) then
      self.left[#self.left + 1] = name
    end
    return true
  end
  local ok, data = pcall(self.read, result.v or result, 1)
  if not ok or type(data) ~= "table" then return false end
  self.on_data(name, data, type(result.used) == "table" and used_by(result) or {})
  return true
end

local function only(frame, known)
  for key in pairs(frame) do
    if not known[key] then return false end
  end
  return true
end

-- Takes a frame in; false when it is none that was expected.
local function take_frame(self, text)
  local batch, frame = self.flying[1], json.decode(text)
  if type(frame) ~= "table" or not only(frame, LOADED) or type(frame.loaded) ~= "table"
    or #frame.loaded == 0 then
    return false
  end
  for _, result in ipairs(frame.loaded) do
    local is_good = type(result) == "table" and batch.names[batch.at + 1]
      and (result.t or only(result, RESULT)) and take_result(self, batch, result)
    if not is_good then return false end
  end
  if batch.at == #batch.names then table.remove(self.flying, 1) end
  return true
end

-- Life -------------------------------------------------------------------------------------------

-- Ends a process that does not answer. Files are evaluated one by one then, to find the one.
local function watch(self)
  while true do
    sleep(self.timeout / 4)
    if clock.boot() - self.heard_at > self.timeout then self.run.child:kill "deadline" end
  end
end

-- What the process had not answered: the files of the frame at hand are left over, those of later
-- frames are sent again.
local function give_back(self)
  for i, batch in ipairs(self.flying) do
    if i == 1 then
      leave(self, batch)
    else
      table.move(batch.names, 1, #batch.names, #self.redo + 1, self.redo)
    end
  end
  self.flying, self.sent_tree = {}, nil
end

local function work(self)
  while true do
    while #self.flying < AHEAD do
      local batch = self:take()
      if not batch then break end
      if #self.flying == 0 then self.heard_at = clock.boot() end
      send(self, batch)
    end
    if #self.flying == 0 then return true end
    local text = self.run.child:receive()
    if not text or not take_frame(self, text) then
      give_back(self)
      return false
    end
    self.heard_at = clock.boot()
    task.sleep(0) -- others have their turn
  end
end

--- Prepares to evaluate files.
---@param options table names; text(name), read(node, depth), source(wanted, name), tree(name),
---  timeout; on_data(name, data, used): of each file that went well: its data, and the names of
---  what it required of its tree
---@return table work run, left: names of files that are left over
function M.new(options)
  return setmetatable({
    names = options.names, at = 1, redo = {}, redo_at = 1, left = {}, flying = {}, sources = {},
    needed = {}, text = options.text, read = options.read, source = options.source,
    tree = options.tree, timeout = options.timeout, on_data = options.on_data,
  }, Work)
end

--- Evaluates files in a process. Waits.
---@param run table a session
---@return boolean is_done false: the process is of no use any more, go on in another
function Work:go(run)
  self.run = run
  self.heard_at = clock.boot()
  local watcher = task.spawn({ name = "deadline of playbooks" }, watch, self)
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
    watcher:cancel()
  end })
  return work(self)
end

return M
