-- show: captures as people and as programs read them.

local clean = require "moontap.printable"
local json = require "moontap.json"
local log = require "moontap.log"
local schema = require "moontap.native.schema"
local zone = require "moontap.cmd.zone"

local M = {}

-- What a list shows of a capture, column by column.
local COLUMNS <const> = {
  { "ID", function(cap) return cap.id end },
  { "TYPE", function(cap) return cap.type end },
  { "STATUS", function(cap) return cap.status end },
  { "SUBMITTED", function(cap) return M.time(cap.submitted or cap.asked) end },
  { "LIMIT", function(cap) return cap.time_limit and cap.time_limit .. "s" end },
  { "COLO", function(cap) return cap.colo_name or cap.colo end },
  { "PACKETS", function(cap) return cap.packets_captured end, right = true },
  { "FILTER", function(cap)
    return not (cap.details_purged and cap.filter_v1 == nil) and M.filter(cap.filter_v1) or nil
  end },
}

-- The order in which a single capture is shown; what else the answer carries comes behind.
local FIRST <const> = {
  "id", "type", "status", "error_message", "submitted", "offset_time", "time_limit",
  "packet_limit", "byte_limit", "colo_name", "filter_v1", "packets_captured", "stop_requested",
  "destination_conf",
}

local TIMES <const> = { submitted = true, offset_time = true, stop_requested = true }

local PROTOCOLS <const> = { [1] = "icmp", [6] = "tcp", [17] = "udp", [47] = "gre", [50] = "esp" }

local FILTER_FIELDS <const> = {
  { "source_address", "src" }, { "source_port", "sport" },
  { "destination_address", "dst" }, { "destination_port", "dport" },
}

---An API time without its fraction of a second, in the zone of --tz.
---@param text any
---@return string|nil
function M.time(text)
  if type(text) ~= "string" then return nil end
  return zone.rewrite((text:gsub("%.%d+", "")))
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

---The name of an IP protocol that filters often ask for.
---@param number any
---@return string|nil
function M.protocol(number)
  return PROTOCOLS[number]
end

