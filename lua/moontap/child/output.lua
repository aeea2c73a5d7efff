-- output: what a playbook prints, as lines with the host's time, bounded: the beginning and the
-- end are kept.

local clock = require "moontap.clock"
local splits = require "moontap.child.splits"

local M = {}

local LINE_MAX <const> = 8192
local WORD_MAX <const> = 1024 -- a longer line is cut before a word that is no longer
local DEFAULT_MAX <const> = 1 << 20

local Output = {}
Output.__index = Output

--- What takes output.
---@param options table max: bytes kept in all (1 MiB); on_line(line): gets each line that is
---  kept, those of the end last; mask(text): text without secrets; secrets: list of those that
---  are hidden also where they are spread over lines
---@return table output
function M.new(options)
  return setmetatable({
    on_line = options.on_line or function() end,
    mask = options.mask or function(text) return text end,
    splits = splits.new(options.secrets or {}),
    half = (options.max or DEFAULT_MAX) // 2,
    rest = "", kept = 0,
    tail = {}, first = 1, last = 0, tail_bytes = 0,
    bytes = 0, lines = 0, left_out = 0,
  }, Output)
end

-- The end of the output: a queue of lines that forgets its front.
local function keep_last(self, line)
  self.last = self.last + 1
  self.tail[self.last] = line
  self.tail_bytes = self.tail_bytes + #line + 1
  while self.tail_bytes > self.half do
    local old = self.tail[self.first]
    self.tail[self.first] = nil
    self.first = self.first + 1
    self.tail_bytes = self.tail_bytes - #old - 1
    self.left_out = self.left_out + 1
  end
end

local function put(self, one)
  local line = one.at .. " " .. self.mask(one.text)
  if self.last == 0 and self.kept + #line < self.half then
    self.kept = self.kept + #line + 1
    self.on_line(line)
  else
    keep_last(self, line)
  end
end

local function take_line(self, line)
  self.lines = self.lines + 1
  local one = { at = clock.format(math.floor(clock.now() * 1000) / 1000),
                text = line:gsub("[%c\127]", function(c) return c == "\t" and c or "?" end) }
  for _, ready in ipairs(self.splits:take(one)) do put(self, ready) end
end

-- Where a line that is too long is cut: at a word, so that none is masked by halves.
local function cut(text, at)
  for size = LINE_MAX, LINE_MAX - WORD_MAX, -1 do
    if text:find("^%s", at + size - 1) then return size end
  end
  return LINE_MAX
end

--- Takes bytes as they come.
---@param bytes string
function Output:feed(bytes)
  self.bytes = self.bytes + #bytes
  local text = self.rest .. bytes
  local at = 1
  while true do
    local stop = text:find("\n", at, true)
    if stop and stop - at <= LINE_MAX then
      take_line(self, text:sub(at, stop - 1))
      at = stop + 1
    elseif #text - at >= LINE_MAX then
      local size = cut(text, at)
      take_line(self, text:sub(at, at + size - 1))
      at = at + size
    else
      break
    end
  end
  self.rest = text:sub(at)
end

--- No more will come: hands over the end. Works twice.
---@return table stats bytes, lines, left_out: lines
function Output:finish()
  if self.stats then return self.stats end
  if self.rest ~= "" then take_line(self, self.rest) end
  self.rest = ""
  for _, one in ipairs(self.splits:flush()) do put(self, one) end
  if self.left_out > 0 then
    self.on_line(("… %d lines left out …"):format(self.left_out))
  end
  for i = self.first, self.last do self.on_line(self.tail[i]) end
  self.tail, self.first, self.last = {}, 1, 0
  self.stats = { bytes = self.bytes, lines = self.lines, left_out = self.left_out }
  return self.stats
end

return M
