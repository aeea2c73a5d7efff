-- outside
-- Which files of a directory are playbooks: `moontap check` as a person asks it.

local command = require "support.command"
local json = require "moontap.json"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local dir

before_each(function()
  dir = tempdir.new()
  assert(sys.mkdir_p(dir .. "/pb/below", 448))
  assert(sys.write_file(dir .. "/pb/one.lua",
    'return { api = 1, on = { cron = "0 3 * * *" }, run = function() end }'))
end)
after_each(function() tempdir.remove(dir) end)

local function check()
  local status, out, err = command.run({ command.moontap, "check", "--json", "pb" },
    { cwd = dir })
  assert.is_true(status < 2, err)
  local found = {}
  for _, one in ipairs(json.decode(out).playbooks or json.decode(out)) do
    found[one.file] = one.problems and one.problems[1] and one.problems[1].message or "good"
  end
  return found, status
end

local function shell(line)
  assert.is_true(os.execute(("cd %s/pb && %s"):format(dir, line)))
end

describe("a directory of playbooks", function()
  it("is warned of what contradicts itself", function()
    assert(sys.write_file(dir .. "/pb/two.lua", [[return { api = 1, on = { cron = "0 3 * * *" },
      catchup = { policy = "all" }, run = function() end }]]))
    local _, out = command.run({ command.moontap, "check", "pb/two.lua" }, { cwd = dir })
    assert.matches('warning +catchup: [^\n]*overlap = "queue"', out)
  end)

  it("may have links that lead in a circle", function()
    shell "ln -s . current && ln -s .. below/above && ln -s below other"
    local found, status = check()
    assert.same({ ["pb/one.lua"] = "good" }, found)
    assert.equal(0, status)
  end)

  it("may have what is no file, which is told and keeps nobody waiting", function()
    shell "mkfifo pipe.lua && ln -s nowhere lost.lua && mkdir lib && mkfifo lib/pipe.lua"
    assert(sys.write_file(dir .. "/pb/two.lua", 'return require "lib.pipe"'))
    local found, status = check()
    assert.equal(1, status)
    assert.equal("good", found["pb/one.lua"])
    assert.matches("read pb/pipe.lua: it is no file", found["pb/pipe.lua"], 1, true)
    assert.matches("pb/lost.lua: No such file or directory", found["pb/lost.lua"], 1, true)
    assert.matches("module 'lib.pipe' not found", found["pb/two.lua"], 1, true)
  end)
end)