---A filter in one short line.
---@param filter any
---@return string
function M.filter(filter)
  local parts = {}
  if type(filter) == "table" then
    local protocol = filter.protocol
    if protocol ~= nil then
      parts[1] = M.protocol(protocol) or "protocol " .. tostring(protocol)
    end
    for _, field in ipairs(FILTER_FIELDS) do
      local value = filter[field[1]]
      if value ~= nil then parts[#parts + 1] = ("%s %s"):format(field[2], tostring(value)) end
    end
  end
  return #parts > 0 and table.concat(parts, " ") or "everything"
end

---A line as a terminal may get it: without control characters.
---@type fun(text: any): string
M.line = clean

-- What goes first where a screen is too narrow, in two rounds; then what may be cut, to how much;
-- then what goes last.
local SPARE <const> = { RAY = 1, FILE = 2, WHY = 3, BYTES = 4, LIMIT = 5, COLO = 6, TYPE = 7 }
local SPARE_LATE <const> = { CASE = 1, BY = 2 }
local CELL_MAX <const> = 1000 -- bytes
local FILTER_MIN <const> = 16 -- rather than that further columns go
local CUT <const> = { { "FILTER", 10 }, { "NOTE", 8 } }
local SPARE_LAST <const> = { PACKETS = 1, SUBMITTED = 2, NOTE = 3, FILTER = 4 }

local function width_of(text)
  return utf8.len(text) or #text
end

local function pad(text, width, right)
  local gap = (" "):rep(width - width_of(text))
  return right and gap .. text or text .. gap
end

-- No cell makes all others so wide that nothing can be read any more.
local function shorten_cell(text)
  if #text <= CELL_MAX then return text end
  return text:sub(1, utf8.offset(text, 0, CELL_MAX) - 1) .. "…"
end

-- The cells of a column, its heading first, and how wide they are.
local function make_column(column, caps)
  local made = { column[1], right = column.right, width = #column[1] }
  for i, cap in ipairs(caps) do
    local value = column[2](cap)
    made[i + 1] = value == nil and "-" or shorten_cell(clean(value))
    made.width = math.max(made.width, width_of(made[i + 1]))
  end
  return made
end

-- Times without their day.
local function shorten(column)
  column.width = #column[1]
  for i = 2, #column do
    column[i] = column[i]:match "T(%d.*)$" or column[i]
    column.width = math.max(column.width, width_of(column[i]))
  end
end

local function total_width(columns)
  local total = -2
  for _, column in ipairs(columns) do total = total + column.width + 2 end
  return total
end

local function leave_out(columns, ranks, width)
  local order = {}
  for name, rank in pairs(ranks) do order[rank] = name end
  for _, name in ipairs(order) do
    for c = #columns, 1, -1 do
      if columns[c][1] == name and total_width(columns) > width then table.remove(columns, c) end
    end
  end
end

-- Cells that are as wide as `most` allows.
local function cut(column, most)
  column.width = most
  for i, text in ipairs(column) do
    if width_of(text) > most then
      column[i] = text:sub(1, (utf8.offset(text, most) or #text + 1) - 1) .. "…"
    end
  end
end

-- The names of columns without any value.
local function empty_ones(columns)
  local found, n = {}, 0
  for _, column in ipairs(columns) do
    local is_empty = true
    for i = 2, #column do is_empty = is_empty and column[i] == "-" end
    if is_empty then
      n = n + 1
      found[column[1]] = n
    end
  end
  return found
end

-- By how much the filters may be cut.
local function slack(columns)
  for _, column in ipairs(columns) do
    if column[1] == "FILTER" then return math.max(0, column.width - FILTER_MIN) end
  end
  return 0
end

-- Leaves out spare columns until the others fit, and cuts what is still too long.
local function fit(columns, width, has_further)
  if has_further then leave_out(columns, empty_ones(columns), width) end
  leave_out(columns, SPARE, width)
  for _, column in ipairs(columns) do
    if total_width(columns) > width and column[1] == "SUBMITTED" then shorten(column) end
  end
  leave_out(columns, SPARE_LATE, width + slack(columns))
  for _, entry in ipairs(CUT) do
    for _, column in ipairs(columns) do
      local over = total_width(columns) - width
      if over > 0 and column[1] == entry[1] and column.width > entry[2] then
        cut(column, math.max(entry[2], column.width - over))
      end
    end
  end
  leave_out(columns, SPARE_LAST, width)
end

-- Columns that are shown where there is something in them.
local function add_used(columns, further, caps)
  for _, column in ipairs(further) do
    for _, cap in ipairs(caps) do
      if column[2](cap) ~= nil then
        columns[#columns + 1] = make_column(column, caps)
        break
      end
    end
  end
end

---Captures as an aligned table with a heading.
---@param caps table[]
---@param width? integer columns of the screen; without it nothing is left out
---@param further? table[] columns behind the usual ones, where they hold something
---@return string
function M.table(caps, width, further)
  local columns, lines = {}, {}
  for c, column in ipairs(COLUMNS) do columns[c] = make_column(column, caps) end
  add_used(columns, further or {}, caps)
  if width then fit(columns, width, further ~= nil) end
  for i = 1, #caps + 1 do
    local cells = {}
    for c, column in ipairs(columns) do cells[c] = pad(column[i], column.width, column.right) end
    lines[i] = table.concat(cells, "  "):match "^.*%S" or ""
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
    elseif TIMES[name] and type(value) == "string" then
      value = zone.rewrite(value)
    elseif type(value) == "table" then
      value = json.encode(value)
    end
    lines[i] = pad(clean(name), width) .. "  " .. clean(value)
  end
  return table.concat(lines, "\n")
end

return M
