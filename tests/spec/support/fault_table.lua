-- fault_table: what each fault of the simulator makes of each operation of the client, found out
-- by trying. docs/faults.md is made from it.

local faults = require "moontap.sim.faults"
local pcaps = require "pcaps"
local rules = require "moontap.sim.rules"
local sims = require "moontap.sim"
local sys = require "moontap.native.sys"

local M = {}

local BUCKET = "s3://fault-table/pcaps?region=us-east-1"
local OTHER = "s3://fault-table/other?region=us-east-1"
local SIMPLE = { type = "simple", time_limit = 5, packet_limit = 100 }
local HOLD = { timeout = 20 } -- of one attempt; the default deadline is five minutes

-- Adds a bucket; returns its id and the challenge that was written into it.
local function add_bucket(sim, client, conf)
  local made = assert(client.ownership.create { destination_conf = conf })
  local path = ("%s/s3/%s/%s"):format(sim.bucket, conf:match "s3://([^?]*)", made.filename)
  local file <close> = assert(io.open(path))
  return made.id, file:read "a"
end

-- A world with everything that some operation needs.
local function open()
  local sim = assert(sims.start { transport = "inproc", knobs = { simple_interval = 0 } })
  local client = assert(pcaps.client { base_url = sim.base_url, account_id = sim.account_id,
                                       api_token = sim.api_token })
  local id, challenge = add_bucket(sim, client, BUCKET)
  assert(client.ownership.validate { destination_conf = BUCKET, ownership_challenge = challenge })
  local _, other = add_bucket(sim, client, OTHER)
  local world = { sim = sim, client = client, ownership = id, challenge = other }
  world.simple = assert(client.create(SIMPLE))
  assert(world.simple:wait())
  world.full = assert(client.create { type = "full", time_limit = 600, colo_name = "ORD",
                                      destination_conf = BUCKET })
  return world
end

local OPERATIONS = {
  create = function(world) return world.client.create(SIMPLE, HOLD) end,
  list = function(world) return world.client.list(HOLD) end,
  get = function(world) return world.client.get(world.simple.id, HOLD) end,
  stop = function(world) return world.client.stop(world.full.id, HOLD) end,
  download = function(world)
    return world.client.download(world.simple.id, world.sim.bucket .. "/../fault-table.pcap", HOLD)
  end,
  ["ownership.create"] = function(world)
    return world.client.ownership.create({ destination_conf = "gs://fault-table" }, HOLD)
  end,
  ["ownership.list"] = function(world) return world.client.ownership.list(HOLD) end,
  ["ownership.delete"] = function(world)
    return world.client.ownership.delete(world.ownership, HOLD)
  end,
  ["ownership.validate"] = function(world)
    return world.client.ownership.validate({ destination_conf = OTHER,
      ownership_challenge = world.challenge }, HOLD)
  end,
}

-- Not an operation of the API, but what most scripts do next.
local WAIT = "cap:wait"
OPERATIONS[WAIT] = function(world)
  local cap = assert(world.client.create(SIMPLE))
  return cap:wait { timeout = 120 }
end

local POSTS = { create = true, ["ownership.create"] = true, ["ownership.validate"] = true }

-- What came of it in one or two words, and what must never come of it.
local function judge(world, op, result, err, before)
  local state = world.sim.state
  local opened = state.newest - before.captures
  local sent = (state.requests[op] or 0) - before.requests
  assert(opened <= 1, "two captures for one create")
  if op == "create" and result then
    assert(opened == 1 and state.captures[state.newest].id == result.id, "another's capture")
  end
  local path = world.sim.bucket .. "/../fault-table.pcap"
  local is_there = sys.stat(path) ~= nil
  assert(is_there == (op == "download" and result ~= nil), "a file that should not be, or none")
  os.remove(path)
  for _, name in ipairs(assert(sys.list(world.sim.bucket .. "/.."))) do
    assert(not name:find("fault-table", 1, true), "a temporary file is left: " .. name)
  end
  if result == nil then return err.kind .. (err.sent == "no" and " (not sent)" or "") end
  if POSTS[op] and (state.requests[op == "create" and "list" or "ownership.list"] or 0)
    > before.lists then
    return sent > 1 and "done, 2nd try" or "adopted"
  end
  return sent > 1 and "done, retried" or "done"
