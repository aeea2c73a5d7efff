-- http: HTTP for scripts. One function, that waits; what happens on the wire is the http room's.

local effects = require "moontap.effects"
local log = require "moontap.log"

local M = {}

-- Loaded at the first request and not before: libcurl takes milliseconds to load.
local function native()
  return require "moontap.native.http"
end

local send = effects.define("http.request", function(request)
  return native().request(request)
end)

-- The address without its query: that is where people put their keys.
local function shorten(url)
  return (url:gsub("[?#].*", "?..."))
end

local function log_exchange(method, request, response, err)
  if not log.enabled "info" then return end
  local what = ("%s %s"):format(method, shorten(request.url))
  if response then
    local size = response.body and ("%d bytes"):format(#response.body) or response.file
    log.info("%s: %d in %.3f s, %s", what, response.status or 0, response.elapsed or 0, size or "")
  else
    log.info("%s: %s", what, err)
  end
end

---@class moontap.http.Request
---@field url string http:// or https://, without user name and password
---@field method? string GET, or POST when there is a body
---@field headers? table<string, string|number|string[]>
---@field body? string
---@field timeout? number|string of the whole exchange, "5m" or seconds; 60 s
---@field connect_timeout? number|string 10 s
---@field idle_timeout? number|string without a byte in either direction; 30 s
---@field body_max? integer bytes of the answer's body; 16 MiB, to a file 4 GiB
---@field redirects? integer how many a GET or HEAD follows; 5
---@field to_file? string path: a 2xx body goes there, under its name only when it is whole

---@class moontap.http.Response
---@field status integer
---@field headers table<string, string> lower-case names; repeated ones joined by ", "
---@field body? string nil when it went to a file
---@field file? string the path of to_file
---@field url string where the answer came from
---@field elapsed number seconds

--- Sends one request and waits for its answer; any status is an answer. Headers other than
--- harmless ones (Accept, Content-Type, Range, …) never follow a redirect to another host.
---@param request moontap.http.Request
---@return moontap.http.Response|nil response
---@return table|nil err its `sent` is "no", "maybe" or "yes": did the request reach the peer
--- Raises when `request` holds what cannot be sent: an unknown field, a header that would
--- break the message.
---
---     local response = assert(moontap.http.request { url = "https://example.com/feed" })
---     print(response.status, response.headers["content-type"])
function M.request(request)
  if type(request) ~= "table" then
    error(("http.request: expected a table, got a %s"):format(type(request)), 2)
  end
  local ok, method = pcall(native().check, request)
  if not ok then error("http." .. tostring(method), 2) end
  local response, err = send(request)
  log_exchange(method, request, response, err)
  return response, err
end

return M
