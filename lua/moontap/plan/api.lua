-- api: what the API answers in a world. Reads really happen, and what was planned so far is among
-- their answers; everything else is written down.

local clock = require "moontap.clock"
local config = require "moontap.config"
local duration = require "moontap.duration"
local errors = require "moontap.errors"
local gate = require "moontap.gate"
local native_clock = require "moontap.native.clock"
local schema = require "moontap.native.schema"
local slots = require "moontap.plan.slots"
local store = require "pcaps.store"
local task = require "moontap.native.task"
local World = require "moontap.plan.world"

local M = {}

local DONE <const> = { success = true, complete = true, failed = true }
local READY_AFTER <const> = 2      -- seconds of a simple capture
local CONVERSION <const> = 10      -- … of a full one, behind its time_limit
local ANSWER_TIME <const> = 0.2    -- … of one look, so that a loop of them comes to its end
local FIELDS <const> = { "byte_limit", "colo_name", "destination_conf", "filter_v1", "offset_time",
                         "system", "time_limit", "type" }

-- Without credentials nothing can be read; what is only planned needs none.
local function refusal(client)
  local context = gate.context(client)
  return context and context.is_refused and context.err or nil
end

local function read(world, client, name, arguments, next, ...)
  local err = refusal(client)
  if err then return nil, err end
  local packed = table.pack(...)
  table.insert(arguments, 1, tostring(client))
  return world:read(name, arguments, function() return next(table.unpack(packed, 1, packed.n)) end)
end

-- Captures -------------------------------------------------------------------------------------

-- How a planned capture stands now, as an object of the client's.
local function show(world, client, planned)
  local cap = {}
  for _, name in ipairs(FIELDS) do cap[name] = planned.echo[name] end
  cap.id, cap.submitted, cap.status = planned.id, planned.submitted, world.values.pending
  if planned.filter then
    cap.filter_v1 = {}
    for name, value in pairs(planned.filter) do cap.filter_v1[name] = value end
  end
  if planned.stopped then cap.stop_requested = planned.stopped end
  if world:elapsed() >= planned.done_at then
    cap.status = world.values.final
    cap.packets_captured = world.values.is_empty and 0 or planned.most
    world:give(planned.step, { ["final status"] = cap.status,
                               packets_captured = cap.packets_captured })
  end
  return require "pcaps.client".capture(client, cap)
end

local function run_time(params)
  if params.type ~= "full" then return READY_AFTER end
  return (duration.parse(params.time_limit) or 0) + CONVERSION
end

