-- The daemon as a user has it: its life, the commands beside it, its death at every point where it
-- writes, and the playbooks that ship with the product.

local clock = require "moontap.clock"
local command = require "support.command"
local json = require "moontap.json"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local SPEED <const> = 100
local NEVER <const> = "0 0 1 1 *"
local root = command.source
if root:sub(1, 1) ~= "/" then root = lfs.currentdir() .. "/" .. root end

local dir, env, simulator, daemon

before_each(function()
  dir = tempdir.new()
  env = { XDG_STATE_HOME = dir .. "/state" }
  assert(lfs.mkdir(dir .. "/pb"))
end)
after_each(function()
  if daemon then daemon.signal "KILL" daemon.wait() end
  if simulator then simulator.stop() end
  daemon, simulator = nil, nil
  tempdir.remove(dir)
end)

local function start_simulator(...)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", tostring(SPEED), ... }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

local function write(name, text)
  local f <close> = assert(io.open(dir .. "/" .. name, "w"))
  f:write(text)
end

local function playbook(name, body, fields, expression)
  write(("pb/%s.lua"):format(name), ('return { api = 1, on = { cron = "%s" }, %s\n'
    .. "  run = function(ctx) %s end }\n"):format(expression or NEVER, fields or "", body))
end

local function with(changes)
  local copy = {}
  for name, value in pairs(env) do copy[name] = value end
  for name, value in pairs(changes or {}) do copy[name] = value end
  return copy
end

local function start(options, changes)
  local argv = { command.moontap, "cron", "--listen", "127.0.0.1:0", "--port-file",
                 dir .. "/listen" }
  if simulator then table.move({ "--speed", tostring(SPEED) }, 1, 2, #argv + 1, argv) end
  table.move(options or {}, 1, #(options or {}), #argv + 1, argv)
  argv[#argv + 1] = dir .. "/pb"
  local process = command.start(argv, { cwd = dir, env = with(changes), limit = 300 })
  daemon = process
  return process
end

local function await_start(process)
  command.poll(function()
    return process.stderr():find("; times are UTC", 1, true) or process.has_ended()
  end, 30, "the daemon")
  return process
end

local function await_words(process, words)
  command.poll(function() return process.stderr():find(words, 1, true) end, 20, words)
end

local function await_open_run()
  command.poll(function()
    local _, out = command.run({ command.moontap, "runs", "--open", "--json" }, { env = env })
    return #json.decode(out) > 0
  end, 20, "a run")
end

local function run(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

local function succeeds(...)
  local status, out, err = run(...)
  assert.equal(0, status, err)
  return out
end

local function list(...)
  return json.decode(succeeds(...))
end

local function await_runs(count, state)
  return command.poll(function()
    local runs = list("runs", "--json", "--limit", "1000")
    local n = 0
    for _, one in ipairs(runs) do
      if one.ended and (not state or one.state == state) then n = n + 1 end
    end
    return n >= count and runs
  end, 60, ("%d runs"):format(count))
end

local function get(path)
  local port = command.read_file(dir .. "/listen"):match "%d+"
  local _, out = command.run { "curl", "-s", ("http://127.0.0.1:%s%s"):format(port, path) }
  return out
end

local CREATE <const> = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } })
print("capture", cap.id)]]

