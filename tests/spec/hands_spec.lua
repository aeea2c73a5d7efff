-- The commands for hands: capture, sweep and bundle, against the embedded simulator and one of a
-- process of its own. What they write is read with tcpdump, tar and sha256sum.

local clock = require "moontap.clock"
local command = require "support.command"
local json = require "moontap.json"
local pty = require "support.pty"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local dir, simulator, env

before_each(function() dir = tempdir.new() end)
after_each(function()
  if simulator then simulator.stop() end
  simulator, env = nil, nil
  tempdir.remove(dir)
end)

local function run(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

local function succeeds(...)
  local status, out, err = run(...)
  assert.equal(0, status, err)
  return out, err
end

-- `name` with the embedded simulator under virtual time, which starts at 2026-01-01T00:00:00Z.
local function sim(name, ...)
  return run(name, "--sim", "--virtual-time", ...)
end

local SPEED <const> = "100"

local function start_simulator(speed)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", speed or SPEED }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

-- Records in a file, as tcpdump sees them.
local function records(path)
  local status, out, err = command.run({ "tcpdump", "-n", "-r", path }, { cwd = dir })
  assert.equal(0, status, err)
  return select(2, out:gsub("\n", ""))
end

local function mode(path)
  return sys.lstat(dir .. "/" .. path).mode
end

local DST <const> = { "--dst", "203.0.113.10", "--proto", "udp", "--dport", "53" }

local function with_filter(...)
  local words = table.move(DST, 1, #DST, 1, {})
  return table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1, words))
end

