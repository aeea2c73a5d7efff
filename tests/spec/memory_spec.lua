-- clock: virtual
-- Running out of memory: for n = 1, 2, 3… the n-th allocation fails, until the operation no
-- longer gets that far. Each time the operation must end in success or say that there is not
-- enough memory, and must leave nothing behind that breaks the next one.

local config = require "moontap.config"
local host = require "moontap.native.host"
local pcaps = require "pcaps"
local simulator = require "moontap.sim"

local SWEEP_MAX <const> = 20000

local dir, sim
local kept -- a database that stays open over its sweep

setup(function()
  dir = require("moontap.native.sys").tempdir("moontap-memory-")
  sim = assert(simulator.start {
    transport = "inproc", seed = 3, bucket = dir .. "/bucket", speed = 1000,
  })
  config.sim, config.state = sim, dir .. "/state"
end)

teardown(function()
  if kept then kept:close() end
  sim:close()
  config.sim, config.state = nil, nil
  os.execute("rm -rf " .. dir)
end)

local function is_memory(err)
  return tostring(err):find("not enough memory", 1, true) ~= nil
end

-- The operation's own world fails with it (the simulator is in the same state), so an answer
-- that says 500 or a cut connection is as good as an error of memory.
local function is_peer_failure(err)
  return type(err) == "table" and (err.kind == "unknown_outcome" or (err.status or 0) >= 500
    or err.kind == "network" or err.kind == "http")
end

-- Some operations fail by design: they ask for what is not there.
local function is_same(err, usual)
  return type(err) == "table" and type(usual) == "table" and err.kind == usual.kind
    and err.status == usual.status
end

local function sweep(name, operation)
  local _, usual = operation()
  for n = 1, SWEEP_MAX do
    moontap.sleep(1) -- the API counts requests per five minutes
    collectgarbage()
    collectgarbage("stop")
    host.fail_alloc(n)
    local ok, result, err = pcall(operation)
    local hit = host.alloc_failed()
    host.fail_alloc(0)
    collectgarbage("restart")
    if not ok then
      assert(is_memory(result) or is_peer_failure(result),
        ("%s, allocation %d: %s"):format(name, n, tostring(result)))
    elseif result == nil and err ~= nil and hit then
      assert(is_memory(err) or is_peer_failure(err) or is_same(err, usual),
        ("%s, allocation %d: %s"):format(name, n, tostring(err)))
    end
    if not hit then
      operation()
      return n
    end
  end
  error(name .. ": the sweep does not end")
end

local native = setmetatable({}, {
  __index = function(_, name) return require("moontap.native." .. name) end,
})

local once = { max_retries = 0 }
local unknown_id = ("0"):rep(32)
local simple = { type = "simple", time_limit = 1, packet_limit = 1, filter_v1 = { protocol = 17 } }
local bucket = { destination_conf = "s3://memory/dir?region=us-east-1" }

local function database()
  if not kept then
    local opened = assert(native.db.open(dir .. "/kept.db"))
    assert(opened:exec "CREATE TABLE t(i INTEGER PRIMARY KEY, v)")
    kept = opened
  end
  return kept
end

