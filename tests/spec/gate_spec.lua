-- The gate as several processes and their deaths meet it: moontap against a simulator of its own
-- process, the state seen with the sqlite3 program.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local SPEED <const> = 100
local SIMPLE <const> = '{ type = "simple", time_limit = 60, packet_limit = 20 }'
local POINTS <const> = { "wanted", "claimed", "sending", "answered", "settled" }

local dir, simulator, env

local function start_simulator(...)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", tostring(SPEED), ... }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

before_each(function() dir = tempdir.new() end)
after_each(function()
  if simulator then simulator.stop() end
  simulator = nil
  tempdir.remove(dir)
end)

local function with(changes)
  local copy = {}
  for name, value in pairs(env) do copy[name] = value end
  for name, value in pairs(changes or {}) do copy[name] = value end
  return copy
end

local function start(code, changes)
  return command.start({ command.moontap, "run", "--speed", tostring(SPEED), "-e", code },
    { cwd = dir, env = with(changes) })
end

local function run(code, changes)
  return start(code, changes).wait()
end

local function succeeds(code, changes)
  local status, out, err = run(code, changes)
  assert.equal(0, status, err)
  return out
end

-- What sqlite3 finds in the state.
local function query(sql)
  return command.query(dir .. "/state/moontap/state.db", sql)
end

