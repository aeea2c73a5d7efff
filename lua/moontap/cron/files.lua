-- files: finds the files of playbooks, has them evaluated by the loader's process, and checks what
-- they return. A set is read as a whole: names that two files have are problems of both.

local clock = require "moontap.clock"
local db = require "moontap.native.db"
local errors = require "moontap.errors"
local loader = require "moontap.child.loader"
local playbook = require "moontap.cron.playbook"
local policies = require "moontap.gate.policy"
local progress = require "moontap.progress"
local sys = require "moontap.native.sys"
local task = require "moontap.native.task"

local M = {}

local FILE_MAX <const> = 1 << 20
local DEPTH_MAX <const> = 8
local PATIENCE <const> = 2 -- seconds before a terminal is told how far it is
local TELL_EVERY <const> = 0.5
local TURN <const> = 200 -- files that are looked at before others have their turn

---@class moontap.cron.Loaded
---@field file string
---@field root string directory whose files it may require
---@field source? string
---@field used? string[] what it requires of its tree: nil when its data may differ the next time
---@field playbook? moontap.cron.Playbook nil when there are problems
---@field problems { path: string, message: string }[]
---@field name string

local function add_file(list, path, root)
  list[#list + 1] = { file = path, root = root, problems = {},
                      name = path:gsub("^.*/", ""):gsub("%.lua$", "") }
  if #list % TURN == 0 then task.sleep(0) end
end

-- All *.lua of a directory and those below it, but for names that begin with "." or "_", and
-- directories named lib, which are for what playbooks require.
local function walk(list, dir, root, depth, seen)
  local names, err = sys.list(dir)
  if not names then return nil, err end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = dir .. "/" .. name
    local stat = not name:find "^[._]" and (sys.stat(path) or sys.lstat(path))
    if stat and stat.type == "directory" then
      local is_new = name ~= "lib" and depth < DEPTH_MAX and not seen[stat.identity]
      seen[stat.identity] = true -- links can lead in a circle
      local ok = not is_new
      if is_new then ok, err = walk(list, path, root, depth + 1, seen) end
      if not ok then return nil, err end
    elseif stat and name:find "%.lua$" then
      add_file(list, path, root)
    end
  end
  return true
end

---The files that paths mean. Waits.
---@param paths string[]
---@return moontap.cron.Loaded[]|nil
---@return table|nil err
function M.find(paths)
  local list = {}
  for _, path in ipairs(paths) do
    path = #path > 1 and path:gsub("/+$", "") or path
    local stat, err = sys.stat(path)
    if not stat then
      local problem = err and err.message:gsub("^stat .*: ", "") or "No such file or directory"
      return nil, errors.new("io", ("%s: %s; expected the file of a playbook, or a directory with "
        .. "such files"):format(path, problem))
    end
    if stat.type == "directory" then
      local ok
      ok, err = walk(list, path, path, 1, { [stat.identity] = true })
      if not ok then return nil, err end
    else
      add_file(list, path, path:match "^(.*)/[^/]*$" or ".")
    end
  end
  return list
end

-- The text of a file. What is none, as a named pipe, would keep whoever opens it waiting.
local function read(path)
  local stat, err = sys.stat(path)
  if not stat then return nil, err end
  if stat.type ~= "file" then
    return nil, errors.new("io", ("read %s: it is no file but a %s"):format(path, stat.type))
  end
  return sys.read_file(path, FILE_MAX)
end

---What `require` finds in the tree of a playbook: text and path.
---@param root string
---@return fun(name: string): string|nil, string|nil
function M.source_of(root)
  return function(name)
    if type(name) ~= "string" or not name:match "^[%w_]+[%w_.-]*$" or name:find("..", 1, true) then
      return nil
    end
    local stem = name:gsub("%.", "/")
    for _, path in ipairs { stem .. ".lua", stem .. "/init.lua" } do
      local text = read(root .. "/" .. path)
      if text then return text, path end
    end
  end
end

local NOTHING <const> = "the file returns nothing: it has to end with return { api = 1, … }"

local function problems_of(err)
  if type(err.problems) == "table" and #err.problems > 0 then return err.problems end
  return { { path = "", message = err.message } }
end

local function note_twins(list)
  local first = {}
  for _, one in ipairs(list) do
    local other = one.playbook and first[one.name]
    if other then
      one.playbook = nil
      one.problems = { { path = "name", message = ("%s has the name %q too"):format(other.file,
        one.name) } }
    elseif one.playbook then
      first[one.name] = one
    end
  end
