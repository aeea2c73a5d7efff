-- plan: --dry-run. A script (or a command) runs in two worlds that differ in every value that had
-- to be invented, and what it does in both is the plan. Where it does not do the same, the plan
-- ends and says so: Lua lets nobody watch a comparison, but its consequence can be seen.

local config = require "moontap.config"
local errors = require "moontap.errors"
local fresh = require "moontap.plan.fresh"
local host = require "moontap.native.host"
local json = require "moontap.json"
local native = require "moontap.native.task"
local origin = require "moontap.origin"
local random = require "moontap.random"
local show = require "moontap.plan.show"
local sys = require "moontap.native.sys"
local verdict = require "moontap.plan.verdict"
local where = require "moontap.plan.where"
local World = require "moontap.plan.world"

local M = {}

local REAL_TIME <const> = 120      -- seconds of real time that a dry run may take
local REAL_TIME_LEAST <const> = 20 -- … and by this what each world has at least
local SEED_BYTES <const> = 6

-- Tests do not want to wait for it.
local function real_time()
  return tonumber(os.getenv "MOONTAP_PLAN_SECONDS") or REAL_TIME
end

-- Redirects what the script prints until it is closed: to standard error, or nowhere.
local function divert(is_heard)
  local handles = { assert(sys.redirect(1, is_heard and 2 or "/dev/null")) }
  if not is_heard then handles[2] = assert(sys.redirect(2, "/dev/null")) end
  return setmetatable({}, { __close = function()
    for _, handle in ipairs(handles) do handle:restore() end
  end })
end

-- A Ctrl-C, or too much real time: the world ends, whatever it does.
local function watch(shared)
  host.on_interrupt(function()
    local world = World.current()
    if not world then return end
    local is_late = host.alarm_left() == 0
    world.over = world.over or {
      ends = "limit", given = #world.given, status = not is_late and 4 or nil,
      message = is_late and ("after %d s the script was still running, and a dry run takes no "
        .. "longer"):format(shared.real_time) or "interrupted",
    }
    for running in pairs(world.tasks) do running:kill() end
  end)
  return setmetatable({}, { __close = function()
    host.set_alarm(0)
    host.on_interrupt(nil)
    native.foreground(nil)
  end })
end

-- How a world came to its end. `limit`: seconds that the run may take.
local function ending_of(world, task, joined, failed_at, limit)
  if world.over then return world.over end
  local body = world.results
  local err
  if not joined[1] then
    err = joined[2]
  elseif task:status() == "cancelled" then
    err = joined[3]
  elseif body[1] and (body[2] ~= nil or body[3] == nil) then
    return { ends = "end" }
  else
    err = body[1] and body[3] or body[2]
  end
  if errors.is(err, "timeout") and limit and world:elapsed() >= limit then
    return { ends = "limit", message = "--timeout would end the script here", chain = failed_at }
  end
  return { ends = "error", err = err, kind = errors.is(err) and err.kind or nil,
           message = tostring(err), chain = failed_at }
end

local function run_world(number, shared, options)
  local world = World.new(number, shared, options.key)
  random.seed(shared.seed)
  local out <close> = divert(options.is_heard) -- luacheck: ignore out
  host.set_alarm(math.max(shared.left, shared.real_time / REAL_TIME_LEAST), true)
  local failed_at
  World.enter(world)
  local task = native.spawn({ name = "plan", timeout = options.timeout }, function()
    world.tasks[native.current()] = true
    world.results = table.pack(xpcall(options.body, function(err)
      failed_at = where.chain()
      return err
    end))
  end)
  native.foreground(task)
  local joined = table.pack(pcall(task.join, task))
  native.foreground(nil)
  shared.left = host.alarm_left()
  if not world.over then native.sleep(0) end -- what interrupted it says so first
  world.ending = ending_of(world, task, joined, failed_at, options.timeout)
  World.enter(nil)
  return world
end

-- The values of which each alone lets the script part where both worlds do, as a set.
local function find_causes(a, b, shared, run)
  local count, is_same = verdict.compare(a, b)
  if is_same then return nil end
  local causes, tried = {}, {}
  for _, given in ipairs(b.given) do
    local key = World.ORIGINS[given.name]
    if not tried[key] and shared.left > shared.real_time / 2 then
      tried[key] = true
      local n, is_alike = verdict.compare(a, run(1, { key = key }))
      causes[key] = not is_alike and n <= count or nil
    end
  end
  return next(causes) and causes
end

local function run_worlds(args, body)
  local shared = { real_time = real_time(), left = real_time(),
                   seed = args.seed or string.unpack("<I6", sys.random_bytes(SEED_BYTES)) }
  local restore = fresh.mark()
  local over <close> = watch(shared) -- luacheck: ignore over
  local function run(number, options)
    options = options or {}
    options.body, options.timeout = body, args.timeout
    local world = run_world(number, shared, options)
    restore()
    return world
  end
  local a = run(1, { is_heard = true })
  if a.over and a.over.status then return a, a end -- interrupted by a person
  local b = run(2)
  if select(2, verdict.compare(a, b)) then return a, b end
  -- answers that came in another order than they are replayed may be all that differs
  if shared.real_reads > 0 then a = run(1) end
  return a, b, find_causes(a, b, shared, run)
end

---Prints what `body` would do instead of letting it.
---@param args table of the command line
---@param body fun(): integer|nil, table|nil
---@return integer|nil status
---@return table|nil err
function M.run(args, body)
  local began = require "moontap.native.clock".now()
  local a, b, causes = run_worlds(args, body)
  local ending = a.ending
  if ending.ends == "error" and #a.steps == 0 and ending.kind == "usage" then
    return nil, ending.err
  end
  local found = verdict.of(a, b, causes)
  local document = show.document(a, b, found, {
    command = origin.command(), began = began,
    sources = where.sources { ["-e"] = args.e, stdin = args.text },
  })
  io.stdout:write(config.json and json.encode(document, { pretty = true })
    or show.text(document), "\n")
  return found.status
end

return M