describe("the daemon", function()
  it("fires by the clock, logs, and ends in order", function()
    playbook("tick", 'print("hello", ctx.run_id, "Authorization: Bearer abcdef")', nil,
      "* * * * * *")
    playbook("quiet", "")
    local process = await_start(start())
    local runs = await_runs(2, "ok")
    for _, one in ipairs(runs) do
      if one.started then
        assert.is_true(one.started - one.nominal < 0.9, tostring(one.started - one.nominal))
      end
    end
    local text = succeeds("log", tostring(runs[#runs].id))
    assert.matches("Z hello\t1\tAuthorization: %[hidden%]\n", text)
    assert.matches("moontap: done\n$", text)
    assert.equal(text, command.read_file(runs[#runs].log))
    assert.matches("^ok\n", get "/healthz")
    assert.matches('moontap_playbook_runs_total{playbook="tick",result="ok"} [2-9]', get "/metrics")
    succeeds("trigger", "quiet")
    local quiet = command.poll(function()
      local one = list("runs", "--json", "quiet")[1]
      return one and one.state == "ok" and one
    end, 20, "a run that prints nothing")
    assert.is_nil(quiet.log)
    assert.is_nil(lfs.attributes(("%s/state/moontap/logs/%d.log"):format(dir, quiet.id)))
    assert.matches("^%S+Z moontap: run %d+ of quiet, due %S+, attempt 1\n"
      .. "%S+Z moontap: done; it printed nothing\n$", succeeds("log", tostring(quiet.id)))
    assert.equal(0, (process.stop()))
    daemon = nil
    for _, due in ipairs(list("history", "--json")) do
      assert.truthy(due.verdict == "fired" or due.verdict == "skipped")
    end
    -- stopped, everything can still be looked at
    local due = list("history", "--json")[1]
    assert.matches("fired", succeeds("why", "tick", clock.format(due.nominal)))
    assert.matches("none runs now", succeeds("trigger", "tick"))
  end)

  it("is one on a state directory, and may have nothing to do", function()
    await_start(start())
    local status, _, err = command.run({ command.moontap, "cron", "-v", dir .. "/pb" },
      { cwd = dir, env = env })
    assert.equal(8, status)
    assert.matches("another daemon", err)
    assert.matches("^ok\n", get "/healthz")
  end)

  it("loads anew as a whole; a broken file keeps its old version and is visible", function()
    playbook("a", 'print "one"')
    playbook("b", 'print "one"')
    local process = await_start(start())
    playbook("a", 'print "two"')
    write("pb/b.lua", "return {")
    process.signal "HUP"
    await_words(process, "loaded anew")
    assert.matches("b.lua: its version from before goes on", process.stderr(), 1, true)
    assert.matches("b.lua", get "/healthz", 1, true)
    assert.matches("moontap_config_reload_success 0", get "/metrics")
    succeeds("trigger", "a")
    succeeds("trigger", "b")
    local seen = {}
    for _, one in ipairs(await_runs(2, "ok")) do
      seen[one.playbook] = succeeds("log", tostring(one.id)):match "Z (%a+)\n"
    end
    assert.same({ a = "two", b = "one" }, seen)
  end)

  it("tells a service manager that it is ready, lives, loads anew, and stops", function()
    local listen = [[$| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
      bind(S, pack_sockaddr_un($ARGV[0])) or die;
      while (defined recv(S, $text, 4096, 0)) { print "$text\n"; last if $text =~ /STOPPING/ }]]
    local manager = command.start { "perl", "-MSocket", "-e", listen, dir .. "/notify" }
    command.poll(function() return lfs.attributes(dir .. "/notify") end, 20, "the socket")
    local process = await_start(start(nil, { NOTIFY_SOCKET = dir .. "/notify",
      WATCHDOG_USEC = "2000000" }))
    command.poll(function()
      return select(2, manager.stdout():gsub("WATCHDOG=1", "")) >= 2
    end, 20, "its heart")
    assert.matches("READY=1\nMAINPID=" .. process.pid, manager.stdout(), 1, true)
    process.signal "HUP"
    command.poll(function()
      return manager.stdout():find "RELOADING=1\n.*READY=1\n"
    end, 20, "its reload")
    assert.equal(0, (process.stop()))
    daemon = nil
    local status, out = manager.wait()
    assert.equal(0, status)
    assert.matches("STOPPING=1", out)
  end)

  it("loads anew when a file changes, with --watch", function()
    local process = await_start(start { "--watch" })
    playbook("new", 'print "here"')
    await_words(process, "loaded anew: 1")
  end)

  it("answers while it loads, and stops then when it is told to", function()
    for i = 1, 300 do
      write(("pb/slow%d.lua"):format(i), "moontap.sleep(1.5) return {}")
    end
    local process = start()
    command.poll(function() return command.read_file(dir .. "/listen") end, 30, "the server")
    assert.matches("^it loads its playbooks\n", get "/healthz")
    assert.matches("moontap_playbooks 0\n", get "/metrics")
    process.signal "HUP"
    local status, _, err = process.stop()
    daemon = nil
    assert.equal(0, status, err)
    assert.matches("stopping", err)
    assert.is_nil(err:find("times are UTC", 1, true))
    playbook("more", "print 'here'")
    command.run { "sh", "-c", "rm " .. dir .. "/pb/slow*" }
    await_start(start())
    for i = 1, 300 do
      write(("pb/slow%d.lua"):format(i), "moontap.sleep(1.5) return {}")
    end
    daemon.signal "HUP"
    succeeds("trigger", "more")
    await_runs(1, "ok") -- meanwhile
    assert.is_nil(daemon.stderr():find("loaded anew", 1, true))
    assert.equal(0, (daemon.stop()))
    daemon = nil
  end)

  it("waits for runs when it is told to stop, and not when it is told twice", function()
    playbook("slow", "moontap.sleep(1.5)")
    playbook("stuck", "moontap.sleep(600)")
    local process = await_start(start())
    succeeds("trigger", "slow")
    await_open_run()
    assert.equal(0, (process.stop()))
    assert.equal("ok", list("runs", "--json")[1].state)
    process = await_start(start())
    succeeds("trigger", "stuck")
    await_open_run()
    process.signal "TERM"
    await_words(process, "stopping; 1 run")
    process.signal "TERM"
    assert.equal(4, (process.wait()))
    daemon = nil
  end)

  it("pauses, resumes, and says who and why", function()
    playbook("tick", "", nil, "* * * * * *")
    await_start(start())
    await_runs(1)
    succeeds("pause", "tick", "--note", "until Monday")
    command.poll(function()
      return list("history", "--json")[1].reason == "paused: until Monday"
    end, 20, "a skip")
    succeeds("resume", "tick", "--note", "Monday")
    command.poll(function()
      return list("history", "--json")[1].verdict == "fired"
    end, 20, "a fire")
    local status, _, err = run("pause", "tik")
    assert.equal(2, status)
    assert.matches("did you mean 'tick'?", err, 1, true)
    local out = succeeds("history", "--events")
    assert.matches("paused +tick +by %S+: until Monday", out)
  end)

  it("pauses a playbook that the API forbids something", function()
    start_simulator("--fault", "create:error_json,status=403")
    playbook("no", CREATE)
    await_start(start())
    succeeds("trigger", "no")
    local one = await_runs(1)[1]
    assert.equal("failed", one.state, succeeds("log", tostring(one.id)))
    command.poll(function()
      return succeeds("history", "--events"):find("403", 1, true)
    end, 20, "the pause")
  end)

  it("pauses a playbook whose token the API refuses, and says so", function()
    start_simulator()
    env.CLOUDFLARE_API_TOKEN = ("0"):rep(40)
    playbook("no", CREATE)
    local process = start()
    await_start(process)
    succeeds("trigger", "no")
    assert.equal("failed", await_runs(1)[1].state)
    command.poll(function()
      return succeeds("history", "--events"):find("paused +no +[^\n]*403")
    end, 20, "the pause")
    assert.matches("no is paused, because the API refused it", process.stderr(), 1, true)
  end)

  it("denies what is not granted, and says which rule and whose", function()
    start_simulator()
    playbook("wide", [[
      local _, err = pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
        filter_v1 = { destination_address = "198.51.100.1" } }
      print("one", err.kind, err.message)
      _, err = pcaps.create { type = "simple", time_limit = 60, packet_limit = 20 }
      print("two", err.kind, err.message)
      _, err = pcaps.list()
      print("three", err.kind, err.message)]],
      'grants = { pcaps = { verbs = { "create" }, destinations = { "203.0.113.0/24" } } },')
    write("policy.lua", 'return { ["*"] = { pcaps = { types = { "simple" } } } }')
    await_start(start { "--policy", dir .. "/policy.lua" })
    succeeds("trigger", "wide")
    local one = await_runs(1)[1]
    local text = succeeds("log", tostring(one.id))
    assert.matches("one\tdenied\t.*playbook's grants: pcaps.destinations", text)
    assert.matches("two\tdenied\t.*a filter only", text)
    assert.matches("three\tdenied\t.*pcaps.verbs", text)
    assert.equal(0, #json.decode(succeeds("captures", "--json")))
  end)
end)

describe("a daemon that is killed", function()
  local POINTS <const> = { "due.deciding", "due.claimed", "run.claimed", "run.started", "sending",
    "answered", "settled", "run.performed", "run.ending", "run.ended" }

  for _, on_lost in ipairs { "skip", "retry" } do
    it("at any point starts nothing twice and loses no capture, on_lost = " .. on_lost, function()
      start_simulator()
      playbook("tick", CREATE, ('on_lost = "%s", catchup = "all",'):format(on_lost),
        "*/2 * * * * *")
      for _, point in ipairs(POINTS) do
        local process = start(nil, { MOONTAP_KILL_AT = point })
        assert.equal(137, (process.wait(60)), point)
        daemon = nil
      end
      local process = await_start(start())
      await_runs(3, "ok")
      assert.equal(0, (process.stop()))
      daemon = nil
      local seen, runs = {}, {}
      for _, due in ipairs(list("history", "--json", "--limit", "1000")) do
        assert.is_nil(seen[due.nominal])
        seen[due.nominal] = true
        assert.truthy(due.verdict)
      end
      for _, one in ipairs(list("runs", "--json", "--limit", "1000")) do
        local of = runs[one.due] or { ok = 0, n = 0 }
        runs[one.due] = of
        of[one.state] = (of[one.state] or 0) + 1
        of.n = of.n + 1
        assert.truthy(one.ended)
      end
      for _, of in pairs(runs) do
        assert.is_true(of.ok <= 1)
        assert.is_true(of.n == 1 or on_lost == "retry")
      end
      -- what the simulator has is what the journal knows
      local caps = json.decode(succeeds("captures", "--json")) -- settles what is open
      local function count(sql)
        local _, out = command.run { "sqlite3", dir .. "/state/moontap/state.db", sql }
        return tonumber(out)
      end
      for _, cap in ipairs(caps) do
        if cap.listed then assert.is_true(cap.ours, cap.id .. " is not in the journal") end
      end
      assert.equal(0, count "SELECT count(*) FROM intents WHERE settled IS NULL")
      assert.equal("0\n", select(2, command.run { "sqlite3", dir .. "/state/moontap/state.db",
        "SELECT count(*) FROM mutexes" }))
    end)
  end

  it("leaves no full capture running: the next one stops it at its start", function()
    start_simulator()
    write("policy.lua", [[return { ["*"] = { pcaps = { types = { "full" }, colos = { "ams01" },
      max_byte_limit = 1000000, per_day = 5 }, buckets = { "captures" } } }]])
    playbook("full", [[
      local cap = assert(pcaps.create { type = "full", colo_name = "ams01", time_limit = 30000,
        byte_limit = 1000000, destination_conf = "s3://captures/x?region=a",
        filter_v1 = { destination_port = 53 } })
      print "opened"
      moontap.sleep(600)]])
    succeeds("run", "-e", [[
      local bucket = "s3://captures/x?region=a"
      local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
      local f = assert(io.open("bucket/s3/captures/x/" .. ownership.filename))
      assert(pcaps.ownership.validate { destination_conf = bucket,
        ownership_challenge = f:read "a" })]])
    local process = await_start(start { "--policy", dir .. "/policy.lua" })
    succeeds("trigger", "full")
    await_open_run()
    command.poll(function()
      return select(2, run("log", "1")):find("opened", 1, true)
    end, 20, "a capture")
    process.signal "KILL"
    process.wait()
    daemon = nil
    process = await_start(start { "--policy", dir .. "/policy.lua" })
    await_words(process, "stopped capture")
  end)

  it("takes its runs' processes along", function()
    playbook("stuck", 'print "here" while true do end')
    local process = await_start(start())
    succeeds("trigger", "stuck")
    await_open_run()
    local children = command.poll(function()
      local text = command.read_file(("/proc/%d/task/%d/children"):format(process.pid, process.pid))
      return text and text:find "%d+ %d+" and text -- what runs branch off, and the run
    end, 20, "a child")
    process.signal "KILL"
    process.wait()
    daemon = nil
    for child in children:gmatch "%d+" do
      command.poll(function() return not lfs.attributes("/proc/" .. child) end, 20, "its end")
    end
    daemon = await_start(start())
    assert.equal("lost", list("runs", "--json")[1].state)
    assert.equal("lost", list("history", "--json")[1].verdict)
  end)
end)

describe("a night in which the clock jumps", function()
  -- The calendar is moved and nothing else: libfaketime also moves timers of the boot clock, which
  -- then never come.
  local SHIFT <const> = [[
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int bad = (int)syscall(SYS_clock_gettime, id, ts);
    const char *by = getenv("SHIFTED_BY");
    if (bad == 0 && id == CLOCK_REALTIME && by != NULL) ts->tv_sec += atol(by);
    return bad;
}
]]

  -- Lets the daemon live from that moment on for so many seconds.
  local function live_from(moment, seconds)
    local by = assert(clock.parse((moment:gsub(" ", "T") .. "Z"))) - clock.now()
    local process = await_start(start(nil, { LD_PRELOAD = dir .. "/shift.so",
      SHIFTED_BY = ("%d"):format(by // 1),
      ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0" }))
    moontap.sleep(seconds)
    assert.equal(0, (process.stop()))
    daemon = nil
  end

  local function fired(name)
    local times = {}
    for _, due in ipairs(list("history", "--json", name)) do
      if due.verdict == "fired" then table.insert(times, 1, clock.format(due.nominal)) end
    end
    return times
  end

  before_each(function()
    write("shift.c", SHIFT)
    assert.equal(0, (command.run { "cc", "-shared", "-fPIC", "-O1", "-o", dir .. "/shift.so",
      dir .. "/shift.c" }))
    playbook("fixed", "", 'tz = "Europe/Berlin",', "30 2 * * *")
    playbook("star", "", 'tz = "Europe/Berlin",', "*/30 * * * *")
  end)

  it("fires once what was due in the hour that is left out", function()
    live_from("2026-03-29 00:59:57", 6)
    assert.same({ "2026-03-29T01:00:00Z" }, fired "fixed")
    assert.same({ "2026-03-29T01:00:00Z" }, fired "star")
    live_from("2026-03-29 01:29:57", 6)
    assert.same({ "2026-03-29T01:00:00Z" }, fired "fixed")
    assert.same({ "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z" }, fired "star")
  end)

  it("fires once what comes twice, and each time what has a star", function()
    live_from("2026-10-25 00:29:57", 6)
    live_from("2026-10-25 01:29:57", 6)
    assert.same({ "2026-10-25T00:30:00Z" }, fired "fixed")
    assert.same({ "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z" },
      fired "star")
  end)
end)

describe("the playbooks that ship", function()
  local BUCKET <const> = [[
local bucket = "s3://captures/nightly?region=eu-central-1"
local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
local f = assert(io.open("bucket/s3/captures/nightly/" .. ownership.filename))
assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = f:read "a" })]]

  it("mean something, without a warning of check but for full captures", function()
    local facts = json.decode(succeeds("check", "--json", root .. "/scripts/playbooks"))
    assert.equal(4, #facts)
    for _, one in ipairs(facts) do
      assert.is_true(one.ok)
      assert.equal(one.name == "full-at-night" and 1 or 0, #one.warnings)
      assert.equal(5, #one.next)
    end
  end)

  it("do what they say", function()
    start_simulator()
    write("policy.lua", [[return { ["full-*"] = { pcaps = { types = { "full" },
      colos = { "ams01", "fra06" }, max_time_limit = 300, max_byte_limit = 500000000, per_day = 1 },
      buckets = { "captures" } },
      ["nightly-*"] = {}, ["hourly-*"] = {}, ["ownership-*"] = {} }]])
    succeeds("run", "-e", BUCKET)
    local _, _, err = run("check", root .. "/scripts/playbooks", "--policy", dir .. "/policy.lua")
    assert.equal("", err)
    command.run { "cp", "-r", root .. "/scripts/playbooks/.", dir .. "/pb" }
    await_start(start { "--policy", dir .. "/policy.lua" })
    local names = { "nightly-baseline", "ownership-audit", "hourly-spot-check", "full-at-night" }
    for _, name in ipairs(names) do succeeds("trigger", name) end
    for _, one in ipairs(await_runs(4)) do
      assert.equal("ok", one.state, ("%s: %s"):format(one.playbook, one.error))
    end
    succeeds("trigger", "full-at-night")
    local one = await_runs(5)[1]
    assert.equal("denied", one.error_kind)
    assert.matches("per_day: 1 were opened today", one.error)
  end)
end)

describe("schedule", function()
  it("lists due times with their zone, and who waits for the same slot", function()
    playbook("a", "", 'tz = "Europe/Berlin",', "30 2 * * *")
    playbook("b", "", nil, "30 1 * * *")
    local rows = json.decode(succeeds("schedule", "--json", "--from", "2026-10-24", "--to",
      "2026-10-27", dir .. "/pb"))
    local lines = {}
    for i, row in ipairs(rows) do
      lines[i] = ("%s %s %s %s"):format(row.nominal, row.playbook, row.zone,
        table.concat(row.contends, "+"))
    end
    assert.same({
      "2026-10-24T00:30:00Z a Europe/Berlin ", "2026-10-24T01:30:00Z b UTC ",
      "2026-10-25T00:30:00Z a Europe/Berlin ", "2026-10-25T01:30:00Z b UTC ",
      "2026-10-26T01:30:00Z a Europe/Berlin b", "2026-10-26T01:30:00Z b UTC a",
    }, lines)
  end)

  it("and check tell CI of a file that cannot be used", function()
    write("pb/bad.lua", "return { api = 1, on = { alert = 'x' }, run = 1 }")
    local status, out = run("check", dir .. "/pb")
    assert.equal(1, status)
    assert.matches("error     on.alert: this version has no such trigger", out)
    assert.equal(1, (run("schedule", dir .. "/pb")))
  end)
end)