describe("capture", function()
  it("prints id, file, size and the number of records", function()
    local status, out, err = sim("capture", with_filter())
    assert.equal(0, status, err)
    assert.equal("", err)
    local id, file, size, packets = out:match("^id +(%x+)\n.*\nfile +(%S+)\nsize +(%d+) bytes\n"
      .. "packets +(%d+)\n$")
    assert.equal("sim-20251231T235500Z-203.0.113.10-udp-dport53-" .. id:sub(1, 8) .. ".pcap", file)
    assert.equal(tonumber(size), sys.stat(dir .. "/" .. file).size)
    assert.equal(tonumber(packets), records(file))
    assert.equal(tonumber("600", 8), mode(file))
    assert.matches("\nwindow +2025%-12%-31T23:55:00Z to 2026%-01%-01T00:00:00Z\n", out)
    -- the same again: nothing is overwritten
    out = select(2, sim("capture", with_filter "--json"))
    assert.equal((file:gsub("%.pcap$", "-2.pcap")), json.decode(out).file)
    assert.equal(2, #sys.list(dir))
    assert.equal("", select(2, sim("capture", with_filter "-q")))
  end)

  it("prints one object with --json", function()
    local cap = json.decode((select(2, sim("capture", with_filter("--json", "--case", "INC-7",
      "--limit", "10", "--out", "a/b")))))
    assert.same({ 10, true, false, "INC-7", "success" }, { cap.packets, cap.limit_reached,
      cap.empty, cap.case, cap.status })
    assert.matches("^a/b/sim%-", cap.file)
    assert.equal(10, records(cap.file))
    assert.equal(tonumber("700", 8), mode "a/b")
    assert.is_string(cap.ray)
    assert.equal(cap.bytes, sys.stat(dir .. "/" .. cap.file).size)
  end)

  it("leaves with status 7 when no packet matched", function()
    local status, out, err = sim("capture", "--dst", "203.0.113.77", "--proto", "tcp", "--dport",
      "9")
    assert.equal(7, status)
    assert.matches("\npackets +0\n$", out)
    assert.equal("moontap: no packet matched\n", err)
    assert.equal(0, records(out:match "file +(%S+)"))
    assert.same({ 7, "", "" }, { sim("capture", "-q", "--dst", "203.0.113.77", "--dport", "9") })
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
      local out = select(2, sim("capture", with_filter("--json", "--limit", "5",
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
      { "no date%-time with a zone", 2, "--dport", "5", "--from", "2026-01-01T00:00:00" },
      { "expected a time", 2, "--dport", "5", "--from", "25:00" },
      { "%-%-to needs %-%-from", 2, "--dport", "5", "--to", "-1m" },
      { "give %-%-last, or", 2, "--dport", "5", "--to", "-1m", "--last", "1m" },
      { "%-%-colo needs %-%-full", 2, "--dport", "5", "--colo", "ams01" },
      { "of no use with %-%-full", 2, "--dport", "5", "--full", "--last", "1m" },
      { "needs %-%-colo", 2, "--dport", "5", "--full" },
      { "%-%-case: expected", 2, "--dport", "5", "--case", "" },
      { "%-%-out names no", 2, "--dport", "5", "--out", "" },
    } do
      local status, out, err = sim("capture", table.unpack(case, 3))
      assert.equal(case[2], status, err)
      assert.equal("", out)
      assert.matches("^moontap: [^\n]*" .. case[1] .. "[^\n]*\n$", err)
    end
    assert.same({}, sys.list(dir))
  end)

  it("takes everything, and IPv6, when it is told to", function()
    local cap = json.decode((select(2, sim("capture", "--everything", "--limit", "20", "--json"))))
    assert.same({ 20, true }, { cap.packets, cap.limit_reached })
    assert.matches("^sim%-20251231T235500Z%-%x+%.pcap$", cap.file)
    cap = json.decode((select(2, sim("capture", "--dst", "2001:db8::1", "--ipv6", "--json"))))
    assert.equal("2001:db8::1", cap.filter_v1.destination_address)
    assert.matches("2001_db8__1", cap.file, 1, true)
  end)

  it("goes below the state directory, and waits for the slot", function()
    start_simulator()
    local files = {}
    for i = 1, 2 do
      local cap = json.decode(succeeds("capture", "--speed", SPEED, "--json", with_filter()))
      files[i] = cap.file
      assert.equal(("%s/state/moontap/captures/%s/%s.pcap"):format(dir, env.CLOUDFLARE_ACCOUNT_ID,
        cap.id), cap.file)
    end
    assert.not_equal(files[1], files[2])
  end)

  it("leaves with status 5 when the slot does not come in time", function()
    start_simulator "1"
    succeeds("capture", with_filter "-q")
    local status, out, err = run("capture", with_filter("--deadline", "10ms"))
    assert.same({ 5, "" }, { status, out })
    assert.matches("no slot for this simple capture", err)
  end)

  it("keeps case and reason, whatever is in them", function()
    for i, case in ipairs { "../x", "a b", "-rf", "x'; drop table details; --", "ü\27[31m" } do
      succeeds("capture", "--sim", "--virtual-time", "--state", "st", "--seed", tostring(i),
        "--case=" .. case, "--why=" .. case, with_filter("--limit", "1"))
      local _, out = command.run({ "sqlite3", "st/state.db",
        "SELECT case_id, why FROM details ORDER BY intent DESC LIMIT 1" }, { cwd = dir })
      assert.equal(case .. "|" .. case .. "\n", out)
    end
  end)
end)

describe("a full capture", function()
  local FULL <const> = { "--full", "--colo", "ams01", "--dst", "203.0.113.10" }

  local function full(...)
    local words = table.move(FULL, 1, #FULL, 1, {})
    return table.unpack(table.move({ ... }, 1, select("#", ...), #words + 1, words))
  end

  it("says what it may cost and wants to be told to go on", function()
    local status, out, err = sim("capture", full())
    assert.equal(2, status)
    assert.equal("", out)
    assert.matches("no %-%-byte%-limit: of 1 Gbit/s of traffic it writes 37.5 GB .* in 5m", err)
    assert.matches("%-%-yes goes on", err)
    for answer, expected in pairs { ["n\n"] = 1, ["\n"] = 1, ["y\n"] = 0 } do
      local terminal = pty.start({ command.moontap, "capture", "--sim", "--virtual-time",
        full("--time-limit", "1m") }, { cwd = dir })
      terminal.expect "writes 7.5 GB"
      terminal.expect "Go on%? %[y/N%] "
      terminal.type(answer)
      assert.equal(expected, (terminal.finish()))
    end
  end)

  it("says where its files lie", function()
    local status, out, err = sim("capture", full("--byte-limit", "100M", "--sim-bucket", "bk"))
    assert.equal(0, status, err)
    local id = out:match "^id +(%x+)\n"
    assert.is_truthy(out:find("in s3://moontap-sim/full, their names hold " .. id, 1, true), out)
    local path = out:match "\n +(bk/%S+)"
    assert.is_true(records(path) > 0)
    local cap = json.decode((select(2, sim("capture", full("--yes", "--json", "--sim-bucket", "bk",
      "--time-limit", "10s", "--bucket", "s3://mine/x?region=eu")))))
    assert.same({ "s3://mine/x", false, 10 }, { cap.bucket, cap.empty, cap.time_limit })
    assert.matches("^bk/s3/mine/x/pcap_" .. cap.id, cap.files[1])
    assert.matches("%-%-sim%-bucket", select(2, sim("capture", full "--yes")))
  end)

  it("of nothing leaves with status 7", function()
    local status, _, err = sim("capture", "--full", "--colo", "ams01", "--dst", "203.0.113.77",
      "--dport", "9", "--proto", "tcp", "--byte-limit", "1M", "--time-limit", "5s")
    assert.equal(7, status, err)
    assert.equal("moontap: no packet matched\n", err)
  end)

  local BUCKET <const> = "s3://captures/x?region=us-east-1"

  local function claim()
    succeeds("run", "--speed", SPEED, "-e", ([[
      local ownership = assert(pcaps.ownership.create { destination_conf = %q })
      local file = assert(io.open("bucket/s3/captures/x/" .. ownership.filename))
      assert(pcaps.ownership.validate { destination_conf = %q,
        ownership_challenge = file:read "a" })]]):format(BUCKET, BUCKET))
  end

  local function requested(id)
    return json.decode(succeeds("get", id, "--json")).stop_requested
  end

  it("is stopped by Ctrl-C, which is said, and goes on when it is detached", function()
    start_simulator()
    claim()
    local process = command.start({ command.moontap, "capture", "--speed", SPEED, "--bucket",
      BUCKET, "--yes", "--time-limit", "8h", full() }, { cwd = dir, env = env })
    local id = command.poll(function()
      return select(2, run("captures", "--json")):match '"id": "(%x+)"'
    end, 30, "the capture")
    process.signal "INT"
    local status, _, err = process.wait()
    assert.equal(4, status)
    assert.matches("stopped capture " .. id, err, 1, true)
    assert.is_string(requested(id))
    local cap = json.decode(succeeds("capture", "--speed", SPEED, "--bucket", BUCKET, "--yes",
      "--time-limit", "8h", "--detach", "--json", full()))
    assert.is_nil(requested(cap.id))
    assert.not_matches("us-east", json.encode(cap), 1, true)
    succeeds("stop", cap.id)
    assert.matches("needs %-%-bucket", select(3, run("capture", full "--yes")))
  end)
end)

describe("sweep", function()
  local NOW <const> = clock.parse "2026-01-01T00:00:00Z"

  local function sweep(...)
    local status, out, err = sim("sweep", "--state", "st", "--json", with_filter("--limit", "50",
      ...))
    return status, status ~= 2 and json.decode(out) or nil, err
  end

  -- That windows cover a period: they touch, do not overlap, and none is too long.
  local function covers(windows, from, to)
    local at = from
    for _, window in ipairs(windows) do
      local begins, ends = clock.parse(window.from), clock.parse(window.to)
      assert.equal(at, begins)
      assert.is_true(ends > begins and ends - begins <= 300)
      at = ends
    end
    assert.equal(to, at)
  end

  local function query(sql)
    local status, out, err = command.run({ "sqlite3", "st/state.db", sql }, { cwd = dir })
    assert.equal(0, status, err)
    return out
  end

  it("covers a period exactly, the oldest first, a capture a minute", function()
    local status, report, err = sweep("--from", "-32m", "--to", "-1m", "--case", "c", "--out", "o")
    assert.equal(0, status, err)
    assert.equal("moontap: 7 windows to capture, one a minute: about 6m\n", err)
    covers(report.windows, NOW - 32 * 60, NOW - 60)
    assert.same({ 7, 0, 0, 0, 0 },
      { report.saved, report.already, report.failed, report.lost, report.open })
    for _, window in ipairs(report.windows) do
      assert.equal(50, records(window.file))
      assert.matches("^o/sim%-", window.file)
      -- the file holds what its window says
      local file = assert(require "moontap.capture".open(dir .. "/" .. window.file))
      assert.is_true(file.first >= clock.parse(window.from) and file.last <= clock.parse(window.to))
    end
    assert.equal("0\n", query("SELECT count(*) FROM intents a JOIN intents b ON b.id = a.id + 1 "
      .. "WHERE b.sent < a.sent + 60"))
    assert.equal("7|c\n", query "SELECT count(*), case_id FROM details")
  end)

  -- The same against a simulator that stays: its ids do not come again. `from` and `to` are
  -- seconds before `start`.
  local start

  local function sweep_again(from, to, ...)
    from, to = clock.format(start - from), clock.format(start - to)
    local status, out, err = run("sweep", "--speed", SPEED, "--json", "--from", from, "--to", to,
      with_filter("--limit", "5", ...))
    return status, json.decode(out), err
  end

  it("captures only what is missing when it is run again", function()
    start_simulator()
    start = os.time()
    assert.equal(0, (sweep_again(720, 120, "--case", "c")))
    local status, report, err = sweep_again(720, 120, "--case", "c")
    assert.equal(0, status, err)
    assert.same({ 0, 2 }, { report.saved, report.already })
    assert.matches("0 windows.*; 2 captured before", err)
    -- a longer period: the old windows are not captured again
    status, report = sweep_again(1260, 0, "--case", "c")
    assert.equal(0, status)
    assert.same({ 3, 2 }, { report.saved, report.already })
    covers(report.windows, start - 1260, start)
    -- another case, another filter, a higher limit
    for _, others in ipairs {
      { "--case", "d" }, { "--case", "c", "--sport", "53" }, { "--case", "c", "--limit", "6" },
    } do
      assert.equal(1, select(2, sweep_again(720, 420, table.unpack(others))).saved)
    end
    -- without a case, any will do
    assert.equal(1, select(2, sweep_again(720, 420)).already)
  end)

  it("says which windows will be lost, and saves the others", function()
    local from = NOW - 86400 - 600
    local status, report, err = sweep("--from", clock.format(from), "--to",
      clock.format(from + 1800))
    assert.equal(1, status)
    assert.same({ 4, 2, 0 }, { report.saved, report.lost, report.failed })
    covers(report.windows, from, from + 1800)
    assert.equal(2, select(2, err:gsub("moontap: lost: [%dTZ:-]+ to [%dTZ:-]+ is older than 24 "
      .. "hours before its turn comes\n", "")))
    for i, window in ipairs(report.windows) do
      assert.equal(i <= 2 and "lost" or "saved", window.state)
    end
  end)

  it("goes on behind a window that fails, and tries that again later", function()
    start_simulator()
    start = os.time()
    succeeds("sim", "fault", "create:error_json,status=400,count=1")
    local status, report, err = sweep_again(960, 60, "--case", "c")
    assert.equal(1, status)
    assert.same({ 2, 1 }, { report.saved, report.failed })
    assert.equal("failed", report.windows[1].state)
    assert.is_truthy(err:find(report.windows[1].error, 1, true))
    status, report = sweep_again(960, 60, "--case", "c")
    assert.same({ 0, 1, 2 }, { status, report.saved, report.already })
    -- a file that did not come is fetched later, not captured again
    succeeds("sim", "fault", "download:error_json,status=400,count=1")
    status, report = sweep_again(960, 60, "--case", "d")
    assert.same({ 1, 2, 1 }, { status, report.saved, report.failed })
    local before = #json.decode(succeeds("captures", "--json"))
    status, report = sweep_again(960, 60, "--case", "d")
    assert.same({ 0, 1, 2 }, { status, report.saved, report.already })
    assert.equal(before, #json.decode(succeeds("captures", "--json")))
  end)

  it("stops when the next window would fail as well", function()
    local status, report, err = sweep("--from", "-16m", "--to", "-1m", "--fault",
      "create:error_json,status=401")
    assert.equal(3, status, err)
    assert.same({ 1, 2 }, { report.failed, report.open })
  end)

  it("asks before it takes long", function()
    local status, out, err = sim("sweep", with_filter("--last", "70m"))
    assert.same({ 2, "" }, { status, out })
    assert.matches("14 windows to capture, one a minute: about 13m\n.*this takes about 13m", err)
    status, out = sim("sweep", with_filter("--last", "70m", "--yes", "--limit", "1"))
    assert.equal(0, status)
    assert.matches("\n14 saved, 0 saved before, 0 failed, 0 lost\n$", out)
  end)

  it("refuses what it cannot do", function()
    for text, words in pairs {
      ["which period"] = { "--dport", "53" }, ["no filter"] = { "--last", "1h" },
      ["lies in the future"] = { "--dport", "53", "--from", "-1h", "--to", "2026-01-02T00:00:00Z" },
      ["%-%-limit: expected"] = { "--dport", "53", "--last", "1h", "--limit", "10001" },
    } do
      local status, out, err = sim("sweep", table.unpack(words))
      assert.same({ 2, "" }, { status, out })
      assert.matches(text, err)
    end
  end)

  it("that is killed goes on where it was, without a second capture", function()
    start_simulator()
    local from, to = clock.format(os.time() - 1000), clock.format(os.time() - 100)
    local argv = { command.moontap, "sweep", "--speed", SPEED, "--json", "--case", "c", "--from",
      from, "--to", to, with_filter("--limit", "5") }
    for _, point in ipairs { "sending:2", "answered", "settled", "downloaded" } do
      env.MOONTAP_KILL_AT = point
      assert.equal(137, (command.run(argv, { cwd = dir, env = env })), point)
    end
    env.MOONTAP_KILL_AT = nil
    local status, out, err = command.run(argv, { cwd = dir, env = env })
    assert.equal(0, status, err)
    local report = json.decode(out)
    covers(report.windows, clock.parse(from), clock.parse(to))
    -- what the API has of each window
    local seen = {}
    for _, cap in ipairs(json.decode(succeeds("captures", "--json"))) do
      seen[cap.offset_time] = (seen[cap.offset_time] or 0) + 1
    end
    for at, n in pairs(seen) do assert.equal(1, n, at) end
  end)
end)

describe("bundle", function()
  local seed = 0

  local function capture(case, ...)
    seed = seed + 1
    local status, out, err = sim("capture", "--state", "st", "--json", "--seed", tostring(seed),
      "--case=" .. case, with_filter("--limit", "5", ...))
    assert.equal(0, status, err)
    return json.decode(out)
  end

  local function bundle(...)
    return run("bundle", "--state", "st", ...)
  end

  -- The names in an archive; it lies unpacked in `unpacked` then, its sums checked.
  local function unpack_checked(path)
    assert.is_true(os.execute(("rm -rf %s/unpacked && mkdir %s/unpacked"):format(dir, dir)))
    local status, out, err = command.run({ "tar", "-xvf", dir .. "/" .. path },
      { cwd = dir .. "/unpacked" })
    assert.same({ 0, "" }, { status, err })
    local top = sys.list(dir .. "/unpacked")
    assert.equal(1, #top)
    local where = dir .. "/unpacked/" .. top[1]
    local bad, _, why = command.run({ "sha256sum", "--strict", "-c", "SHA256SUMS" },
      { cwd = where })
    assert.same({ 0, "" }, { bad, why })
    local names = {}
    for name in out:gmatch "[^\n]+" do names[#names + 1] = name end
    return names, where
  end

  local function timeline(where)
    return json.decode(command.read_file(where .. "/timeline.json")),
      command.read_file(where .. "/timeline.txt")
  end

  it("packs files, sums and a timeline", function()
    local one = capture("INC-7", "--why", "the spike")
    local two = capture("INC-7", "--out", "mine")
    capture "INC-8"
    local status, out, err = bundle "INC-7"
    assert.same({ 0, "sim-INC-7-bundle.tar: 2 files\n", "" }, { status, out, err })
    assert.equal(tonumber("600", 8), mode "sim-INC-7-bundle.tar")
    local names, where = unpack_checked "sim-INC-7-bundle.tar"
    assert.same({
      "INC-7/captures/" .. one.file:match "[^/]*$", "INC-7/captures/" .. two.file:match "[^/]*$",
      "INC-7/timeline.json", "INC-7/timeline.txt", "INC-7/SHA256SUMS",
    }, names)
    assert.equal(5, records(where:match "unpacked.*" .. "/captures/" .. two.file:match "[^/]*$"))
    local record, text = timeline(where)
    assert.equal("INC-7", record.case)
    assert.is_nil(record.audit.problem)
    local entry = record.captures[1]
    assert.same({ one.id, "done", "the spike", "packed", 5, sys.user(), one.submitted, "success" },
      { entry.id, entry.outcome, entry.why, entry.file_state, entry.packet_limit, entry.who,
        entry.submitted, entry.status })
    assert.same({ destination_address = "203.0.113.10", destination_port = 53, protocol = 17 },
      entry.filter_v1)
    assert.is_string(entry.ray)
    assert.matches("cf-ray     " .. entry.ray, text, 1, true)
    assert.matches("why +the spike\n", text)
    -- again: nothing is overwritten
    assert.matches("^sim%-INC%-7%-bundle%-2.tar: 2", select(2, bundle "INC-7"))
    status, out, err = bundle("INC-7", "-o", "sim-INC-7-bundle.tar")
    assert.same({ 1, "" }, { status, out })
    assert.matches("is not overwritten", err)
    assert.same({ path = "x.tar", packed = 2, changed = 0, missing = 0, purged = 0, none = 0 },
      json.decode((select(2, bundle("INC-7", "-o", "x.tar", "--json")))))
  end)

  it("names what is missing, purged or changed", function()
    local missing, changed, purged = capture("c", "--out", "o"), capture("c", "--out", "o"),
      capture "c"
    local also = capture("c")
    succeeds("hold", "--state", "st", missing.id, changed.id, also.id)
    succeeds("purge", "--state", "st")
    assert(sys.remove(dir .. "/" .. missing.file))
    do
      local f <close> = assert(io.open(dir .. "/" .. changed.file, "ab"))
      f:write "x"
    end
    local status, out, err = bundle("c", "-o", "x.tar")
    assert.same({ 0, "x.tar: 2 files\n" }, { status, out })
    assert.matches(missing.id .. ": its file is missing: ", err)
    assert.matches(changed.id .. ": its file has changed", err)
    assert.matches(purged.id .. ": its file was purged at ", err)
    local _, where = unpack_checked "x.tar"
    local record, text = timeline(where)
    local states = {}
    for _, entry in ipairs(record.captures) do states[entry.id] = entry.file_state end
    assert.same({ [missing.id] = "missing", [changed.id] = "changed", [purged.id] = "purged",
      [also.id] = "packed" }, states)
    for _, word in ipairs { "MISSING", "CHANGED", "PURGED", "filter purged" } do
      assert.matches(word, text)
    end
  end)

  it("is safe from the names of cases", function()
    for case, base in pairs {
      ["../x"] = "__x", ["a b"] = "a_b", ["-rf"] = "_rf", ["/etc"] = "_etc", [".."] = "_",
      ["x\ny"] = "x_y", ["ü"] = "__",
    } do
      capture(case, "--why=" .. case)
      local status, out, err = bundle("-q", "--", case)
      assert.same({ 0, "", "" }, { status, out, err })
      local names = unpack_checked("sim-" .. base .. "-bundle.tar")
      for _, name in ipairs(names) do
        assert.equal(base .. "/", name:sub(1, #base + 1))
        assert.matches("^[%w._/-]+$", name)
      end
    end
    assert.is_nil((sys.list(dir .. "/..") or {}).x)
  end)

  it("holds a full capture's bucket without its parameters, and refused creates", function()
    local status, _, err = sim("capture", "--state", "st", "--case", "c", "--full", "--colo",
      "ams01", "--dport", "53", "--bucket", "s3://mine/x?region=secret", "--time-limit", "5s",
      "--byte-limit", "1M")
    assert.equal(0, status, err)
    assert.equal(1, (sim("capture", "--state", "st", "--case", "c", "--fault",
      "create:error_json,status=400", with_filter())))
    assert.matches("x.tar: 0 files", select(2, bundle("c", "-o", "x.tar")))
    local _, where = unpack_checked "x.tar"
    local record, text = timeline(where)
    assert.not_matches("secret", json.encode(record) .. text, 1, true)
    assert.same({ "s3://mine/x", "done", "refused" },
      { record.captures[1].bucket, record.captures[1].outcome, record.captures[2].outcome })
  end)

  it("leaves nothing behind when it cannot be written", function()
    capture "c"
    local line = 'ulimit -f 8; exec "$0" bundle --state st c -o x.tar'
    local status, _, err = command.run({ "bash", "-c", line, command.moontap }, { cwd = dir })
    assert.is_true(status ~= 0, err)
    assert.is_nil((table.concat(sys.list(dir), " "):find "x%.tar"))
    for _, case in ipairs {
      { 1, "knows no capture of it", "none" }, { 2, "plain tar file", "c", "-o", "x.tar.gz" },
      { 2, "names no file", "c", "-o", "" }, { 1, "No such file", "c", "-o", "no/where.tar" },
    } do
      local out
      status, out, err = bundle(table.unpack(case, 3))
      assert.same({ case[1], "" }, { status, out })
      assert.matches("^moontap: [^\n]*" .. case[2] .. "[^\n]*\n$", err)
    end
  end)
end)
