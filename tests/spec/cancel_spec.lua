-- clock: virtual
-- Whatever waits can be cancelled at any of its waits, and leaves nothing behind.

local child = require "moontap.native.child"
local errors = require "moontap.errors"
local host = require "moontap.native.host"
local http = require "moontap.http"
local loader = require "moontap.child.loader"
local native = require "moontap.native.task"
local pcaps = require "pcaps"
local runner = require "moontap.child.runner"
local sims = require "moontap.sim"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local WAITS_MAX = 2000
local SIMPLE = { type = "simple", time_limit = 5, packet_limit = 10 }
local BUCKET = "s3://cancel/dir?region=us-east-1"

local sim, client, dir, closed

local function count_tasks()
  return tonumber(host.tasks():match("(%d+) tasks?\n$"))
end

local function count_descriptors()
  return #assert(sys.list("/proc/self/fd"))
end

local SCRIPTS = {
  ["creates, waits and downloads"] = function()
    local cap = assert(client.create(SIMPLE))
    assert(cap:wait())
    assert(cap:download(dir .. "/x.pcap"))
    assert(os.remove(dir .. "/x.pcap"))
  end,
  ["waits for its slot"] = function()
    assert(client.create(SIMPLE))
    assert(client.create(SIMPLE))
  end,
  ["looks for a create that was lost"] = function()
    assert(sim:fault "create:cut_after,count=1")
    assert(sim:fault "list:error_html,count=3")
    assert(client.create(SIMPLE))
  end,
  ["tries again"] = function()
    assert(sim:fault "*:error_html,count=2")
    assert(sim:fault "*:latency,seconds=2,count=2")
    assert(client.list())
    assert(client.ownership.list())
  end,
  ["works on buckets and full captures"] = function()
    local owner = assert(client.ownership.create { destination_conf = BUCKET })
    local file <close> = assert(io.open(sim.bucket .. "/s3/cancel/dir/" .. owner.filename))
    assert(client.ownership.validate { destination_conf = BUCKET,
                                       ownership_challenge = file:read "a" })
    local cap = assert(client.create { type = "full", time_limit = 20, colo_name = "ORD",
                                       destination_conf = BUCKET })
    moontap.sleep(3)
    assert(cap:stop())
    cap:wait()
    cap.status = "failed" -- nobody has to be told that it goes on
    assert(client.ownership.delete(owner.id))
  end,
  ["has children, and closes what it opened"] = function()
    local guard <close> = -- luacheck: ignore guard
      setmetatable({}, { __close = function()
        closed = closed + 1
        pcall(moontap.sleep, 1)
      end })
    local first = moontap.spawn(function() moontap.sleep(5) return 1 end)
    moontap.spawn({ name = "second", timeout = 3 }, function() pcall(moontap.sleep, 10) end)
    first:join()
    moontap.spawn(function() moontap.sleep(1) end)
  end,
  ["waits for many at once"] = function()
    local function nap(n) return function() moontap.sleep(n) return n end end
    moontap.all { nap(1), nap(2), nap(3) }
    moontap.race { nap(1), nap(2) }
    moontap.timeout(1, moontap.sleep, 5)
    local co = coroutine.wrap(function() moontap.sleep(1) coroutine.yield(1) moontap.sleep(1) end)
    co()
    co()
  end,
  ["asks others over HTTP"] = function()
    assert(http.request { url = sim.base_url .. "/nowhere" })
    local path = dir .. "/page"
    if http.request { url = sim.base_url .. "/nowhere", to_file = path } then os.remove(path) end
  end,
  ["runs a playbook in a process"] = function()
    local text = [[return { run = function(ctx)
      print "begun"
      moontap.spawn(function() moontap.sleep(1) end)
      assert(moontap.effects.call("nap", 2))
      return "done" end }]]
    assert(runner.run { files = { ["a.lua"] = text }, entry = "a.lua",
                        effects = { nap = function(n) moontap.sleep(n) return true end } })
  end,
  ["loads playbooks in a process"] = function()
    assert(loader.load { files = { ["a.lua"] = "return { a = 1 }", ["b.lua"] = "error 'no'" } })
  end,
  ["swallows errors"] = function()
    for _ = 1, 5 do pcall(moontap.sleep, 1) end
    pcall(client.list)
  end,
}
-- Runs `script`, cancelled at its n-th wait. Returns whether it was, and what it ended with.
local function run(script, n, kind)
  local caught
  local task = moontap.spawn(function()
    local ok, err = pcall(script)
    caught = not ok and err or nil
    if not ok then error(err, 0) end
  end)
  native.cancel_at(task, n, kind)
  pcall(task.join, task)
  local left = native.cancel_at(task, 0)
  return left == 0, caught
end

local function check_left_behind(name, n, tasks, descriptors)
  local where = ("%s, wait %d"):format(name, n)
  for _ = 1, 400 do -- the simulator may still work on a request whose sender has left
    if count_tasks() <= tasks then break end
    moontap.sleep(1)
  end
  assert.equal(tasks, count_tasks(), where .. "\n" .. host.tasks())
  collectgarbage()
  assert.equal(descriptors, count_descriptors(), where)
  for _, file in ipairs(assert(sys.list(dir))) do
    error(("%s: left %s behind"):format(where, file))
  end
end

before_each(function()
  dir, closed = tempdir.new(), 0
  sim = assert(sims.start { transport = "inproc", knobs = { simple_interval = 30,
                                                            rate_limit = 0 } })
  client = assert(pcaps.client { base_url = sim.base_url, account_id = sim.account_id,
                                 api_token = sim.api_token })
  assert(client.list())
  child.spawn({}):close() -- the first one leaves the program open for those to come
end)
after_each(function()
  sim:close()
  tempdir.remove(dir)
end)

describe("a task that is stopped at any of its waits", function()
  for name, script in pairs(SCRIPTS) do
    for _, kind in ipairs { "cancelled", "timeout" } do
      it(("ends (%s) and leaves nothing: one that %s"):format(kind, name), function()
        local tasks, descriptors = count_tasks(), count_descriptors()
        local n = 0
        repeat
          n = n + 1
          assert(n < WAITS_MAX, "the sweep does not end")
          sim:clear_faults()
          sim.state.captures, sim.state.capture_by_id = {}, {}
          sim.state.oldest, sim.state.newest, sim.state.last_simple = 1, 0, nil
          sim.state.ownerships = {}
          closed = 0
          local hit, err = run(script, n, kind)
          if err and hit then
            assert(errors.is(err), tostring(err))
            assert.equal(kind, err.kind, tostring(err))
          end
          if not hit then assert.is_nil(err) end
          check_left_behind(name, n, tasks, descriptors)
          if closed > 0 then assert.equal(1, closed) end
        until not hit
        assert.is_true(n > 3)
      end)
    end
  end
end)
