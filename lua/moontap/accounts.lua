-- accounts: accounts by name, from an ini file, so that commands and scripts say "prod" and hold
-- no token. A section a name: account_id, token_file and, where it is not Cloudflare's, base_url.
-- The file names the file of a token and never holds one.

local address = require "pcaps.address"
local config = require "moontap.config"
local errors = require "moontap.errors"
local later = require "moontap.later"
local printable = require "moontap.printable"
local schema = require "moontap.native.schema"
local sys = require "moontap.native.sys"

local inifile = later "inifile"

local M = {}

local FILE_MAX <const> = 1 << 20
local SYSTEM <const> = "/etc/moontap/accounts.ini"
local FIELDS <const> = { account_id = true, token_file = true, base_url = true }
local NAMES <const> = { "account_id", "base_url", "token_file" }

---@class moontap.Account
---@field name string
---@field account_id string
---@field token_file string
---@field base_url? string
---@field file string where it stands

local function failure(message, ...)
  return nil, errors.new("credentials", message:format(...))
end

local function variable(name)
  local value = os.getenv(name)
  return value and value:sub(1, 1) == "/" and value or nil
end

-- The places that are looked at, the first one first.
local function places()
  if config.accounts then return { config.accounts } end
  local home = variable "HOME"
  local base = variable "XDG_CONFIG_HOME" or home and home .. "/.config"
  return { base and base .. "/moontap/accounts.ini" or SYSTEM, base and SYSTEM or nil }
end

---The file that names accounts, and the places where one may stand.
---@return string|nil path nil when there is none
---@return string[] places
function M.file()
  local list = places()
  for _, path in ipairs(list) do
    if sys.stat(path) then return path, list end
  end
  return nil, list
end

-- The library takes numbers for numbers, which an id of digits is not, and passes over lines that
-- it does not know. So it gets lines that were looked at, whose values begin with a mark.
local MARK <const> = "="

local function normalize(text, path)
  local lines, has_section = {}, false
  local n = 0
  for line in (text:gsub("^\xEF\xBB\xBF", "") .. "\n"):gmatch "(.-)\r?\n" do
    n = n + 1
    line = line:match "^%s*(.-)%s*$"
    local section = line:match "^%[%s*([^%]]-)%s*%]$"
    local key, value = line:match "^([%w_]+)%s*=%s*(.-)$"
    if section and section ~= "" then
      has_section = true
      lines[#lines + 1] = ("[%s]"):format(section)
    elseif key and has_section then
      lines[#lines + 1] = ("%s=%s%s"):format(key, MARK, value:match '^"(.*)"$' or value)
    elseif line ~= "" and not line:match "^[;#]" then
      -- the line itself is not shown: it may be a secret
      return failure("accounts file %s: line %d: %s", path, n, key
        and "it stands before the first [name]"
        or "expected [name], NAME = VALUE, or a comment behind ;")
    end
  end
  lines[#lines + 1] = ""
  return table.concat(lines, "\n")
end

-- The sections of the file: name -> fields.
local function parse(path)
  local text, err = sys.read_file(path, FILE_MAX)
  if not text then
    return failure("accounts file: %s: let this user read it, or give another with --accounts",
      err.message)
  end
  text, err = normalize(text, path)
  if not text then return nil, err end
  local sections = {}
  for name, fields in pairs(inifile.parse(text, "memory")) do
    sections[name] = {}
    for key, value in pairs(fields) do sections[name][key] = value:sub(#MARK + 1) end
  end
  return sections
end

local function sorted_names(sections)
  local names = {}
  for name in pairs(sections) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- A path as people write it: from their home, or from where the file lies.
local function expand(path, file)
  local home = variable "HOME"
  if path:sub(1, 2) == "~/" and home then return home .. path:sub(2) end
  if path:sub(1, 1) == "/" then return path end
  return (file:match "^(.*/)" or "") .. path
end

local function check(name, fields, file)
  local where = ("account %s in %s"):format(name, file)
  for _, key in ipairs(sorted_names(fields)) do
    if not FIELDS[key] then
      local near = schema.near(key, NAMES)
      return failure("%s: unknown field %s%s", where, key,
        key:find "token" and not near and "; a token stands in a file of its own: token_file"
        or near and ("; did you mean %s?"):format(near)
        or "; known are " .. table.concat(NAMES, ", "))
    end
  end
  for _, key in ipairs { "account_id", "token_file" } do
    if not fields[key] or fields[key] == "" then
      return failure("%s: no %s: add the line %s = …", where, key, key)
    end
  end
  local base_url = fields.base_url and address.base_url(fields.base_url)
  if base_url and not base_url:match "^https?://[^/%s]+" then
    return failure("%s: base_url: expected a URL such as https://host/client/v4", where)
  end
  return { name = name, file = file, account_id = fields.account_id,
           token_file = expand(fields.token_file, file),
           base_url = base_url }
end

---The account of a name.
---@param name string
---@return moontap.Account|nil
---@return table|nil err of kind "credentials": what to do about it
---
---     local account = assert(require "moontap.accounts".find "prod")
function M.find(name)
  local file, list = M.file()
  if not file then
    return failure("account %s: there is no %s: write a section [%s] with account_id and "
      .. "token_file there", name, table.concat(list, " and no "), name)
  end
  local sections, err = parse(file)
  if not sections then return nil, err end
  local fields = sections[name]
  if fields then return check(name, fields, file) end
  local names = sorted_names(sections)
  local near = schema.near(name, names)
  return failure("no account is called %s in %s%s", name, file,
    near and ("; did you mean %s?"):format(near)
    or #names > 0 and "; there is " .. table.concat(names, ", ") or "; it names none")
end

---All accounts of the file.
---@return { name: string, account?: moontap.Account, err?: table }[]|nil nil without a file
---@return table|string|nil err the error, or the path of the file
function M.list()
  local file = M.file()
  if not file then return nil end
  local sections, err = parse(file)
  if not sections then return nil, err end
  local list = {}
  for i, name in ipairs(sorted_names(sections)) do
    local account, problem = check(name, sections[name], file)
    list[i] = { name = name, account = account, err = problem }
  end
  return list, file
end

---The names of the accounts file, for whoever has named none.
---@return string hint "" when there is none
function M.hint()
  local list, file = M.list()
  if not list or #list == 0 then return "" end
  local names = {}
  for i, entry in ipairs(list) do names[i] = printable(entry.name) end
  return ("; or --account NAME: %s names %s"):format(file, table.concat(names, ", "))
end

-- What to do about a token file that cannot be used.
local function hint(problem)
  if problem:find "Permission denied" then
    return "; give it to this user or to a group of theirs (chgrp, chmod 640)"
  elseif problem:find "No such file" then
    return "; write the token there, or mend token_file"
  end
  return ""
end

---The error `err` of setting up a client, which says now whose it is.
---@param account moontap.Account
---@param err table
---@return table
function M.explain(account, err)
  err.message = ("account %s in %s: %s%s"):format(account.name, account.file, err.message,
    hint(err.message))
  return err
end

return M
