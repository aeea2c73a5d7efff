-- outside
-- `moontap capture`: from the filter to the file. What it writes is read with tcpdump.

local clock = require "moontap.clock"
local command = require "support.command"
local hands = require "support.hands"
local json = require "moontap.json"
local pty = require "support.pty"
local sys = require "moontap.native.sys"

local SPEED <const> = hands.SPEED

local place

before_each(function() place = hands.new() end)
after_each(function() place:close() end)

local with_filter = hands.with_filter

describe("capture", function()
  it("prints id, file, size and the number of records", function()
    local status, out, err = place:sim("capture", with_filter())
    assert.equal(0, status, err)
    assert.equal("", err)
    local id, file, size, packets = out:match("^id +(%x+)\n.*\nfile +(%S+)\nsize +(%d+) bytes\n"
      .. "packets +(%d+)\n$")
    assert.equal("sim-20251231T235500Z-203.0.113.10-udp-dport53-" .. id:sub(1, 8) .. ".pcap", file)
    assert.equal(tonumber(size), sys.stat(place.dir .. "/" .. file).size)
    assert.equal(tonumber(packets), place:records(file))
    assert.equal(tonumber("600", 8), place:mode(file))
    assert.matches("\nwindow +2025%-12%-31T23:55:00Z to 2026%-01%-01T00:00:00Z\n", out)
    -- the same again: nothing is overwritten
    out = select(2, place:sim("capture", with_filter "--json"))
    assert.equal((file:gsub("%.pcap$", "-2.pcap")), json.decode(out).file)
    assert.equal(2, #sys.list(place.dir))
    assert.equal("", select(2, place:sim("capture", with_filter "-q")))
  end)

  it("prints one object with --json", function()
    local cap = json.decode((select(2, place:sim("capture", with_filter("--json", "--case", "INC-7",
      "--limit", "10", "--out", "a/b")))))
    assert.same({ 10, true, false, "INC-7", "success" }, { cap.packets, cap.limit_reached,
      cap.empty, cap.case, cap.status })
    assert.matches("^a/b/sim%-", cap.file)
    assert.equal(10, place:records(cap.file))
    assert.equal(tonumber("700", 8), place:mode "a/b")
    assert.is_string(cap.ray)
    assert.equal(cap.bytes, sys.stat(place.dir .. "/" .. cap.file).size)
  end)

  it("leaves with status 7 when no packet matched", function()
    local status, out, err = place:sim("capture", "--dst", "203.0.113.77", "--proto", "tcp",
      "--dport", "9")
    assert.equal(7, status)
    assert.matches("\npackets +0\n$", out)
    assert.equal("moontap: no packet matched\n", err)
    assert.equal(0, place:records(out:match "file +(%S+)"))
    assert.same({ 7, "", "" },
      { place:sim("capture", "-q", "--dst", "203.0.113.77", "--dport", "9") })
  end)

  it("looks at the window that is asked for", function()
    for _, case in ipairs {
      { { "--last", "90s" }, 90, "2026-01-01T00:00:00Z" },
      { { "--from", "-10m", "--to", "-6m" }, 240, "2025-12-31T23:54:00Z" },
      { { "--from=-1m" }, 60, "2026-01-01T00:00:00Z" },
      { { "--from", "23:50", "--to", "23:51:30" }, 90, "2025-12-31T23:51:30Z" },
      { { "--from", "2025-12-31T13:00:00+01:00", "--to", "2025-12-31T12:05:00Z" }, 300,
        "2025-12-31T12:05:00Z" },
    } do
      local out = select(2, place:sim("capture", with_filter("--json", "--limit", "5",
        table.unpack(case[1]))))
      local cap = json.decode(out)
      assert.equal(case[2], cap.time_limit)
      assert.equal(clock.parse(case[3]), clock.parse(cap.offset_time))
      assert.equal(case[3], cap.to)
    end
  end)

  it("refuses what it cannot do, in one line", function()
    for _, case in ipairs {
      { "no filter: give one", 2 },
      { "%-%-everything goes with no filter", 2, "--everything", "--dport", "5" },
      { "%-%-dst: IPv6", 2, "--dst", "2001:db8::1" },
      { "%-%-dst: expected one address", 2, "--dst", "192.0.2.0/24" },
      { "%-%-limit: .*%-%-dport: expected integer 0..65535", 2, "--dport", "99999", "--limit",
        "0" },
      { "%-%-proto: unknown protocol", 2, "--proto", "bogus" },
      { "`moontap sweep`", 2, "--dport", "5", "--last", "301s" },
      { "the API looks back 24 hours", 1, "--dport", "5", "--from", "-25h", "--to", "-24h59m" },
      { "lies in the future", 2, "--dport", "5", "--from", "-1m", "--to", "2026-01-01T00:05:00Z" },
      { "before it begins", 2, "--dport", "5", "--from", "-1m", "--to", "-2m" },
      { "no date%-time", 2, "--dport", "5", "--from", "2026-01-01T00:00:61" },
      { "expected a time", 2, "--dport", "5", "--from", "25:00" },
      { "%-%-to needs %-%-from", 2, "--dport", "5", "--to", "-1m" },
      { "give %-%-last, or", 2, "--dport", "5", "--to", "-1m", "--last", "1m" },
      { "%-%-colo needs %-%-full", 2, "--dport", "5", "--colo", "ams01" },
      { "of no use with %-%-full", 2, "--dport", "5", "--full", "--last", "1m" },
      { "needs %-%-colo", 2, "--dport", "5", "--full" },
      { "%-%-case: expected", 2, "--dport", "5", "--case", "" },
      { "%-%-case: expected text without control", 2, "--dport", "5", "--case", "ü\27[31m" },
      { "%-%-why: expected text without control", 2, "--dport", "5", "--why", "a\u{9b}31m" },
      { "%-%-why: expected UTF%-8", 2, "--dport", "5", "--why", "a\xff" },
      { "%-%-why: expected 1 to 1000", 2, "--dport", "5", "--why", ("x"):rep(1001) },
      { "%-%-out names no", 2, "--dport", "5", "--out", "" },
    } do
      local status, out, err = place:sim("capture", table.unpack(case, 3))
      assert.equal(case[2], status, err)
      assert.equal("", out)
      assert.matches("^moontap: [^\n]*" .. case[1] .. "[^\n]*\n$", err)
    end
    assert.same({}, sys.list(place.dir))
  end)

  it("takes everything, and IPv6, when it is told to", function()
    local cap = json.decode((select(2, place:sim("capture", "--everything", "--limit", "20",
      "--json"))))
    assert.same({ 20, true }, { cap.packets, cap.limit_reached })
    assert.matches("^sim%-20251231T235500Z%-%x+%.pcap$", cap.file)
    cap = json.decode((select(2, place:sim("capture", "--dst", "2001:db8::1", "--ipv6", "--json"))))
    assert.equal("2001:db8::1", cap.filter_v1.destination_address)
    assert.matches("2001_db8__1", cap.file, 1, true)
  end)

  it("goes below the state directory, and waits for the slot", function()
    place:start_simulator()
    local files = {}
    for i = 1, 2 do
      local cap = json.decode(place:succeeds("capture", "--speed", SPEED, "--json", with_filter()))
      files[i] = cap.file
      assert.equal(("%s/state/moontap/captures/%s/%s.pcap"):format(place.dir,
        place.env.CLOUDFLARE_ACCOUNT_ID, cap.id), cap.file)
    end
    assert.not_equal(files[1], files[2])
  end)

  it("leaves with status 5 when the slot does not come in time", function()
    place:start_simulator "1"
    place:succeeds("capture", with_filter "-q")
    local status, out, err = place:run("capture", with_filter("--deadline", "10ms"))
    assert.same({ 5, "" }, { status, out })
    assert.matches("no slot for this simple capture", err)
  end)

  it("keeps case and reason, whatever is in them", function()
    for i, case in ipairs { "../x", "a b", "-rf", "x'; drop table intents; --", "ü😀" } do
      place:succeeds("capture", "--sim", "--virtual-time", "--state", "st", "--seed", tostring(i),
        "--case=" .. case, "--why=" .. case, with_filter("--limit", "1"))
      assert.equal(case .. "|" .. case .. "\n",
        place:query "SELECT case_id, why FROM intents ORDER BY id DESC LIMIT 1")
    end
    place:succeeds("run", "--sim", "--virtual-time", "--state", "st", "-e", [[assert(pcaps.create({
      type = "simple", time_limit = 60, packet_limit = 5 }, 
      { case = "a\0\27[2J\xff", why = "b\n" }))]])
    assert.equal("a??[2J?|b?\n",
      place:query "SELECT case_id, why FROM intents ORDER BY id DESC LIMIT 1")
  end)
end)

describe("a create that is not answered", function()
  it("leaves with status 6 when it is interrupted, and says where to look", function()
    place:start_simulator "1"
    place:succeeds("sim", "fault", "create:silent")
    local process = command.start({ command.moontap, "capture", "--state", "st",
      with_filter "-q" }, { cwd = place.dir, env = place.env })
    command.poll(function()
      return place:run("captures", "--state", "st", "--json", "--read-only") == 0
        and place:query "SELECT count(*) FROM intents WHERE state = 'sending'" == "1\n"
    end, "the create")
    process.signal "INT"
    local status, out, err = process.wait()
    assert.same({ 6, "" }, { status, out })
    assert.matches("^moontap: interrupted; [^\n]*unknown: `moontap captures`[^\n]*\n$", err)
  end)
end)

describe("a full capture", function()
  local FULL <const> = { "--full", "--colo", "ams01", "--dst", "203.0.113.10" }

  local function full(...)
    local words = table.move(FULL, 1, #FULL, 1, {})
    return table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1, words))
  end

  it("says what it may cost and wants to be told to go on", function()
    local status, out, err = place:sim("capture", full())
    assert.equal(2, status)
    assert.equal("", out)
    assert.matches("no %-%-byte%-limit: of 1 Gbit/s of traffic .* up to 37.5 GB .* in 5m", err)
    err = select(3, place:sim("capture", full("--limit", "1000")))
    assert.matches("up to 65.5 MB", err)
    assert.matches("%-%-yes goes on", err)
    for answer, expected in pairs { ["n\n"] = 1, ["\n"] = 1, ["y\n"] = 0 } do
      local terminal = pty.start({ command.moontap, "capture", "--sim", "--virtual-time",
        full("--time-limit", "1m") }, { cwd = place.dir })
      terminal.expect "writes up to 7.5 GB"
      terminal.expect "Go on%? %[y/N%] "
      terminal.type(answer)
      assert.equal(expected, (terminal.finish()))
    end
  end)

  it("says where its files lie", function()
    local status, out, err = place:sim("capture", full("--byte-limit", "100M",
      "--sim-bucket", "bk"))
    assert.equal(0, status, err)
    local id = out:match "^id +(%x+)\n"
    assert.is_truthy(out:find("in s3://moontap-sim/full, their names hold " .. id, 1, true), out)
    local path = out:match "\n +(bk/%S+)"
    assert.is_true(place:records(path) > 0)
    local cap = json.decode((select(2, place:sim("capture", full("--yes", "--json",
      "--sim-bucket", "bk", "--time-limit", "10s", "--bucket", "s3://mine/x?region=eu")))))
    assert.same({ "s3://mine/x", false, 10 }, { cap.bucket, cap.empty, cap.time_limit })
    assert.matches("^bk/s3/mine/x/pcap_" .. cap.id, cap.files[1])
    assert.matches("%-%-sim%-bucket", select(2, place:sim("capture", full "--yes")))
  end)

  it("of nothing leaves with status 7", function()
    local status, _, err = place:sim("capture", "--full", "--colo", "ams01", "--dst",
      "203.0.113.77", "--dport", "9", "--proto", "tcp", "--byte-limit", "1M", "--time-limit", "5s")
    assert.equal(7, status, err)
    assert.equal("moontap: no packet matched\n", err)
  end)

  local BUCKET <const> = "s3://captures/x?region=us-east-1"

  local function claim()
    place:succeeds("run", "--speed", SPEED, "-e", ([[
      local ownership = assert(pcaps.ownership.create { destination_conf = %q })
      local file = assert(io.open("bucket/s3/captures/x/" .. ownership.filename))
      assert(pcaps.ownership.validate { destination_conf = %q,
        ownership_challenge = file:read "a" })]]):format(BUCKET, BUCKET))
  end

  local function requested(id)
    return json.decode(place:succeeds("get", id, "--json")).stop_requested
  end

  it("is stopped by Ctrl-C, which is said, and goes on when it is detached", function()
    place:start_simulator()
    claim()
    local process = command.start({ command.moontap, "capture", "--speed", SPEED, "--bucket",
      BUCKET, "--yes", "--time-limit", "8h", full() }, { cwd = place.dir, env = place.env })
    local id = command.poll(function()
      return select(2, place:run("captures", "--json")):match '"id": "(%x+)"'
    end, "the capture")
    process.signal "INT"
    local status, _, err = process.wait()
    assert.equal(4, status)
    assert.matches("stopped capture " .. id, err, 1, true)
    assert.is_string(requested(id))
    local cap = json.decode(place:succeeds("capture", "--speed", SPEED, "--bucket", BUCKET, "--yes",
      "--time-limit", "8h", "--detach", "--json", full()))
    assert.is_nil(requested(cap.id))
    assert.not_matches("us-east", json.encode(cap), 1, true)
    place:succeeds("stop", cap.id)
    assert.matches("needs %-%-bucket", select(3, place:run("capture", full "--yes")))
  end)
end)
