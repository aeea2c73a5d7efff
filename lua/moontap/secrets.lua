-- secrets: those of the environment, which nothing that is written may show.

local M = {}

local NAMES <const> = { "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY" }
local LENGTH_MIN <const> = 4 -- a shorter one would hide half of what is said

---@return string[]
function M.list()
  local list = {}
  for _, name in ipairs(NAMES) do
    local secret = os.getenv(name)
    if secret and #secret >= LENGTH_MIN then list[#list + 1] = secret end
  end
  return list
end

return M
