-- fields: the parameters of the API's operations as people read them, from the one table that
-- the client and the simulator check with.

local schema = require "moontap.native.schema"

local M = {}

--- The operations that take parameters, in the order of the documentation.
M.OPERATIONS = { "create", "ownership.create", "ownership.validate" }

local function range(field)
  if field.values and #field.values > 0 then
    local quoted = {}
    for i, value in ipairs(field.values) do quoted[i] = '"' .. value .. '"' end
    return table.concat(quoted, " or ")
  end
  if field.type == "object" then return "table" end
  if not field.max then return field.type end
  local unit = field.type == "string" and "string of %d to %d characters" or "integer %d..%d"
  local text = unit:format(field.min or 0, field.max)
  if field.full_max then text = ("%s (full: %d)"):format(text, field.full_max) end
  return text
end

local function need(field, op)
  if field.parent or #field.required == 0 then
    local only = #field.types == 1 and field.types[1] .. " only" or ""
    return only
  end
  if op ~= "create" then return "required" end
  if field.fill then return "filled in" end
  if #field.required == #field.types and #field.types > 1 then return "required" end
  return "required for " .. table.concat(field.required, ", ")
    .. (#field.types == 1 and ", " .. field.types[1] .. " only" or "")
end

--- One row a parameter of `op`: name, what it takes, when it is needed, what it means.
---@param op string "create", "ownership.create" or "ownership.validate"
---@return string[][]
--- Raises when there is no such operation.
---
---     for _, row in ipairs(fields.rows "create") do print(row[1], row[2]) end
function M.rows(op)
  local rows = {}
  for i, field in ipairs(schema.fields(op)) do
    local checked = field.client_bounds and " (checked here; the API states no bounds)" or ""
    rows[i] = { field.path, range(field), need(field, op), field.doc .. checked }
  end
  return rows
end

--- The parameters of `op` for a terminal.
---@param op string
---@return string
function M.text(op)
  local lines = { ("pcaps.%s takes:"):format(op) }
  for _, row in ipairs(M.rows(op)) do
    lines[#lines + 1] = ("  %s: %s%s"):format(row[1], row[2], row[3] ~= "" and ", " .. row[3] or "")
    lines[#lines + 1] = "      " .. row[4]
  end
  return table.concat(lines, "\n")
end

--- All parameters as a page of Markdown, as it stands in docs/fields.md.
---@return string
function M.markdown()
  local lines = {
    "# Parameters", "",
    "Written by `tools/fields` from the table that the client and the simulator check with.",
  }
  for _, op in ipairs(M.OPERATIONS) do
    table.move({ "", "## pcaps." .. op, "", "| parameter | takes | needed | meaning |",
                 "|---|---|---|---|" }, 1, 5, #lines + 1, lines)
    for _, row in ipairs(M.rows(op)) do
      lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(table.unpack(row))
    end
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
