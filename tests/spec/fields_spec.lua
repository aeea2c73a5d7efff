-- fields: the parameters as help and documentation show them.

local command = require "support.command"
local fields = require "moontap.fields"
local schema = require "moontap.native.schema"

describe("the parameters", function()
  it("are all in the rows, with their bounds", function()
    for _, op in ipairs(fields.OPERATIONS) do
      local rows = fields.rows(op)
      assert.equal(#schema.fields(op), #rows)
      for i, field in ipairs(schema.fields(op)) do
        assert.equal(field.path, rows[i][1])
        assert.is_true(not field.max or rows[i][2]:find(tostring(field.max), 1, true) ~= nil)
        assert.is_true(#rows[i][4] > 0)
      end
    end
    assert.is_false((pcall(fields.rows, "no.such")))
  end)

  it("stand in docs/fields.md as they are", function()
    local file <close> = assert(io.open((os.getenv "MOONTAP_SOURCE" or ".") .. "/docs/fields.md"))
    assert.equal(fields.markdown(), file:read "a", "run tools/fields")
  end)

  it("are shown by moontap help", function()
    for _, topic in ipairs { "create", "pcaps.create" } do
      local status, out = command.run { command.moontap, "help", topic }
      assert.equal(0, status)
      assert.matches("time_limit: integer 1..300 (full: 86400), required", out, 1, true)
      assert.matches("filter_v1.protocol: integer 0..255", out, 1, true)
    end
    assert.equal(2, (command.run { command.moontap, "help", "crate" }))
  end)
end)
