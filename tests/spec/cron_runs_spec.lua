-- Runs of the daemon as a user sees them: what becomes of their effects, their logs, their pings.

local command = require "support.command"
local daemons = require "support.daemon"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local CREATE <const> = [[
pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } }]]

describe("a run that ends while a create is under way", function()
  it("lets it finish: it is written down as what it became", function()
    place:simulate("--fault", "create:late_answer,seconds=3")
    place:playbook("hasty", CREATE, 'timeout = "1s",')
    place:start()
    local one = place:once "hasty"
    assert.equal("timeout", one.error_kind)
    local events = {}
    for _, row in ipairs(place:list("audit", "show", "--json")) do
      events[#events + 1] = row.event
    end
    assert.same({ "create.wanted", "create.sending", "create.done" }, events)
    assert.equal(0, (place:stop()))
  end)

  it("ends one that still waits for its slot", function()
    place:simulate("--knob", "simple_interval=60")
    place:playbook("first", CREATE)
    place:playbook("second", CREATE, 'timeout = "1s",')
    place:start({ "--speed", "1" })
    place:once "first"
    place:once("second", 1)
    assert.matches("abandoned", place:succeeds("audit", "show"))
  end)
end)
