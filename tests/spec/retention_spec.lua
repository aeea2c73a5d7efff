-- What is kept of captures, for how long: `moontap hold`, `release` and `purge`. A simulator under
-- virtual time lives in January, so what it captured is older than 30 days by the real clock.

local command = require "support.command"
local json = require "moontap.json"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local dir

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

local function run(...)
  return command.run({ command.moontap, ... }, { cwd = dir })
end

local function succeeds(...)
  local status, out, err = run(...)
  assert.equal(0, status, err)
  return out, err
end

local seed = 0 -- each capture has an id of its own

-- A capture of January; what it was answered with.
local function old(...)
  seed = seed + 1
  return json.decode(succeeds("capture", "--sim", "--virtual-time", "--state", "st", "--json",
    "--seed", tostring(seed), "--dst", "203.0.113.10", "--dport", "53", "--limit", "5", ...))
end

local function purge(...)
  return json.decode(succeeds("purge", "--state", "st", "--json", ...))
end

local function query(sql)
  return command.query(dir .. "/st/state.db", sql)
end

local function exists(path)
  return sys.lstat(path:sub(1, 1) == "/" and path or dir .. "/" .. path) ~= nil
end

local function verify_chain()
  local out = succeeds("run", "--state", "st", "-e", [[
    local state = assert(require "moontap.state".current())
    local report = assert(state:verify_audit())
    print(report.rows, report.problem)
    require "moontap.state".close()]])
  assert.matches("^%d+\tnil\n$", out)
  return tonumber(out:match "%d+")
end

describe("moontap captures", function()
  it("says of a purged capture whether its file is gone", function()
    local ledger = require "moontap.cmd.ledger"
    local function note(file)
      local book = { rows = {}, dead = {}, files = { a = { id = "a", file = file, purged = 1 } } }
      return ledger.merge({ { id = "a" } }, book)[1].note
    end
    assert(sys.write_file(dir .. "/elsewhere.pcap", ""))
    assert.equal("records purged, its file is left", note(dir .. "/elsewhere.pcap"))
    assert.equal("purged", note(dir .. "/gone.pcap"))
    assert.equal("purged", note(nil))
  end)
end)

describe("a copy", function()
  it("that is downloaded elsewhere leaves what is held where it is", function()
    local simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port" },
      { cwd = dir })
    finally(function() simulator.stop() end)
    command.poll(function() return command.read_file(dir .. "/port") end)
    local env = {}
    for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
    local function moontap(...)
      local status, out, err = command.run({ command.moontap, ... }, { cwd = dir, env = env })
      assert.equal(0, status, err)
      return out
    end
    local cap = json.decode(moontap("capture", "--state", "st", "--json", "--dst", "203.0.113.10"))
    succeeds("hold", "--state", "st", cap.id)
    moontap("download", cap.id, "--state", "st", "-q", "-o", "copy.pcap")
    assert.is_true(#moontap("download", cap.id, "--state", "st", "-o", "-") > 24)
    assert.matches(cap.id, query "SELECT file FROM captures", 1, true)
    assert(os.remove(dir .. "/copy.pcap"))
    assert.same({}, purge("--older-than", "1ms").removed)
    assert.is_true(exists(cap.file))
  end)
end)

