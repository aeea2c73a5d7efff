-- client: an account at an address, and the nine operations on it. Arguments are checked here,
-- before the effect and whatever wraps it; credentials are asked for by the first effect.

local capture = require "pcaps.capture"
local config = require "moontap.config"
local credentials = require "pcaps.credentials"
local duration = require "moontap.duration"
local later = require "moontap.later"
local native = require "moontap.native.pcaps"
local retry = require "pcaps.retry"
local schema = require "moontap.native.schema"

local accounts = later "moontap.accounts"
local gate = later "moontap.gate"
local log = later "moontap.log"
local store = later "pcaps.store"

local M = {}

local TIMEOUT = 60 -- seconds for one attempt

local OPTIONS = {
  account = "string", account_id = "string", api_token = "string", token_file = "string",
  api_email = "string", api_key = "string", base_url = "string", timeout = "duration",
  deadline = "duration", max_retries = "count",
}

-- The time a capture was submitted; the API's form sorts as text.
local function submitted(cap)
  return type(cap) == "table" and type(cap.submitted) == "string" and cap.submitted or ""
end

local call = {
  create = retry.define("create", native.create),
  list = retry.define("list", function(client, _, options)
    local list, err = native.list(client, nil, options)
    if not list then return nil, err end
    table.sort(list, function(a, b) return submitted(a) > submitted(b) end)
    return list
  end),
  get = retry.define("get", native.get),
  stop = retry.define("stop", native.stop),
  download = retry.define("download", function(client, id, options, path)
    local err
    if path == nil then
      path, err = store.place(client, id)
      if not path then return nil, err end
    end
    return native.download(client, id, options, path)
  end),
  ["ownership.create"] = retry.define("ownership.create", native.ownership_create),
  ["ownership.list"] = retry.define("ownership.list", native.ownership_list),
  ["ownership.delete"] = retry.define("ownership.delete", native.ownership_delete),
  ["ownership.validate"] = retry.define("ownership.validate", native.ownership_validate),
}

local function known_options()
  local names = {}
  for name in pairs(OPTIONS) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local CHECKS = {
  string = function(value)
    if type(value) == "string" then return value end
    return nil, "expected a string, got " .. type(value)
  end,
  duration = function(value)
    local parsed = duration.parse(value)
    if parsed and parsed > 0 then return parsed end
    return nil, "expected a duration (5, \"5m\")"
  end,
  count = function(value)
    if math.type(value) == "integer" and value >= 0 and value <= 1000 then return value end
    return nil, "expected an integer 0..1000"
  end,
}