M["api.create"] = function(world, _, client, params, options, _, intent)
  local context = gate.context(client)
  if context and context.err and not context.is_refused then
    return nil, errors.new("io", "create not sent, because it could not be written down: "
      .. context.err.message, { sent = "no", code = context.err.code })
  end
  local asked = world:now()
  local echo = assert(schema.normalize("create", params, { allow_ipv6 = true, now = asked }))
  local patience = intent and intent.ends - native_clock.boot() or math.huge
  local slot, err = slots.take(world, client, params, patience)
  if not slot then return nil, err end
  local step = world:step("create", { params = echo, case = options and options.case,
                                      account = client.account_id }, slot)
  if slot.wait > 0 then
    world:wait(task.sleep, math.min(slot.wait, math.max(patience, 0)))
  end
  if slot.missed then
    return nil, errors.new("quota", ("no slot for this %s capture before its deadline: %s"):format(
      slot.kind, slot.why or "it is not free"), { sent = "no", retryable = true })
  end
  local planned = {
    id = world:token("the id of step " .. step.number), step = step.number, echo = echo,
    filter = echo.filter_v1, most = echo.packet_limit,
    submitted = clock.format(world:now() // 1 + world.values.late),
    done_at = world:elapsed() + run_time(params) / config.speed,
  }
  planned.most = planned.most or World.PACKETS
  world.captures[planned.id] = planned
  world.captures[#world.captures + 1] = planned
  world:give(step, { id = planned.id, status = world.values.pending,
                     submitted = planned.submitted })
  return show(world, client, planned)
end

-- Time jumps here, and a capture of the real world does not go on meanwhile: whoever looks at it
-- again waits for something that nobody knows yet.
local function check_patience(world, id, cap)
  if DONE[cap.status] then return end
  local first = world.looks[id]
  world.looks[id] = first or world:elapsed()
  if first and first < world:elapsed() then
    world:stop("undecided", ("the script waits for capture %s, which really is %s: how it ends is "
      .. "not known"):format(id, tostring(cap.status)))
  end
end

M["api.get"] = function(world, next, client, id, options, ...)
  local planned = world.captures[id]
  if not planned then
    local cap, err = read(world, client, "api.get", { id }, next, client, id, options, ...)
    if cap then check_patience(world, id, cap) end
    return cap, err
  end
  world:wait(task.sleep, ANSWER_TIME)
  return show(world, client, planned)
end

M["api.list"] = function(world, next, client, ...)
  local caps, err = read(world, client, "api.list", {}, next, client, ...)
  if not caps then return nil, err end
  for _, planned in ipairs(world.captures) do caps[#caps + 1] = show(world, client, planned) end
  return caps, err
end

M["api.stop"] = function(world, _, client, id, options)
  local planned = world.captures[id]
  world:step("stop", { id = id, force = options and options.force or nil })
  if planned then
    planned.done_at, planned.stopped = world:elapsed(), clock.format(world:now() // 1)
    slots.give_back(world, client)
  end
  return true
end

M["api.download"] = function(world, _, client, id, _, path)
  local planned = world.captures[id]
  local step = world:step("download", { id = id, path = path })
  if path == nil then
    local err
    path, err = store.path_of(client, id)
    if not path then return nil, err end
  end
  world:plan_file(path, { step = step.number, is_capture = true,
                          most = planned and planned.most })
  if not planned then step.invents = { "contents" } end
  return path
end

-- Buckets --------------------------------------------------------------------------------------

local function show_ownership(planned)
  local copy = {}
  for name, value in pairs(planned) do copy[name] = value end
  return copy
end

M["api.ownership.create"] = function(world, _, _, params)
  local step = world:step("ownership.create", { destination_conf = params.destination_conf })
  local id = world:token("the id of step " .. step.number)
  local planned = {
    id = id, status = world.values.ownership, validated = "",
    submitted = clock.format(world:now() // 1 + world.values.late),
    destination_conf = params.destination_conf,
    filename = ("ownership-challenge-%s.txt"):format(
      world:token("the challenge of step " .. step.number)),
  }
  world.ownerships[id] = planned
  world.ownerships[#world.ownerships + 1] = planned
  world:give(step, { id = id, ["ownership status"] = planned.status, submitted = planned.submitted,
                     filename = planned.filename })
  return show_ownership(planned)
end

M["api.ownership.list"] = function(world, next, client, ...)
  local list, err = read(world, client, "api.ownership.list", {}, next, client, ...)
  if not list then return nil, err end
  for _, planned in ipairs(world.ownerships) do list[#list + 1] = show_ownership(planned) end
  return list, err
end

M["api.ownership.delete"] = function(world, _, _, id)
  world:step("ownership.delete", { id = id })
  local planned = world.ownerships[id]
  for i, other in ipairs(world.ownerships) do
    if other == planned then table.remove(world.ownerships, i) end
  end
  return true
end

M["api.ownership.validate"] = function(world, _, _, params)
  local step = world:step("ownership.validate", params)
  local entry = { id = world:token("the id of step " .. step.number), status = "success",
                  destination_conf = params.destination_conf }
  for _, planned in ipairs(world.ownerships) do
    if planned.destination_conf == params.destination_conf then
      planned.status, entry = "success", planned
    end
  end
  entry.validated = clock.format(world:now() // 1 + world.values.late)
  world:give(step, { id = entry.id, validated = entry.validated })
  return show_ownership(entry)
end

-- What is in a bucket after a planned step.
M["bucket.read_challenge"] = function(world, next, ownership)
  local planned = type(ownership) == "table" and world.ownerships[ownership.id]
  if not planned then return next(ownership) end
  local step
  for _, given in ipairs(world.given) do
    if given.value == planned.id then step = given.step end
  end
  local challenge = world:token(("the challenge of step %d"):format(step))
  world:give(step, { challenge = challenge })
  return challenge
end

M["bucket.files"] = function(world, next, cap)
  local planned = type(cap) == "table" and world.captures[cap.id]
  if not planned then return next(cap) end
  local has_files = not world.values.is_file_empty
  world:give(planned.step, { files = has_files and 1 or 0 })
  if not has_files then return {} end
  local path = cap.id .. ".pcap"
  world:plan_file(path, { step = planned.step, is_capture = true })
  return { path }
end

return M
