-- log: lines on standard error, never with a secret in them.

local secrets = require "moontap.secrets"

local M = {}

local RANKS = { error = 1, warn = 2, info = 3, debug = 4 }
local LABELS = { error = "error: ", warn = "warning: ", info = "", debug = "" }
local HIDDEN = "[hidden]"

--- The least important level that is written: "error", "warn", "info" or "debug".
M.level = "warn"

local VALUE = [=[["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]=]

-- Where a secret is: behind a word, in lower case, a pattern with two position captures around what
-- has to go. Text may be foreign, and long: each rule takes time in proportion to it. What a `run`
-- matches is not looked through again for the word, which would fail in it as it did before it.
local SECRETS = {
  -- a header or field whose whole value is secret
  { "authorization", [=[^["']?%s*[:=]%s*["']?()[^"'%c]+()]=] },
  { "bearer", [=[^%s+()[^%s"',;]+()]=], starts_word = true },
  -- name=value, name: value, "name":"value"
  { "token", "^" .. VALUE },
  { "secret", "^[%w_-]*" .. VALUE, run = "^[%w_-]*()" },
  { "password", "^" .. VALUE },
  { "api_key", "^" .. VALUE },
  { "api-key", "^" .. VALUE },
  { "ownership_challenge", "^" .. VALUE },
  { "auth_key", "^" .. VALUE },
  { "auth-key", "^" .. VALUE },
  { "access_key", "^[%w_-]*" .. VALUE, run = "^[%w_-]*()" },
  { "access-key", "^[%w_-]*" .. VALUE, run = "^[%w_-]*()" },
  -- the query of a bucket's address, and of whatever a destination is
  { "s3://", [=[^[^%s"'?]*%?()[^%s"']+()]=], run = [=[^[^%s"'?]*()]=], starts_word = true },
  { "gs://", [=[^[^%s"'?]*%?()[^%s"']+()]=], run = [=[^[^%s"'?]*()]=], starts_word = true },
  { "r2://", [=[^[^%s"'?]*%?()[^%s"']+()]=], run = [=[^[^%s"'?]*()]=], starts_word = true },
  { "destination_conf", [=[^["']?%s*[:=]%s*["']?[^%s"'?]*%?()[^%s"']+()]=] },
  -- user and password in an address
  { "://", [=[^()[^/%s@"']+()@]=], holds = "^.[^:]*:." },
}

local function starts_word(lower, from)
  return from == 1 or not lower:find("^%w", from - 1)
end

-- From where to where the next secret of a rule goes, at or after `at`.
local function find_secret(lower, rule, at)
  while true do
    local from, to = lower:find(rule[1], at, true)
    if not from then return nil end
    at = to + 1
    local first, last
    if not rule.starts_word or starts_word(lower, from) then
      first, last = lower:match(rule[2], at)
    end
    if first and (not rule.holds or lower:sub(first, last - 1):find(rule.holds)) then
      return first, last
    end
    if rule.run then at = lower:match(rule.run, at) end
  end
end

local function hide(text, rule)
  local lower, at, parts = text:lower(), 1, nil
  while true do
    local from, to = find_secret(lower, rule, at)
    if not from then break end
    parts = parts or {}
    parts[#parts + 1] = text:sub(at, from - 1)
    parts[#parts + 1] = HIDDEN
    at = to
  end
  if not parts then return text end
  parts[#parts + 1] = text:sub(at)
  return table.concat(parts)
end

local function hide_literal(text, secret)
  local at = text:find(secret, 1, true)
  while at do
    text = text:sub(1, at - 1) .. HIDDEN .. text:sub(at + #secret)
    at = text:find(secret, at + #HIDDEN, true)
  end
  return text
end

--- `text` without secrets: tokens, keys, authorization values, and the query of bucket addresses.
---@param text string
---@return string
---
---     log.redact "s3://bucket/path?secret=x" --> "s3://bucket/path?[hidden]"
function M.redact(text)
  for _, secret in ipairs(secrets.list()) do text = hide_literal(text, secret) end
  for _, rule in ipairs(SECRETS) do text = hide(text, rule) end
  return text
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- Foreign bytes must neither start a line of their own nor steer a terminal.
local function make_line(text)
  return (text:gsub("%c", function(c) return ESCAPES[c] or ("\\x%02x"):format(c:byte()) end))
end

--- Whether lines of `level` are written now.
---@param level string
---@return boolean
--- Raises when there is no such level.
function M.enabled(level)
  local rank = RANKS[level] or error("no log level is called '" .. tostring(level) .. "'", 2)
  return rank <= (RANKS[M.level] or RANKS.warn)
end

local function write(level, format, ...)
  if not M.enabled(level) then return end
  local text = select("#", ...) == 0 and tostring(format) or format:format(...)
  io.stderr:write("moontap: ", LABELS[level], make_line(M.redact(text)), "\n")
end

--- Writes one line; `format` and the rest as for string.format.
---@param format string
function M.error(format, ...) write("error", format, ...) end

---@param format string
function M.warn(format, ...) write("warn", format, ...) end

---@param format string
function M.info(format, ...) write("info", format, ...) end

---@param format string
function M.debug(format, ...) write("debug", format, ...) end

return M
