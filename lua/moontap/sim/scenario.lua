-- scenario: finds, checks and compiles the file that says which traffic there
-- is. scripts/scenarios/baseline.lua explains the format by example.

local address = require "moontap.sim.address"
local attacks = require "moontap.sim.attacks"
local payload = require "moontap.sim.payload"
local rng = require "moontap.sim.rng"
local schema = require "moontap.native.schema"

local M = {}

local NAMES <const> = { "baseline", "udp-flood", "syn-flood", "dns-amplification",
  "carpet-bombing", "slow-scan", "gre-tunnel" }
local PROTOCOLS <const> = { icmp = 1, tcp = 6, udp = 17, gre = 47 }
local HAS_PORTS <const> = { [6] = true, [17] = true }
local PPS_MAX <const> = 1e7
local FILE_STEPS <const> = 10000000 -- instructions that a scenario file may take
local FLAG_BITS <const> = { F = 1, S = 2, R = 4, P = 8, A = 16, U = 32 }
local SHAPE_SLOTS <const> = 256
local PORT_EPHEMERAL <const> = "ephemeral"
local PORT_RANDOM <const> = "random"

local function check(condition, format, ...)
  if not condition then
    error({ scenario = format:format(...) }, 0)
  end
  return condition
end

local FLOW_KEYS <const> = "name clients address addresses prefix protocol port source_port pps "
  .. "packets "
local KEYS <const> = {
  root = "base name sampling day sites clients services attacks",
  sites = "name metro servers share",
  clients = "prefixes count ttl spoofed",
  services = FLOW_KEYS,
  attacks = FLOW_KEYS .. "vector start duration every",
  packets = "weight flags payload size inner inner_port",
}

