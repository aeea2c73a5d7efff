-- outside
-- The daemon as a user has it: its life, and the commands beside it.

local clock = require "moontap.clock"
local command = require "support.command"
local daemons = require "support.daemon"
local json = require "moontap.json"
local lfs = require "lfs"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local CREATE <const> = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } })
print("capture", cap.id)]]

local TIME <const> = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.?%d*Z$"

describe("what programs and people are told of runs", function()
  it("has its times as RFC 3339, or in the zone that was asked for", function()
    place:playbook("one", 'print "hello"')
    place:start()
    local id = tostring(place:once("one").id)
    local due = json.decode(place:succeeds("history", "--json"))[1]
    local run = json.decode(place:succeeds("runs", "--json"))[1]
    local logged = json.decode(place:succeeds("log", "--json", id))
    local why = json.decode(place:succeeds("why", "--json", "one", due.nominal))
    local event = json.decode(place:succeeds("history", "--events", "--json"))[1]
    for _, at in ipairs { due.nominal, due.planned, due.decided, run.nominal, run.started,
                          run.ended, logged.started, why.nominal, why.runs[1].ended, event.at } do
      assert.matches(TIME, at)
    end
    assert.matches("^%d%d%d%d[^ ]+%+05:30 [^\n]*\n[^ ]+%+05:30 hello\n",
      place:succeeds("log", "--tz", "Asia/Kolkata", id))
  end)
end)

