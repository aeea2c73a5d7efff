-- Runs one spec file with busted inside moontap, so that a test may wait: it is part of the
-- root task. usage: moontap run tests/spec/run.lua FILE [PATTERN]
--
-- A spec whose first line is "-- clock: virtual" runs in virtual time. MOONTAP_GC_STRESS=1
-- makes the collector of this process run all the time; a spec that only looks at programs that
-- it starts says "-- outside" in one of its first two lines, and is left out then. A test
-- fails that leaves a task behind; so does one that is pending, because nothing here is planned for
-- later.

local host = require "moontap.native.host"
local task = require "moontap.native.task"

local file, pattern = arg[1], arg[2]
local _ENV = require "_G" -- busted changes what its functions see; a script's globals are strict
local VIRTUAL_START = 1767268800 -- 2026-01-01T12:00:00Z
local SETTLE_SECONDS = 60        -- what was cancelled may need some turns to end

local function read_first_line(path)
  local f <close> = assert(io.open(path))
  return f:read("l") or ""
end

-- busted forgets after each block what was required in it, and a second copy of a moontap
-- module would not be the one that the host uses. What fails to load fails in its own spec.
local function load_modules(root)
  local lfs = require "lfs"
  local function walk(dir, prefix)
    for name in lfs.dir(dir) do
      local path = dir .. "/" .. name
      local mode = lfs.attributes(path, "mode")
      if mode == "directory" and name:sub(1, 1) ~= "." and name ~= "meta" then
        walk(path, prefix .. name .. ".")
      elseif name:match("%.lua$") then
        pcall(require, (prefix .. name:gsub("%.lua$", "")):gsub("%.init$", ""))
      end
    end
  end
  walk(root .. "/lua", "")
end

if read_first_line(file):find("^%-%- clock: virtual") then host.set_virtual(VIRTUAL_START) end
load_modules(os.getenv("MOONTAP_SOURCE") or ".")
local busted = require "busted.core"()
require "busted"(busted)

local passed, failures = 0, {}

local function full_name(element)
  local names = {}
  while element and element.descriptor ~= "file" do
    if element.name then table.insert(names, 1, element.name) end
    element = busted.context.parent(element)
  end
  return table.concat(names, " ")
end

local current_test = "" -- what before_each and after_each fail for

local function note_failure(element, _, message, trace)
  local text = type(message) == "string" and message or tostring(message)
  local name = element.name and full_name(element) or current_test
  failures[#failures + 1] = ("%s\n%s%s"):format(
    name, text, trace and trace.traceback or "")
  return nil, true
end

busted.subscribe({ "failure" }, note_failure)
busted.subscribe({ "error" }, note_failure)
busted.subscribe({ "test", "start" }, function(element)
  current_test = full_name(element)
  return nil, true
end)
busted.subscribe({ "test", "end" }, function(element, _, status)
  if status == "success" then
    passed = passed + 1
  elseif status == "pending" then
    note_failure(element, nil, "this test is pending")
  end
  return nil, true
end)

local function count_tasks()
  return tonumber(host.tasks():match("(%d+) tasks?\n$"))
end

local tasks_before
busted.executors.before_each(function() tasks_before = count_tasks() end)
busted.executors.after_each(function()
  local waited = 0
  while count_tasks() > tasks_before and waited < SETTLE_SECONDS do
    task.sleep(0.01)
    waited = waited + 0.01
  end
  if count_tasks() > tasks_before then
    error("the test left tasks behind:\n" .. host.tasks(), 0)
  end
end)

require "busted.modules.filter_loader"()(busted, {
  tags = {}, excludeTags = {}, filter = { pattern }, filterOut = {},
})
require "busted.modules.test_file_loader"(busted, { "lua" })({ file }, {}, {
  excludes = {}, recursive = false,
})
if os.getenv("MOONTAP_GC_STRESS") == "1" then
  collectgarbage("incremental", 1, 400, 3) -- no pause; a whole cycle every few kilobytes
end
require "busted.execute"(busted)(1, { sort = false })

for _, failure in ipairs(failures) do
  io.stdout:write("FAILED ", (failure:gsub("\n", "\n    ")), "\n\n")
end
io.stdout:write(("%s: %d passed, %d failed\n"):format(file, passed, #failures))
if passed == 0 and #failures == 0 then
  error(file .. " has no test" .. (pattern and (" that matches " .. pattern) or ""), 0)
end
if #failures > 0 then host.exit(1) end