-- One operation for each function of each native module. A function of native pcaps is used
-- through the client that owns it.
local operations = {
  child = {
    spawn = function()
      local child, err = native.child.spawn {}
      if child then child:close() end
      return child, err
    end,
    walls = function() native.child.walls() end,
  },
  clock = {
    boot = function() native.clock.boot() end,
    cpu = function() native.clock.cpu() end,
    format = function() native.clock.format(1e9) end,
    format_duration = function() native.clock.format_duration(90) end,
    now = function() native.clock.now() end,
    parse = function() native.clock.parse("2026-11-22T10:00:00Z") end,
    parse_duration = function() native.clock.parse_duration("5m") end,
  },
  cron = {
    offset = function() return native.cron.offset("Europe/Berlin", 0) end,
    parse = function()
      local s = native.cron.parse("TZ=Asia/Tokyo */7 1~5 L * mon", nil, "cron", nil, 7, 0)
      s:next(0)
      s:next(0, 5)
      s:prev(0)
      s:describe()
      s:warnings()
      s:resolved()
      s:zone()
      s:nominals(0)
      assert(tostring(s) ~= "")
      return native.cron.parse("H * * * *") -- refused
    end,
  },
  db = {
    digest = function() return native.db.digest("x") end,
    digest_values = function() native.db.digest_values("x", 1, 1.5) end,
    file_digest = function() return native.db.file_digest("scripts/first-capture.lua") end,
    open = function()
      local opened, err = native.db.open(dir .. "/open.db")
      if not opened then return nil, err end
      local ok, result = pcall(function() return opened:row("SELECT ? AS v", "text") end)
      opened:close()
      if not ok then error(result, 0) end
    end,
    transaction = function()
      local h = database()
      return native.db.transaction(h, true, function()
        h:run("INSERT OR REPLACE INTO t VALUES(?, ?)", 1, "text")
        h:exec("UPDATE t SET v = 'other' WHERE i = 1")
        assert(h:rows("SELECT * FROM t")[1].v == "other")
        return h:row("SELECT count(*) AS n FROM t").n
      end)
    end,
  },
  effects = {
    caller = function() native.effects.caller("sleep") end,
  },
  host = {
    load_code = function() assert(native.host.load_code("return 1", "=x", {})) end,
    load_script = function()
      native.host.load_script("scripts/first-capture.lua", { [0] = "x" })
    end,
    alarm_left = function() native.host.alarm_left() end,
    outcome = function() native.host.outcome() end,
    on_exit = function() native.host.on_exit(nil) end,
    point = function() native.host.point("memory") end,
    exit_status = function() native.host.exit_status("timeout") end,
    on_interrupt = function() native.host.on_interrupt(nil) end,
    on_signal = function()
      local ok, err = native.host.on_signal("HUP", print)
      if not ok then return nil, err end
      return native.host.on_signal("HUP", nil)
    end,
    tasks = function() native.host.tasks() end,
  },
  http = {
    check = function() native.http.check({ url = "http://localhost/" }) end,
    configure = function() native.http.configure({}) end,
    request = function()
      return native.http.request({ url = sim.base_url .. "/nowhere" })
    end,
    set_inproc = function()
      native.http.set_inproc("http://memory.internal", print)
      native.http.set_inproc("http://memory.internal", nil)
    end,
  },
  json = {
    array = function() native.json.array({}) end,
    decode = function() assert(native.json.decode('{"a":[1,2.0,{"b":null}],"c":"text"}')) end,
    encode = function() native.json.encode({ a = { 1, 2, { b = "text" } }, c = 1.5 }) end,
  },
  pcaps = {
    authorize = function() return pcaps.client { api_token = "token" } end,
    client = function() pcaps.client {} end,
    create = function() moontap.sleep(1) return pcaps.create(simple, once) end,
    download = function() return pcaps.download(unknown_id, dir .. "/x.pcap", once) end,
    encode = function() native.pcaps.encode("a/b") end,
    get = function() return pcaps.get(unknown_id, once) end,
    list = function() return pcaps.list(once) end,
    observe = function() native.pcaps.observe(nil) end,
    ownership_create = function() return pcaps.ownership.create(bucket, once) end,
    ownership_delete = function() return pcaps.ownership.delete(unknown_id, once) end,
    ownership_list = function() return pcaps.ownership.list(once) end,
    ownership_validate = function()
      return pcaps.ownership.validate({ destination_conf = bucket.destination_conf,
                                        ownership_challenge = "x" }, once)
    end,
    stop = function() return pcaps.stop(unknown_id, once) end,
  },
  schema = {
    check = function() native.schema.check("create", simple, "client") end,
    encode = function() native.schema.encode("create", simple) end,
    fields = function() native.schema.fields("create") end,
    near = function() native.schema.near("tiem_limit", { "time_limit", "type" }) end,
    normalize = function() native.schema.normalize("create", simple) end,
    redact = function() native.schema.redact("r2://b?secret-access-key=x") end,
  },
  server = {
    listen = function()
      local server = native.server.listen { handler = print }
      if server then server:close() end
    end,
  },
  sys = {
    boot_id = function() native.sys.boot_id() end,
    free_space = function() return native.sys.free_space(dir) end,
    getpid = function() native.sys.getpid() end,
    host_name = function() native.sys.host_name() end,
    is_hung_up = function() native.sys.is_hung_up(0) end,
    is_same_file = function() native.sys.is_same_file(dir, "1:1") end,
    isatty = function() native.sys.isatty(0) end,
    list = function() native.sys.list(dir) end,
    lock = function()
      local lock = native.sys.lock(dir .. "/lock")
      if lock then lock:release() end
    end,
    lstat = function() return native.sys.lstat(dir) end,
    mkdir_p = function() return native.sys.mkdir_p(dir .. "/a/b") end,
    notify = function() native.sys.notify "READY=1" end,
    place = function() native.sys.place(dir .. "/none", dir .. "/other") end,
    random_bytes = function() native.sys.random_bytes(8) end,
    read_file = function() return native.sys.read_file("scripts/first-capture.lua") end,
    read_line = function()
      if not native.sys.isatty(0) then return native.sys.read_line() end -- nobody types
    end,
    redirect = function()
      local redirection, err = native.sys.redirect(2, dir .. "/stderr")
      if not redirection then return nil, err end
      return redirection:restore()
    end,
    real_path = function() return native.sys.real_path(dir) end,
    remove = function() native.sys.remove(dir .. "/none") end,
    remove_tree = function() return native.sys.remove_tree(dir .. "/tree") end,
    rename = function() native.sys.rename(dir .. "/none", dir .. "/other") end,
    stat = function() return native.sys.stat(dir) end,
    tempdir = function()
      local path, err = native.sys.tempdir("moontap-sweep-")
      if path then os.execute("rmdir " .. path) end
      return path, err
    end,
    terminal_size = function() native.sys.terminal_size(0) end,
    user = function() native.sys.user() end,
    write = function() return native.sys.write(1, "") end,
    write_file = function() return native.sys.write_file(dir .. "/file", "data") end,
  },
  term = {
    open = function() native.term.open({}) end,
  },
}