describe("the daemon", function()
  it("fires by the clock, logs, and ends in order", function()
    place:playbook("tick", 'print("hello", ctx.run_id, "Authorization: Bearer abcdef")', nil,
      "* * * * * *")
    place:playbook("quiet", "")
    place:start()
    local runs = place:await_runs(nil, 2, "ok")
    for _, one in ipairs(runs) do
      if one.started then assert.is_true(one.started >= one.nominal) end
    end
    local text = place:log(runs[1])
    assert.matches("Z hello\t1\tAuthorization: %[hidden%]\n", text)
    assert.matches("moontap: done\n$", text)
    assert.equal(text, command.read_file(runs[1].log))
    assert.matches("^ok\n", place:get "/healthz")
    assert.matches('moontap_playbook_runs_total{playbook="tick",result="ok"} [2-9]',
      place:get "/metrics")
    local quiet, words = place:once "quiet"
    assert.is_nil(quiet.log)
    assert.is_nil(lfs.attributes(("%s/state/moontap/logs/%d.log"):format(place.dir, quiet.id)))
    assert.matches("^%S+Z moontap: run %d+ of quiet, due %S+, attempt 1\n"
      .. "%S+Z moontap: done; it printed nothing\n$", words)
    place:stop()
    -- stopped, everything can still be looked at
    local fired
    for _, due in ipairs(place:history "tick") do
      assert.truthy(due.verdict)
      if due.verdict == "fired" then fired = due.nominal end
    end
    assert.matches("fired", place:succeeds("why", "tick", clock.format(fired)))
    assert.matches("none runs now", place:succeeds("trigger", "tick"))
  end)

  it("is one on a state directory, and may have nothing to do", function()
    place:start()
    local status, _, err = command.run({ command.moontap, "cron", "-v", place.dir .. "/pb" },
      { cwd = place.dir, env = place.env })
    assert.equal(8, status)
    assert.matches("another daemon", err)
    assert.matches("^ok\n", place:get "/healthz")
  end)

  it("loads anew as a whole; a broken file keeps its old version and is visible", function()
    place:playbook("a", 'print "one"')
    place:playbook("b", 'print "one"')
    local process = place:start()
    place:playbook("a", 'print "two"')
    place:write("pb/b.lua", "return {")
    process.signal "HUP"
    place:await_words("loaded anew")
    assert.matches("b.lua: its version from before goes on", process.stderr(), 1, true)
    assert.matches("b.lua", place:get "/healthz", 1, true)
    assert.matches("moontap_config_reload_success 0", place:get "/metrics")
    place:succeeds("trigger", "a")
    place:succeeds("trigger", "b")
    local seen = {}
    for _, one in ipairs(place:await_runs(nil, 2, "ok")) do
      seen[one.playbook] = place:log(one):match "Z (%a+)\n"
    end
    assert.same({ a = "two", b = "one" }, seen)
  end)

  it("tells a service manager that it is ready, lives, loads anew, and stops", function()
    local listen = [[$| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die;
      bind(S, pack_sockaddr_un($ARGV[0])) or die;
      while (defined recv(S, $text, 4096, 0)) { print "$text\n"; last if $text =~ /STOPPING/ }]]
    local manager = command.start { "perl", "-MSocket", "-e", listen, place.dir .. "/notify" }
    command.poll(function() return lfs.attributes(place.dir .. "/notify") end, "the socket")
    local process = place:start { env = { NOTIFY_SOCKET = place.dir .. "/notify",
      WATCHDOG_USEC = "2000000" } }
    command.poll(function()
      return select(2, manager.stdout():gsub("WATCHDOG=1", "")) >= 2
    end, "its heart")
    assert.matches("READY=1\nMAINPID=" .. process.pid, manager.stdout(), 1, true)
    process.signal "HUP"
    command.poll(function()
      return manager.stdout():find "RELOADING=1\n.*READY=1\n"
    end, "its reload")
    place:stop()
    local status, out = manager.wait()
    assert.equal(0, status)
    assert.matches("STOPPING=1", out)
  end)

  it("loads anew when a file changes, with --watch", function()
    place:start { args = { "--watch" } }
    place:playbook("new", 'print "here"')
    place:await_words("loaded anew: 1")
  end)

  it("answers while it loads, and stops then when it is told to", function()
    for i = 1, 300 do
      place:write(("pb/slow%d.lua"):format(i), "moontap.sleep(3) return {}")
    end
    local process = place:start { no_wait = true }
    command.poll(function() return command.read_file(place.dir .. "/listen") end, "the server")
    assert.matches("^it loads its playbooks\n", place:get "/healthz")
    assert.matches("moontap_playbooks 0\n", place:get "/metrics")
    process.signal "HUP"
    local status, _, err = process.stop()
    place.daemon = nil
    assert.equal(0, status, err)
    assert.matches("stopping", err)
    assert.is_nil(err:find("times are UTC", 1, true))
    place:playbook("more", "print 'here'")
    command.run { "sh", "-c", "rm " .. place.dir .. "/pb/slow*" }
    place:start()
    for i = 1, 300 do
      place:write(("pb/slow%d.lua"):format(i), "moontap.sleep(3) return {}")
    end
    place.daemon.signal "HUP"
    place:succeeds("trigger", "more")
    place:await_runs(nil, 1, "ok") -- meanwhile
    assert.is_nil(place.daemon.stderr():find("loaded anew", 1, true))
    place:stop()
  end)

  it("waits for runs when it is told to stop, and not when it is told twice", function()
    place:playbook("slow", "moontap.sleep(3)")
    place:playbook("stuck", "moontap.sleep(600)")
    place:start()
    place:succeeds("trigger", "slow")
    place:await("its run", function() return #place:runs "slow" > 0 end)
    place:stop()
    assert.equal("ok", place:runs "slow"[1].state)
    local process = place:start()
    place:succeeds("trigger", "stuck")
    place:await_open_run()
    process.signal "TERM"
    place:await_words("stopping; 1 run")
    process.signal "TERM"
    assert.equal(4, (process.wait()))
    place.daemon = nil
  end)

  it("pauses, resumes, and says who and why", function()
    place:playbook("tick", "", nil, "* * * * * *")
    place:start()
    place:await_runs(nil, 1)
    place:succeeds("pause", "tick", "--note", "until Monday")
    command.poll(function()
      return place:list("history", "--json")[1].reason == "paused: until Monday"
    end, "a skip")
    place:succeeds("resume", "tick", "--note", "Monday")
    command.poll(function()
      return place:list("history", "--json")[1].verdict == "fired"
    end, "a fire")
    local status, _, err = place:run("pause", "tik")
    assert.equal(2, status)
    assert.matches("did you mean 'tick'?", err, 1, true)
    local out = place:succeeds("history", "--events")
    assert.matches("paused +tick +by %S+: until Monday", out)
  end)

  it("pauses a playbook that the API forbids something", function()
    place:simulate("--fault", "create:error_json,status=403")
    place:playbook("no", CREATE)
    place:start()
    place:succeeds("trigger", "no")
    local one = place:await_runs(nil, 1)[1]
    assert.equal("failed", one.state, place:log(one))
    command.poll(function()
      return place:succeeds("history", "--events"):find("403", 1, true)
    end, "the pause")
  end)

  it("pauses a playbook whose token the API refuses, and says so", function()
    place:simulate()
    place.env.CLOUDFLARE_API_TOKEN = ("0"):rep(40)
    place:playbook("no", CREATE)
    local process = place:start()
    place:succeeds("trigger", "no")
    assert.equal("failed", place:await_runs(nil, 1)[1].state)
    command.poll(function()
      return place:succeeds("history", "--events"):find("paused +no +by the daemon: 403")
    end, "the pause")
    assert.matches("no is paused, because the API refused it", process.stderr(), 1, true)
  end)

  it("denies what is not granted, and says which rule and whose", function()
    place:simulate()
    place:playbook("wide", [[
      local _, err = pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
        filter_v1 = { destination_address = "198.51.100.1" } }
      print("one", err.kind, err.message)
      _, err = pcaps.create { type = "simple", time_limit = 60, packet_limit = 20 }
      print("two", err.kind, err.message)
      _, err = pcaps.list()
      print("three", err.kind, err.message)]],
      'grants = { pcaps = { verbs = { "create" }, destinations = { "203.0.113.0/24" } } },')
    place:write("policy.lua", 'return { ["*"] = { pcaps = { types = { "simple" } } } }')
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    place:succeeds("trigger", "wide")
    local one = place:await_runs(nil, 1)[1]
    local text = place:log(one)
    assert.matches("one\tdenied\t.*playbook's grants: pcaps.destinations", text)
    assert.matches("two\tdenied\t.*a filter only", text)
    assert.matches("three\tdenied\t.*pcaps.verbs", text)
    assert.equal(0, #json.decode(place:succeeds("captures", "--json")))
  end)
end)
