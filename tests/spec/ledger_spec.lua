-- What this machine has written down, as its commands show it: captures, slots, audit; and the
-- state when its place or its tables are not as they should be. moontap against a simulator of its
-- own process.

local clock = require "moontap.clock"
local command = require "support.command"
local json = require "moontap.json"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local SPEED <const> = 100
local SIMPLE <const> = [[{ type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_address = "203.0.113.10", protocol = 17 } }]]
local CREATE <const> = ("print(assert(pcaps.create(%s)).id)"):format(SIMPLE)

local dir, simulator, env

local function start_simulator(...)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", tostring(SPEED), ... }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

before_each(function()
  dir = tempdir.new()
  env = { XDG_STATE_HOME = dir .. "/state" }
end)
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

local function moontap(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

local function run(code, changes)
  return command.run({ command.moontap, "run", "--speed", tostring(SPEED), "-e", code },
    { cwd = dir, env = with(changes) })
end

local function succeeds(code, changes)
  local status, out, err = run(code, changes)
  assert.equal(0, status, err)
  return out
end

local function query(sql)
  return command.query(dir .. "/state/moontap/state.db", sql)
end

local function list(...)
  local status, out, err = moontap("captures", "--json", ...)
  return assert(json.decode(out), err), status, err
end

local function find(entries, id)
  for _, entry in ipairs(entries) do
    if entry.id == id then return entry end
  end
  error("not there: " .. tostring(id))
end

describe("captures", function()
  it("says who asked for each, with which script, why, for which case, and where the file is",
    function()
      start_simulator()
      local mine = succeeds(([[
local cap = assert(pcaps.create(%s, { case = "INC-7", why = "a spike" }))
assert(cap:wait())
assert(cap:download "here.pcap")
print(cap.id)]]):format(SIMPLE)):match "%x+"
      local theirs = succeeds(CREATE, { XDG_STATE_HOME = dir .. "/elsewhere" }):match "%x+"
      local entries, status = list()
      assert.equal(0, status)
      assert.equal(2, #entries)
      local entry = find(entries, mine)
      assert.is_true(entry.ours)
      assert.is_true(entry.listed)
      assert.equal("INC-7", entry.case)
      assert.equal("a spike", entry.why)
      assert.equal("-e", entry.script)
      assert.equal("done", entry.state)
      assert.equal(sys.user(), entry.who)
      assert.equal("203.0.113.10", entry.filter_v1.destination_address)
      assert.equal(60, entry.time_limit)
      assert.matches("^%x+%-%u+$", entry.ray)
      assert.matches("here.pcap$", entry.file)
      assert.equal(sys.stat(dir .. "/here.pcap").size, entry.bytes)
      assert.matches("^" .. ("%x"):rep(64) .. "$", entry.sha256)
      assert.is_string(entry.run)
      entry = find(entries, theirs)
      assert.is_false(entry.ours)
      assert.is_nil(entry.who)
      assert.same({ mine }, { list("--ours")[1].id })
      assert.same({ theirs }, { list("--others")[1].id })
      assert.same({ mine }, { list("--case", "INC-7")[1].id })
      assert.same({}, (list("--case", "INC-8")))
      assert.same({}, (list("--since", "1ms")))
      local _, out = moontap "captures"
      assert.matches(mine .. "[^\n]*udp dst 203.0.113.10 +" .. sys.user()
        .. ", %-e +INC%-7 +a spike +%d+ +here.pcap", (out:gsub("%S*/here", "here")))
    end)

  it("shows what waits, what is unknown, and on request what came to nothing", function()
    start_simulator()
    -- what may be shared stands in the queue first
    assert.equal(137, (run(CREATE:gsub("}%)", "}, { share = true })"),
      { MOONTAP_KILL_AT = "claimed" })))
    local entry = list()[1] -- which settles it
    assert.is_nil(entry)
    entry = list("--all")[1]
    assert.equal("abandoned", entry.state)
    assert.is_true(entry.ours)
    assert.equal(137, (run(CREATE, { MOONTAP_KILL_AT = "sending" })))
    succeeds(CREATE)
    local entries = list()
    assert.equal(2, #entries)
    assert.equal("unknown", entries[2].state)
    assert.is_nil(entries[2].id)
    local _, out = moontap "captures"
    assert.matches("\n%- +simple +%- [^\n]*outcome unknown", out)
    local waiting = command.start({ command.moontap, "run", "-e",
      CREATE .. CREATE .. CREATE }, { cwd = dir, env = env })
    command.poll(function()
      return query("SELECT count(*) FROM intents WHERE state = 'wanted'") == "1\n"
    end, "somebody who waits")
    _, out = moontap "captures"
    assert.matches("waits for its slot", out)
    waiting.stop()
  end)

  it("keeps what the API has stopped listing", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    query(("UPDATE captures SET id = '%s'"):format(("ab"):rep(16)))
    query(("UPDATE intents SET capture = '%s'"):format(("ab"):rep(16)))
    local entries = list()
    assert.equal(2, #entries)
    assert.is_false(find(entries, id).ours)
    local entry = find(entries, ("ab"):rep(16))
    assert.is_true(entry.ours)
    assert.is_false(entry.listed)
    assert.equal("simple", entry.type)
    assert.equal(17, entry.filter_v1.protocol)
    assert.matches(("ab"):rep(16) .. "[^\n]*journal only", (select(2, moontap "captures")))
  end)

  it("names those who share a capture", function()
    start_simulator()
    succeeds(([[
assert(pcaps.create(%s))
local function ask(case)
  return function() return assert(pcaps.create(%s, { share = true, case = case })).id end
end
assert(moontap.all { ask "A", ask "B" })]]):format(SIMPLE, SIMPLE))
    local entries = list()
    assert.equal(2, #entries)
    assert.equal("A", entries[1].case)
    assert.equal("B", entries[1].shared_with[1].case)
    assert.equal(1, #list("--case", "B"))
  end)

  it("shows the journal when the API cannot be asked, with the status of that", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    simulator.stop()
    simulator = nil
    for _, changes in ipairs { {}, { CLOUDFLARE_API_TOKEN = false } } do
      local argv = { command.moontap, "run", "-e", [[
        require "pcaps.retry".DEADLINE, require "pcaps.retry".MAX_RETRIES = 1, 0
        local status, err = require "moontap.cmd.captures".run {}
        print(status, err.kind, err.message)]] }
      local status, out, err = command.run(argv, { cwd = dir, env = with(changes) })
      assert.equal(0, status, err)
      assert.matches(id .. " +simple[^\n]*journal only", out)
      assert.matches("\nnil\t" .. (changes.CLOUDFLARE_API_TOKEN == nil and "network"
        or "credentials"), out)
      assert.matches("\tthe API could not be asked, this is what was written down here: ", out)
      assert.equal("", err)
    end
    env.CLOUDFLARE_API_TOKEN = false
    local entries, status, err = list()
    assert.equal(3, status)
    assert.equal(id, entries[1].id)
    assert.matches("no credentials", err)
  end)

  it("fits the screen", function()
    start_simulator()
    succeeds(('assert(pcaps.create(%s, { case = "INC-7", why = ("long "):rep(30) }))')
      :format(SIMPLE))
    local show = require "moontap.cmd.show"
    local columns = {
      { "NOTE", function(cap) return cap.note end }, { "BY", function(cap) return cap.who end },
      { "WHY", function(cap) return cap.why end },
    }
    local caps = list()
    caps[1].note = "journal only, held, and more"
    for width = 45, 200, 7 do
      for line in (show.table(caps, width, columns) .. "\n"):gmatch "(.-)\n" do
        assert.is_true(utf8.len(line) <= width, line)
      end
    end
  end)

  it("refuses what contradicts itself", function()
    assert.equal(2, (moontap("captures", "--ours", "--others")))
    assert.equal(2, (moontap("captures", "--interval", "5s")))
  end)
end)

describe("captures --follow", function()
  local function follow(argv, changes)
    local words = { command.moontap, "captures", "--follow", "--interval", "50ms" }
    table.move(argv, 1, #argv, #words + 1, words)
    return command.start(words, { cwd = dir, env = with(changes) })
  end

  local function lines(process)
    local found = {}
    for line in process.stdout():gmatch "([^\n]+)\n" do found[#found + 1] = line end
    return found
  end

  local function wait_for(process, id, status)
    return command.poll(function()
      for _, line in ipairs(lines(process)) do
        local entry = json.decode(line)
        if entry and entry.id == id and entry.status == status then return entry end
      end
      return nil
    end, status)
  end

  for _, signal in ipairs { "TERM", "INT" } do
    it("tells all, then what changes, until SIG" .. signal, function()
      start_simulator()
      local first = succeeds(CREATE .. ("assert(assert(pcaps.create(%s)):wait())"):format(SIMPLE))
        :match "%x+"
      local process = follow { "--json" }
      assert.is_true(wait_for(process, first, "success").ours)
      local second = succeeds(CREATE, { XDG_STATE_HOME = dir .. "/elsewhere" }):match "%x+"
      assert.is_false(wait_for(process, second, "success").ours)
      local count = #lines(process)
      succeeds(("assert(pcaps.download('%s', 'x.pcap'))"):format(first))
      command.poll(function() return #lines(process) > count end, "the file")
      assert.matches("x.pcap$", json.decode(lines(process)[count + 1]).file)
      process.signal(signal)
      local status, out, err = process.wait()
      assert.equal(0, status, err)
      assert.equal("", err)
      -- nothing twice
      local seen = {}
      for line in out:gmatch "[^\n]+" do
        assert.is_nil(seen[line], line)
        seen[line] = true
      end
    end)
  end

  it("outlives failures of the API, and says each once", function()
    start_simulator()
    local process = follow { "--json" }
    succeeds(CREATE)
    command.poll(function() return #lines(process) > 0 end, "a line")
    assert.equal(0, (moontap("sim", "fault", "list:error_html,status=503,count=5")))
    local id = succeeds(CREATE, { XDG_STATE_HOME = dir .. "/elsewhere" }):match "%x+"
    wait_for(process, id, "success")
    local status, _, err = process.stop()
    assert.equal(0, status)
    assert.matches("^moontap: warning: list[^\n]+503[^\n]*; goes on\n$", err)
  end)

  it("ends when the token is refused", function()
    start_simulator()
    local status = follow({}, { CLOUDFLARE_API_TOKEN = "wrong" }).wait()
    assert.equal(3, status)
  end)

  it("ends quietly when nobody reads any more, also without a change", function()
    start_simulator()
    succeeds(CREATE)
    local line = '"$0" captures --follow --json | head -n 1; echo "${PIPESTATUS[0]}"'
    local status, out, err = command.run({ "bash", "-c", line, command.moontap },
      { cwd = dir, env = env })
    assert.equal(0, status)
    assert.equal("", err)
    assert.matches("^{[^\n]+}\n0\n$", out)
  end)

  it("writes lines for people without --json", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    local process = follow {}
    command.poll(function() return #lines(process) > 0 end, "a line")
    assert.equal(0, (process.stop()))
    assert.is_string(id)
  end)
end)

describe("slots", function()
  local function slots(...)
    local status, out, err = moontap("slots", "--json", ...)
    assert.equal(0, status, err)
    local found = json.decode(out)
    assert.equal("simple", found.slots[1].kind)
    return found.slots[1], found.slots[2], found
  end

  it("are free where nothing was written down", function()
    env.CLOUDFLARE_ACCOUNT_ID = ("0"):rep(32)
    local simple, full, all = slots()
    assert.equal(0, simple.free_in)
    assert.equal(0, full.free_in)
    assert.same({}, simple.queue)
    assert.equal(env.CLOUDFLARE_ACCOUNT_ID, all.account_id)
    assert.is_nil(sys.stat(dir .. "/state"))
    env.CLOUDFLARE_ACCOUNT_ID = nil
    local status, _, err = moontap "slots"
    assert.equal(3, status)
    assert.matches("no account: set CLOUDFLARE_ACCOUNT_ID", err)
  end)

  it("tell who has them and who waits, without the API", function()
    start_simulator("--speed", "1")
    local code = ([[
local function ask(priority, case)
  return function()
    return assert(pcaps.create(%s, { priority = priority, case = case, deadline = "1h" }))
  end
end
assert(ask(1, "first")())
assert(moontap.all { ask(1, "low"), ask(20, "high") })]]):format(SIMPLE)
    local process = command.start({ command.moontap, "run", "-e", code }, { cwd = dir, env = env })
    command.poll(function()
      local is_there, count = pcall(query, "SELECT count(*) FROM intents WHERE state = 'wanted' "
        .. "AND (SELECT count(*) FROM intents) = 3")
      return is_there and count == "2\n" -- before that there may be no table
    end, "two who wait")
    simulator.stop()
    simulator = nil
    env.CLOUDFLARE_API_TOKEN = false
    local simple, full = slots()
    assert.is_true(simple.free_in > 30 and simple.free_in <= 60)
    assert.equal(0, full.free_in)
    assert.equal(2, #simple.queue)
    local high, low = simple.queue[1], simple.queue[2]
    assert.equal("high", high.case)
    assert.equal("low", low.case)
    assert.equal(sys.user(), high.who)
    assert.equal("-e", high.script)
    assert.equal(20, high.priority)
    assert.is_true(high.alive)
    assert.equal(simple.free_at, high.expected)
    assert.equal(60, clock.parse(low.expected) - clock.parse(high.expected))
    assert.is_true(clock.parse(high.deadline) - clock.parse(high.asked) >= 3599)
    local _, out = moontap "slots"
    assert.matches("^simple: nobody; the last one was just now\n  next free: %S+ %(in [%dms]+%)\n"
      .. "  1%. [^\n]+case high[^\n]+expected in [%dms]+, gives up in [^\n]+: udp dst 203", out)
    process.signal "KILL"
    process.wait()
    assert.is_false(slots().queue[1].alive)
    assert.matches("DEAD", (select(2, moontap "slots")))
  end)

  it("name the full capture that runs, and a dead one that was being sent", function()
    start_simulator()
    local out = succeeds [[
local bucket = "s3://captures/x?region=us-east-1"
local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
local challenge = assert(io.open("bucket/s3/captures/x/" .. ownership.filename)):read "a"
assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = challenge })
print(assert(pcaps.create({ type = "full", colo_name = "ams01", time_limit = 86400,
  destination_conf = bucket }, { detach = true, case = "INC-9" })).id)]]
    local _, full = slots("--speed", tostring(SPEED))
    assert.equal(out:match "%x+", full.holder.capture)
    assert.is_true(full.holder.ours)
    assert.equal("INC-9", full.holder.case)
    assert.is_true(full.free_in > 100 and full.free_in <= 864)
    assert.equal(137, (run(CREATE, { MOONTAP_KILL_AT = "sending" })))
    local simple = slots()
    assert.equal("sending", simple.holder.state)
    assert.is_false(simple.holder.alive)
  end)
end)

it("a clock that was set back does not keep a slot", function()
  start_simulator()
  succeeds(CREATE)
  query "UPDATE slots SET free_at = free_at + 100000"
  succeeds(('assert(pcaps.create(%s, { deadline = "20s" }))'):format(SIMPLE))
end)

-- An API that answers every list with `caps`.
local function start_api(caps)
  local server = assert(require "moontap.native.server".listen { handler = function()
    return { status = 200, headers = { ["Content-Type"] = "application/json" },
      body = json.encode { success = true, result = json.array(caps) } }
  end })
  env.CLOUDFLARE_BASE_URL = ("http://127.0.0.1:%d/client/v4"):format(server.port)
  env.CLOUDFLARE_ACCOUNT_ID, env.CLOUDFLARE_API_TOKEN = ("a"):rep(32), "token-of-a-test"
  return server
end

it("a list with very long words is shown in time", function()
  local long = ("a"):rep(100000)
  local caps = {}
  for i = 1, 50 do
    caps[i] = { id = i == 1 and long or ("%032d"):format(i), status = "success", type = "simple" }
  end
  caps[2].error_message = long
  local server <close> = setmetatable({}, { __close = function(s) s.one:close() end })
  server.one = start_api(caps)
  local status, out, err = moontap "captures"
  assert.same({ 0, "" }, { status, err })
  assert.is_true(#out < 200000, #out)
  assert.is_truthy(out:find(caps[50].id, 1, true))
  status, out = moontap("captures", "--json")
  assert.equal(0, status)
  assert.equal(long, json.decode(out)[1].id)
end)

it("no byte of an answer steers a terminal", function()
  local server <close> = setmetatable({}, { __close = function(s) s.one:close() end })
  server.one = start_api { { id = "x\27[2J", status = "\u{9b}31m", type = "simple" } }
  local status, out = moontap "captures"
  assert.equal(0, status)
  assert.is_nil(out:find("[\0-\9\11-\31\127-\255]"))
end)

it("a long pause that the API asked for holds for all processes, and is told", function()
  start_simulator("--fault", "create:throttled,count=1,retry_after=7200")
  for i = 1, 2 do
    local status, _, err = run(('assert(pcaps.create(%s, { deadline = "1s" }))'):format(SIMPLE))
    assert.equal(5, status, err)
    local at = clock.parse(err:match "it is free at about (%S+Z)")
    assert.is_true(at > clock.now() + 6000 and at < clock.now() + 7300, i)
  end
  assert.equal("0\n", query "SELECT count(*) FROM captures")
  local _, out = moontap("slots", "--json")
  assert.is_true(json.decode(out).slots[1].free_in > 6000)
  local status, plan, err = moontap("capture", "--dst", "203.0.113.10", "--dry-run")
  assert.equal(5, status)
  assert.matches("the API asked for a pause", plan .. err)
  query "UPDATE marks SET at = at + 100000 WHERE name LIKE 'pause%'" -- the clock was set back
  succeeds(('assert(pcaps.create(%s, { deadline = "20s" }))'):format(SIMPLE))
end)

describe("a create that shares", function()
  it("does not stand in the way of the one whose capture it waits for", function()
    start_simulator()
    succeeds(([[
assert(pcaps.create(%s))
local function ask(priority)
  return function()
    return assert(pcaps.create(%s, { share = true, priority = priority, deadline = "20s" })).id
  end
end
local ids = assert(moontap.all { ask(1), ask(20) })
assert(ids[1] == ids[2])]]):format(SIMPLE, SIMPLE))
    assert.equal("20\n", query "SELECT priority FROM intents WHERE follows IS NULL AND id > 1")
  end)
end)

describe("a full capture whose run was killed before the answer came", function()
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

  it("is stopped once it was found, unless it is detached", function()
    start_simulator()
    succeeds(FULL .. "claim()")
    for _, detach in ipairs { false, true } do
      assert.equal(137, (run(FULL .. ("full { detach = %s }"):format(detach),
        { MOONTAP_KILL_AT = "answered" })))
      succeeds "assert(pcaps.list())"
      local entry = list()[1]
      assert.equal("adopted", entry.state)
      assert.equal(detach, entry.stop_requested == nil)
    end
  end)

  it("is stopped by whoever waits for its slot", function()
    start_simulator()
    succeeds(FULL .. "claim()")
    local waiting = command.start({ command.moontap, "run", "--speed", tostring(SPEED), "-e", FULL
      .. [[assert(pcaps.list())
local f = assert(io.open("ready", "w"))
f:close()
while not io.open "go" do moontap.sleep(0.01) end
print(full({ detach = true, deadline = "30s" }).id)]] }, { cwd = dir, env = env })
    command.poll(function() return sys.stat(dir .. "/ready") end, "the one who waits")
    assert.equal(137, (run(FULL .. "full()", { MOONTAP_KILL_AT = "answered" })))
    assert(sys.write_file(dir .. "/go", ""))
    local status, out, err = waiting.wait()
    assert.equal(0, status, err)
    local entries = list()
    assert.equal(2, #entries)
    assert.is_nil(find(entries, out:match "%x+").stop_requested)
  end)
end)

describe("audit", function()
  local CHANGES <const> = {
    ["an event"] = { "UPDATE audit SET event = 'create.refused' WHERE seq = 2", 2 },
    ["a subject"] = { "UPDATE audit SET subject = 'intent 9' WHERE seq = 3", 3 },
    ["a time, by little"] = { "UPDATE audit SET at = at + 0.0000005 WHERE seq = 1", 1 },
    ["a digest"] = { "UPDATE audit SET digest = '' WHERE seq = 2", 2 },
    ["a hash"] = { "UPDATE audit SET hash = digest WHERE seq = 2", 2 },
    ["what moves from one field to the next"] =
      { "UPDATE audit SET event = event || substr(subject, 1, 3), subject = substr(subject, 4) "
        .. "WHERE seq = 2", 2 },
    ["a number"] = { "UPDATE audit SET seq = 99 WHERE seq = 2", 2 },
    ["a number below all"] = { "UPDATE audit SET seq = -1 WHERE seq = 1", 1 },
    ["a row taken out"] = { "DELETE FROM audit WHERE seq = 2", 2 },
    ["the first row taken out"] = { "DELETE FROM audit WHERE seq = 1", 1 },
    ["the last row taken out"] = { "DELETE FROM audit WHERE seq = 6", 6 },
    ["all rows taken out"] = { "DELETE FROM audit", 1 },
    ["a row put in before"] = { "INSERT INTO audit VALUES (0, 1.0, 'x', 'y', '', '', '', '')", 0 },
    ["a row put in behind"] = { "INSERT INTO audit SELECT 7, at, event, subject, digest, hash, "
      .. "salt, data FROM audit WHERE seq = 6", 7 },
    ["details"] = { "UPDATE audit SET data = replace(data, '60', '61') WHERE seq = 1", 1 },
    ["a salt"] = { "UPDATE audit SET salt = salt || '0' WHERE seq = 3", 3 },
    ["what moves from salt to details"] =
      { "UPDATE audit SET data = substr(salt, 16) || data, salt = substr(salt, 1, 15) "
        .. "WHERE seq = 3", 3 },
    ["details taken out"] = { "UPDATE audit SET salt = NULL, data = NULL WHERE seq = 2", 2 },
    ["details put to another row"] = { "UPDATE audit SET (salt, data) = (SELECT salt, data FROM "
      .. "audit WHERE seq = 6) WHERE seq = 5", 5 },
    ["the head"] = { "UPDATE audit_head SET hash = ''", 6 },
    ["no head"] = { "DELETE FROM audit_head", 1 },
  }

  local function verify()
    local status, out, err = moontap("audit", "verify", "--json")
    return status, json.decode(out), err
  end

  it("holds, and finds whatever was changed behind its back", function()
    start_simulator()
    succeeds(CREATE .. CREATE)
    local status, report = verify()
    assert.equal(0, status)
    assert.is_true(report.holds)
    assert.same({ 6, 0 }, { report.rows, report.purged })
    assert.equal(report.head .. "\n", query "SELECT hash FROM audit WHERE seq = 6")
    local db = dir .. "/state/moontap/state.db"
    query "PRAGMA wal_checkpoint(TRUNCATE)"
    assert(os.execute(("cp '%s' '%s/whole.db'"):format(db, dir)))
    for name, change in pairs(CHANGES) do
      query(change[1])
      status, report = verify()
      assert.equal(1, status, name)
      assert.is_false(report.holds, name)
      assert.equal(change[2], report.row, name .. ": " .. tostring(report.problem))
      local _, out = moontap("audit", "verify")
      assert.matches("^does not hold: [^\n]*row " .. change[2] .. "%f[^%d]", out)
      for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(db .. suffix) end
      assert(os.execute(("cp '%s/whole.db' '%s'"):format(dir, db)))
    end
    assert.equal(0, (verify()))
  end)

  it("does not break by a purge, which is a row of it", function()
    start_simulator()
    succeeds(CREATE .. CREATE)
    succeeds [[
      local clock, audit = require "moontap.clock", require "moontap.state.audit"
      local state = assert(require "moontap.state".current())
      assert(state.db:run "UPDATE intents SET params = NULL WHERE id = 1")
      assert(state.db:transaction(true, function()
        return audit.purge(state, assert(audit.old(state, clock.now() + 1, 0, 100)))
      end))]]
    local status, report = verify()
    assert.equal(0, status, report.problem)
    assert.equal(3, report.purged)
    assert.equal(7, report.rows)
    assert.equal("rows 1-3\n", query "SELECT subject FROM audit WHERE event = 'audit.purged'")
    query "UPDATE audit SET salt = NULL, data = NULL WHERE seq = 5"
    status, report = verify()
    assert.equal(1, status)
    assert.equal(5, report.row)
  end)

  it("is shown as text and as JSON", function()
    start_simulator()
    succeeds(('assert(pcaps.create(%s, { why = "a spike" }))'):format(SIMPLE))
    local status, out = moontap("audit", "show")
    assert.equal(0, status)
    assert.matches("^ +1  %S+Z  create.wanted +intent 1 +{[^\n]*a spike[^\n]*}\n", out)
    assert.equal(3, select(2, out:gsub("\n", "\n")))
    status, out = moontap("audit", "show", "--json", "--since", "1h")
    assert.equal(0, status)
    local rows = json.decode(out)
    assert.equal("create.done", rows[3].event)
    assert.equal("a spike", rows[1].data.why)
    assert.is_false(rows[1].purged)
    assert.equal("[]\n", (select(2, moontap("audit", "show", "--json", "--since", "1ms"))))
  end)

  it("says what it wants", function()
    assert.equal(2, (moontap("audit", "dance")))
    assert.equal(2, (moontap("audit", "verify", "--since", "1h")))
    local status, _, err = moontap("audit", "verify")
    assert.equal(1, status)
    assert.matches("nothing was written down in .*/state/moontap yet", err)
  end)
end)

describe("the state", function()
  -- What a program of five steps has written, and one of a single step.
  local OLD <const> = "PRAGMA secure_delete = ON; DROP INDEX intents_shared; "
    .. "CREATE TABLE audit_data "
    .. "(seq INTEGER PRIMARY KEY REFERENCES audit (seq), salt TEXT NOT NULL, data TEXT NOT NULL) "
    .. "STRICT; "
    .. "INSERT INTO audit_data SELECT seq, salt, data FROM audit WHERE data IS NOT NULL; "
    .. "ALTER TABLE audit DROP COLUMN salt; ALTER TABLE audit DROP COLUMN data; "
    .. "CREATE TABLE details (intent INTEGER PRIMARY KEY REFERENCES intents (id), "
    .. "params TEXT NOT NULL, who TEXT NOT NULL, run TEXT NOT NULL, script TEXT, why TEXT, "
    .. "case_id TEXT) STRICT; "
    .. "INSERT INTO details SELECT id, params, who, run, script, why, case_id FROM intents "
    .. "WHERE params IS NOT NULL; ALTER TABLE intents DROP COLUMN params; "
    .. "ALTER TABLE intents DROP COLUMN who; ALTER TABLE intents DROP COLUMN run; "
    .. "ALTER TABLE intents DROP COLUMN script; ALTER TABLE intents DROP COLUMN why; "
    .. "ALTER TABLE intents DROP COLUMN case_id; CREATE INDEX intents_owner ON intents (owner); "
    .. "CREATE INDEX intents_capture ON intents (account, capture) WHERE capture IS NOT NULL; "
    .. "PRAGMA user_version = 5"
  local OLDER <const> = OLD .. "; DROP TABLE audit_head; "
    .. "DROP INDEX intents_owner; DROP INDEX owners_open; "
    .. "ALTER TABLE intents DROP COLUMN is_detached; ALTER TABLE intents DROP COLUMN is_lost; "
    .. "DROP INDEX captures_file; ALTER TABLE captures DROP COLUMN case_id; "
    .. "ALTER TABLE captures DROP COLUMN submitted; "
    .. "DROP TABLE mutexes; DROP TABLE runs; DROP TABLE dues; DROP TABLE cursors; "
    .. "DROP TABLE pauses; DROP TABLE happenings; DROP TABLE used; PRAGMA user_version = 1"

  local function make_old()
    succeeds(CREATE)
    query(OLDER)
  end

  local function backups()
    local found = {}
    for _, name in ipairs(sys.list(dir .. "/state/moontap")) do
      if name:find "^state%.db%.before" then found[#found + 1] = name end
    end
    return found
  end

  it("of an older program is brought up, after a copy was made", function()
    start_simulator()
    make_old()
    succeeds(CREATE)
    local steps = #require "moontap.state.migrations".STEPS
    assert.equal(steps .. "\n", query "PRAGMA user_version")
    assert.equal(1, #backups())
    local copy = dir .. "/state/moontap/" .. backups()[1]
    assert.equal(384, sys.stat(copy).mode)
    for _, sql in ipairs { "PRAGMA user_version", "SELECT count(*) FROM intents" } do
      assert.equal("1\n", command.query(copy, sql))
    end
    assert.equal("2\n", query "SELECT count(*) FROM intents")
    assert.equal(0, (moontap("audit", "verify")))
  end)

  it("of an older program keeps its chain, and nothing personal where no purge looks", function()
    start_simulator()
    succeeds(('assert(pcaps.create(%s, { why = "a spike", case = "INC-7" }))'):format(SIMPLE))
    succeeds(CREATE)
    succeeds [[
      local clock, audit = require "moontap.clock", require "moontap.state.audit"
      local state = assert(require "moontap.state".current())
      assert(state.db:run "UPDATE intents SET params = NULL WHERE id = 2")
      assert(state.db:transaction(true, function()
        return audit.purge(state, assert(audit.old(state, clock.now() + 1, 0, 100)))
      end))]]
    local head = query "SELECT seq, hash FROM audit_head"
    query(OLD)
    local status, out, err = moontap("audit", "verify", "--json")
    assert.equal(0, status, err)
    local report = json.decode(out)
    assert.same({ 7, 3 }, { report.rows, report.purged })
    assert.equal(head, query "SELECT seq, hash FROM audit_head")
    assert.equal("INC-7|a spike\n|\n", query "SELECT case_id, why FROM intents ORDER BY id")
    assert.equal("ok\n", query "PRAGMA integrity_check")
    query("PRAGMA secure_delete = ON; UPDATE intents SET params = NULL, who = NULL, run = NULL, "
      .. "script = NULL, why = NULL, case_id = NULL; UPDATE audit SET salt = NULL, data = NULL; "
      .. "PRAGMA wal_checkpoint(TRUNCATE)")
    assert.is_nil(sys.read_file(dir .. "/state/moontap/state.db"):find("a spike", 1, true))
  end)

  it("of an older program is brought up by what only reads, and by many at once", function()
    start_simulator()
    make_old()
    assert.equal(0, (moontap("audit", "verify")))
    query(OLDER)
    local processes = {}
    for i = 1, 6 do
      processes[i] = command.start({ command.moontap, "captures", "--json" }, { env = env })
    end
    for _, process in ipairs(processes) do
      local status, _, err = process.wait()
      assert.equal(0, status)
      assert.equal("", err)
    end
    assert.equal("ok\n", query "PRAGMA integrity_check")
  end)

  it("of a newer program is left alone by what reads, too", function()
    start_simulator()
    succeeds(CREATE)
    query "PRAGMA user_version = 999"
    for _, argv in ipairs { { "slots" }, { "audit", "verify" } } do
      local status, out, err = moontap(table.unpack(argv))
      assert.equal(1, status)
      assert.equal("", out)
      assert.matches("written by a newer moontap %(version 999 of its tables", err)
    end
    local entries, status, err = list()
    assert.equal(0, status)
    assert.is_false(entries[1].ours)
    assert.matches("^moontap: warning: [^\n]*newer moontap[^\n]*; captures can be looked at, not "
      .. "created\n$", err)
    assert.equal("999\n", query "PRAGMA user_version")
  end)

  it("whose tables have a version that no moontap writes is left alone", function()
    start_simulator()
    succeeds(CREATE)
    query "PRAGMA user_version = -3"
    for _, argv in ipairs { { "slots" }, { "hold", ("0"):rep(32) } } do
      local status, out, err = moontap(table.unpack(argv))
      assert.equal(1, status)
      assert.equal("", out)
      assert.matches("^moontap: state: [^\n]*version %-3, which no moontap has written[^\n]*\n$",
        err)
    end
    assert.equal("-3\n", query "PRAGMA user_version")
  end)

  it("is readable by its owner only", function()
    start_simulator()
    succeeds(CREATE)
    assert.equal(384, sys.stat(dir .. "/state/moontap/state.db").mode)
    assert.equal(448, sys.stat(dir .. "/state/moontap").mode)
  end)

  it("that is no directory lets captures be looked at, and none be created", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    env.XDG_STATE_HOME = dir .. "/port"
    local entries, status, err = list()
    assert.equal(0, status)
    assert.equal(id, entries[1].id)
    assert.matches("^moontap: warning: make directory [^\n]*; captures can be looked at, not "
      .. "created\n$", err)
    local _, out = run(("print(pcaps.create(%s))"):format(SIMPLE))
    assert.matches("^nil\tcreate not sent, because it could not be written down: make directory",
      out)
    assert.equal(1, (moontap("slots")))
  end)

  it("of somebody else lets captures be looked at, and none be created", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    assert(os.execute(("chmod 755 '%s' '%s/state'"):format(dir, dir)))
    local _, uid = command.run { "id", "-u" }
    if uid ~= "0\n" then return end -- only root can become somebody else
    local function as_nobody(...)
      return command.run({ "setpriv", "--reuid", "65534", "--clear-groups", "--",
        command.moontap, ... }, { env = env })
    end
    local status, out, err = as_nobody("captures", "--json")
    assert.equal(0, status, err)
    assert.equal(id, json.decode(out)[1].id)
    assert.matches("^moontap: warning: [^\n]*Permission denied[^\n]*; captures can be looked at, "
      .. "not created\n$", err)
    _, out = as_nobody("run", "-e", ("print(pcaps.create(%s))"):format(SIMPLE))
    assert.matches("^nil\tcreate not sent, because it could not be written down: ", out)
    assert.equal(1, (as_nobody "slots"))
  end)

  it("on a full disk lets captures be looked at", function()
    start_simulator()
    local id = succeeds(CREATE):match "%x+"
    local line = 'ulimit -f 1; exec "$0" captures --json'
    local status, out, err = command.run({ "bash", "-c", line, command.moontap },
      { cwd = dir, env = env })
    assert.equal(0, status, err)
    assert.equal(id, json.decode(out)[1].id)
  end)

  it("forgets processes that asked for nothing, and keeps those that did", function()
    start_simulator()
    succeeds(CREATE)
    for _ = 1, 3 do succeeds "assert(pcaps.list())" end
    assert.equal("1\n", query "SELECT count(*) FROM owners")
    assert.equal(0, #sys.list(dir .. "/state/moontap/owners"))
    succeeds "assert(pcaps.list())"
    assert.equal("1\n", query "SELECT count(*) FROM owners")
    assert.equal(0, #sys.list(dir .. "/state/moontap/owners"))
  end)
end)