end

-- Which operation a fault is for when `op` is tried.
local function faulted(op, kind)
  if op ~= WAIT then return op end
  return kind.ops and kind.ops.create and not kind.ops.get and "create" or "get"
end

--- Lets `op` meet a fault and says what comes of it.
---@param op string
---@param spec string "error_html,done=true"
---@param extra string further parameters of the rule: ",count=1" or ""
---@return string
function M.try(op, spec, extra)
  local world = open()
  local over <close> = -- luacheck: ignore over
    setmetatable({}, { __close = function()
      world.full.status = "success" -- nobody has to be told at the end that it goes on
      world.sim:close()
    end })
  local requests = world.sim.state.requests
  local lists = op == "create" and "list" or "ownership.list"
  local before = { captures = world.sim.state.newest, requests = requests[op] or 0,
                   lists = requests[lists] or 0 }
  local kind = faults.kind(spec:match "^[^,]+")
  local rule = assert(world.sim:fault(("%s:%s%s"):format(faulted(op, kind), spec, extra)))
  local result, err = OPERATIONS[op](world)
  assert(rule.fired > 0, "the fault was not met")
  return judge(world, op, result, err, before)
end

local function applies(kind, op)
  return not kind.ops or kind.ops[faulted(op, kind)] == true
end

--- The kinds of faults, and those again that can be met with the operation done.
---@return string[]
function M.specs()
  local list = {}
  for _, kind in ipairs(faults.kinds()) do
    list[#list + 1] = kind.name
    if kind.params.done then list[#list + 1] = kind.name .. ",done=true" end
    if kind.name == "latency" then list[#list + 1] = "latency,seconds=30" end
  end
  return list
end

local COLUMNS <const> = table.move(rules.OPERATIONS, 1, #rules.OPERATIONS, 1, {})
COLUMNS[#COLUMNS + 1] = WAIT

--- A line of the table: what `spec` makes of each operation.
---@param spec string
---@param extra string
---@return string
function M.row(spec, extra)
  local kind, cells = faults.kind(spec:match "^[^,]+"), {}
  for i, op in ipairs(COLUMNS) do
    cells[i] = applies(kind, op) and M.try(op, spec, extra) or ""
  end
  return ("| `%s` | %s |"):format(spec, table.concat(cells, " | "))
end

local function table_of(extra)
  local lines = { "| fault | " .. table.concat(COLUMNS, " | ") .. " |",
                  "|---|" .. ("---|"):rep(#COLUMNS) }
  for _, spec in ipairs(M.specs()) do lines[#lines + 1] = M.row(spec, extra) end
  return table.concat(lines, "\n")
end

local HEAD = [[
# Faults and operations

What comes of each operation when its exchange goes wrong, with the default options but a timeout of
20 seconds an attempt. Made by `tools/faults`, which tries all of it on the simulator; the tests do
so again and compare. In no case are two captures opened for one create, is a foreign one taken, or
a file left that is not whole.

"done, retried": the request was sent again, as reads, `stop` and `delete` may be. "adopted": a
POST was not sent again but found in the account's list ([adoption](adoption.md)). Else the kind of
the error; those are explained in [scripting](scripting.md#errors), the faults in
[simulator](simulator.md). `cap:wait` waits two minutes; it looks with `get`, except that faults
which only a create can meet are met by the create before it.

]]

--- docs/faults.md.
---@return string
function M.markdown()
  return HEAD .. "## The fault is met once\n\n" .. table_of ",count=1"
    .. "\n\n## The fault is met by every request of the operation\n\n" .. table_of "" .. "\n"
end

return M
