-- splits: hides secrets that are spread over several lines of output. A line whose end may be the
-- beginning of a secret is held back until the next lines tell.

local M = {}

local HIDDEN <const> = "[hidden]"
local HELD_MAX <const> = 64

local Splits = {}
Splits.__index = Splits

---@param secrets string[]
---@return table splits
function M.new(secrets)
  return setmetatable({ secrets = secrets, held = {} }, Splits)
end

local function join(lines)
  local texts = {}
  for i, line in ipairs(lines) do texts[i] = line.text end
  return table.concat(texts)
end

-- Takes bytes `first` to `last` of the joined lines out of each. Where the rest goes on in them.
local function hide(lines, first, last)
  local at, next_at = 0, first
  for _, line in ipairs(lines) do
    local text, size = line.text, #line.text
    local from, to = math.max(first - at, 1), math.min(last - at, size)
    if from <= to then
      line.text = text:sub(1, from - 1) .. HIDDEN .. text:sub(to + 1)
      next_at = next_at + #HIDDEN
    end
    at = at + size
  end
  return next_at
end

local function hide_all(lines, secret)
  local text = join(lines)
  local first, last = text:find(secret, 1, true)
  while first do
    local at = hide(lines, first, last)
    text = join(lines)
    first, last = text:find(secret, at, true)
  end
end

-- How many bytes at the end of `text` begin a secret. Text may be a flood: only where the first
-- byte of a secret stands is the rest compared.
local function pending(text, secrets)
  local longest = 0
  for _, secret in ipairs(secrets) do
    local first = secret:sub(1, 1)
    local at = text:find(first, math.max(1, #text - #secret + 2), true)
    while at and #text - at + 1 > longest do
      if text:sub(at) == secret:sub(1, #text - at + 1) then longest = #text - at + 1 end
      at = text:find(first, at + 1, true)
    end
  end
  return longest
end

---Takes a line, and hands over those that hold nothing of a secret any more.
---@param line { text: string }
---@return table[] lines in order
function Splits:take(line)
  if #self.secrets == 0 then return { line } end
  local held = self.held
  held[#held + 1] = line
  for _, secret in ipairs(self.secrets) do hide_all(held, secret) end
  local left = pending(join(held), self.secrets)
  local keep = #held
  while left > 0 and keep > 0 do
    left = left - #held[keep].text
    keep = keep - 1
  end
  keep = math.max(keep, #held - HELD_MAX)
  local ready = table.move(held, 1, keep, 1, {})
  self.held = table.move(held, keep + 1, #held, 1, {})
  return ready
end

---What is still held back.
---@return table[] lines
function Splits:flush()
  local held = self.held
  self.held = {}
  return held
end

return M
