-- clock: virtual
-- What becomes of a create whose outcome is open: docs/adoption.md has the rules.

local api = require "support.pcaps_api"
local clock = require "moontap.clock"
local json = require "moontap.json"

local LOST = { cut = "before" } -- the answer does not come, whatever was done
local FULL = { type = "full", time_limit = 60, colo_name = "ORD", byte_limit = 1000,
               destination_conf = "r2://b?account-id=1&access-key-id=AKID&secret-access-key=SHH" }

local made = 0 -- captures so far: an id is given out once

local function http_date(seconds) return os.date("!%a, %d %b %Y %H:%M:%S GMT", seconds // 1) end

-- The capture that a request opens, as the list shows it. The simulated server is `skew` seconds
-- ahead of this machine.
local function opened(world, request, changes)
  local cap = json.decode(request.body)
  cap.packet_limit = nil
  made = made + 1
  cap.id, cap.status = ("%032x"):format(made), "pending"
  table.insert(world.ids, cap.id)
  cap.submitted = clock.format(clock.now() + world.skew)
  cap.filter_v1 = cap.filter_v1 or {}
  if cap.type == "simple" then cap.offset_time = cap.offset_time or cap.submitted end
  for name, value in pairs(changes or {}) do
    if value == "nil" then cap[name] = nil else cap[name] = value end
  end
  table.insert(world.list, 1, cap)
  return cap
end

-- An API that keeps a list. `post(world, request, n)` answers the n-th POST; `get` what a list is
-- answered with instead of it, when anything.
local function serve(post, get)
  local world = { list = {}, ids = {}, posts = 0, gets = 0, skew = 0 }
  world.server = api.start(function(request)
    if request.method == "POST" then
      world.posts = world.posts + 1
      return post(world, request, world.posts)
    end
    world.gets = world.gets + 1
    local reply = get and get(world, world.gets)
    if reply then return reply end
    reply = api.ok(#world.list > 0 and json.array(world.list) or json.array {})
    if not world.dateless then reply.headers.Date = http_date(clock.now() + world.skew) end
    return reply
  end)
  world.client = world.server.client
  return world
end

local function create(world, params, options)
  return world.client.create(params or api.SIMPLE, options)
end

local function refuses(world, params, options)
  local cap, err = create(world, params, options)
  assert.is_nil(cap)
  assert.equal("unknown_outcome", err.kind)
  assert.not_equal("no", err.sent)
  assert.is_false(err.retryable)
  assert.equal(1, world.posts)
  return err
end

-- The create finds the n-th capture that `world` made.
local function finds(n, world, params, options)
  local cap = assert(create(world, params, options))
  assert.equal(world.ids[n], cap.id)
  return cap
end

local function done_and_lost(world, request)
  opened(world, request)
  return LOST
end

after_each(api.stop)

describe("a create whose answer is lost", function()
  it("is adopted from the list, and not sent again", function()
    local world = serve(done_and_lost)
    local cap = finds(1, world)
    assert.equal(1, world.posts)
    assert.equal(1, world.gets)
    assert.equal("capture " .. world.ids[1] .. " (simple, pending)", tostring(cap))
  end)

  it("is adopted whatever it was that spoiled the answer", function()
    for _, reply in ipairs {
      { status = 502, headers = {}, body = "<html>" }, api.fail(503, 1000, "busy"),
      api.json(200, '{"success":tr'), api.ok {}, api.ok { id = "" }, { status = 200, body = "" },
      { cut = "middle", status = 200, body = "{}" }, { cut = "silent" }, api.fail(408, 1, "late"),
    } do
      local world = serve(function(world, request)
        opened(world, request)
        return reply
      end)
      finds(1, world, nil, { timeout = 5 })
      assert.equal(1, world.posts)
    end
  end)

  it("is unknown when nothing like it shows within the window", function()
    local world = serve(function() return LOST end)
    local before = clock.boot()
    local err = refuses(world)
    assert.matches("nothing like it in the list within 30 seconds", tostring(err))
    assert.same({}, err.candidates)
    local took = clock.boot() - before
    assert.is_true(took >= 30 and took < 40)
  end)

  it("is adopted when the request arrives late", function()
    local world
    world = serve(function(_, request)
      moontap.spawn(function()
        moontap.sleep(40)
        opened(world, request)
      end, { detach = true })
      return { cut = "silent" }
    end)
    finds(1, world, nil, { timeout = 20 })
    assert.equal(1, world.posts)
  end)

  it("is adopted after any number of failed lists", function()
    local world = serve(done_and_lost, function(_, n)
      local faults = { LOST, { status = 502, body = "<html>" }, { cut = "silent" } }
      return n <= 30 and faults[n % 3 + 1] or nil
    end)
    finds(1, world, nil, { timeout = 2 })
  end)

  it("waits as long as a list's refusal asks for", function()
    local world = serve(done_and_lost, function(_, n)
      if n == 1 then return api.fail(429, 971, "slow down", { ["retry-after"] = "90" }) end
    end)
    local before = clock.boot()
    assert(create(world))
    assert.is_true(clock.boot() - before >= 90)
  end)

  it("is unknown when no list is answered, and says so", function()
    local world = serve(done_and_lost, function() return LOST end)
    assert.matches("no list was answered", tostring(refuses(world)))
  end)

  it("is unknown at once when the list is refused for good", function()
    local world = serve(done_and_lost, function() return api.fail(403, 10000, "no") end)
    assert.matches("the list was refused", tostring(refuses(world)))
    assert.equal(1, world.gets)
  end)

  it("takes null and nonsense in a list for nothing", function()
    local world = serve(done_and_lost, function(_, n)
      return ({ api.json(200, '{"success":true,"result":null}'),
                api.json(200, '{"success":true,"result":[null,1,"x",[],{},{"id":7}]}') })[n]
    end)
    local err = refuses(world)
    assert.matches("does not say when", tostring(err))
  end)
end)

describe("a capture in the list is not adopted", function()
  local function before(world, params, changes)
    opened(world, { body = json.encode(params or api.SIMPLE) }, changes)
  end

  it("when it was submitted before the request was sent", function()
    local world = serve(function() return LOST end)
    before(world)
    moontap.sleep(2)
    assert.same({}, refuses(world).candidates)
  end)

  it("when two are alike, and names them", function()
    local world = serve(function(world, request)
      opened(world, request)
      opened(world, request)
      return LOST
    end)
    local err = refuses(world)
    assert.matches("more than one capture matches", tostring(err))
    table.sort(err.candidates)
    assert.same({ world.ids[1], world.ids[2] }, err.candidates)
  end)

  it("when it does not say when it was submitted", function()
    for _, time in ipairs { "nil", "yesterday", 12, true } do
      local world = serve(function(world, request)
        opened(world, request, { submitted = time, offset_time = "nil" })
        return LOST
      end)
      assert.same(refuses(world).candidates, world.ids)
    end
  end)

  it("when it seems to come from the future", function()
    local world = serve(function(world, request)
      opened(world, request, { submitted = clock.format(clock.now() + 60), offset_time = "nil" })
      return LOST
    end)
    assert.same(refuses(world).candidates, world.ids)
  end)

  it("when the list is full and does not reach back", function()
    local world = serve(function(world, request)
      opened(world, request)
      for _ = 1, 60 do opened(world, { body = json.encode(FULL) }) end
      for i = #world.list, 51, -1 do world.list[i] = nil end
      return LOST
    end)
    assert.matches("list of 50 captures does not reach back", tostring(refuses(world)))
  end)

  it("when one of its fields differs", function()
    local filter = { destination_address = "192.0.2.1", destination_port = 53, protocol = 17 }
    local simple = { type = "simple", time_limit = 300, packet_limit = 10000, filter_v1 = filter,
                     offset_time = "-10m" }
    local other_time = clock.format(clock.now() - 660)
    for name, params_and_change in pairs {
      type = { simple, { type = "full" } },
      time_limit = { simple, { time_limit = 299 } },
      packet_limit = { simple, { packet_limit = 9999 } },
      offset = { simple, { offset_time = other_time } },
      filter = { simple, { filter_v1 = {} } },
      port = { simple, { filter_v1 = { destination_address = "192.0.2.1", protocol = 17,
                                       destination_port = 54 } } },
      more = { simple, { filter_v1 = { destination_address = "192.0.2.1", destination_port = 53,
                                       protocol = 17, source_port = 53 } } },
      unasked = { api.SIMPLE, { filter_v1 = filter } },
      window = { api.SIMPLE, { offset_time = other_time } },
      colo = { FULL, { colo_name = "AMS" } },
      bucket = { FULL, { destination_conf = "r2://other?account-id=1" } },
      account = { FULL, { destination_conf = "r2://b?account-id=2" } },
      bytes = { FULL, { byte_limit = 999 } },
    } do
      local world = serve(function(world, request)
        opened(world, request, params_and_change[2])
        return LOST
      end)
      assert.same({}, refuses(world, params_and_change[1]).candidates, name)
    end
  end)

  it("when a create of this process was answered with it", function()
    local world = serve(function(world, request, n)
      if n == 1 then return api.ok(opened(world, request)) end
      return LOST
    end)
    finds(1, world)
    local cap, err = create(world)
    assert.is_nil(cap)
    assert.equal("unknown_outcome", err.kind)
    assert.same({}, err.candidates)
  end)
end)

describe("a capture in the list is adopted", function()
  local function adopts(changes, params)
    local world = serve(function(world, request)
      opened(world, request, changes)
      return LOST
    end)
    finds(1, world, params)
  end

  it("when it says less than the request", function()
    adopts { filter_v1 = "nil", time_limit = "nil", type = "nil", system = "nil",
             offset_time = "nil" }
  end)

  it("when it says the same in other words", function()
    local params = { type = "simple", time_limit = 300, packet_limit = 10, filter_v1 = {
      source_address = "2001:db8::1", destination_port = 53, protocol = 0 } }
    local world = serve(function(world, request)
      opened(world, request, { time_limit = 300.0, packet_limit = 10, filter_v1 = {
        source_address = "2001:0DB8:0:0:0:0:0:1/128", destination_port = 53.0, source_port = 0,
        destination_address = "" } })
      return LOST
    end)
    finds(1, world, params, { allow_ipv6 = true })
  end)

  it("when its bucket comes without the keys, and its colo under the other name", function()
    adopts({ destination_conf = "r2://b?account-id=1", colo_name = "nil", colo = "ord" }, FULL)
    adopts({ destination_conf = "r2://b/?account-id=***" }, FULL)
  end)

  it("when the clocks differ, either way", function()
    for _, skew in ipairs { -7200, -61, 61, 86400 } do
      local world = serve(done_and_lost)
      world.skew = skew
      finds(1, world)
    end
  end)

  it("when the clocks differ, and one just like it is older", function()
    for _, skew in ipairs { -7200, 7200 } do
      local world = serve(done_and_lost)
      world.skew = skew
      opened(world, { body = json.encode(api.SIMPLE) })
      moontap.sleep(10)
      finds(2, world)
    end
  end)

  it("when the server does not tell its time, if the clocks seem to agree", function()
    local world = serve(done_and_lost)
    world.dateless = true
    finds(1, world)
    world = serve(done_and_lost)
    world.dateless, world.skew = true, 120
    assert.equal("unknown_outcome", select(2, create(world)).kind)
  end)

  it("when the script has changed its table meanwhile", function()
    local params = { type = "simple", time_limit = 300, packet_limit = 10 }
    local world = serve(function(world, request)
      opened(world, request)
      params.time_limit = 60
      return LOST
    end)
    assert.equal(300, assert(create(world, params)).time_limit)
  end)
end)

describe("equal intents of one process", function()
  local function both(world)
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = moontap.spawn(function()
        local cap, err = create(world, nil, { timeout = 5 })
        return cap and cap.id or err.kind
      end)
      moontap.sleep(0.1)
    end
    local found = { (tasks[1]:join()), (tasks[2]:join()) }
    table.sort(found)
    assert.equal(2, world.posts)
    return found
  end

  it("get a capture each", function()
    local world = serve(done_and_lost)
    assert.same(both(world), world.ids)
  end)

  it("do not share one", function()
    local world = serve(function(world, request, n)
      if n == 1 then opened(world, request) end
      return LOST
    end)
    assert.same(both(world), { world.ids[1], "unknown_outcome" })
  end)

  it("wait for each other's answer", function()
    local world = serve(function(world, request, n)
      local cap = opened(world, request)
      if n == 1 then return LOST end
      moontap.sleep(4)
      return api.ok(cap)
    end)
    assert.same(both(world), world.ids)
  end)

  it("are all unknown when somebody else's capture is among theirs", function()
    assert.same({ "unknown_outcome", "unknown_outcome" }, both(serve(function(world, request)
      opened(world, request)
      opened(world, request)
      return { cut = "silent" }
    end)))
  end)

  it("are not equal when only a limit differs that the list does not show", function()
    local world = serve(function(world, request)
      opened(world, request)
      return { cut = "silent" }
    end)
    local kinds = {}
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = moontap.spawn(function()
        local _, err = create(world, { type = "simple", time_limit = 300, packet_limit = i },
          { timeout = 5 })
        kinds[i] = err and err.kind
      end)
    end
    for i = 1, 2 do tasks[i]:join() end
    assert.same({ "unknown_outcome", "unknown_outcome" }, kinds)
  end)
end)

describe("a create that is cancelled while it looks for its capture", function()
  it("says that one may have been opened", function()
    local world = serve(function() return LOST end)
    local caught
    local task = moontap.spawn(function()
      local ok, err = pcall(create, world)
      caught = not ok and err
    end)
    moontap.sleep(10)
    task:cancel("enough")
    task:join()
    assert.equal("cancelled", caught.kind)
    assert.equal("maybe", caught.sent)
    assert.matches("^enough; the outcome of a create is unknown", tostring(caught))
  end)
end)

describe("a retried create", function()
  it("sends what was meant, whatever became of the table", function()
    local params = { type = "simple", time_limit = 300, packet_limit = 10,
                     filter_v1 = { destination_address = "192.0.2.1" } }
    local world
    world = serve(function(_, request, n)
      params.filter_v1.destination_address = "192.0.2.2"
      if n == 1 then return api.fail(429, 1009, "one a minute", { ["retry-after"] = "60" }) end
      return api.ok(opened(world, request))
    end)
    assert.equal("192.0.2.1", assert(create(world, params)).filter_v1.destination_address)
  end)
end)

describe("an ownership whose answer is lost", function()
  local CONF = "r2://b?account-id=1&access-key-id=AKID&secret-access-key=SHH"
  local OURS = ("9"):rep(32)

  local function entry(changes)
    local it = { id = OURS, destination_conf = "r2://b?account-id=1", status = "pending",
                 submitted = clock.format(clock.now()), validated = "", filename = "f" }
    for name, value in pairs(changes or {}) do it[name] = value end
    return it
  end

  it("is adopted from the list of ownerships", function()
    local world = serve(function(world)
      world.list = { entry(), entry { id = ("8"):rep(32), submitted = "2020-01-01T00:00:00Z" } }
      return LOST
    end)
    assert.equal(OURS, assert(world.client.ownership.create { destination_conf = CONF }).id)
    assert.equal(1, world.posts)
  end)

  it("is unknown when there is none", function()
    local world = serve(function() return LOST end)
    local _, err = world.client.ownership.create { destination_conf = CONF }
    assert.equal("unknown_outcome", err.kind)
    assert.is_nil(tostring(err):find("SHH", 1, true))
    assert.equal(1, world.posts)
  end)

  it("is validated when the list says so", function()
    local world = serve(function(world, _, n)
      world.list = { entry { status = n == 1 and "success" or "pending" } }
      return LOST
    end)
    local validate = world.client.ownership.validate
    local params = { destination_conf = "r2://b?account-id=1", ownership_challenge = "abc" }
    assert.equal("success", assert(validate(params)).status)
    assert.equal("unknown_outcome", select(2, validate(params)).kind)
  end)
end)
