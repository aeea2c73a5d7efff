-- text: strings as the prompt shows them: quoted, without secrets, and harmless for a terminal.

local log = require "moontap.log"
local schema = require "moontap.native.schema"

local M = {}

local HIDDEN <const> = "[hidden]"
local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

-- Characters that steer a terminal or turn the direction of writing.
local STEERING = { "\xC2[\x80-\x9F]", "\xE2\x80[\x8E\x8F\xAA-\xAE]", "\xE2\x81[\xA6-\xA9]" }

local function escape_byte(c)
  return ESCAPES[c] or ("\\x%02x"):format(c:byte())
end

local function escape_character(c)
  return ("\\u{%x}"):format(utf8.codepoint(c))
end

---`s` as a literal in double quotes.
---@param s string
---@return string
function M.quote(s)
  local is_text = utf8.len(s) ~= nil
  s = s:gsub(is_text and '[%c"\\\127]' or '[^ !#-%[%]-~]', escape_byte)
  for _, pattern in ipairs(STEERING) do s = s:gsub(pattern, escape_character) end
  return '"' .. s .. '"'
end

---`s` for a terminal, over several lines as it is.
---@param s string
---@return string
function M.clean(s)
  if not utf8.len(s) then s = s:gsub("[\128-\255]", escape_byte) end
  s = s:gsub("[^%C\n\t]", "?")
  for _, pattern in ipairs(STEERING) do s = s:gsub(pattern, "?") end
  return s
end

local SECRET_NAMES = { "token$", "secret", "password", "passwd", "api[_-]?key$", "auth[_-]?key$",
                       "access[_-]?key", "^authorization$", "^cookie$" }

---`s` without what must not be shown.
---@param s string
---@param key? any the field that holds it
---@return string
function M.mask(s, key)
  if type(key) == "string" and s ~= "" then
    local lower = key:lower()
    for _, pattern in ipairs(SECRET_NAMES) do
      if lower:find(pattern) then return HIDDEN end
    end
  end
  return log.redact(schema.redact(s))
end

---How many columns `s` takes, as far as that is known here: one a character.
---@param s string
---@return integer
function M.width(s)
  return utf8.len(s) or #s
end

---The first `n` columns of `s`.
---@param s string
---@param n integer
---@return string
function M.cut(s, n)
  if M.width(s) <= n then return s end
  local to = utf8.len(s) and utf8.offset(s, n) or n
  return s:sub(1, to - 1) .. "…"
end

return M
