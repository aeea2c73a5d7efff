-- Reads the text format of Prometheus as strictly as its description has it, and raises what is
-- wrong with it.

local M = {}

local KINDS <const> = { counter = true, gauge = true, histogram = true, summary = true }
local SUFFIXES <const> = { histogram = { _bucket = true, _sum = true, _count = true },
                           summary = { _sum = true, _count = true } }

local function fail(n, format, ...)
  error(("line %d: %s"):format(n, format:format(...)), 0)
end

local function read_labels(n, text)
  local labels, at = {}, 1
  while at <= #text do
    local name, stop = text:match('^([%a_][%w_]*)="()', at)
    if not name then fail(n, "no label at %q", text:sub(at)) end
    if labels[name] then fail(n, "label %s twice", name) end
    local value, i = {}, stop
    while text:sub(i, i) ~= '"' do
      local c = text:sub(i, i)
      if c == "" then fail(n, "an open label") end
      if c == "\\" then
        i = i + 1
        c = ({ ["\\"] = "\\", ['"'] = '"', n = "\n" })[text:sub(i, i)] or fail(n, "a bad escape")
      end
      value[#value + 1] = c
      i = i + 1
    end
    labels[name] = table.concat(value)
    at = i + 1
    if at <= #text and text:sub(at, at) ~= "," then fail(n, "no comma") end
    at = at + 1
  end
  return labels
end

local function read_number(n, text)
  local value = ({ ["+Inf"] = math.huge, ["-Inf"] = -math.huge, NaN = 0 / 0 })[text]
    or text:match "^[-+]?[%d.]+[eE]?[-+]?%d*$" and tonumber(text)
  return value or fail(n, "no number: %q", text)
end

-- The family that a sample belongs to, which is the one declared last.
local function check_family(n, family, name)
  local suffixes = SUFFIXES[family.kind]
  local suffix = name:sub(1, #family.name) == family.name and name:sub(#family.name + 1)
  if not suffix or not (suffixes and suffixes[suffix] or not suffixes and suffix == "") then
    fail(n, "%s stands in family %s", name, family.name)
  end
end

local function key_of(labels, without)
  local parts = {}
  for name, value in pairs(labels) do
    if name ~= without then parts[#parts + 1] = ("%s=%q"):format(name, value) end
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

local function check_histogram(family)
  local last, counts = {}, {}
  for _, one in ipairs(family.samples) do
    local key = key_of(one.labels, "le")
    if one.name == family.name .. "_bucket" then
      local le, before = read_number(one.line, one.labels.le), last[key]
      if before and (le <= before.le or one.value < before.value) then
        fail(one.line, "buckets do not grow")
      end
      last[key] = { le = le, value = one.value }
    elseif one.name == family.name .. "_count" then
      counts[key] = one.value
    end
  end
  for key, one in pairs(last) do
    if one.le ~= math.huge or one.value ~= counts[key] then
      fail(0, "%s: the last bucket is not the count", family.name)
    end
  end
end

local function check_sample(family, one)
  local is_count = family.kind == "counter" or one.name:find "_bucket$" or one.name:find "_count$"
  if is_count and not (one.value >= 0 and one.value % 1 == 0) then
    fail(one.line, "%s is no count", one.name)
  end
end

--- The families of a text, by name, and all series: "name{labels}" with sorted labels, and value.
---@param text string
---@return table families
---@return table series
function M.read(text)
  if text:sub(-1) ~= "\n" then error("no newline at the end", 0) end
  local families, series, family, n = {}, {}, nil, 0
  for line in text:gmatch "(.-)\n" do
    n = n + 1
    local word, name, rest = line:match "^# (%u+) ([%a_:][%w_:]*) (.+)$"
    if word == "HELP" then
      if families[name] then fail(n, "family %s twice", name) end
      family = { name = name, help = rest, samples = {} }
      families[name] = family
    elseif word == "TYPE" then
      if not family or family.name ~= name or family.kind or not KINDS[rest] then
        fail(n, "a type out of place")
      end
      family.kind = rest
      if (rest == "counter") ~= (name:find "_total$" ~= nil) then fail(n, "a counter's name") end
    else
      local sample, labels, value = line:match "^([%a_:][%w_:]*){(.*)} (%S+)$"
      if not sample then sample, value = line:match "^([%a_:][%w_:]*) (%S+)$" end
      if not (sample and family and family.kind) then fail(n, "no sample: %q", line) end
      check_family(n, family, sample)
      local one = { name = sample, labels = read_labels(n, labels or ""),
                    value = read_number(n, value), line = n }
      check_sample(family, one)
      local key = ("%s{%s}"):format(sample, key_of(one.labels))
      if series[key] then fail(n, "%s twice", key) end
      series[key] = one.value
      table.insert(family.samples, one)
    end
  end
  for _, one in pairs(families) do
    if one.kind == "histogram" then check_histogram(one) end
  end
  return families, series
end

return M
