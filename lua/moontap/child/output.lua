-- output: what a playbook prints, as lines with the host's time, bounded: the beginning and the
-- end are kept.

local clock = require "moontap.clock"
local splits = require "moontap.child.splits"
local task = require "moontap.native.task"

local M = {}

local STAMP <const> = 29 -- bytes that a line has more in the log
local TURN <const> = 100 -- lines after which others have their turn
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

-- A line as the log has it.
local function hand_over(self, one)
  self.on_line(clock.format(math.floor(one.at * 1000) / 1000) .. " "
    .. self.mask((one.text:gsub("[%c\127]", function(c) return c == "\t" and c or "?" end))))
end

-- The end of the output: a queue of lines that forgets its front. Most of a flood goes through it,
-- so a line is made fit for the log only when it is handed over.
local function keep_last(self, one)
  self.last = self.last + 1
  self.tail[self.last] = one
  self.tail_bytes = self.tail_bytes + #one.text + STAMP
  while self.tail_bytes > self.half do
    local first = self.first
    self.tail_bytes = self.tail_bytes - #self.tail[first].text - STAMP
    self.tail[first] = nil
    self.first = first + 1
    self.left_out = self.left_out + 1
  end
end

local function put(self, one)
  if self.last == 0 and self.kept + #one.text + STAMP <= self.half then
    self.kept = self.kept + #one.text + STAMP
    hand_over(self, one)
  else
    keep_last(self, one)
  end
end

local function take_line(self, text, now)
  self.lines = self.lines + 1
  for _, ready in ipairs(self.splits:take { at = now, text = text }) do put(self, ready) end
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
  local text, now = self.rest .. bytes, clock.now()
  local at = 1
  while true do
    local stop = text:find("\n", at, true)
    if stop and stop - at <= LINE_MAX then
      take_line(self, text:sub(at, stop - 1), now)
      at = stop + 1
    elseif #text - at >= LINE_MAX then
      local size = cut(text, at)
      take_line(self, text:sub(at, at + size - 1), now)
      at = at + size
    else
      break
    end
  end
  self.rest = text:sub(at)
end

--- No more will come: hands over the end. Works twice, and waits.
---@return table stats bytes, lines, left_out: lines
function Output:finish()
  if self.stats then return self.stats end
  if self.rest ~= "" then take_line(self, self.rest, clock.now()) end
  self.rest = ""
  for _, one in ipairs(self.splits:flush()) do put(self, one) end
  if self.left_out > 0 then
    self.on_line(("… %d lines left out …"):format(self.left_out))
  end
  for i = self.first, self.last do
    hand_over(self, self.tail[i])
    if i % TURN == 0 then pcall(task.sleep, 0) end -- also when the run was cancelled
  end
  self.tail, self.first, self.last = {}, 1, 0
  self.stats = { bytes = self.bytes, lines = self.lines, left_out = self.left_out }
  return self.stats
end

return M
