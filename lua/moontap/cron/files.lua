-- files: finds the files of playbooks, has them evaluated by the loader's process, and checks what
-- they return. A set is read as a whole: names that two files have are problems of both.

local db = require "moontap.native.db"
local errors = require "moontap.errors"
local loader = require "moontap.child.loader"
local playbook = require "moontap.cron.playbook"
local sys = require "moontap.native.sys"

local M = {}

local FILE_MAX <const> = 1 << 20
local DEPTH_MAX <const> = 8

---@class moontap.cron.Loaded
---@field file string
---@field root string directory whose files it may require
---@field source? string
---@field playbook? moontap.cron.Playbook nil when there are problems
---@field problems { path: string, message: string }[]
---@field name string

local function add_file(list, path, root)
  list[#list + 1] = { file = path, root = root, problems = {},
                      name = path:gsub("^.*/", ""):gsub("%.lua$", "") }
end

-- All *.lua of a directory and those below it, but for names that begin with "." or "_", and
-- directories named lib, which are for what playbooks require.
local function walk(list, dir, root, depth)
  local names, err = sys.list(dir)
  if not names then return nil, err end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = dir .. "/" .. name
    local stat = not name:find "^[._]" and sys.stat(path)
    if stat and stat.type == "directory" and name ~= "lib" and depth < DEPTH_MAX then
      local ok
      ok, err = walk(list, path, root, depth + 1)
      if not ok then return nil, err end
    elseif stat and stat.type ~= "directory" and name:find "%.lua$" then
      add_file(list, path, root)
    end
  end
  return true
end

---The files that paths mean.
---@param paths string[]
---@return moontap.cron.Loaded[]|nil
---@return table|nil err
function M.find(paths)
  local list = {}
  for _, path in ipairs(paths) do
    path = #path > 1 and path:gsub("/+$", "") or path
    local stat, err = sys.stat(path)
    if not stat then
      return nil, err or errors.new("io",
        ("read %s: there is no such file or directory"):format(path))
    end
    if stat.type == "directory" then
      local ok
      ok, err = walk(list, path, path, 1)
      if not ok then return nil, err end
    else
      add_file(list, path, path:match "^(.*)/[^/]*$" or ".")
    end
  end
  return list
end

local function read(list)
  local sources, names = {}, {}
  for _, one in ipairs(list) do
    local text, err = sys.read_file(one.file, FILE_MAX)
    if text then
      one.source = text
      if not sources[one.file] then names[#names + 1] = one.file end
      sources[one.file] = text
    else
      one.problems = { { path = "", message = err.message } }
    end
  end
  return sources, names
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
      local text = sys.read_file(root .. "/" .. path, FILE_MAX)
      if text then return text, path end
    end
  end
end

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

---Loads the playbooks that paths mean. Waits.
---@param paths string[]
---@return moontap.cron.Loaded[]|nil
---@return table|nil err when a path cannot be read or no process can be had
function M.load(paths)
  local list, err = M.find(paths)
  if not list or #list == 0 then return list, err end
  local sources, names = read(list)
  local roots = {}
  for _, one in ipairs(list) do roots[one.root] = true end
  local results
  results, err = loader.load {
    files = sources, names = names,
    source = function(name)
      for root in pairs(roots) do
        local text, path = M.source_of(root)(name)
        if text then return text, path end
      end
    end,
  }
  if not results then return nil, err end
  for _, one in ipairs(list) do
    local result = results[one.file]
    if result and result.data then
      one.playbook, one.problems, one.name = playbook.check(result.data, one.file)
      if one.playbook then
        one.playbook.version = db.digest(one.source):sub(1, 16)
        one.playbook.source, one.playbook.root = one.source, one.root
      end
    elseif result then
      one.problems = problems_of(result.err)
    end
  end
  note_twins(list)
  return list
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
