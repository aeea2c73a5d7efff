-- declared: where the local statements of a chunk's outermost block end, and what they declare.

local lexer = require "moontap.repl.lexer"

local M = {}

---@class moontap.repl.Declaration
---@field names string[]
---@field is_const table<string, boolean>
---@field to integer last byte of the statement

local OPENS = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local CLOSES = { ["end"] = true, ["until"] = true }
local BRACKETS = { ["("] = 1, ["["] = 1, ["{"] = 1, [")"] = -1, ["]"] = -1, ["}"] = -1 }
local UNARY = { ["not"] = true, ["-"] = true, ["#"] = true, ["~"] = true }
local BINARY = {}
for word in ("and or + - * / // % ^ & | ~ << >> .. == ~= < > <= >= ,"):gmatch "%S+" do
  BINARY[word] = true
end

-- The place of the token that closes the block which the token at `i` opens.
local function block_end(tokens, i)
  local depth = 0
  while tokens[i] do
    local token = tokens[i]
    if token.kind == "keyword" then
      depth = depth + (OPENS[token.text] and 1 or CLOSES[token.text] and -1 or 0)
    end
    if depth == 0 then return i end
    i = i + 1
  end
  return i - 1
end

local function bracket_end(tokens, i)
  local depth = 0
  while tokens[i] do
    depth = depth + (tokens[i].kind == "op" and BRACKETS[tokens[i].text] or 0)
    if depth == 0 then return i end
    i = i + 1
  end
  return i - 1
end

-- The place of the last token of the operand at `i`, and whether it may be called or indexed.
local function operand_end(tokens, i)
  local token = tokens[i]
  if token.text == "function" then return block_end(tokens, i), false end
  if token.kind == "op" and BRACKETS[token.text] == 1 then
    return bracket_end(tokens, i), token.text == "("
  end
  return i, token.kind == "name"
end

-- The place of the last token that is called or indexed from `i` on.
local function suffix_end(tokens, i)
  while tokens[i + 1] do
    local token = tokens[i + 1]
    if token.kind == "string" then
      i = i + 1
    elseif token.text == "." or token.text == ":" then
      i = i + 2
    elseif token.kind == "op" and BRACKETS[token.text] == 1 then
      i = bracket_end(tokens, i + 1)
    else
      break
    end
  end
  return i
end

-- The place of the last token of the list of expressions that begins at `i`.
local function list_end(tokens, i)
  while tokens[i] do
    while tokens[i] and tokens[i].kind ~= "string" and UNARY[tokens[i].text] do i = i + 1 end
    if not tokens[i] then break end
    local may_go_on
    i, may_go_on = operand_end(tokens, i)
    if may_go_on then i = suffix_end(tokens, i) end
    local after = tokens[i + 1]
    if not after or after.kind == "string" or not BINARY[after.text] then return i end
    i = i + 2
  end
  return #tokens
end

-- Reads the names behind a `local` at `i`; the place of the last token of their list.
local function read_names(tokens, i, found)
  repeat
    i = i + 1
    local name = tokens[i] and tokens[i].text
    if not name then return i - 1 end
    found.names[#found.names + 1] = name
    if tokens[i + 1] and tokens[i + 1].text == "<" then
      found.is_const[name] = true -- <const> or <close>: neither may be assigned to
      i = i + 3
    end
    local comma = tokens[i + 1] and tokens[i + 1].text == ","
    i = comma and i + 1 or i
  until not comma
  return i
end

-- The declaration of the `local` at `i`, and the place of its last token.
local function read_local(tokens, i)
  local found = { names = {}, is_const = {} }
  if tokens[i + 1] and tokens[i + 1].text == "function" then
    found.names[1] = tokens[i + 2] and tokens[i + 2].text
    i = block_end(tokens, i + 1)
  else
    i = read_names(tokens, i, found)
    if tokens[i + 1] and tokens[i + 1].text == "=" then i = list_end(tokens, i + 2) end
  end
  found.to = tokens[math.min(i, #tokens)].to
  return found, i
end

---The local statements of the outermost block of `code`, which is valid Lua.
---@param code string
---@return moontap.repl.Declaration[]
function M.find(code)
  local tokens, found, i = lexer.code(code), {}, 1
  while tokens[i] do
    local token = tokens[i]
    if token.kind == "keyword" and OPENS[token.text] then
      i = block_end(tokens, i)
    elseif token.kind == "keyword" and token.text == "local" then
      found[#found + 1], i = read_local(tokens, i)
    end
    i = i + 1
  end
  return found
end

return M
