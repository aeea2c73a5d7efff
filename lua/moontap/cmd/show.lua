-- show: captures as people and as programs read them.

local json = require "moontap.json"
local log = require "moontap.log"
local schema = require "moontap.native.schema"

local M = {}

-- What a list shows of a capture, column by column.
local COLUMNS <const> = {
  { "ID", function(cap) return cap.id end },
  { "TYPE", function(cap) return cap.type end },
  { "STATUS", function(cap) return cap.status end },
  { "SUBMITTED", function(cap) return M.time(cap.submitted) end },
  { "LIMIT", function(cap) return cap.time_limit and cap.time_limit .. "s" end },
  { "COLO", function(cap) return cap.colo_name or cap.colo end },
  { "PACKETS", function(cap) return cap.packets_captured end, right = true },
  { "FILTER", function(cap) return M.filter(cap.filter_v1) end },
}

-- The order in which a single capture is shown; what else the answer carries comes behind.
local FIRST <const> = {
  "id", "type", "status", "error_message", "submitted", "offset_time", "time_limit",
  "packet_limit", "byte_limit", "colo_name", "filter_v1", "packets_captured", "stop_requested",
  "destination_conf",
}

local PROTOCOLS <const> = { [1] = "icmp", [6] = "tcp", [17] = "udp", [47] = "gre", [50] = "esp" }

local FILTER_FIELDS <const> = {
  { "source_address", "src" }, { "source_port", "sport" },
  { "destination_address", "dst" }, { "destination_port", "dport" },
}

---An API time without its fraction of a second.
---@param text any
---@return string|nil
function M.time(text)
  if type(text) ~= "string" then return nil end
  return (text:gsub("%.%d+", ""))
end

---A capture as it may be shown: the parameters of its bucket can hold keys.
---@param cap table
---@return table
function M.public(cap)
  local copy = {}
  for name, value in pairs(cap) do
    copy[name] = type(value) == "string" and log.redact(schema.redact(value)) or value
  end
  return copy
end

---A filter in one short line.
---@param filter any
---@return string
function M.filter(filter)
  local parts = {}
  if type(filter) == "table" then
    local protocol = filter.protocol
    if protocol ~= nil then
      parts[1] = PROTOCOLS[protocol] or "protocol " .. tostring(protocol)
    end
    for _, field in ipairs(FILTER_FIELDS) do
      local value = filter[field[1]]
      if value ~= nil then parts[#parts + 1] = ("%s %s"):format(field[2], tostring(value)) end
    end
  end
  return #parts > 0 and table.concat(parts, " ") or "everything"
end

-- Terminals obey control characters; an answer must not reach them with any.
local function clean(value)
  return (tostring(value):gsub("[%c\127]", "?"))
end

local function pad(text, width, right)
  local gap = (" "):rep(width - (utf8.len(text) or #text))
  return right and gap .. text or text .. gap
end

---Captures as an aligned table with a heading.
---@param caps table[]
---@return string
function M.table(caps)
  local rows, widths = { {} }, {}
  for c, column in ipairs(COLUMNS) do rows[1][c] = column[1] end
  for _, cap in ipairs(caps) do
    local row = {}
    for c, column in ipairs(COLUMNS) do
      local value = column[2](cap)
      row[c] = value == nil and "-" or clean(value)
    end
    rows[#rows + 1] = row
  end
  for c in ipairs(COLUMNS) do
    widths[c] = 0
    for _, row in ipairs(rows) do
      widths[c] = math.max(widths[c], utf8.len(row[c]) or #row[c])
    end
  end
  local lines = {}
  for i, row in ipairs(rows) do
    local cells = {}
    for c, column in ipairs(COLUMNS) do cells[c] = pad(row[c], widths[c], column.right) end
    lines[i] = table.concat(cells, "  "):gsub("%s+$", "")
  end
  return table.concat(lines, "\n")
end

---One capture, a field a line.
---@param cap table
---@return string
function M.fields(cap)
  local names, seen, others = {}, {}, {}
  for _, name in ipairs(FIRST) do
    seen[name] = true
    if cap[name] ~= nil then names[#names + 1] = name end
  end
  for name in pairs(cap) do
    if not seen[name] then others[#others + 1] = tostring(name) end
  end
  table.sort(others)
  table.move(others, 1, #others, #names + 1, names)
  local width, lines = 0, {}
  for _, name in ipairs(names) do width = math.max(width, #name) end
  for i, name in ipairs(names) do
    local value = cap[name]
    if name == "filter_v1" then
      value = M.filter(value)
    elseif type(value) == "table" then
      value = json.encode(value)
    end
    lines[i] = pad(clean(name), width) .. "  " .. clean(value)
  end
  return table.concat(lines, "\n")
end

return M
