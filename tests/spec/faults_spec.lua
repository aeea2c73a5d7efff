-- clock: virtual
-- Each fault of the simulator and each operation of the client: docs/faults.md has what comes of
-- it.

local fault_table = require "support.fault_table"

describe("what each fault makes of each operation", function()
  it("is as docs/faults.md says", function()
    local file <close> = assert(io.open((os.getenv "MOONTAP_SOURCE" or ".") .. "/docs/faults.md"))
    local told, found = file:read "a", fault_table.markdown()
    local next_told = told:gmatch "[^\n]*"
    for line in found:gmatch "[^\n]*" do
      assert.equal(next_told(), line, "if that is right: tools/faults")
    end
    assert.equal(told, found)
  end)
end)
