-- lexer: Lua text as tokens, also text that is not complete yet. What the prompt keeps, completes
-- and hints at is found in them; whether text is Lua is for load to say.

local M = {}

---@class moontap.repl.Token
---@field kind "name"|"keyword"|"number"|"string"|"comment"|"op"
---@field text string
---@field from integer
---@field to integer
---@field is_open? boolean a string or comment that the text does not close
---@field goes_on? boolean an open short string that the next line may close

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch "%a+" do KEYWORDS[word] = true end

M.KEYWORDS = KEYWORDS

-- The longest first.
local OPERATORS <const> = {
  "%.%.%.", "==", "~=", "<=", ">=", "//", "::", "<<", ">>", "%.%.",
  "[%z\1-\127\194-\253][\128-\191]*", ".",
}

-- A long string or comment whose opening bracket ends at `at`.
local function long_end(text, at, level)
  local _, to = text:find("]" .. level .. "]", at + 1, true)
  return to or #text, to == nil
end

-- Where the short string that begins at `from` ends: place, is open, may go on.
local function short_end(text, from)
  local quote, at = text:sub(from, from), from + 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == quote then return at, false end
    if c == "\n" then return at - 1, true, false end
    if c == "\\" then
      at = at + 1
      if text:sub(at, at) == "z" then at = text:match("^%s*()", at + 1) - 1 end
      if at >= #text and text:find("^[z%s]?$", at) then return #text, true, true end
    end
    at = at + 1
  end
  return #text, true, false
end

local function read_bracketed(text, at)
  local level, after = text:match("^%-%-%[(=*)%[()", at)
  if level then return "comment", long_end(text, after - 1, level) end
  if text:find("^%-%-", at) then
    local to = text:find("\n", at, true)
    return "comment", (to or #text + 1) - 1, to == nil
  end
  level, after = text:match("^%[(=*)%[()", at)
  if level then return "string", long_end(text, after - 1, level) end
  if text:find("^[\"']", at) then return "string", short_end(text, at) end
end

local function read_word(text, at)
  local name = text:match("^[%a_][%w_]*", at)
  if name then return KEYWORDS[name] and "keyword" or "name", at + #name - 1 end
  local after = text:match("^0[xX][%x.]*()", at) or text:match("^%.?%d[%d.]*()", at)
  if not after then return nil end
  after = text:match("^[eEpP][+-]?%d*()", after) or after
  return "number", after - 1
end

local function read_operator(text, at)
  for _, pattern in ipairs(OPERATORS) do
    local _, to = text:find("^" .. pattern, at)
    if to then return "op", to end
  end
end

---The tokens of a text, comments included.
---@param text string
---@return moontap.repl.Token[]
function M.tokens(text)
  local list, at = {}, text:find "%S"
  while at do
    local kind, to, is_open, goes_on = read_bracketed(text, at)
    if not kind then kind, to = read_word(text, at) end
    if not kind then kind, to = read_operator(text, at) end
    list[#list + 1] = { kind = kind, text = text:sub(at, to), from = at, to = to,
                        is_open = is_open or nil, goes_on = goes_on or nil }
    at = text:find("%S", to + 1)
  end
  return list
end

---The tokens without comments.
---@param text string
---@return moontap.repl.Token[]
function M.code(text)
  local list = {}
  for _, token in ipairs(M.tokens(text)) do
    if token.kind ~= "comment" then list[#list + 1] = token end
  end
  return list
end

return M
