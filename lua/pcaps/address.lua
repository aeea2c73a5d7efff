-- address: one spelling of an account. The state is keyed by the address of the API and the
-- account's id, and two spellings of one would hand out its slots twice. Pure.

local M = {}

local PORTS <const> = { http = "80", https = "443" }

--- The base URL with scheme and host in lower case, without the port that is usual anyway, without
--- a dot behind the host and slashes at the end. What is no URL is returned as it is.
---@param url string
---@return string
---
---     address.base_url "HTTPS://API.cloudflare.com:443/client/v4/"
---     --> "https://api.cloudflare.com/client/v4"
function M.base_url(url)
  local scheme, host, path = url:match "^(%a+)://([^/?#]+)(.*)$"
  if not scheme then return url end
  scheme = scheme:lower()
  local name, port = host:match "^(.-):(%d+)$"
  if not name or name:find "^%[[^%]]*$" then name, port = host, nil end
  port = port and port:gsub("^0+(%d)", "%1")
  name = name:lower():gsub("([^.])%.$", "%1")
  if port and port ~= PORTS[scheme] then name = name .. ":" .. port end
  return ("%s://%s%s"):format(scheme, name, (path:gsub("/+$", "")))
end

--- The id of an account in lower case, as the API writes it: ids are hexadecimal. Another one is
--- returned as it is.
---@param id string
---@return string
function M.account_id(id)
  return id:find "^%x+$" and id:lower() or id
end

return M