---Refuses keys that ROW of SECTION cannot have.
local function check_keys(where, row, section)
  check(type(row) == "table", "%s: expected a table, got a %s", where, type(row))
  local names, known = {}, {}
  for name in KEYS[section]:gmatch "%S+" do
    names[#names + 1], known[name] = name, true
  end
  for name in pairs(row) do
    if not known[name] then
      local near = schema.near(tostring(name), names)
      check(false, "%s%s: unknown%s", where ~= "" and where .. "." or "", tostring(name),
        near and "; did you mean " .. near .. "?" or "")
    end
  end
end

---Site, metro and server of the data centres.
local function compile_sites(rows)
  check(type(rows) == "table" and #rows > 0, "sites: at least one is needed")
  local sites, total = {}, 0
  for i, row in ipairs(rows) do
    check_keys(("sites[%d]"):format(i), row, "sites")
    check(type(row.name) == "string" and type(row.metro) == "string", "sites[%d]: name and metro "
      .. "are strings", i)
    total = total + (row.share or 1)
    sites[i] = { name = row.name, metro = row.metro, servers = row.servers or 1, upto = total }
  end
  for _, site in ipairs(sites) do
    site.upto = site.upto / total
  end
  return sites
end

local function pick_site(sites, key)
  local at = (key >> 11) / (1 << 53)
  for i, site in ipairs(sites) do
    if at < site.upto then
      return i
    end
  end
  return #sites
end

local function compile_prefixes(name, list)
  check(type(list) == "table" and #list > 0, "clients.%s: prefixes are needed", name)
  local prefixes, total = {}, 0
  for i, text in ipairs(list) do
    local base, size = address.parse_prefix(text)
    check(base, "clients.%s: %s is not an IPv4 prefix", name, text)
    total = total + size
    prefixes[i] = { base = base, size = size }
  end
  return prefixes, total
end

---The address that lies AT addresses from the start of PREFIXES.
local function nth_address(prefixes, at)
  for _, prefix in ipairs(prefixes) do
    if at < prefix.size then
      return prefix.base + at
    end
    at = at - prefix.size
  end
end

---A pool of clients. Site and TTL belong to the client: a network path does
---not change from packet to packet.
local function compile_pool(name, row, sites, seed)
  check_keys("clients." .. name, row, "clients")
  local prefixes, total = compile_prefixes(name, row.prefixes)
  local key = rng.derive(rng.derive(seed, "clients"), name)
  local ttls = row.ttl or { 64 }
  local pool = { key = key, spoofed = row.spoofed, prefixes = prefixes, total = total,
                 ttl_first = ttls[1], addresses = {}, sites = {}, ttls = {}, known = {} }
  if row.spoofed then
    return pool
  end
  local count = check(math.tointeger(row.count or 100), "clients.%s: count", name)
  for i = 1, math.min(count, total) do
    local draw = rng.mix(key + i * 0x9E3779B97F4A7C15)
    local at = (draw >> 1) % total
    while pool.known[nth_address(prefixes, at)] do
      at = (at + 1) % total
    end
    local client = nth_address(prefixes, at)
    pool.known[client] = true
    pool.addresses[i] = client
    pool.sites[i] = pick_site(sites, rng.mix(draw + 1))
    pool.ttls[i] = ttls[(draw >> 8) % #ttls + 1] - 6 - (draw >> 16) % 17
  end
  pool.n = #pool.addresses
  return pool
end

---A port of a service: a number, a list of numbers, or how to make one up.
local function compile_port(where, port, default)
  if port == nil then
    port = default
  end
  if port == PORT_EPHEMERAL or port == PORT_RANDOM then
    return { how = port }
  end
  local list = type(port) == "table" and port or { port }
  local made = { list = list, known = {} }
  for _, value in ipairs(list) do
    check(math.type(value) == "integer" and value >= 0 and value <= 65535, "%s: a port is 0 to "
      .. "65535", where)
    made.known[value] = true
  end
  made.fixed = #list == 1 and list[1] or nil
  return made
end

local function compile_targets(where, row)
  local targets, known = {}, {}
  if row.prefix then
    local base, size = address.parse_prefix(row.prefix)
    check(base and size <= 65536, "%s: prefix", where)
    for i = 0, size - 1 do
      targets[#targets + 1] = base + i
    end
  else
    for _, text in ipairs(row.addresses or { row.address }) do
      targets[#targets + 1] = check(address.parse(text), "%s: %s is not an IPv4 address",
        where, tostring(text))
    end
  end
  check(#targets > 0, "%s: address, addresses or prefix is needed", where)
  for _, target in ipairs(targets) do
    known[target] = true
  end
  return targets, known
end

local function compile_flags(where, word)
  local bits = 0
  for letter in (word or "A"):gmatch "." do
    bits = bits | check(FLAG_BITS[letter], "%s: unknown TCP flag %s", where, letter)
  end
  return bits
end

---The network inside a tunnel that packets of a shape come from and go to.
local function compile_inner(where, row, kind)
  if not kind.is_inner then
    return nil
  end
  local inner = check(row.inner, "%s: inner = { source = PREFIX, destination = PREFIX } is needed",
    where)
  local made = {}
  for _, side in ipairs { "source", "destination" } do
    made[side], made[side .. "_size"] = address.parse_prefix(tostring(inner[side]))
    check(made[side], "%s: inner.%s: %s is not an IPv4 prefix", where, side, tostring(inner[side]))
  end
  return made
end

---The kinds of packets of a service as a table of 256 equally likely slots.
local function compile_shapes(where, rows)
  check(type(rows) == "table" and #rows > 0, "%s: packets are needed", where)
  local total, lookup, at = 0, {}, 0
  for _, row in ipairs(rows) do
    total = total + (row.weight or 1)
  end
  local sum = 0
  for i, row in ipairs(rows) do
    check_keys(("%s.packets[%d]"):format(where, i), row, "packets")
    local name = row.payload or "none"
    local kind = check(payload.kinds[name], "%s: unknown payload %s", where, tostring(name))
    local size = row.size or { 0, 0 }
    check(type(size) == "table" and math.type(size[1]) == "integer"
      and math.type(size[2]) == "integer" and size[1] <= size[2] and size[1] >= (kind.least or 0)
      and size[2] <= 1460, "%s: size is {least, most}, %d to 1460", where, kind.least or 0)
    local shape = { flags = compile_flags(where, row.flags), kind = kind,
                    least = size[1], spread = size[2] - size[1] + 1,
                    inner = compile_inner(where, row, kind), inner_port = row.inner_port or 443 }
    sum = sum + (row.weight or 1)
    local upto = i == #rows and SHAPE_SLOTS or math.floor(sum * SHAPE_SLOTS / total)
    while at < upto do
      lookup[at] = shape
      at = at + 1
    end
  end
  return lookup
end

local function compile_times(where, row, start)
  for _, name in ipairs { "start", "duration", "every" } do
    local value = row[name]
    check(value == nil or math.type(value) == "integer" and value >= (name == "start" and 0 or 1),
      "%s.%s: whole seconds, got %s", where, name, tostring(value))
  end
  check(not row.every or row.start and row.duration and row.duration <= row.every,
    "%s.every: needs start, and a duration that is not longer", where)
  return attacks.timetable(start, row)
end

local function compile_flow(index, where, row, pools, seed, start)
  check_keys(where, row, start and "attacks" or "services")
  check(type(row.name) == "string", "%s: a name is needed", where)
  local flow = { index = index, name = row.name, key = rng.derive(seed, where .. "/" .. row.name),
                 vector = row.vector or row.name, pps = row.pps }
  check(type(row.pps) == "number" and row.pps >= 0 and row.pps <= PPS_MAX,
    "%s.pps: expected a number up to %d, got %s", where, math.tointeger(PPS_MAX),
    tostring(row.pps))
  flow.protocol = check(PROTOCOLS[row.protocol], "%s.protocol: expected icmp, tcp, udp or gre, "
    .. "got %s", where, tostring(row.protocol))
  flow.pool = check(pools[row.clients], "%s: no clients called %s", where, tostring(row.clients))
  flow.targets, flow.targets_known = compile_targets(where, row)
  flow.shapes = compile_shapes(where, row.packets)
  if HAS_PORTS[flow.protocol] then
    flow.source_port = compile_port(where, row.source_port, PORT_EPHEMERAL)
    flow.port = compile_port(where, row.port, PORT_EPHEMERAL)
  end
  flow.times = start and compile_times(where, row, start)
  return flow
end

---DATA with what its base has: fields of its own win, clients, services and attacks are added.
local function inherit(data)
  if data.base == nil then
    return data
  end
  local base, problem = M.load(tostring(data.base))
  check(base, "base: %s", problem)
  check(base.base == nil, "base: %s has a base itself", data.base)
  local made = {}
  for _, from in ipairs { base, data } do
    for name, value in pairs(from) do
      made[name] = value
    end
  end
  made.clients = {}
  for _, from in ipairs { base, data } do
    for name, row in pairs(from.clients or {}) do
      made.clients[name] = row
    end
  end
  for _, section in ipairs { "services", "attacks" } do
    local own = data[section] or {}
    made[section] = table.move(base[section] or {}, 1, #(base[section] or {}), 1, {})
    table.move(own, 1, #own, #made[section] + 1, made[section])
  end
  return made
end

local function compile(data, seed, start)
  check(type(data) == "table", "a scenario file returns a table")
  check_keys("", data, "root")
  data = inherit(data)
  local world = { name = data.name or "scenario", seed = seed, day = data.day or 0, flows = {} }
  world.sampling = check(math.tointeger(data.sampling or 1), "sampling is a whole number")
  check(world.sampling >= 1, "sampling is at least 1")
  world.sites = compile_sites(data.sites)
  local pools = {}
  for name, row in pairs(data.clients or {}) do
    pools[name] = compile_pool(name, row, world.sites, seed)
  end
  for _, section in ipairs { "services", "attacks" } do
    for i, row in ipairs(data[section] or {}) do
      local where = ("%s[%d]"):format(section, i)
      world.flows[#world.flows + 1] = compile_flow(#world.flows + 1, where, row, pools, seed,
        section == "attacks" and start or nil)
    end
  end
  check(#world.flows < 256, "at most 255 services and attacks")
  world.filler = payload.filler(rng.derive(seed, "payload"))
  return world
end

---Compiles scenario DATA for SEED.
---@param data table
---@param seed integer
---@param start integer second since 1970 from which attacks are counted
---@return table|nil world
---@return string|nil problem
function M.compile(data, seed, start)
  local ok, made = pcall(compile, data, seed, start)
  if ok then
    return made
  elseif type(made) == "table" and made.scenario then
    return nil, made.scenario
  end
  error(made, 0)
end

---The scenarios that are built in.
---@return string[]
function M.names()
  return NAMES
end

---Runs CHUNK, which must not take for ever.
local function run_bounded(chunk)
  local co = coroutine.create(chunk)
  debug.sethook(co, function()
    error("it takes too long; a scenario is data", 0)
  end, "", FILE_STEPS)
  return coroutine.resume(co)
end

---Loads a scenario: one that is built in by its name, else a file. The file
---is data: it sees `math` and `string` and nothing else.
---@param name string
---@return table|nil data
---@return string|nil problem
function M.load(name)
  if name:match "^[%w_-]+$" then
    local ok, data = pcall(require, "moontap.scenarios." .. name)
    if ok then
      return data
    end
    local near = schema.near(name, NAMES)
    return nil, ("scenario %s: there is none of that name%s (known: %s; a file needs a / or .lua)")
      :format(name, near and "; did you mean " .. near .. "?" or "", table.concat(NAMES, ", "))
  end
  local chunk, problem = loadfile(name, "t", { math = math, string = string })
  if not chunk then
    return nil, "scenario: " .. problem
  end
  local ok, data = run_bounded(chunk)
  if not ok then
    return nil, "scenario: " .. tostring(data)
  end
  return data
end

return M
