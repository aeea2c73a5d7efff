-- clock: virtual
-- Each fault of the simulator and each operation of the client: docs/faults.md has what comes of
-- it.

local fault_table = require "support.fault_table"

local STRESSED <const> = 6 -- under an aggressive collector, one row of so many

describe("what each fault makes of each operation", function()
  it("is as docs/faults.md says", function()
    local file <close> = assert(io.open((os.getenv "MOONTAP_SOURCE" or ".") .. "/docs/faults.md"))
    local told = file:read "a"
    if os.getenv "MOONTAP_GC_STRESS" then
      for i, spec in ipairs(fault_table.specs()) do
        if i % STRESSED == 1 then
          local row = fault_table.row(spec, ",count=1")
          assert(told:find(row, 1, true), row)
        end
      end
      return
    end
    local found = fault_table.markdown()
    local next_told = told:gmatch "[^\n]*"
    for line in found:gmatch "[^\n]*" do
      assert.equal(next_told(), line, "if that is right: tools/faults")
    end
    assert.equal(told, found)
  end)
end)
