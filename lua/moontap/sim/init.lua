-- sim: a simulated Magic Transit PCAPs API, over loopback HTTP or in process.
--
-- It owns the server, and the directory that stands in for the buckets when
-- none was given. Its handler is a function from a request to a reply; see
-- moontap.sim.router for what it serves.

local clock = require "moontap.clock"
local knobs = require "moontap.sim.knobs"
local rng = require "moontap.sim.rng"
local router = require "moontap.sim.router"
local rules = require "moontap.sim.rules"
local scenario = require "moontap.sim.scenario"
local states = require "moontap.sim.state"

local M = {}

local DEFAULT_SEED <const> = 1
local IN_PROCESS <const> = "http://sim.internal"

---@class moontap.Sim
---@field base_url string with the path: "http://127.0.0.1:40000/client/v4"
---@field account_id string
---@field api_token string
---@field api_email string
---@field api_key string
---@field port integer|nil nil in process
---@field bucket string
---@field handler fun(request: table): table
local Sim = {}
Sim.__index = Sim

---A made-up secret of SIZE letters and digits.
local function secret(seed, what, size)
  local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
  local next_number = rng.stream(rng.derive(seed, what))
  local out = {}
  for i = 1, size do
    local at = (next_number() >> 1) % #letters + 1
    out[i] = letters:sub(at, at)
  end
  return table.concat(out)
end

---Lays the changes over what --lenient stands for.
local function choose_knobs(options)
  local changes = {}
  for _, source in ipairs { options.lenient and knobs.LENIENT or {}, options.knobs or {} } do
    for name, value in pairs(source) do
      changes[name] = value
    end
  end
  return knobs.make(changes)
end

---@return table|nil world
---@return string|nil problem
local function load_world(options, seed)
  local data, problem = options.scenario or "baseline", nil
  if type(data) == "string" then
    data, problem = scenario.load(data)
  end
  if not data then
    return nil, problem
  end
  return scenario.compile(data, seed, math.floor(clock.now()))
end

local function failure(kind, message)
  return nil, require "moontap.errors".new(kind, message)
end

---The host and port of "127.0.0.1:0" or "[::1]:0".
local function split_address(text)
  local address, port = text:match "^%[(.-)%]:(%d+)$"
  if not address then
    address, port = text:match "^([^:]+):(%d+)$"
  end
  port = math.tointeger(tonumber(port))
  if not address or not port or port > 65535 then
    return nil
  end
  return address, port
end

local function listen(sim, text)
  local address, port = split_address(text)
  if not address then
    return failure("usage", ("listen: expected ADDRESS:PORT, got %s"):format(text))
  end
  if not (address:find "^127%." or address == "::1") then
    return failure("usage", ("listen: the simulator serves this machine only, and its token is no "
      .. "secret: use 127.0.0.1 or [::1], not %s"):format(address))
  end
  local server, err = require "moontap.native.server".listen {
    address = address, port = port, handler = sim.handler, body_max = router.BODY_MAX,
  }
  if not server then
    return nil, err
  end
  sim.server, sim.port = server, server.port
  local host = address:find(":", 1, true) and "[" .. address .. "]" or address
  sim.base_url = ("http://%s:%d%s"):format(host, server.port, router.PREFIX)
  return true
end

local function attach(sim)
  require "moontap.native.http".set_inproc(IN_PROCESS, sim.handler)
  sim.in_process = true
  sim.base_url = IN_PROCESS .. router.PREFIX
  return true
end

---The directory for the buckets, made when none was given.
local function make_bucket(sim, path)
  local sys = require "moontap.native.sys"
  if path then
    local ok, err = sys.mkdir_p(path, 448)  -- 0700
    if not ok then
      return nil, err
    end
    sim.bucket = path
    return path
  end
  local made, err = sys.tempdir "moontap-bucket-"
  sim.bucket, sim.own_bucket = made, made ~= nil
  return made, err
end

---Starts a simulator.
---
---     local sim = assert(require "moontap.sim".start { listen = "127.0.0.1:0" })
---     print(sim:exports())
---     sim:close()
---
---@param options? {seed?: integer, scenario?: string|table, speed?: number, bucket?: string,
---  listen?: string, transport?: "inproc", account_id?: string, api_token?: string,
---  read_token?: string, api_email?: string, api_key?: string, knobs?: table, lenient?: boolean}
---@return moontap.Sim|nil sim
---@return any err
function M.start(options)
  options = options or {}
  local seed = options.seed or DEFAULT_SEED
  local made, problem = choose_knobs(options)
  local world
  if made then
    world, problem = load_world(options, seed)
  end
  if not world then
    return failure("usage", problem)
  end
  local sim = setmetatable({
    account_id = options.account_id or rng.uuid4(rng.derive(seed, "account")),
    api_token = options.api_token or secret(seed, "token", 40),
    api_email = options.api_email or "operator@example.com",
    api_key = options.api_key or rng.hex(rng.derive(seed, "key"), 37),
  }, Sim)
  local ok, err = make_bucket(sim, options.bucket)
  if not ok then
    return nil, err
  end
  sim.state = states.new {
    seed = seed, speed = options.speed or 1, knobs = made, world = world, bucket = sim.bucket,
    account_id = sim.account_id,
    credentials = { token = sim.api_token, read_token = options.read_token,
                    email = sim.api_email, key = sim.api_key },
  }
  sim.handler = function(request)
    return router.handle(sim.state, request)
  end
  if options.transport == "inproc" then
    ok, err = attach(sim)
  else
    ok, err = listen(sim, options.listen or "127.0.0.1:0")
  end
  if not ok then
    sim:close()
    return nil, err
  end
  return sim
end

---Makes requests go wrong from now on; see moontap.sim.faults for the kinds.
---
---     assert(sim:fault "create:cut_after,count=1")
---     assert(sim:fault { op = "*", fault = "error_html", rate = 0.05 })
---
---@param given string|table
---@return moontap.sim.Rule|nil rule its `fired` counts
---@return string|nil problem
function Sim:fault(given)
  local make = type(given) == "string" and rules.parse or rules.make
  local rule, problem = make(given)
  if not rule then
    return nil, problem
  end
  return rules.add(self.state, rule)
end

---Takes all faults back. Captures that were given a fate keep it.
function Sim:clear_faults()
  self.state.rules = {}
end

---The lines to put into a shell so that a client finds this simulator.
---@return string three lines
function Sim:exports()
  return ("CLOUDFLARE_BASE_URL=%s\nCLOUDFLARE_ACCOUNT_ID=%s\nCLOUDFLARE_API_TOKEN=%s\n"):format(
    self.base_url, self.account_id, self.api_token)
end

---Stops serving. The buckets go too, unless their directory was given. Works
---twice.
function Sim:close()
  if self.server then
    self.server:close()
    self.server = nil
  end
  if self.in_process then
    require "moontap.native.http".set_inproc(IN_PROCESS, nil)
    self.in_process = nil
  end
  if self.own_bucket then
    self.own_bucket = nil
    require "moontap.native.sys".remove_tree(self.bucket)
  end
end

return M