-- Checks what the script gave to pcaps.client; raises all problems at once. No value is shown:
-- it may be a secret.
local function check_options(given)
  if type(given) ~= "table" then
    error("pcaps.client: expected a table of options, got " .. type(given), 3)
  end
  local checked, problems = {}, {}
  for key, value in pairs(given) do
    local kind = OPTIONS[key]
    if not kind then
      local near = schema.near(tostring(key), known_options())
      problems[#problems + 1] = ("%s: unknown option%s"):format(tostring(key),
        near and "; did you mean " .. near .. "?" or "")
    else
      local parsed, problem = CHECKS[kind](value)
      checked[key] = parsed
      if problem then problems[#problems + 1] = key .. ": " .. problem end
    end
  end
  if given.api_token ~= nil and given.token_file ~= nil then
    problems[#problems + 1] = "api_token and token_file: give one of them"
  end
  for _, name in ipairs { "account_id", "api_token", "token_file", "api_email", "api_key" } do
    if given.account ~= nil and given[name] ~= nil then
      problems[#problems + 1] = ("account and %s: give one of them"):format(name)
    end
  end
  if #problems > 0 then
    table.sort(problems)
    error("pcaps.client: " .. table.concat(problems, "\n  "), 3)
  end
  return checked
end

-- One line an exchange; nothing in it is secret.
local function log_exchange(e)
  log.info("%s %s %s in %d ms, %d bytes, cf-ray %s", e.method, e.path,
    e.failure and ("failed (sent: %s): %s"):format(e.sent, e.failure) or tostring(e.status),
    e.ms, e.bytes, e.ray or "none")
end

-- Gives the native client its account, its address and its credentials.
local function authorize(state)
  local settings, err = credentials.resolve(state.given)
  if not settings then return nil, err end
  settings.timeout_ms = math.max(1, math.floor(state.fields.timeout * 1000))
  local ok
  ok, err = native.authorize(state.handle, settings)
  if ok then return settings end
  if settings.account then return nil, accounts.explain(settings.account, err) end
  if err.kind == "credentials" then err.message = err.message .. accounts.hint() end
  return nil, err
end

-- Sets the native client up at its first effect.
local function set_up(state)
  local settings, err = authorize(state)
  if not settings then return nil, err end
  state.fields.account_id, state.fields.base_url = settings.account_id, settings.base_url
  state.ready = true
  local is_heard = config.verbose > 0
    or package.loaded["moontap.log"] and log.enabled("info") -- its level is set only by loading it
  if is_heard then native.observe(log_exchange) end
  gate.attach(state.handle)
  return true
end

-- Sets it up when that was not done. A dry run asks for credentials only where it reads.
local function prepare(state)
  local ok, err = set_up(state)
  if not ok and config.dry_run then
    gate.refuse(state.handle, err)
    return true
  end
  return ok, err
end

-- The function scripts call for operation `op`: checks, then the effect.
local function face(state, op)
  local check, effect, handle = native.check[op], call[op], state.handle
  if op == "list" or op == "ownership.list" then
    return function(options)
      check(nil, options)
      if not state.ready then
        local ok, err = prepare(state)
        if not ok then return nil, err end
      end
      return effect(handle, nil, options)
    end
  end
  return function(subject, options)
    check(subject, options)
    if not state.ready then
      local ok, err = prepare(state)
      if not ok then return nil, err end
    end
    return effect(handle, subject, options)
  end
end

local function download_face(state)
  local check, effect, handle = native.check.download, call.download, state.handle
  return function(id, path, options)
    check(id, options)
    if path ~= nil and (type(path) ~= "string" or path == "") then
      error("pcaps.download: path: expected a file name, got " ..
        (path == "" and "an empty string" or type(path)), 2)
    end
    if not state.ready then
      local ok, err = prepare(state)
      if not ok then return nil, err end
    end
    return effect(handle, id, options, path)
  end
end

local function add_faces(fields, state)
  for _, op in ipairs { "create", "list", "get", "stop" } do fields[op] = face(state, op) end
  fields.download = download_face(state)
  fields.ownership = {}
  for _, name in ipairs { "create", "list", "delete", "validate" } do
    fields.ownership[name] = face(state, "ownership." .. name)
  end
end

local metatables = setmetatable({}, { __mode = "k" }) -- client -> that of its captures

-- A client that is not set up yet.
local function make(given)
  local fields = {
    timeout = given.timeout or TIMEOUT,
    deadline = given.deadline or retry.DEADLINE,
    max_retries = given.max_retries or retry.MAX_RETRIES,
  }
  local rays = setmetatable({}, { __mode = "k" })
  local meta = capture.metatable(fields, rays)
  local handle = native.client(fields, meta, rays)
  metatables[handle] = meta
  local state = { given = given, fields = fields, handle = handle, ready = false }
  add_faces(fields, state)
  return handle, state
end

--- A client of its own, for scripts that work with several accounts. What is left out comes
--- from the command line and the environment.
---@param options table account (a name of accounts.ini), or account_id, api_token | token_file |
---  api_email + api_key; base_url, timeout (of one attempt), deadline (of one operation),
---  max_retries
---@return userdata|nil client with the functions of this module as fields
---@return table|nil err when credentials were given that cannot be used
--- Raises on an unknown option or a value of the wrong type.
---
---     local lab = assert(pcaps.client { account_id = "…", token_file = "/etc/moontap/lab.token" })
---     local caps = assert(lab.list())
function M.new(options)
  local given = check_options(options)
  local handle, state = make(given)
  if given.account or credentials.are_given(given) then
    local ok, err = set_up(state)
    if not ok then return nil, err end
  end
  return handle
end

--- A client that nothing is around: what it sends is not written down, and its account is not
--- looked after. For those who ask how things are.
---@return userdata|nil
---@return table|nil err
function M.bare()
  local handle, state = make({})
  local settings, err = authorize(state)
  if not settings then return nil, err end
  state.fields.account_id, state.fields.base_url = settings.account_id, settings.base_url
  if config.verbose > 0 then native.observe(log_exchange) end
  return handle
end

--- A capture of `client` that no answer of the API stands behind.
---@param client userdata
---@param fields table
---@return table
function M.capture(client, fields)
  return setmetatable(fields, metatables[client])
end

--- The default client, from the command line and the environment.
---@return userdata
function M.default()
  return (make({}))
end

return M