describe("a purge", function()
  it("removes old files and what is personal, and leaves a trace", function()
    local cap = old("--case", "INC-7", "--why", "the reason why")
    assert.equal(tonumber("600", 8), sys.lstat(dir .. "/" .. cap.file).mode)
    assert.equal(tonumber("700", 8), sys.lstat(dir .. "/" .. cap.file:match "(.*)/").mode)
    local report = purge()
    assert.equal(1, #report.removed)
    assert.equal(cap.bytes, report.removed[1].bytes)
    assert.equal(1, report.purged)
    assert.is_false(exists(cap.file))
    assert.equal("0\n", query("SELECT count(*) FROM intents WHERE "
        .. "coalesce(params, who, run, script, why, case_id) IS NOT NULL"))
    assert.equal(cap.id .. "|INC-7|1\n",
      query "SELECT id, case_id, purged > 0 FROM captures")
    assert.matches("create.done\ncapture.downloaded\ncapture.purged\naudit.purged\n$",
      query "SELECT event FROM audit ORDER BY seq")
    assert.equal("capture.purged\naudit.purged\n",
      query "SELECT event FROM audit WHERE coalesce(salt, data) IS NOT NULL")
    verify_chain()
    -- not in any corner of the files either
    for _, name in ipairs(sys.list(dir .. "/st")) do
      local data = sys.read_file(dir .. "/st/" .. name) or ""
      assert.is_nil(data:find("the reason why", 1, true), name)
    end
    assert.same({ 0, 0, 0 }, { purge().purged, #purge().removed, purge().audit })
  end)

  it("keeps what is young or held, and says what it would do", function()
    local kept, gone = old("--case", "a b"), old()
    assert.equal("held " .. kept.id .. "\n",
      succeeds("hold", "--state", "st", "--case", "a b", "--why", "evidence"))
    local would = purge "--dry-run"
    assert.equal(1, #would.removed)
    assert.is_true(would.dry_run)
    assert.is_true(exists(gone.file))
    assert.same({ 1, 1 }, { purge().held, purge().held })
    assert.is_true(exists(kept.file))
    assert.is_false(exists(gone.file))
    assert.equal("a b|evidence\n", query("SELECT i.case_id, c.held_why FROM intents i "
      .. "JOIN captures c ON c.intent = i.id WHERE i.params IS NOT NULL"))
    assert.equal("released " .. kept.id .. "\n", succeeds("release", "--state", "st", kept.id))
    assert.equal(0, #purge("--older-than", "400d").removed)
    assert.equal(1, #purge().removed)
    verify_chain()
  end)

  it("never touches a file that was placed elsewhere, nor what a link leads to", function()
    local placed = old("--out", "mine")
    local linked, moved = old(), old()
    local outside = dir .. "/outside"
    assert(sys.write_file(outside, "mine"))
    assert(sys.remove(dir .. "/" .. linked.file))
    assert.is_true(os.execute(("ln -s %s %s/%s"):format(outside, dir, linked.file)))
    assert(sys.remove(dir .. "/" .. moved.file)) -- it vanished before
    local note = linked.file:match "(.*)/" .. "/notes.txt"
    assert(sys.write_file(dir .. "/" .. note, "mine"))
    local report = purge()
    assert.equal(3, report.purged)
    assert.same({}, report.removed)
    assert.equal(2, #report.left)
    for _, path in ipairs { placed.file, linked.file, note, outside } do
      assert.is_true(exists(path), path)
    end
    assert.equal("mine", sys.read_file(outside))
  end)

  it("does not follow a captures directory that is a link", function()
    local cap = old()
    local account = dir .. "/" .. cap.file:match "(.*)/"
    assert(sys.rename(account, dir .. "/moved"))
    assert.is_true(os.execute(("ln -s %s/moved %s"):format(dir, account)))
    assert.matches("link", purge().left[1].reason)
    assert.equal(1, #sys.list(dir .. "/moved"))
  end)

  it("removes what killed downloads and other programs' versions have left", function()
    local cap = old()
    local part = cap.file .. ".part-abc123"
    local copies = { "st/state.db.before-2-1700000000", "st/state.db.before-6-1700000000-4711" }
    local paths = { part, table.unpack(copies) }
    for _, path in ipairs(paths) do assert(sys.write_file(dir .. "/" .. path, "x")) end
    purge()
    for _, path in ipairs(paths) do
      assert.is_true(exists(path)) -- it is young
      os.execute(("touch -d '40 days ago' %s/%s"):format(dir, path))
      assert.equal(1, #purge().removed)
      assert.is_false(exists(path))
    end
  end)

  it("of a file that two records share waits for both", function()
    local cap = old()
    query("INSERT INTO accounts (base_url, account_id) VALUES ('http://other', 'x')")
    query(("INSERT INTO captures (account, id, seen, is_done, file, downloaded, held_at) SELECT 2, "
      .. "'f00d', seen, 1, file, downloaded, 1 FROM captures WHERE id = '%s'"):format(cap.id))
    assert.equal(0, #purge().removed)
    assert.is_true(exists(cap.file))
    succeeds("release", "--state", "st", "f00d")
    assert.equal(1, #purge().removed)
    assert.is_false(exists(cap.file))
  end)

  it("that is killed anywhere is finished by the next", function()
    for _, point in ipairs { "purge_marked", "purge_marked:2", "purge_removed" } do
      local one, two = old(), old()
      local status = command.run({ command.moontap, "purge", "--state", "st" },
        { cwd = dir, env = { MOONTAP_KILL_AT = point } })
      assert.equal(137, status, point)
      purge()
      assert.is_false(exists(one.file), point)
      assert.is_false(exists(two.file), point)
      assert.equal("0\n", query("SELECT count(*) FROM intents WHERE "
        .. "coalesce(params, who, run, script, why, case_id) IS NOT NULL"))
      assert.equal("0\n", query "SELECT count(*) FROM captures WHERE purged IS NULL")
      verify_chain()
    end
  end)

  it("prints a line a file and a sum", function()
    local cap = old("--case", "x")
    local out = succeeds("purge", "--state", "st")
    local name = cap.file:match "[^/]*$"
    assert.is_truthy(out:find(("/%s  %d bytes  case x\n"):format(name, cap.bytes), 1, true), out)
    assert.matches("\nremoved 1 file with %d+ bytes, the records of 1 capture; 0 held\n$", out)
    assert.equal("", succeeds("purge", "--state", "st", "-q"))
  end)
end)

describe("hold and release", function()
  it("say what they cannot do", function()
    local cap = old("--case=-rf")
    local nobody = ("0"):rep(32)
    for _, case in ipairs {
      { 1, "this machine knows of none", "hold", nobody },
      { 1, "it is not held", "release", cap.id },
      { 1, "case '../x': this machine knows no capture", "hold", "--case", "../x" },
      { 2, "which capture", "hold" },
      { 2, "give ids, or %-%-case", "release", cap.id, "--case=-rf" },
    } do
      local status, out, err = run(case[3], "--state", "st", table.unpack(case, 4))
      assert.equal(case[1], status, err)
      assert.equal("", out)
      assert.matches(case[2], err)
    end
    assert.same({ held = { cap.id } },
      json.decode(succeeds("hold", "--state", "st", "--case=-rf", "--json")))
    local status, out = run("hold", "--state", "st", nobody, cap.id)
    assert.same({ 1, "held " .. cap.id .. "\n" }, { status, out })
    succeeds("release", "--state", "st", cap.id)
    purge()
    assert.matches("it was purged at", select(3, run("hold", "--state", "st", cap.id)))
  end)
end)
