-- outside
-- Runs of the daemon as a user sees them: what becomes of their effects, their logs, their pings.

local command = require "support.command"
local daemons = require "support.daemon"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local CREATE <const> = [[
pcaps.create { type = "simple", time_limit = 60, packet_limit = 20,
  filter_v1 = { destination_port = 53 } }]]

describe("a run that ends while a create is under way", function()
  it("lets it finish: it is written down as what it became", function()
    place:simulate("--fault", "create:late_answer,seconds=6")
    place:playbook("hasty", CREATE, 'timeout = "4s",')
    place:start()
    local one = place:once "hasty"
    assert.equal("timeout", one.error_kind)
    local events = {}
    for _, row in ipairs(place:list("audit", "show", "--json")) do
      events[#events + 1] = row.event
    end
    assert.same({ "create.wanted", "create.sending", "create.done" }, events)
    place:stop()
  end)

  it("stops a full capture that its run knows nothing of", function()
    place:simulate()
    place:write("policy.lua", ('return { ["*"] = { %s } }'):format(daemons.FULL_GRANTS))
    place:validate_bucket()
    place:succeeds("sim", "fault", "create:late_answer,seconds=1")
    place:playbook("left", ([[local cap, err = moontap.timeout(0.5, pcaps.create, %s)
      print(cap, err.kind)]]):format(daemons.FULL))
    place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    local one, log = place:once "left"
    assert.equal("ok", one.state)
    assert.matches("nil\ttimeout\n", log)
    assert.matches("capture.stopped", place:succeeds("audit", "show"), 1, true)
  end)

  it("ends one that still waits for its slot", function()
    place:simulate("--knob", "simple_interval=60")
    place:playbook("first", CREATE)
    place:playbook("second", CREATE, 'timeout = "5s",')
    place:playbook("third", [[local _, err = pcaps.create({ type = "simple", time_limit = 60,
      packet_limit = 20, filter_v1 = { destination_port = 53 } }, { deadline = "1s" })
      print(err.kind, err.free_at > os.time())]])
    place:start { args = { "--speed", "1" } }
    place:once "first"
    place:once "second"
    assert.matches("abandoned", place:succeeds("audit", "show"))
    local _, log = place:once "third"
    assert.matches("quota\ttrue\n", log)
  end)
end)

describe("a daemon with few descriptors", function()
  it("lets runs wait instead of failing them, and says so", function()
    for i = 1, 30 do
      place:playbook("p" .. i, "moontap.sleep(0.5)", "on_start = true,")
    end
    place:start { prefix = { "bash", "-c", 'ulimit -n 100; exec "$@"', "-" } }
    for _, one in ipairs(place:await_runs(nil, 30)) do assert.equal("ok", one.state) end
    assert.matches("100 descriptors %(ulimit %-n%) are enough for %d runs at a time, not for 64",
      place:stop())
  end)
end)

-- Takes HTTP requests one after the other, each after so many seconds; prints their first lines.
local PEER <const> = [[$| = 1; $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1");
  print $s->sockport, "\n";
  while ($c = $s->accept) { select undef, undef, undef, $ARGV[0]; print scalar <$c>;
    print $c "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"; close $c }]]

describe("the ping of a run", function()
  local peer

  after_each(function() peer.signal "KILL" peer.wait() end)

  it("has one beside it that says that schedules are kept", function()
    peer = command.start { "perl", "-MIO::Socket::INET", "-e", PEER, "0" }
    local port = command.poll(function() return peer.stdout():match "^(%d+)\n" end)
    place:start { args = { "--heartbeat", ("http://127.0.0.1:%s/beat"):format(port) } }
    command.poll(function() return peer.stdout():find("POST /beat HTTP/1.1", 1, true) end)
    local status, _, err = place:run("cron", "--heartbeat", "nonsense", place.dir .. "/pb")
    assert.equal(2, status)
    assert.matches("--heartbeat: expected a URL", err, 1, true)
  end)

  it("is sent in order, also when the daemon ends with that run", function()
    peer = command.start { "perl", "-MIO::Socket::INET", "-e", PEER, "0.4" }
    local port = command.poll(function() return peer.stdout():match "^(%d+)\n" end)
    place:playbook("told", "moontap.sleep(0.3)",
      ('ping = "http://127.0.0.1:%s/x/",'):format(port))
    place:start()
    place:succeeds("trigger", "told")
    place:await("its run", function() return #place:runs "told" > 0 end)
    place:stop()
    assert.matches("^%d+\nPOST /x/start%?rid=00000000%-0000%-4000%-8000%-000000000001 HTTP/1.1\r\n"
      .. "POST /x%?rid=00000000%-0000%-4000%-8000%-000000000001 HTTP/1.1\r\n$", peer.stdout())
  end)
end)

describe("~ in a schedule", function()
  it("is shown as the daemon has drawn it, and said to be open before", function()
    place:playbook("drawn", "", nil, "~ ~ * * *")
    local pb = place.dir .. "/pb"
    assert.matches("warning   ~ is not drawn yet", place:succeeds("check", pb))
    local status, before, words = place:run("schedule", "--json", pb)
    assert.equal(0, status)
    assert.matches("drawn: ~ is not drawn yet", words)
    assert.matches('"undrawn": true', before)
    assert.is_nil(command.read_file(place.dir .. "/state/moontap/state.db"))
    place:start()
    local next_at = place:get("/metrics"):match "next_run_timestamp_seconds{[^}]*} (%d+)"
    local out
    status, out, words = place:run("schedule", "--json", pb)
    assert.same({ 0, "" }, { status, words })
    local clock = require "moontap.clock"
    assert.equal(clock.format(tonumber(next_at)), out:match '"nominal": "([^"]+)"')
    assert.is_nil(out:find "undrawn")
    assert.is_nil(place:succeeds("check", pb):find("not drawn", 1, true))
    assert.matches(out:match '"nominal": "([^"]+)"', place:succeeds("check", pb), 1, true)
  end)
end)
