-- log: lines on standard error, never with a secret in them.

local secrets = require "moontap.secrets"

local M = {}

local RANKS = { error = 1, warn = 2, info = 3, debug = 4 }
local LABELS = { error = "error: ", warn = "warning: ", info = "", debug = "" }
local HIDDEN = "[hidden]"

--- The least important level that is written: "error", "warn", "info" or "debug".
M.level = "warn"

-- Each has two position captures around what has to go. Matched against lower-case text.
local SECRETS = {
  -- a header or field whose whole value is secret
  [[authorization["']?%s*[:=]%s*["']?()[^"'%c]+()]],
  [[%f[%w]bearer%s+()[^%s"',;]+()]],
  -- name=value, name: value, "name":"value"
  [[[%w_-]*token["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[[%w_-]*secret[%w_-]*["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[[%w_-]*password["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[api[_-]key["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[ownership_challenge["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[auth[_-]key["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  [[access[_-]key[%w_-]*["']?%s*[:=]%s*["']?()[^%s"'&,;}]+()]],
  -- the query of a bucket's address, and of whatever a destination is
  [[%f[%w]s3://[^%s"'?]*%?()[^%s"']+()]],
  [[%f[%w]gs://[^%s"'?]*%?()[^%s"']+()]],
  [[%f[%w]r2://[^%s"'?]*%?()[^%s"']+()]],
  [[destination_conf["']?%s*[:=]%s*["']?[^%s"'?]*%?()[^%s"']+()]],
  -- user and password in an address
  [[://()[^/%s@"']+:[^/%s@"']+()@]],
}

local function hide_pattern(text, pattern)
  local lower, at, parts = text:lower(), 1, nil
  while true do
    local from, to = lower:match(pattern, at)
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
  for _, pattern in ipairs(SECRETS) do text = hide_pattern(text, pattern) end
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
