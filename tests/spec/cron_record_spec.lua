-- clock: virtual
-- What an engine makes of errors, pauses and starts; what it keeps, and for how long.

local clock = require "moontap.clock"
local dues = require "moontap.state.dues"
local engines = require "support.engine"
local errors = require "moontap.errors"
local states = require "moontap.state"
local tempdir = require "support.tempdir"

local dir, state
local make, run_for = engines.make, engines.run_for

local function start(...) return engines.start(state, ...) end

before_each(function()
  dir = tempdir.new()
  state = assert(states.open_at(dir))
end)
after_each(function()
  state:close()
  tempdir.remove(dir)
end)

describe("a retry", function()
  -- Seconds between the two attempts of a run that fails with an error of these fields.
  local function pause(fields)
    local at = {}
    local one = start({ make { on = { cron = "0 0 1 1 *" }, retry = { attempts = 2, base = "1s" } } },
      function()
        at[#at + 1] = clock.now()
        if #at > 1 then return true end
        fields = type(fields) == "function" and fields() or fields
        return nil, errors.new("quota", "not now", fields)
      end)
    assert(dues.trigger(state, "some"))
    run_for(one, 4000)
    return at[2] and at[2] - at[1]
  end

  it("waits as long as the server has asked for", function()
    local waited = pause { retry_after = "120" }
    assert.is_true(waited >= 120 and waited < 123, tostring(waited))
    waited = pause(function()
      return { retry_after = os.date("!%a, %d %b %Y %H:%M:%S GMT", (clock.now() + 300) // 1 | 0) }
    end)
    assert.is_true(waited >= 299 and waited < 303, tostring(waited))
  end)

  it("waits until the account's slot is free", function()
    local waited = pause(function() return { free_at = clock.now() + 600 } end)
    assert.is_true(waited >= 600 and waited < 603, tostring(waited))
  end)

  it("is not led astray by what a playbook makes up", function()
    for _, fields in ipairs { { free_at = 0 / 0 }, { free_at = "soon" }, { retry_after = {} },
                              { free_at = -1 }, { retry_after = "-5" } } do
      local waited = pause(fields)
      assert.is_true(waited < 3, tostring(waited))
    end
    assert.is_nil(pause { retry_after = ("9"):rep(400) })
    local runs = assert(dues.runs(state, { limit = 1 }))
    assert.is_true(runs[1].at - clock.now() <= 7 * 86400)
  end)
end)
