-- outside
-- --dry-run: what a script would do, as far as that does not hang on what had to be invented. The
-- simulator in a process of its own says whether anything reached it.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local SIMPLE <const> = '{ type = "simple", time_limit = 60, packet_limit = 20 }'
local CREATE <const> = ("local cap = assert(pcaps.create(%s))\n"):format(SIMPLE)

local dir, simulator, env

before_each(function()
  dir = tempdir.new()
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket" }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end)

after_each(function()
  simulator.stop()
  tempdir.remove(dir)
end)

local function moontap(argv, changes)
  local all = {}
  for name, value in pairs(env) do all[name] = value end
  for name, value in pairs(changes or {}) do all[name] = value end
  return command.run({ command.moontap, table.unpack(argv) }, { cwd = dir, env = all })
end

local function run(code, changes)
  return moontap({ "run", "-e", code }, changes)
end

-- The plan of `code` as a table, its exit status and what went to standard error.
local function plan(code, changes)
  local status, out, err = moontap({ "run", "--dry-run", "--json", "-e", code }, changes)
  local document, problem = json.decode(out)
  assert.is_table(document, tostring(problem) .. out .. err)
  return document, status, err
end

local function ops(document)
  local list = {}
  for i, step in ipairs(document.steps) do list[i] = step.op end
  return table.concat(list, " ")
end

local function captures()
  local status, out, err = moontap { "captures", "--json" }
  assert.equal(0, status, err)
  return #json.decode(out)
end

local function write(name, text)
  local f <close> = assert(io.open(dir .. "/" .. name, "w"))
  f:write(text)
end

describe("a plan", function()
  it("shows each step with filter, limits, slot and the lines that decided", function()
    write("drill.lua", [[
local function drill(ip)
  return assert(pcaps.create { type = "simple", time_limit = 300, packet_limit = 10000,
                               filter_v1 = { destination_address = ip, protocol = "udp" } })
end
local first = drill "203.0.113.10"
assert(first:wait())
print(assert(first:download "first.pcap"))
drill "203.0.113.11"
]])
    local status, out, err = moontap { "run", "--dry-run", "--json", "drill.lua" }
    assert.equal(0, status, err)
    assert.equal("first.pcap\n", err)
    local document = json.decode(out)
    assert.equal("create download create", ops(document))
    assert.equal("complete", document.ends)
    assert.equal("run drill.lua", document.of)
    local one, two, three = table.unpack(document.steps)
    assert.same({ destination_address = "203.0.113.10", protocol = 17 }, one.filter)
    assert.same({ time_limit = 300, packet_limit = 10000 }, one.limits)
    assert.same({ kind = "simple", wait = 0, starts = 0 }, one.slot)
    assert.equal(2, one.decision.line)
    assert.equal("drill.lua", one.decision.file)
    assert.matches("^return assert%(pcaps.create {", one.decision.source)
    assert.equal(5, one.decision.chain[1].line)
    assert.same({ "id", "status", "submitted" }, one.invented)
    assert.equal("download the capture of step 1 to first.pcap", two.summary)
    assert.is_true(math.abs(three.slot.starts - 60) < 0.01)
    assert.equal("one a minute", three.slot.why)
    assert.equal(0, captures())
    assert.is_nil(command.read_file(dir .. "/first.pcap"))
    status, out = moontap { "run", "--dry-run", "drill.lua" }
    assert.equal(0, status)
    assert.matches("  1  +0s  create a simple capture\n     filter    destination_address 203", out,
      1, true)
    assert.matches("slot      after 57", out, 1, true)
    assert.matches("assumed: what the API is asked to do succeeds", out, 1, true)
  end)

  it("ends where a status decides", function()
    local document, status = plan(CREATE .. [[
assert(cap:wait())
if cap.status == "success" then pcaps.stop(cap.id) end
assert(pcaps.create { type = "simple", time_limit = 1, packet_limit = 1 })]])
    assert.equal(0, status)
    assert.equal("undecided", document.ends)
    assert.equal("create", ops(document))
    local ending = document["end"]
    assert.equal(1, ending.after_step)
    local one, two = table.unpack(ending.branches)
    assert.equal("stop the capture of step 1", one.summary)
    assert.equal(3, one.decision.line)
    assert.equal("success", one.values["final status"])
    assert.equal("create a simple capture", two.summary)
    assert.equal(4, two.decision.line)
    assert.equal("complete", two.values["final status"])
    assert.same({ { step = 1, name = "final status", values = { "success", "complete" } } },
      ending.hangs_on)
    local names = {}
    for i, value in ipairs(ending.given) do names[i] = value.name end
    assert.equal("id status submitted final status packets_captured", table.concat(names, " "))
    assert.matches("after step 1: what the script does next hangs on final status of step 1",
      ending.message, 1, true)
  end)

  local UNDECIDED <const> = {
    ["status"] = CREATE .. 'if cap.status == "pending" then os.remove "a" end',
    ["submitted"] = CREATE
      .. "if #cap.submitted > 0 and tonumber(cap.submitted:match ':(%d%d)Z') % 2 == 0 then "
      .. "os.remove 'a' end",
    ["packets_captured"] = CREATE
      .. "cap:wait() if cap.packets_captured > 0 then os.remove 'a' end",
    ["bytes of the file, packets in the file"] = CREATE
      .. "cap:wait() local file = assert(moontap.capture.open("
      .. "assert(cap:download 'x.pcap'))) if file.packets > 10 then os.remove 'a' end",
    ["HTTP status"] = "local r = assert(moontap.http.request { url = 'http://127.0.0.1:1/', "
      .. "method = 'POST', body = 'x' }) if r.status == 200 then os.remove 'a' end",
    ["exit status"] = "if os.execute 'true' then os.remove 'a' end",
    ["output"] = "if io.popen('date'):read 'l' then os.remove 'a' end",
    ["packets_captured, as a time"] = CREATE
      .. "cap:wait() moontap.sleep(cap.packets_captured) os.remove 'a'",
    ["packets_captured, as a parameter"] = CREATE
      .. "cap:wait() os.rename('a', ('to-%d'):format(cap.packets_captured))",
    ["final status, in a loop"] = CREATE
      .. "while cap.status ~= 'success' do moontap.sleep(5) cap:refresh() end os.remove 'a'",
    ["final status, in an assertion"] = CREATE
      .. "cap:wait() assert(cap.status == 'success') os.remove 'a'",
  }

  for what, code in pairs(UNDECIDED) do
    it("ends where it hangs on " .. what, function()
      write("a", "kept")
      local document, status = plan(code)
      assert.equal(0, status)
      assert.equal("undecided", document.ends, document["end"].message)
      assert.is_nil(ops(document):find("file.re", 1, true))
      local names, seen = {}, {}
      for _, value in ipairs(document["end"].hangs_on) do
        if not seen[value.name] then names[#names + 1] = value.name end
        seen[value.name] = true
      end
      local expected = what:gsub(", [ia][ns] .*", "")
      assert.equal(expected, table.concat(names, ", "))
      assert.equal("kept", command.read_file(dir .. "/a"))
    end)
  end

  it("goes on where both worlds do the same", function()
    local document = plan(CREATE .. [[
cap:wait()
if cap.status == "success" or cap.status == "complete" then os.remove "a" end
local file = io.open(cap.id .. ".txt", "w")
file:write(cap.status):close()
print(cap)]])
    assert.equal("complete", document.ends)
    assert.equal("create file.write", ops(document)) -- there is no file a
    assert.equal("write {the id of step 1}.txt (mode w)", document.steps[2].summary)
  end)

  it("ends where a file is read that it would have changed", function()
    write("a", "old")
    for _, code in ipairs {
      "io.open('a', 'w'):close() io.open('a')", "os.remove 'a' io.open('./a')",
      "os.rename('a', 'b') for l in io.lines 'b' do print(l) end",
      CREATE .. "cap:download 'a' io.open 'a'", "io.open('a', 'a'):close() io.input 'a'",
    } do
      local document, status = plan(code)
      assert.equal(0, status)
      assert.equal("undecided", document.ends)
      assert.matches("the script reads %S+, which step %d would have changed",
        document["end"].message)
      assert.equal(1, document["end"].at.line == 2 and 1 or document["end"].at.line)
    end
    assert.equal("old", command.read_file(dir .. "/a"))
    assert.is_nil(command.read_file(dir .. "/b"))
  end)

  it("sends nothing by HTTP and starts nothing", function()
    local document = plan(("os.execute 'touch made' io.popen('touch made'):close() "
      .. "moontap.http.request { url = '%s/x?key=gL2Fq', method = 'PUT', body = 'abc', "
      .. "headers = { ['X-Secret'] = 'gL2Fq' } }"):format(env.CLOUDFLARE_BASE_URL))
    assert.equal("process.execute process.popen http.request", ops(document))
    assert.same({ "X-Secret" }, document.steps[3].parameters.headers)
    assert.equal(3, document.steps[3].parameters.body_bytes)
    assert.is_nil(command.read_file(dir .. "/made"))
    local _, out = moontap { "sim", "state", "--json" }
    assert.is_nil(out:find("/x", 1, true))
  end)

  it("really reads, once for both worlds", function()
    assert.equal(0, (run(CREATE .. "assert(cap:wait())")))
    local document = plan [[
local caps = assert(pcaps.list())
for _, cap in ipairs(caps) do
  local again = assert(pcaps.get(cap.id))
  if again.status == "success" or again.status == "complete" then
    assert(pcaps.download(cap.id, "again.pcap"))
  end
end
local new = assert(pcaps.create { type = "simple", time_limit = 1, packet_limit = 1 })
assert(#assert(pcaps.list()) == #caps + 1)
assert(pcaps.get(new.id))]]
    assert.equal("complete", document.ends, document["end"].message)
    assert.equal("download create", ops(document))
    assert.equal(3, document.reads)
    assert.equal(1, captures())
    assert.is_nil(command.read_file(dir .. "/again.pcap"))
  end)

  it("waits in both worlds for reads that run at the same time", function()
    assert.equal(0, (run(CREATE .. "assert(cap:wait())")))
    local document = plan(([[
local function some(n)
  return function()
    for _ = 1, n do assert(pcaps.list()) end
    return assert(pcaps.create(%s))
  end
end
assert(moontap.all { some(3), some(1), some(2) })]]):format(SIMPLE))
    assert.equal("complete", document.ends, document["end"].message)
    assert.equal("create create create", ops(document))
  end)

  it("begins each world anew", function()
    write("part.lua", "local M = { n = 0 } return M")
    write("main.lua", [[
local part = require "part"
part.n = part.n + 1
counter = (rawget(_ENV, "counter") or 0) + 1
string.extra = (string.extra or 0) + 1
table.unpack = counter == 1 and table.unpack or nil
arg[1] = arg[1] .. part.n .. counter .. string.extra
os.remove(arg[1])
assert(pcaps.create { type = "simple", time_limit = part.n, packet_limit = counter })
moontap.sleep(math.random(1, 100))
assert(pcaps.create { type = "simple", time_limit = math.random(1, 60), packet_limit = 20,
  offset_time = os.date("!%Y-%m-%dT%H:%M:%SZ", os.time() - 600) })]])
    write("x111", "")
    local status, out, err = moontap { "run", "--dry-run", "--json", "main.lua", "x" }
    assert.equal(0, status, err)
    local document = json.decode(out)
    assert.equal("complete", document.ends, document["end"].message)
    assert.equal("file.remove create create", ops(document))
  end)

  it("says what is in the way of the slot", function()
    local status, out, err = run(CREATE .. "print(cap.id)")
    assert.equal(0, status, err .. out)
    local step = plan(CREATE).steps[1]
    assert.is_true(step.slot.wait > 30 and step.slot.wait <= 60)
    assert.equal("the last create was less than a minute ago", step.slot.why)
    local waiting = command.start({ command.moontap, "run", "-e", CREATE },
      { cwd = dir, env = env })
    command.poll(function()
      step = plan(CREATE).steps[1]
      return step.slot.wait > 60
    end, "the other in the queue")
    assert.is_true(step.slot.wait <= 120)
    assert.equal("1 of this machine is before it", step.slot.why)
    waiting.stop()
  end)

  it("says when a create would not get its slot in time", function()
    local document = plan(CREATE .. ([[
local again, err = pcaps.create(%s, { deadline = 10 })
if not again and err.kind == "quota" then os.execute "page somebody" end]]):format(SIMPLE))
    assert.equal("create create process.execute", ops(document))
    assert.is_true(document.steps[2].slot.missed)
    assert.equal(10, document.steps[3].at)
  end)

  it("holds the slot of a full capture for its time, or until it is stopped", function()
    local FULL <const> = [[
local function full()
  return assert(pcaps.create({ type = "full", time_limit = 200, colo_name = "ams01",
    destination_conf = "s3://captures/x?secret=gL2Fq&region=us" }, { deadline = "1h" }))
end
]]
    local document = plan(FULL .. "full() full():stop() full()")
    assert.equal("create create stop create", ops(document))
    assert.equal(200, document.steps[2].slot.wait)
    assert.equal(0, document.steps[4].slot.wait)
    assert.equal("a full capture of this plan runs", document.steps[2].slot.why)
    local _, out, err = moontap { "run", "--dry-run", "-e", FULL .. "print(full():wait())" }
    assert.is_nil((out .. err):find("gL2Fq", 1, true))
    assert.matches("bucket    s3://captures/x?", out, 1, true)
  end)

  it("ends where a capture that really runs is waited for", function()
    write("full.lua", [[
local bucket = "s3://captures/x?region=us-east-1"
local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
local challenge = assert(io.open("bucket/s3/captures/x/" .. ownership.filename)):read "a"
assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = challenge })
print(assert(pcaps.create({ type = "full", colo_name = "ams01", time_limit = 3000,
  destination_conf = bucket }, { detach = true })).id)]])
    local status, out, err = moontap { "run", "full.lua" }
    assert.equal(0, status, err)
    local id = out:match "%x+"
    local document = plan(([[
local cap = assert(pcaps.get "%s")
os.execute "tell"
assert(cap:wait())
os.execute "report"]]):format(id))
    assert.equal("undecided", document.ends)
    assert.equal("process.execute", ops(document))
    assert.matches("waits for capture " .. id, document["end"].message, 1, true)
    local step = plan([[assert(pcaps.create({ type = "full", colo_name = "ams01",
      time_limit = 300, destination_conf = "s3://captures/x?region=us-east-1" },
      { deadline = "2h" }))]]).steps[1]
    assert.is_true(step.slot.wait > 2900 and step.slot.wait <= 3000)
    assert.matches("capture " .. id .. " runs", step.slot.why, 1, true)
    assert.equal(0, (moontap { "stop", "--force", id }))
  end)

  it("is bounded when the API does not answer", function()
    assert.equal(0, (moontap { "sim", "fault", "list:silent" }))
    local document = plan("os.execute 'a' pcaps.list()", { MOONTAP_PLAN_SECONDS = "1" })
    assert.equal("limit", document.ends)
    assert.equal("process.execute", ops(document))
  end)

  it("that is interrupted says what it has, with status 4", function()
    local process = command.start({ command.moontap, "run", "--dry-run", "-e",
      "os.execute 'a' print 'here' io.stdout:flush() while true do end" },
      { cwd = dir, env = env })
    command.poll(function() return process.stderr():find "here" end, "its output")
    process.signal "INT"
    local status, out = process.wait()
    assert.equal(4, status)
    assert.matches("  1  +0s  run a\n", out, 1, true)
    assert.matches("not to its end: interrupted", out, 1, true)
  end)

  it("shows a loop once", function()
    local _, out = moontap { "run", "--dry-run", "-e", "for i = 1, 9 do os.execute 'a' end" }
    assert.matches("  1  %+0s  run a\n.*\n  …  8 more like it, the last at %+0s\n", out)
  end)

  it("ends where a number below the limit of a capture decides", function()
    local code <const> = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 10000 })
cap:wait()
if cap.packets_captured > 9000 then os.remove "a" end
os.execute "b"]]
    assert.equal("complete", plan(code).ends) -- there is no file a
    write("a", "kept")
    assert.equal("undecided", plan(code).ends)
  end)

  it("holds no secret", function()
    local document = plan([[
local bucket = "s3://captures/x?access-key-id=AKgL2Fq&secret-access-key=gL2Fq"
local o = assert(pcaps.ownership.create { destination_conf = bucket })
assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = "gL2Fq" })
os.execute "curl -H 'Authorization: Bearer gL2Fq' https://example.com"
pcaps.ownership.delete(o.id)
error(bucket)]])
    assert.equal("ownership.create ownership.validate process.execute ownership.delete",
      ops(document))
    assert.equal("failed", document.ends)
    assert.is_nil(json.encode(document):find("gL2Fq", 1, true))
    assert.is_nil(json.encode(document):find(env.CLOUDFLARE_API_TOKEN, 1, true))
  end)

  it("is valid whatever a script holds", function()
    write("bytes.lua", 'os.execute("\xff\0") --\xe9 s3://b/x?k=gL2Fq\n')
    local _, out = moontap { "run", "--dry-run", "--json", "bytes.lua" }
    local step = json.decode(out).steps[1]
    assert.equal("run ? ", step.summary)
    assert.matches('^os.execute%("', step.decision.source)
    assert.is_nil(out:find("gL2Fq", 1, true))
  end)

  it("of a script with a bug fails as the script would", function()
    local document, status = plan(CREATE .. "error 'own bug'")
    assert.equal(1, status)
    assert.equal("failed", document.ends)
    assert.equal("create", ops(document))
    assert.matches("own bug", document["end"].message)
    assert.equal(2, document["end"].at.line)
    document, status = plan("pcaps.create { type = 'simple' }")
    assert.equal(1, status)
    assert.matches("time_limit", document["end"].message)
    assert.equal(1, (moontap { "run", "--dry-run", "-e", "syntax error" }))
  end)

  it("ends with a script that leaves", function()
    local document, status = plan "os.exit(3)"
    assert.equal(0, status)
    assert.equal("complete", document.ends)
    assert.equal("the script leaves with status 3", document["end"].message)
    assert.equal("undecided", plan(CREATE .. "os.exit(cap.status == 'pending')").ends)
  end)

  local ENDLESS <const> = {
    ["at most 1000 steps"] = ("while true do pcall(pcaps.create, %s) end"):format(SIMPLE),
    ["a plan covers 1d"] = "while true do pcall(moontap.sleep, 60) end",
    ["a plan reads 200 times at most"] = "while true do pcall(pcaps.list) moontap.sleep(1) end",
    ["after 1 s the script was still running"] =
      "while true do pcall(function() while true do end end) end",
  }

  for message, code in pairs(ENDLESS) do
    it("of what has no end says: " .. message, function()
      local document, status = plan(code, { MOONTAP_PLAN_SECONDS =
        message:find "^after" and "1" or nil })
      assert.equal(0, status)
      assert.equal("limit", document.ends)
      assert.matches(message, document["end"].message, 1, true)
    end)
  end

  it("asks for credentials only where it reads", function()
    local none = { CLOUDFLARE_API_TOKEN = false, CLOUDFLARE_ACCOUNT_ID = false }
    local document, status = plan(CREATE .. "assert(cap:wait()) assert(cap:download()) "
      .. "assert(pcaps.stop 'a1')", none)
    assert.equal(0, status)
    assert.equal("create download stop", ops(document))
    document, status = plan(CREATE .. "assert(pcaps.list())", none)
    assert.equal(3, status)
    assert.equal("create", ops(document))
    assert.matches("no credentials", document["end"].message)
  end)

  it("leaves no state behind where there was none", function()
    plan(CREATE .. "assert(cap:wait()) assert(cap:download()) os.tmpname()")
    assert.is_nil(require "moontap.native.sys".stat(dir .. "/state"))
  end)

  it("is written with --sim and virtual time too, and with the deadline of the run", function()
    local _, out = moontap { "run", "--dry-run", "--json", "--sim", "--virtual-time", "-e",
      CREATE .. "assert(#assert(pcaps.list()) == 1)" }
    local document = json.decode(out)
    assert.equal("complete", document.ends, document["end"].message)
    assert.equal("2026-01-01T00:00:00Z", document.began)
    _, out = moontap { "run", "--dry-run", "--json", "--timeout", "30s", "-e", CREATE
      .. CREATE:gsub("local ", "") .. "os.execute 'x'" }
    document = json.decode(out)
    assert.equal("limit", document.ends)
    assert.equal("create create", ops(document))
    assert.matches("--timeout", document["end"].message, 1, true)
  end)

  it("of standard input runs it in both worlds", function()
    local argv = { command.moontap, "run", "--dry-run", "--json", "-", "a" }
    local status, out, err = command.run(argv,
      { cwd = dir, env = env, stdin = "#!/usr/bin/moontap\nos.execute(...)" })
    assert.equal(0, status, err)
    local step = json.decode(out).steps[1]
    assert.equal("run a", step.summary)
    assert.equal("os.execute(...)", step.decision.source)
    assert.equal(2, step.decision.line)
    status, out, err = command.run({ command.moontap, "run", "--dry-run", "--json", "-e",
      "for _ = 1, 2 do os.execute(io.read()) end" }, { cwd = dir, env = env, stdin = "a\nb\n" })
    assert.equal(0, status, err)
    assert.equal("complete", json.decode(out).ends)
  end)

  it("is there for commands, and refused where there is nothing to plan", function()
    local status, out, err = moontap { "stop", "--force", "--dry-run", "--json", "abc" }
    assert.equal(0, status, err)
    local document = json.decode(out)
    assert.equal("stop capture abc by force", document.steps[1].summary)
    assert.equal("stop", document.steps[1].decision.command)
    local told = { stop = "would stop abc\n", download = "would write /[^\n]*abc.pcap\n" }
    for name, words in pairs(told) do
      status, out, err = moontap { name, "--dry-run", "abc", name == "stop" and "--force" or nil }
      assert.equal(0, status)
      assert.matches("nothing was changed\n$", out)
      assert.matches("^" .. words .. "$", err)
    end
    status, out, err = moontap { "capture", "--dst", "203.0.113.10", "--dry-run" }
    assert.equal(0, status)
    assert.matches("create a simple capture", out)
    assert.equal("", err)
    for _, name in ipairs { "sim", "version", "help", "repl", "captures", "slots", "doctor", "cron",
                            "get" } do
      status, _, err = moontap { name, "--dry-run" }
      assert.equal(2, status)
      assert.matches("--dry-run", err, 1, true)
    end
    assert.equal(2, (moontap { "run", "--json", "-e", "" }))
  end)

  it("does not change under --read-only, which refuses first", function()
    local _, out = moontap { "run", "--dry-run", "--read-only", "--json", "-e",
      "print(os.remove 'x')" .. CREATE }
    local document = json.decode(out)
    assert.equal("failed", document.ends)
    assert.equal(0, #document.steps)
  end)
end)