-- Ids that the simulator has, as the API lists them.
local function listed()
  local status, out, err = command.run({ command.moontap, "captures", "--json" }, { env = env })
  assert.equal(0, status, err)
  local ids = {}
  for _, cap in ipairs(json.decode(out)) do
    if cap.listed then ids[#ids + 1] = cap.id end
  end
  table.sort(ids)
  return ids
end

local function journaled()
  local ids = {}
  for id in query "SELECT id FROM captures WHERE intent IS NOT NULL ORDER BY id":gmatch "%x+" do
    ids[#ids + 1] = id
  end
  return ids
end

local CREATE <const> = ("print(assert(pcaps.create(%s)).id)"):format(SIMPLE)

describe("a create", function()
  it("is written down with who, why and which script, and what became of it", function()
    start_simulator()
    local id = succeeds(('print(assert(pcaps.create(%s, { case = "INC-7", why = "spike" })).id)')
      :format(SIMPLE)):match "%x+"
    assert.equal(("done|%s|1|INC-7|spike|-e\n"):format(id), query("SELECT state, capture, "
      .. "attempts, case_id, why, script FROM intents"))
    assert.equal("create.wanted create.sending create.done\n",
      query "SELECT group_concat(event, ' ') FROM (SELECT event FROM audit ORDER BY seq)")
    assert.equal("ok\n", query "PRAGMA integrity_check")
  end)

  it("that is killed at any point is neither lost nor doubled", function()
    for _, point in ipairs(POINTS) do
      start_simulator()
      local queues = point == "wanted" or point == "claimed" -- what may be shared stands in it
      local status = run(queues and CREATE:gsub("}%)", "}, { share = true })") or CREATE,
        { MOONTAP_KILL_AT = point })
      assert.equal(137, status, point)
      -- the next one finds out what became of it, and gets a slot of its own
      local id = succeeds(CREATE):match "%x+"
      local has = listed()
      assert.same(has, journaled(), point)
      local was_sent = point == "answered" or point == "settled"
      assert.equal(was_sent and 2 or 1, #has, point)
      assert.is_true(table.concat(has, " "):find(id, 1, true) ~= nil)
      local first = query "SELECT state FROM intents ORDER BY id LIMIT 1":match "%a+"
      assert.equal(({ wanted = "abandoned", claimed = "abandoned", sending = "unknown",
        answered = "adopted", settled = "done" })[point], first, point)
      assert.equal("0\n", query "SELECT count(*) FROM intents WHERE settled IS NULL")
      simulator.stop()
      simulator = nil
      tempdir.remove(dir)
      dir = tempdir.new()
    end
  end)

  it("is found out by whoever looks next, also when what found out is killed", function()
    start_simulator()
    assert.equal(137, (run(CREATE, { MOONTAP_KILL_AT = "answered" })))
    local look = "assert(pcaps.list())"
    assert.equal(137, (run(look, { MOONTAP_KILL_AT = "reconciled" })))
    succeeds(look)
    assert.same(listed(), journaled())
    assert.equal("adopted\n", query "SELECT state FROM intents")
  end)

  it("waits for the slot over all processes, first come first served", function()
    start_simulator()
    local processes = {}
    for i = 1, 5 do processes[i] = start(CREATE) end
    for _, process in ipairs(processes) do
      local status, _, err = process.wait()
      assert.equal(0, status, err)
    end
    assert.equal(5, #listed())
    assert.equal("5\n", query "SELECT count(*) FROM intents WHERE state = 'done' AND attempts = 1")
    -- in the order of asking, and never sooner than the limit allows
    assert.equal("0\n", query(("SELECT count(*) FROM intents a JOIN intents b ON b.id > a.id "
      .. "WHERE b.sent < a.sent + %f"):format(60 / SPEED)))
  end)

  it("keeps the window it asked for while it waits", function()
    start_simulator()
    local out = succeeds(([[
local one = assert(pcaps.create(%s))
local asked = os.time()
local two = assert(pcaps.create(%s))
print(asked, two.offset_time)]]):format(SIMPLE, SIMPLE))
    local asked, offset = out:match "(%d+)\t(%S+)"
    local at = require "moontap.clock".parse(offset)
    assert.is_true(math.abs(at - tonumber(asked)) <= 1)
  end)

  it("shares the capture of an equal one that waits, if both say so", function()
    start_simulator()
    local out = succeeds(([[
assert(pcaps.create(%s))
local function ask() return assert(pcaps.create(%s, { share = true })).id end
local ids = assert(moontap.all { ask, ask, ask })
print(ids[1] == ids[2] and ids[2] == ids[3])]]):format(SIMPLE, SIMPLE))
    assert.equal("true\n", out)
    assert.equal(2, #listed())
    assert.equal("2\n", query "SELECT count(*) FROM intents WHERE state = 'shared'")
  end)

  it("waits for no process that stands still, which sends nothing when it goes on", function()
    start_simulator("--speed", "10") -- a slot every six seconds
    local function begin()
      return command.start({ command.moontap, "run", "--speed", "10", "-e", CREATE },
        { cwd = dir, env = env })
    end
    assert.equal(0, (begin().wait()))
    local still = begin()
    command.poll(function()
      return query "SELECT count(*) FROM intents WHERE state = 'wanted'" == "1\n"
    end, "it stands in the queue")
    still.signal "STOP"
    query "UPDATE intents SET deadline = 1 WHERE state = 'wanted'"
    assert.equal(0, (begin().wait()))
    still.signal "CONT"
    local status, _, err = still.wait()
    assert.equal(4, status) -- cancelled
    assert.matches("stood still", err)
    assert.equal(2, #listed())
    assert.same(listed(), journaled())
  end)

  it("gives up at its deadline, as the last before it does not end", function()
    start_simulator()
    local status, _, err = run(([[
assert(pcaps.create(%s))
assert(pcaps.create(%s, { deadline = 0.2 }))]]):format(SIMPLE, SIMPLE))
    assert.equal(5, status)
    assert.matches("no slot for this simple capture before its deadline", err)
    assert.equal("done,refused\n", query "SELECT group_concat(state) FROM intents")
  end)

  it("of a person goes before others", function()
    start_simulator()
    succeeds(([[
local order = {}
local function ask(name, priority)
  return function()
    assert(pcaps.create(%s, { priority = priority }))
    order[#order + 1] = name
    return true
  end
end
assert(pcaps.create(%s))
assert(moontap.all { ask("low", -5), ask("first", 5), ask("second", 5) })
assert(table.concat(order, " ") == "first second low", table.concat(order, " "))]])
      :format(SIMPLE, SIMPLE))
  end)

  it("that cannot be written down is not sent", function()
    start_simulator()
    succeeds "assert(pcaps.list())"
    local line = 'ulimit -f 1; exec "$0" run -e "$1"'
    local code = ("local cap, err = pcaps.create(%s) print(cap, err.kind, err.sent, err)")
      :format(SIMPLE)
    local status, out, err = command.run({ "bash", "-c", line, command.moontap, code },
      { cwd = dir, env = env })
    assert.equal(0, status, err)
    assert.matches("^nil\tio\tno\tcreate not sent, because it could not be written down: ", out)
    assert.equal(0, #listed())
  end)

  it("is neither lost nor doubled wherever memory runs out", function()
    start_simulator("--speed", "1000", "--knob", "rate_limit=0", "--knob", "list_max=1000")
    local code = [[
local host = require "moontap.native.host"
assert(pcaps.list())
assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 5 })
local n, failed = 0, nil
repeat
  n = n + 1
  host.fail_alloc(n)
  local ok, cap, err = pcall(pcaps.create, { type = "simple", time_limit = 60, packet_limit = 5,
    filter_v1 = { destination_port = n } }, { deadline = 20 })
  failed = host.alloc_failed()
  host.fail_alloc(0)
  local message = tostring(ok and err or cap)
  assert(ok and cap or message:find "not enough memory" or message:find "out of memory", message)
until not failed
print(n)]]
    local status, out, err = command.run({ command.moontap, "run", "--speed", "1000", "-e", code },
      { cwd = dir, env = env })
    assert.equal(0, status, err)
    assert.is_true(tonumber(out) > 100)
    assert.same(listed(), journaled())
    assert.equal("0\n", query "SELECT count(*) FROM intents WHERE settled IS NULL")
  end)

  it("is not sent from a state whose disk is full, or can only be read", function()
    if not os.execute "unshare -rm true 2>/dev/null" then
      pending "no name spaces here"
      return
    end
    start_simulator()
    local code = ("local cap, err = pcaps.create(%s) print(cap, err.kind, err.sent, err)")
      :format(SIMPLE)
    for _, make in ipairs { "dd if=/dev/zero of=full/filler bs=4k 2>/dev/null",
                            "mount -o remount,ro full" } do
      local line = "mkdir -p full && mount -t tmpfs -o size=400k none full && "
        .. "\"$0\" captures --state full -q && { %s; exec \"$0\" run --state full -e \"$1\"; }"
      local status, out, err = command.run({ "unshare", "-rm", "bash", "-c", line:format(make),
        command.moontap, code }, { cwd = dir, env = env })
      assert.equal(0, status, err)
      assert.matches("^nil\tio\tno\tcreate not sent, because it could not be written down: ", out)
    end
    assert.equal(0, #listed())
  end)

  it("is not sent from a state that others hold or that is broken in its tables", function()
    start_simulator()
    succeeds "assert(pcaps.list())"
    query "PRAGMA user_version = 999"
    local _, out = run(("local cap, err = pcaps.create(%s) print(cap, err)"):format(SIMPLE))
    assert.matches("^nil\tcreate not sent.*written by a newer moontap", out)
    assert.equal(0, #listed())
  end)
end)

describe("a download", function()
  it("that is killed before it was written down can be done again, and is known then", function()
    start_simulator()
    local code = [[local cap = assert(pcaps.list())[1] print(assert(cap:download()))]]
    succeeds(CREATE .. " moontap.sleep(0.1)")
    assert.equal(137, (run(code, { MOONTAP_KILL_AT = "downloaded" })))
    assert.equal("0\n", query "SELECT count(*) FROM captures WHERE file IS NOT NULL")
    local path = succeeds(code):match "[^\n]+"
    assert.equal(path .. "\n", query "SELECT file FROM captures")
  end)
end)

describe("the state", function()
  it("that was removed or replaced meanwhile takes no creates", function()
    start_simulator()
    local out = succeeds(([[
assert(pcaps.create(%s))
os.execute "mv state/moontap state/elsewhere"
print(pcaps.create(%s))
]]):format(SIMPLE, SIMPLE))
    assert.matches("^nil\tcreate not sent.*removed or replaced", out)
  end)

  it("that others keep to themselves is waited for as long as the create may take", function()
    start_simulator()
    succeeds "assert(pcaps.list())"
    local holder = command.start { "bash", "-c", ([[
      { echo 'BEGIN IMMEDIATE;'; echo '.print held'; sleep 13; echo 'COMMIT;'; } |
      sqlite3 -cmd '.timeout 60000' %s]]):format(command.quote(dir .. "/state/moontap/state.db")) }
    command.poll(function() return holder.stdout():find "held" end, "a locked database")
    succeeds(CREATE) -- one transaction waits for ten seconds
    assert.equal(0, (holder.wait()))
    assert.same(listed(), journaled())
  end)

  it("that is busy when a turn has come does not lose the turn, nor keep it from others", function()
    start_simulator()
    succeeds "assert(pcaps.list())"
    succeeds(([[
local state, n = require "moontap.state".current(), 0
local account = getmetatable(assert(state:account(os.getenv "CLOUDFLARE_BASE_URL",
  os.getenv "CLOUDFLARE_ACCOUNT_ID"))).__index
local sending = account.sending
function account.sending(...)
  n = n + 1
  if n <= 3 then
    return nil, require "moontap.errors".new("io", "it is locked", { code = "SQLITE_BUSY" })
  end
  return sending(...)
end
for _ = 1, 2 do assert(pcaps.create(%s, { deadline = 20 })) end
assert(n == 4)]]):format(SIMPLE))
    assert.same(listed(), journaled())
    assert.equal("done,done\n", query "SELECT group_concat(state) FROM intents")
  end)

  it("that was busy for too long is written to before the next create", function()
    start_simulator()
    succeeds "assert(pcaps.list())"
    local process = start(([[
local state, n = require "moontap.state".current(), 0
local account = getmetatable(assert(state:account(os.getenv "CLOUDFLARE_BASE_URL",
  os.getenv "CLOUDFLARE_ACCOUNT_ID"))).__index
local settle = account.settle
function account.settle(...)
  n = n + 1
  if n == 1 then return nil, require "moontap.errors".new("io", "the database is locked") end
  return settle(...)
end
for _ = 1, 2 do print(assert(pcaps.create(%s, { deadline = 20 })).id) end]]):format(SIMPLE))
    local status, _, err = process.wait()
    assert.equal(0, status, err)
    assert.matches("the database is locked", err)
    assert.same(listed(), journaled())
    assert.equal("done,done\n", query "SELECT group_concat(state) FROM intents")
  end)

  it("is moved aside when its file is broken, which is said", function()
    start_simulator()
    succeeds(CREATE)
    local path = dir .. "/state/moontap/state.db"
    do
      local f <close> = assert(io.open(path, "r+b"))
      f:write(("broken"):rep(1000))
    end
    local status, _, err = run(CREATE)
    assert.equal(0, status, err)
    assert.matches("is broken", err)
    assert.matches("%.broken%-%d+", err)
    assert.equal("1\n", query "SELECT count(*) FROM intents")
  end)
end)

describe("a create", function()
  it("whose answer is of strange types is known all the same", function()
    start_simulator("--fault", "create:wrong_types,count=1")
    local out = succeeds(("local cap, err = pcaps.create(%s, { deadline = 20 }) "
      .. "print(cap and cap.id or err)"):format(SIMPLE))
    assert.is_string(out:match "^%x+\n$", out)
    assert.same(listed(), journaled())
  end)

  it("that was cancelled while it found out about another leaves that to the next", function()
    start_simulator()
    assert.equal(137, (run(CREATE, { MOONTAP_KILL_AT = "sending" })))
    local out = succeeds(([[
for _ = 1, 3 do print(moontap.timeout(0.001, pcaps.create, %s)) end
print(assert(pcaps.create(%s, { deadline = 20 })).id)]]):format(SIMPLE, SIMPLE))
    assert.is_string(out:match "%x+\n$")
    assert.equal("0\n", query "SELECT count(*) FROM intents WHERE settled IS NULL")
  end)
end)

describe("a full capture", function()
  local FULL <const> = [[
local bucket = "s3://captures/x?region=us-east-1"
local function claim()
  local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
  local challenge = assert(io.open("bucket/s3/captures/x/" .. ownership.filename)):read "a"
  assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = challenge })
end
local function full(options)
  return assert(pcaps.create({ type = "full", colo_name = "ams01", time_limit = 86400,
    destination_conf = bucket }, options))
end
]]

  local function status_of(id)
    local _, out = command.run({ command.moontap, "get", id, "--json" }, { env = env })
    return json.decode(out)
  end

  it("is stopped when the run that opened it fails, unless it is detached", function()
    start_simulator()
    local status, out, err = run(FULL .. "claim() print(full().id) error 'broken'")
    assert.equal(1, status)
    local id = out:match "%x+"
    assert.matches("stopped capture " .. id, err, 1, true)
    assert.is_string(status_of(id).stop_requested)
    out = select(2, run(FULL .. "print(full({ detach = true }).id) error 'broken'"))
    assert.is_nil(status_of(out:match "%x+").stop_requested)
  end)

  it("that was detached is not called dead in `slots`, one that was left is", function()
    start_simulator()
    succeeds(FULL .. "claim() full { detach = true }")
    local function slots()
      return (select(2, command.run({ command.moontap, "slots" }, { env = env })))
    end
    local out = slots()
    assert.matches("\nfull: capture %x+ of ", out)
    assert.not_matches("DEAD", out)
    query "UPDATE captures SET is_detached = 0"
    assert.not_matches("DEAD", slots()) -- its run ended well
    query "UPDATE owners SET failed = 1"
    assert.matches("\nfull: capture %x+ of [^\n]*DEAD: the next one settles it", slots())
  end)

  it("that is shared goes on until the last run that needs it has ended", function()
    start_simulator()
    local WAIT <const> = "print(full({ share = true, deadline = '60s' }).id) io.stdout:flush() "
      .. "io.open(arg[1]):read 'a' error 'broken'" -- until somebody writes
    assert(os.execute(("mkfifo %s/leader %s/sharer"):format(dir, dir)))
    local before = succeeds(FULL .. "claim() print(full({ detach = true }).id)"):match "%x+"
    local runs = {}
    for i, name in ipairs { "leader", "sharer" } do
      runs[i] = command.start({ command.moontap, "run", "--speed", tostring(SPEED), "-e",
        FULL .. WAIT, "--", dir .. "/" .. name }, { cwd = dir, env = env })
      command.poll(function()
        return query "SELECT count(*) FROM intents WHERE state = 'wanted'" == i .. "\n"
      end, name)
    end
    assert.equal(0, (command.run({ command.moontap, "stop", before }, { env = env })))
    local ids = {}
    for i, run_of in ipairs(runs) do
      ids[i] = command.poll(function() return run_of.stdout():match "(%x+)\n" end, "its id")
    end
    assert.equal(ids[1], ids[2])
    local status, _, err = command.run({ command.moontap, "stop", ids[1] }, { env = env })
    assert.equal(1, status)
    assert.matches("another run shares it", err)
    assert(os.execute(("echo >%s/leader"):format(dir)))
    status, _, err = runs[1].wait()
    assert.equal(1, status)
    assert.matches("goes on, for another run got it too", err)
    succeeds "assert(pcaps.list())" -- nor does the next one take it for left
    assert.is_nil(status_of(ids[1]).stop_requested)
    assert(os.execute(("echo >%s/sharer"):format(dir)))
    status, _, err = runs[2].wait()
    assert.equal(1, status)
    assert.matches("stopped capture " .. ids[1], err, 1, true)
    assert.is_string(status_of(ids[1]).stop_requested)
  end)

  it("is stopped when its run is told to leave, and by the next run after a kill", function()
    start_simulator()
    for _, signal in ipairs { "TERM", "KILL" } do
      local process = start(FULL .. (signal == "TERM" and "claim() " or "")
        .. "print(full().id) io.stdout:flush() moontap.sleep(100)")
      local id = command.poll(function() return process.stdout():match "(%x+)\n" end, "an id")
      process.signal(signal)
      process.wait()
      if signal == "KILL" then succeeds "assert(pcaps.list())" end
      assert.is_string(status_of(id).stop_requested, signal)
    end
  end)

  it("waits for the one before it, also one of somebody else", function()
    start_simulator()
    succeeds(FULL .. "claim()")
    local others = start(FULL .. "local c = full({ detach = true }) print(c.id) "
      .. "io.stdout:flush() moontap.sleep(2) c:stop()", { XDG_STATE_HOME = dir .. "/elsewhere" })
    command.poll(function() return others.stdout():match "%x+\n" end, "the other capture")
    local out = succeeds(FULL .. "print(full({ detach = true }).id)")
    assert.is_string(out:match "%x+")
    assert.equal(0, (others.wait()))
  end)

  it("of somebody else is stopped by force only", function()
    start_simulator()
    local out = succeeds(FULL .. "claim() print(full({ detach = true }).id)",
      { XDG_STATE_HOME = dir .. "/elsewhere" })
    local id = out:match "%x+"
    local status, _, err = command.run({ command.moontap, "stop", id }, { env = env })
    assert.equal(1, status)
    assert.matches("this host did not open it", err)
    assert.is_nil(status_of(id).stop_requested)
    assert.equal(0, (command.run({ command.moontap, "stop", "--force", id }, { env = env })))
    assert.is_string(status_of(id).stop_requested)
  end)
end)
