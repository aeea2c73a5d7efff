-- A disk that takes what is written and then refuses to make it durable, as the gate meets it.

local command = require "support.command"
local tempdir = require "support.tempdir"

local dir

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

-- The database as it is, but for what is synced last: that fails as often as `failures` says.
local BAD_DISK <const> = [[
local errors, state = require "moontap.errors", require "moontap.state".current()
local real, failures = state.db, 1
state.db = setmetatable({}, { __index = function(_, name)
  return function(_, ...)
    local first, second = real[name](real, ...)
    if name ~= "transaction" or (...) ~= "last" or not first or failures == 0 then
      return first, second
    end
    failures = failures - 1
    return nil, errors.new("io", "sync database: Input/output error", { is_done = true })
  end
end })
]]

describe("a create that the disk refuses to make durable", function()
  it("is not sent, and the slot is free again", function()
    local status, out, err = command.run({ command.moontap, "run", "--sim", "--speed", "100", "-e",
      "assert(pcaps.list())\n" .. BAD_DISK .. [[
local wish = { type = "simple", time_limit = 60, packet_limit = 20 }
local cap, why = pcaps.create(wish)
print(cap, why.sent, why)
assert(pcaps.create(wish, { deadline = 1 }))
for _, row in ipairs(real:rows "SELECT state, error, capture FROM intents ORDER BY id") do
  print(row.state, row.error, row.capture ~= nil)
end
print(#assert(pcaps.list()))
for _, row in ipairs(real:rows "SELECT event FROM audit ORDER BY seq") do print(row.event) end
]] }, { cwd = dir, env = { XDG_STATE_HOME = dir } })
    assert.equal(0, status, err)
    assert.equal("nil\tno\tcreate not sent, because it could not be written down: "
      .. "sync database: Input/output error\n"
      .. "refused\tsync database: Input/output error\tfalse\n"
      .. "done\tnil\ttrue\n"
      .. "1\n"
      .. "create.wanted\ncreate.sending\ncreate.refused\n"
      .. "create.wanted\ncreate.sending\ncreate.done\n", out)
  end)
end)
