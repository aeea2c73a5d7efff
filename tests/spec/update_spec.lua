-- What an older program has left, and what still works on it: the state as several processes
-- bring it up.

local command = require "support.command"
local migrations = require "moontap.state.migrations"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local SIMPLE <const> = '{ type = "simple", time_limit = 60, packet_limit = 20 }'

local dir, env, state

before_each(function()
  dir = tempdir.new()
  env, state = { XDG_STATE_HOME = dir .. "/state" }, dir .. "/state/moontap"
end)
after_each(function() tempdir.remove(dir) end)

local function query(sql)
  local status, out, err = command.run { "sqlite3", state .. "/state.db", sql }
  assert.equal(0, status, err)
  return out
end

-- The tables of a program that knows one step less.
local function make_old()
  assert(sys.mkdir_p(state, 448))
  query("PRAGMA journal_mode = WAL; " .. table.concat(migrations.STEPS, "\n", 1,
    #migrations.STEPS - 1) .. ("PRAGMA user_version = %d"):format(#migrations.STEPS - 1))
end

local function version()
  return tonumber(query "PRAGMA user_version")
end

local function copies()
  local found = {}
  for _, name in ipairs(sys.list(state)) do
    if name:find "^state%.db%.before%-[%d-]+$" then found[#found + 1] = name end
  end
  return found
end

local function verify()
  return command.start({ command.moontap, "audit", "verify" }, { env = env })
end

describe("the state of an older program", function()
  it("is copied once, however many bring it up at once", function()
    make_old()
    query [[WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO happenings (at, event, message) SELECT i, 'x', hex(randomblob(500)) FROM n]]
    local processes, seen, count = {}, {}, 0
    for i = 1, 6 do processes[i] = verify() end
    command.poll(function()
      for _, name in ipairs(copies()) do
        count = count + (seen[name] and 0 or 1)
        seen[name] = true
      end
      return version() == #migrations.STEPS
    end)
    for _, process in ipairs(processes) do
      local status, _, err = process.wait()
      assert.equal(0, status, err)
    end
    assert.equal(1, count)
    assert.equal(1, #copies())
    assert.equal("20000\n", query "SELECT count(*) FROM happenings")
  end)

  it("is left alone while that still works on it", function()
    local older = command.start({ command.moontap, "run", "--sim", "--state", state, "--speed",
      "1", "-e", ("print(assert(pcaps.create(%s)).id) io.stdout:flush() moontap.sleep '1h'")
      :format(SIMPLE) }, { cwd = dir, env = env, limit = 120 })
    command.poll(function() return older.stdout():find "\n" end)
    query(("PRAGMA user_version = %d"):format(#migrations.STEPS - 1))
    local status, _, err = verify().wait()
    assert.equal(1, status)
    assert.matches("it is of an older moontap, which still works on it %(process %d+, .-%): "
      .. "let that end first\n$", err)
    assert.equal(#migrations.STEPS - 1, version())
    assert.same({}, copies())
    older.stop()
  end)

  it("is left alone while a daemon has it", function()
    make_old()
    local daemon = command.start({ command.moontap, "run", "--sim", "--lock", "cron", "-e",
      "print 'on' io.stdout:flush() moontap.sleep '1h'" }, { cwd = dir, env = env, limit = 120 })
    command.poll(function() return daemon.stdout():find "\n" end)
    local status, _, err = verify().wait()
    assert.equal(1, status)
    assert.matches("it is of an older moontap, whose daemon still works on it: restart that "
      .. "first\n$", err)
    assert.equal(#migrations.STEPS - 1, version())
    daemon.stop()
    assert.equal(0, (verify().wait()))
    assert.equal(#migrations.STEPS, version())
  end)
end)
