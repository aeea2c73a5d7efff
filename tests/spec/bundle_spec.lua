-- outside
-- `moontap bundle`: what it packs is read with tar, sha256sum and tcpdump.

local command = require "support.command"
local hands = require "support.hands"
local json = require "moontap.json"
local sys = require "moontap.native.sys"

local place

before_each(function() place = hands.new() end)
after_each(function() place:close() end)

local with_filter = hands.with_filter

describe("bundle", function()
  local seed = 0

  local function capture(case, ...)
    seed = seed + 1
    local status, out, err = place:sim("capture", "--state", "st", "--json",
      "--seed", tostring(seed), "--case=" .. case, with_filter("--limit", "5", ...))
    assert.equal(0, status, err)
    return json.decode(out)
  end

  local function bundle(...)
    return place:run("bundle", "--state", "st", ...)
  end

  -- The names in an archive; it lies unpacked in `unpacked` then, its sums checked.
  local function unpack_checked(path)
    local into = place.dir .. "/unpacked"
    assert.is_true(os.execute(("rm -rf %s && mkdir %s"):format(into, into)))
    local status, out, err = command.run({ "tar", "-xvf", place.dir .. "/" .. path },
      { cwd = place.dir .. "/unpacked" })
    assert.same({ 0, "" }, { status, err })
    local top = sys.list(place.dir .. "/unpacked")
    assert.equal(1, #top)
    local where = place.dir .. "/unpacked/" .. top[1]
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
    assert.equal(tonumber("600", 8), place:mode "sim-INC-7-bundle.tar")
    local names, where = unpack_checked "sim-INC-7-bundle.tar"
    assert.same({
      "INC-7/captures/" .. one.file:match "[^/]*$", "INC-7/captures/" .. two.file:match "[^/]*$",
      "INC-7/timeline.json", "INC-7/timeline.txt", "INC-7/SHA256SUMS",
    }, names)
    assert.equal(5, place:records(where .. "/captures/" .. two.file:match "[^/]*$"))
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
    place:succeeds("hold", "--state", "st", missing.id, changed.id, also.id)
    place:succeeds("purge", "--state", "st")
    assert(sys.remove(place.dir .. "/" .. missing.file))
    do
      local f <close> = assert(io.open(place.dir .. "/" .. changed.file, "ab"))
      f:write "x"
    end
    local status, out, err = bundle("c", "-o", "x.tar")
    assert.same({ 1, "x.tar: 2 files\n" }, { status, out })
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

  it("goes to standard output, which is no terminal", function()
    capture "c"
    local status, _, err = command.run({ "bash", "-c", '"$0" bundle --state st c -o - >b.tar',
      command.moontap }, { cwd = place.dir })
    assert.same({ 0, "" }, { status, err })
    assert.equal(4, #unpack_checked "b.tar")
    status, _, err = bundle("c", "-o", "-", "--json")
    assert.equal(2, status)
    assert.matches("leave out %-%-json", err)
    local _, shown = command.run({ "script", "-qec", command.moontap .. " bundle --state st c -o -",
      "/dev/null" }, { cwd = place.dir })
    assert.matches("standard output is a terminal", shown)
  end)

  it("is safe from the names of cases", function()
    for case, base in pairs {
      ["../x"] = "__x", ["a b"] = "a_b", ["-rf"] = "_rf", ["/etc"] = "_etc", [".."] = "_",
      ["x\ny"] = "x_y", ["ü"] = "__",
    } do
      local is_odd = case:find "%c" ~= nil -- as an earlier version took it
      capture(is_odd and "odd" or case)
      place:query "UPDATE intents SET case_id = 'x' || char(10) || 'y' WHERE case_id = 'odd'"
      local status, out, err = bundle("-q", "--", case)
      assert.same({ 0, "", "" }, { status, out, err })
      local names = unpack_checked("sim-" .. base .. "-bundle.tar")
      for _, name in ipairs(names) do
        assert.equal(base .. "/", name:sub(1, #base + 1))
        assert.matches("^[%w._/-]+$", name)
      end
    end
    assert.is_nil((sys.list(place.dir .. "/..") or {}).x)
  end)

  it("holds a full capture's bucket without its parameters, and refused creates", function()
    local status, _, err = place:sim("capture", "--state", "st", "--case", "c", "--full", "--colo",
      "ams01", "--dport", "53", "--bucket", "s3://mine/x?region=secret", "--time-limit", "5s",
      "--byte-limit", "1M")
    assert.equal(0, status, err)
    assert.equal(1, (place:sim("capture", "--state", "st", "--case", "c", "--fault",
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
    local status, _, err = command.run({ "bash", "-c", line, command.moontap }, { cwd = place.dir })
    assert.is_true(status ~= 0, err)
    assert.is_nil((table.concat(sys.list(place.dir), " "):find "x%.tar"))
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
