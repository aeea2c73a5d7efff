-- place: which account and which API a prompt is at, as it keeps saying.

local config = require "moontap.config"

local M = {}

-- The account and where it is: its id or nil, the address, what that is called.
local function account()
  local settings = require "pcaps.credentials".resolve {} or { base_url = "" }
  local where = settings.base_url:match "^https?://([^/]+)" or settings.base_url
  if config.sim then where = "sim" end
  if where == "api.cloudflare.com" then where = "cloudflare" end
  return settings.account_id, settings.base_url, where
end

local function token_source()
  if config.sim then return "the simulator's own" end
  local credentials = require "pcaps.credentials"
  local settings, err = credentials.resolve {}
  if not settings then return "none: " .. err.message end
  return credentials.origin(settings) or "none: set CLOUDFLARE_API_TOKEN, or give --token-file"
end

---@param session moontap.repl.Session
---@return string[][] rows of name and value
function M.facts(session)
  local id, url = account()
  local directory = require "pcaps.store".directory()
  return {
    { "account", id or "none: set CLOUDFLARE_ACCOUNT_ID, or give --account-id" },
    { "API", config.sim and "the simulator in this program, at " .. url or url },
    { "token", token_source() },
    { "state", directory or "none" },
    { "history", session.history or "none" },
    { "log", require "moontap.log".level },
    { "version", ("moontap %s, %s"):format(moontap.version, _VERSION) },
  }
end

local function paint(colour, s)
  return colour and ("\27[%sm%s\27[0m"):format(colour, s) or s
end

---The prompt, which says at every line whose network this is, and the one for lines that go on.
---Green is a game, red is somebody's network.
---@param has_colour boolean
---@return string first
---@return string further
function M.prompts(has_colour)
  local id, _, where = account()
  local label = config.sim and "sim"
    or ("%s %s"):format(where, id and id:sub(1, 8) or "(no account)")
  return paint(has_colour and (config.sim and "32" or "31"), label) .. "> ",
    (" "):rep(math.max(#label - 2, 0)) .. "..> "
end

---What is said when the prompt opens.
---@return string
function M.banner()
  local id, url, where = account()
  local told
  if config.sim then
    told = ("account %s on the simulator: nothing here reaches Cloudflare"):format(id)
  else
    told = ("account %s at %s"):format(id or "not set (CLOUDFLARE_ACCOUNT_ID)",
      where == "cloudflare" and "Cloudflare: captures here are real" or url)
  end
  return ("moontap %s, %s\n%s\n%s"):format(moontap.version, _VERSION, told,
    "help() explains, :help lists commands, Tab completes, Ctrl-D leaves")
end

return M