-- Functions whose use ends or changes the run itself; tasks are swept in task_spec.
local elsewhere = {
  host = { alloc_failed = true, exit = true, fail_alloc = true, is_virtual = true,
           set_alarm = true, set_memory_max = true, set_virtual = true },
}

describe("running out of memory", function()
  for module, functions in pairs(operations) do
    it("is survived by moontap.native." .. module, function()
      for name, value in pairs(native[module]) do
        if type(value) == "function" and not (elsewhere[module] or {})[name] then
          assert(functions[name], ("no sweep covers %s.%s"):format(module, name))
          sweep(module .. "." .. name, functions[name])
        end
      end
    end)
  end

  it("is survived by the handle of a process", function()
    local text = '{"start":{"mode":"run"}}'
    sweep("the life of a process", function()
      local child <close> = assert(native.child.spawn {})
      local sent, err = child:send(text, "first-capture.lua", "scripts")
      if not sent then return nil, err end
      child:cancel()
      tostring(child)
      local out = child:read_output() or "" -- it complains
      local frame, ended = child:receive()
      while frame do frame, ended = child:receive() end
      return out .. ended.reason .. child:wait().reason
    end)
  end)

  it("is survived by what a capture object can do", function()
    moontap.sleep(1)
    local cap = assert(pcaps.create(simple))
    assert(cap:wait())
    sweep("cap:wait", function() return cap:wait() end)
    sweep("cap:refresh", function() return cap:refresh(once) end)
    sweep("cap:download", function() return cap:download(dir .. "/y.pcap", once) end)
    sweep("tostring(cap)", function() return tostring(cap) end)
  end)
end)
