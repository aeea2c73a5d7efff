-- output: what a playbook prints, as lines with the host's time, bounded: the beginning and the
-- end are kept.

local clock = require "moontap.clock"

local M = {}

local LINE_MAX <const> = 8192
local DEFAULT_MAX <const> = 1 << 20

local Output = {}
Output.__index = Output

--- What takes output.
---@param options table max: bytes kept in all (1 MiB); on_line(line): gets each line that is
---  kept, those of the end last; mask(text): text without secrets
---@return table output
function M.new(options)
  return setmetatable({
    on_line = options.on_line or function() end,
    mask = options.mask or function(text) return text end,
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

local function take_line(self, line)
  self.lines = self.lines + 1
  line = clock.format(math.floor(clock.now() * 1000) / 1000) .. " "
    .. self.mask((line:gsub("[%c\127]", function(c) return c == "\t" and c or "?" end)))
  if self.last == 0 and self.kept + #line < self.half then
    self.kept = self.kept + #line + 1
    self.on_line(line)
  else
    keep_last(self, line)
  end
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
      take_line(self, text:sub(at, at + LINE_MAX - 1))
      at = at + LINE_MAX
    else
      break
    end
  end
  self.rest = text:sub(at)
end

--- No more will come: hands over the end.
---@return table stats bytes, lines, left_out: lines
function Output:finish()
  if self.rest ~= "" then take_line(self, self.rest) end
  self.rest = ""
  if self.left_out > 0 then
    self.on_line(("… %d lines left out …"):format(self.left_out))
  end
  for i = self.first, self.last do self.on_line(self.tail[i]) end
  self.tail, self.first, self.last = {}, 1, 0
  return { bytes = self.bytes, lines = self.lines, left_out = self.left_out }
end

return M