end

-- What files of trees require, each read once: sources(root, name) → text, path.
local function make_sources()
  local known = {}
  return function(root, name)
    local key = root .. "\0" .. name
    if not known[key] then known[key] = table.pack(M.source_of(root)(name)) end
    return known[key][1], known[key][2]
  end
end

local function text_of(one)
  if not one.source then
    local text, err = read(one.file)
    one.source = text
    if not text then one.problems = { { path = "", message = err.message } } end
  end
  return one.source
end

local function take(one, result)
  if result.err then
    one.problems = problems_of(result.err)
    for _, problem in ipairs(one.problems) do
      if problem.message == "the file returns a nil, not a table" then problem.message = NOTHING end
    end
    return
  end
  one.used = result.used
  one.playbook, one.problems, one.name = playbook.check(result.data, one.file)
  if one.playbook then
    one.playbook.version = db.digest(one.source):sub(1, 16)
    one.playbook.source, one.playbook.root = one.source, one.root
  end
end

-- What was loaded from the same texts before is good still.
local function take_old(list, sources, before)
  local olds = {}
  for _, old in ipairs(before) do olds[old.file] = old end
  for i, one in ipairs(list) do
    local old = olds[one.file]
    local is_same = old and old.playbook and old.used and old.root == one.root
      and old.source == text_of(one)
    for _, name in ipairs(is_same and old.used or {}) do
      is_same = is_same and sources(one.root, name) == before.sources(one.root, name)
    end
    if is_same then one.playbook, one.name, one.used = old.playbook, old.name, old.used end
    if i % TURN == 0 then task.sleep(0) end
  end
end

-- What is to be evaluated: the files, in order, and what each is in the list. One that is there
-- twice is evaluated once.
local function open_files(list)
  local by_file, names = {}, {}
  for _, one in ipairs(list) do
    if not by_file[one.file] and not one.playbook then
      by_file[one.file] = one
      names[#names + 1] = one.file
    end
  end
  return by_file, names
end

-- A function that is called for each file that is done, and tells a terminal when it takes long.
local function make_teller(total)
  local done, tell_at = 0, clock.boot() + PATIENCE
  return function()
    done = done + 1
    if done % 16 ~= 0 and total > 1000 then return end
    local now = clock.boot()
    if now >= tell_at then
      tell_at = now + TELL_EVERY
      progress.note(("loading playbooks: %d of %d files"):format(done, total))
    end
  end
end

local function evaluate(list, sources)
  local by_file, names = open_files(list)
  if #names == 0 then return true end
  local tell = make_teller(#names)
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore over
    progress.note(nil)
  end })
  local ok, err = loader.load {
    names = names,
    text = function(file) return text_of(by_file[file]) end,
    tree = function(file) return by_file[file].root end,
    source = function(name, file) return sources(by_file[file].root, name) end,
    on_result = function(file, result)
      take(by_file[file], result)
      tell()
    end,
  }
  if not ok then return nil, err end
  for _, one in ipairs(list) do
    local other = by_file[one.file]
    if other and other ~= one then
      one.playbook, one.problems, one.name = other.playbook, other.problems, other.name
    end
  end
  return true
end

---Loads the playbooks that paths mean. Waits.
---@param paths string[]
---@param before? moontap.cron.Loaded[] what this gave the last time: what did not change is taken
---  from there
---@return moontap.cron.Loaded[]|nil
---@return table|nil err when a path cannot be read or no process can be had
function M.load(paths, before)
  local list, err = M.find(paths)
  if not list or #list == 0 then return list, err end
  local sources = make_sources()
  list.sources = sources
  if before and before.sources then take_old(list, sources, before) end
  local ok
  ok, err = evaluate(list, sources)
  if not ok then return nil, err end
  note_twins(list)
  return list
end

---Reads the file of --policy.
---@param path string
---@return table<string, table>|nil
---@return table|nil err which says what the file was for
function M.policy(path)
  local policy, err = policies.read(path)
  if policy or err.kind ~= "io" then return policy, err end
  return nil, errors.new("io",
    ("--policy: %s; expected the file with the operator's bounds"):format(err.message))
end

---The playbooks of a loaded list.
---@param list moontap.cron.Loaded[]
---@return moontap.cron.Playbook[]
function M.playbooks(list)
  local playbooks = {}
  for _, one in ipairs(list) do playbooks[#playbooks + 1] = one.playbook end
  return playbooks
end

return M
