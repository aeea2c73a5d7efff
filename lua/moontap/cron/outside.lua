-- outside: what a run reaches besides the API, on the host's side: HTTP to granted hosts, and files
-- that it downloaded or that lie in granted directories. A directory that no operator's policy but
-- only the playbook's own header names opens no more than any user of the machine has: the daemon
-- can read its token, its state and more, and whoever writes a header may name where they lie.

local child = require "moontap.child.runner"
local errors = require "moontap.errors"
local hex = require "moontap.hex"
local http = require "moontap.http"
local rules = require "moontap.gate.rules"
local store = require "pcaps.store"
local sys = require "moontap.native.sys"

local M = {}

local BODY_MAX <const> = 384 << 10 -- what fits into a frame, whatever it is

local function deny(why)
  return nil, errors.new("denied", why, { sent = "no" })
end

-- Text that a frame can hold is left; other bytes become hexadecimal digits.
local function is_plain(text)
  return utf8.len(text) ~= nil and not text:find "[\0-\8\11\12\14-\31\127]"
end

local function pass_on(response)
  for name, value in pairs(response.headers) do
    if not utf8.len(value) then response.headers[name] = value:gsub("[\128-\255]", "?") end
  end
  if response.body and not is_plain(response.body) then
    response.body_hex, response.body = hex.encode(response.body), nil
  end
  return response
end

---The effect "http.request" of a run.
---@param set moontap.gate.Rules
---@return fun(request: any): table|nil, table|nil
function M.http(set)
  return function(request)
    if type(request) ~= "table" then
      error(("http.request: expected a table, got a %s"):format(type(request)), 0)
    end
    local url = tostring(request.url)
    local name = url:match "^%a+://%[([%x:.]+)%]" or url:match "^%a+://([^/:?#@]+)" or "?"
    local why = rules.refuses_http(set, name:lower())
    if why then return deny(why) end
    if request.to_file ~= nil then
      return deny "to_file: a playbook writes no files but captures"
    end
    if request.body_hex ~= nil then
      request.body, request.body_hex = hex.decode(request.body_hex), nil
    end
    local max = math.tointeger(request.body_max)
    request.body_max = max and max >= 0 and max < BODY_MAX and max or BODY_MAX
    request.redirects = 0 -- another host may not be granted
    local response, err = http.request(request)
    if not response then return nil, err end
    return pass_on(response)
  end
end

-- Is the real path `path` the state directory, or below it?
local function is_in_state(path)
  local dir = store.directory()
  dir = dir and sys.real_path(dir)
  return dir ~= nil and (path .. "/"):sub(1, #dir + 1) == dir .. "/"
end

-- What is wrong with a file to be written at `path`, in the real directory `parent`, on the word of
-- a header alone; or nil.
local function unfit(path, parent)
  if is_in_state(parent) then return "it lies in the state directory" end
  if not path:find "%.pcap$" and not path:find "%.pcapng$" then
    return "its name does not end in .pcap"
  end
  if sys.lstat(path) then return "it is there already" end
end

local OWN_WORD <const> = "the directory is named by the playbook alone; "
  .. "an operator's policy (--policy) that names it opens more"

---May a run write the file `path`? It lies below a granted directory, and no link on the way leads
---elsewhere. Without a policy it is a new file, called as captures are.
---@param set moontap.gate.Rules
---@param path any
---@return boolean|nil
---@return table|nil err
function M.may_write(set, path)
  if type(path) ~= "string" then return deny "a path is text" end
  local root, why = rules.root_of(set, "writing", path)
  if not root then return deny(why) end
  local parent = path:match "^(.*)/[^/]*$"
  local real_root = sys.real_path(root == "" and "/" or root)
  local real_parent, err = sys.real_path(parent == "" and "/" or parent)
  if not real_parent then return nil, err end
  if real_parent:gsub("/$", "") ~= (real_root or "?"):gsub("/$", "") .. parent:sub(#root + 1) then
    return deny(("writing %s refused: a link or \"..\" leads elsewhere"):format(path))
  end
  local problem = not rules.has_policy(set) and unfit(path, real_parent)
  if problem then return deny(("writing %s refused: %s; %s"):format(path, problem, OWN_WORD)) end
  return true
end

---The effect "file.open" of a run.
---@param set moontap.gate.Rules
---@param own table<string, true> what the run has downloaded
---@return fun(path: any): any, table|nil
function M.open(set, own)
  return function(path)
    if type(path) ~= "string" then error("file.open: expected a path", 0) end
    if own[path] then return child.file(path) end
    local root, why = rules.root_of(set, "reading", path)
    if not root then return deny(why) end
    local below, refusal = path:sub(#root + 2), nil
    root = root == "" and "/" or root
    if not rules.has_policy(set) then
      refusal = ("reading %s refused: not every user of the machine may read it; %s"):format(path,
        OWN_WORD)
      if is_in_state(("%s/%s"):format(sys.real_path(root) or root, below)) then
        return deny(refusal)
      end
    end
    return child.file(below, root, refusal)
  end
end

return M
