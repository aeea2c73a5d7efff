-- The release of the tz database: where it is told, and what a change of it leaves behind.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

-- Lets an engine run for ten days, in which another release comes whose zone "Here" is another.
local ENGINE <const> = [[
local dir, dues = arg[1], require "moontap.state.dues"
local clock, sys = require "moontap.clock", require "moontap.native.sys"
local function put(version, zone)
  assert(sys.write_file(dir .. "/Here", assert(sys.read_file("/usr/share/zoneinfo/" .. zone))))
  assert(sys.write_file(dir .. "/tzdata.zi", ("# version %s\n# ddeps\n"):format(version)))
end
put("2025b", "Asia/Tokyo")
local state = assert(require "moontap.state".open_at(dir .. "/state"))
local playbook, problems = require "moontap.cron.playbook".check({ api = 1, tz = "Here",
  on = { cron = "0 9 * * *" }, run = function() end }, "daily.lua")
assert(playbook, problems[1] and problems[1].message)
playbook.version = "1"
local one = require "moontap.cron.engine".new { state = state, run = function() return true end }
assert(one:set { playbook })
local going = moontap.spawn(one.run, one)
moontap.sleep(5 * 86400)
put("2026a", "Asia/Kolkata")
moontap.sleep(5 * 86400)
one:drain(0)
going:join()
local runs = assert(dues.runs(state, { limit = 100 }))
print(runs[#runs].tzdb, runs[1].tzdb)
for _, row in ipairs(assert(dues.happenings(state, 10))) do
  if row.event ~= "late" then print(row.event, row.message) end
end
]]

describe("the release of the tz database", function()
  it("is kept with each run, and told when a due time moves", function()
    tempdir.with(function(dir)
      local status, out, err = command.run({ command.moontap, "run", "--sim", "--virtual-time",
        "-e", ENGINE, dir }, { env = { TZDIR = dir } })
      assert.equal(0, status, err)
      assert.matches("^2025b\t2026a\n", out)
      assert.matches("\nzone\tHere has changed: the next due time moved from %S+T00:00:00Z to "
        .. "%S+T03:30:00Z, tzdb 2025b to 2026a\n", out)
      assert.matches("\ntzdb\tit went from 2025b to 2026a\n", out)
    end)
  end)

  it("is shown by version and doctor", function()
    tempdir.with(function(dir)
      local function version()
        local _, out = command.run({ command.moontap, "version", "--json" },
          { env = { TZDIR = dir } })
        return json.decode(out).tzdb
      end
      local function write(name, text)
        local f <close> = assert(io.open(dir .. "/" .. name, "w"))
        f:write(text)
      end
      assert.equal("unknown", version())
      write("+VERSION", "2024a\n")
      assert.equal("2024a", version())
      write("tzdata.zi", "# something else\n")
      assert.equal("2024a", version())
      write("tzdata.zi", "# version 2026b\n")
      assert.equal("2026b", version())
      local _, out = command.run({ command.moontap, "doctor", "--json" }, { env = { TZDIR = dir } })
      local found
      for _, check in ipairs(json.decode(out).checks) do
        if check.name == "tz database" then found = check.data.version end
      end
      assert.equal("2026b", found)
    end)
  end)
end)
