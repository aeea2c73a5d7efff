-- outside
-- `moontap sweep`: a period is covered exactly, once, and in time.

local clock = require "moontap.clock"
local command = require "support.command"
local hands = require "support.hands"
local json = require "moontap.json"
local sys = require "moontap.native.sys"

local SPEED <const> = hands.SPEED

local place

before_each(function() place = hands.new() end)
after_each(function() place:close() end)

local with_filter = hands.with_filter

describe("sweep", function()
  local NOW <const> = clock.parse "2026-01-01T00:00:00Z"

  local function sweep(...)
    local status, out, err = place:sim("sweep", "--state", "st", "--json",
      with_filter("--limit", "50", ...))
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

  it("covers a period exactly, the oldest first, a capture a minute", function()
    local status, report, err = sweep("--from", "-32m", "--to", "-1m", "--case", "c", "--out", "o")
    assert.equal(0, status, err)
    assert.equal("moontap: 7 windows to capture, one a minute: about 6m\n", err)
    covers(report.windows, NOW - 32 * 60, NOW - 60)
    assert.same({ 7, 0, 0, 0, 0 },
      { report.saved, report.already, report.failed, report.lost, report.open })
    for _, window in ipairs(report.windows) do
      assert.equal(50, place:records(window.file))
      assert.matches("^o/sim%-", window.file)
      -- the file holds what its window says
      local file = assert(require "moontap.capture".open(place.dir .. "/" .. window.file))
      assert.is_true(file.first >= clock.parse(window.from) and file.last <= clock.parse(window.to))
    end
    assert.equal("0\n", place:query("SELECT count(*) FROM intents a JOIN intents b "
      .. "ON b.id = a.id + 1 WHERE b.sent < a.sent + 60"))
    assert.equal("7|c\n", place:query "SELECT count(*), case_id FROM intents")
  end)

  it("does not capture blindly again what may have been captured", function()
    local from = { "--from", "-15m", "--to", "-5m", "--case", "c" }
    local status, report = sweep("--fault", "create:cut_before,count=1", table.unpack(from))
    assert.equal(1, status)
    assert.same({ "failed", "saved" }, { report.windows[1].state, report.windows[2].state })
    -- so young that the list may not show it yet
    place:query "UPDATE intents SET sent = sent + 1000000 WHERE state = 'unknown'"
    local err
    status, report, err = sweep(table.unpack(from))
    assert.equal(1, status)
    assert.same({ 1, 1, 0 }, { report.unknown, report.already, report.saved })
    assert.matches("unknown: [^\n]*; %-%-again captures it again\n", err)
    for _, word in ipairs { "--again", "-q" } do -- then: now the list would show it
      status, report, err = sweep(word, table.unpack(from))
      assert.equal(0, status, err)
      assert.same({ 0, 2 }, { report.unknown, report.already + report.saved })
      place:query "DELETE FROM captures WHERE intent = (SELECT max(id) FROM intents);\
        DELETE FROM intents WHERE id = (SELECT max(id) FROM intents)"
      place:query "UPDATE intents SET sent = sent - 2000000 WHERE state = 'unknown'"
    end
    assert.equal(1, report.saved)
  end)

  it("fetches what the account's list has of a create that was not answered", function()
    place:start_simulator()
    local from, to = clock.format(os.time() - 400), clock.format(os.time() - 100)
    local argv = { "sweep", "--speed", SPEED, "--state", "st", "--json", "--from", from, "--to", to,
                   with_filter("--limit", "5") }
    local id = json.decode((place:succeeds(table.unpack(argv)))).windows[1].id
    place:query "UPDATE intents SET state = 'unknown', capture = NULL; DELETE FROM captures"
    local report = json.decode((place:succeeds(table.unpack(argv))))
    assert.same({ 1, 0, id }, { report.saved, report.unknown, report.windows[1].id })
    assert.equal(1, #json.decode((place:succeeds("captures", "--json"))))
  end)

  it("that is interrupted prints what it has", function()
    place:start_simulator "1"
    local process = command.start({ command.moontap, "sweep", "--state", "st", "--json", "--last",
      "10m", with_filter("--limit", "5") }, { cwd = place.dir, env = place.env })
    command.poll(function()
      return sys.stat(place.dir .. "/st/state.db") and place:query(
        "SELECT count(*) FROM sqlite_master WHERE name = 'captures'") == "1\n"
        and place:query "SELECT count(*) FROM intents WHERE state = 'wanted'" == "1\n"
    end, "the second window")
    process.signal "INT"
    local status, out = process.wait()
    assert.equal(4, status)
    local report = json.decode(out)
    assert.same({ 1, 1 }, { report.saved, report.open })
    assert.equal(5, report.windows[1].packets)
  end)

  it("shows with --dry-run what it would capture", function()
    local status, out = place:run("sweep", "--sim", "--dry-run", "--json", "--yes",
      with_filter("--last", "12m"))
    assert.equal(0, status)
    local plan, lengths = json.decode(out), {}
    for _, step in ipairs(plan.steps) do
      if step.op == "create" then lengths[#lengths + 1] = step.limits.time_limit end
    end
    assert.equal("complete", plan.ends)
    assert.same({ 300, 300, 120 }, lengths)
  end)

  -- The same against a simulator that stays: its ids do not come again. `from` and `to` are
  -- seconds before `start`.
  local start

  local function sweep_again(from, to, ...)
    from, to = clock.format(start - from), clock.format(start - to)
    local status, out, err = place:run("sweep", "--speed", SPEED, "--json", "--from", from,
      "--to", to, with_filter("--limit", "5", ...))
    return status, json.decode(out), err
  end

  it("fetches again what is missing although it was captured", function()
    place:start_simulator()
    start = os.time()
    local _, report = sweep_again(420, 120, "--case", "c", "--state", "st")
    local file = report.windows[1].file
    assert(os.remove(file:sub(1, 1) == "/" and file or place.dir .. "/" .. file))
    local status
    status, report = sweep_again(420, 120, "--case", "c", "--state", "st")
    assert.equal(0, status)
    assert.same({ 1, 0 }, { report.saved, report.already })
    assert.equal("1\n", place:query "SELECT count(*) FROM intents")
    assert.equal(5, place:records(report.windows[1].file))
  end)

  it("captures only what is missing when it is run again", function()
    place:start_simulator()
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

  it("tells in one line what was lost over decades", function()
    local to = NOW - 86400 + 600
    local status, report, err = sweep("--from", "1970-01-01T00:00:00Z", "--to", clock.format(to))
    assert.equal(1, status)
    assert.matches("^moontap: 2 windows to capture, one a minute: about 1m\n"
      .. "moontap: lost: 1970%-01%-01T00:00:00Z to 2025%-12%-31T00:00:00Z, 5890464 windows, is "
      .. "older than 24 hours by now\n$", err)
    assert.equal(3, #report.windows)
    assert.same({ 2, 5890464, 0 }, { report.saved, report.lost, report.failed })
    assert.equal(5890464, report.windows[1].count)
  end)

  it("goes on behind a window that fails, and tries that again later", function()
    place:start_simulator()
    start = os.time()
    place:succeeds("sim", "fault", "create:error_json,status=400,count=1")
    local status, report, err = sweep_again(960, 60, "--case", "c")
    assert.equal(1, status)
    assert.same({ 2, 1 }, { report.saved, report.failed })
    assert.equal("failed", report.windows[1].state)
    assert.is_truthy(err:find(report.windows[1].error, 1, true))
    status, report = sweep_again(960, 60, "--case", "c")
    assert.same({ 0, 1, 2 }, { status, report.saved, report.already })
    -- a file that did not come is fetched later, not captured again
    place:succeeds("sim", "fault", "download:error_json,status=400,count=1")
    status, report = sweep_again(960, 60, "--case", "d")
    assert.same({ 1, 2, 1 }, { status, report.saved, report.failed })
    local before = #json.decode(place:succeeds("captures", "--json"))
    status, report = sweep_again(960, 60, "--case", "d")
    assert.same({ 0, 1, 2 }, { status, report.saved, report.already })
    assert.equal(before, #json.decode(place:succeeds("captures", "--json")))
  end)

  it("stops when the next window would fail as well", function()
    local status, report, err = sweep("--from", "-16m", "--to", "-1m", "--fault",
      "create:error_json,status=401")
    assert.equal(3, status, err)
    assert.same({ 1, 2 }, { report.failed, report.open })
  end)

  it("asks before it takes long", function()
    local status, out, err = place:sim("sweep", with_filter("--last", "70m"))
    assert.same({ 2, "" }, { status, out })
    assert.matches("14 windows to capture, one a minute: about 13m\n.*this takes about 13m", err)
    status, out = place:sim("sweep", with_filter("--last", "70m", "--yes", "--limit", "1"))
    assert.equal(0, status)
    assert.matches("\n14 saved, 0 saved before, 0 failed, 0 lost\n$", out)
  end)

  it("refuses what it cannot do", function()
    for text, words in pairs {
      ["which period"] = { "--dport", "53" }, ["no filter"] = { "--last", "1h" },
      ["lies in the future"] = { "--dport", "53", "--from", "-1h", "--to", "2026-01-02T00:00:00Z" },
      ["%-%-limit: expected"] = { "--dport", "53", "--last", "1h", "--limit", "10001" },
    } do
      local status, out, err = place:sim("sweep", table.unpack(words))
      assert.same({ 2, "" }, { status, out })
      assert.matches(text, err)
    end
  end)

  it("that is killed goes on where it was, without a second capture", function()
    place:start_simulator()
    local from, to = clock.format(os.time() - 1000), clock.format(os.time() - 100)
    local argv = { command.moontap, "sweep", "--speed", SPEED, "--json", "--case", "c", "--from",
      from, "--to", to, with_filter("--limit", "5") }
    for _, point in ipairs { "sending:2", "settled", "downloaded", "answered" } do
      place.env.MOONTAP_KILL_AT = point
      assert.equal(137, (command.run(argv, { cwd = place.dir, env = place.env })), point)
    end
    place.env.MOONTAP_KILL_AT = nil
    local status, out, err = command.run(argv, { cwd = place.dir, env = place.env })
    assert.equal(0, status, err)
    local report = json.decode(out)
    covers(report.windows, clock.parse(from), clock.parse(to))
    -- what the API has of each window
    local seen = {}
    for _, cap in ipairs(json.decode(place:succeeds("captures", "--json"))) do
      seen[cap.offset_time] = (seen[cap.offset_time] or 0) + 1
    end
    for at, n in pairs(seen) do assert.equal(1, n, at) end
  end)
end)
