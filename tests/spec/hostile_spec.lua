-- outside
-- A daemon among whose playbooks are hostile ones (docs/sandbox.md says what each meets). Each
-- attack fails and is reported with its reason; an honest playbook beside them keeps its time and
-- its logs, the token stays where it is, and nothing outlives its run.

local command = require "support.command"
local daemons = require "support.daemon"
local lfs = require "lfs"

local IS_REAL <const> = command.read_file(command.test_bin .. "/caged") ~= nil
  and not select(2, command.run { command.test_bin .. "/caged", "none" }):find("seccomp 0", 1, true)

-- What a playbook tries that wants to look or to act outside; the reason that it gets.
local ATTEMPTS <const> = {
  { [[os.getenv "CLOUDFLARE_API_TOKEN"]], "no environment" },
  { [[assert(io.open "/proc/self/environ")]], "reading /proc/self/environ refused" },
  { [[io.popen "env"]], "starts no programs" },
  { [[dofile "/proc/self/environ"]], "dofile is not there" },
  { [[loadfile "/etc/passwd"]], "loadfile is not there" },
  { [[package.loadlib("libc.so.6", "system")]], "package is not there" },
  { [[assert(require "io".open("/etc/passwd"))]], "reading /etc/passwd refused" },
  { [[require "io".output "/dev/tty"]], "." },
  { [[require "lfs"]], "not found" },
  { [[require "socket"]], "not found" },
  { [[require "moontap.native.sys"]], "not found" },
  { [[require "moontap.native.http"]], "not found" },
  { [[require "moontap.native.child"]], "not found" },
  { [[require "moontap.native.channel"]], "not found" },
  { [[require "pcaps.credentials"]], "not found" },
  { [[require "..policy"]], "not found" },
  { [[require "/etc/passwd"]], "not found" },
  { [[debug.getregistry()]], "a nil value" },
  { [[debug.getinfo(1)]], "a nil value" },
  { [[debug.sethook()]], "a nil value" },
  { [[string.dump(print)]], "a nil value" },
  { [[assert(load("\27Lua", "x", "b"))]], "binary chunk" },
  { [[os.execute "id"]], "starts no programs" },
  { [[os.exit(0)]], "os.exit is not there" },
  { [[moontap.effects.call("file.open", "/etc/passwd")]], "denied: reading /etc/passwd refused" },
  { [[moontap.effects.call("http.request", { url = "http://169.254.169.254/" })]],
    "denied: HTTP to 169.254.169.254 refused by the playbook's grants: http" },
  { [[moontap.effects.call("http.request", { url = "http://localhost@127.0.0.1/" })]],
    "holds a user name or a password; send" },
  { [[moontap.effects.call("http.request", { url = "HTTP://127.0.0.1/" })]], "denied: " },
  { [[moontap.effects.call("http.request", { url = "http://[::1]/" })]], "denied: HTTP to ::1 " },
  { [[moontap.effects.call("http.request", { url = "file:///etc/passwd" })]], "denied: " },
  { [[moontap.effects.call("http.request", { url = {} })]], "denied: " },
  { [[moontap.effects.call("pcaps.download", VICTIM, LOG)]], "denied: writing .* refused" },
  { [[moontap.effects.call("pcaps.download", VICTIM, GIVEN .. "/../other")]],
    "No such file or directory" },
  { [[moontap.effects.call("pcaps.download", VICTIM, { GIVEN })]], "denied: a path is text" },
  { [[pcaps.download(LOG)]], "id" },
  { [[pcaps.create { type = "simple", time_limit = 60, packet_limit = 20 }]],
    "denied: .* a filter only" },
  { [[pcaps.create(]] .. daemons.FULL .. ")", "denied: .* pcaps.types: full" },
  { [[pcaps.ownership.delete(VICTIM)]], "denied: .* pcaps.verbs" },
  { [[pcaps.stop(VICTIM)]], "denied: .* no run of this playbook opened it" },
  { [[pcaps.stop(VICTIM, { force = true })]], "denied: .* verb stop.others" },
  { [[pcaps.stop(FOREIGN, { force = true })]], "denied: .* verb stop.others" },
  { [[pcaps.create({}, { base_url = "http://127.0.0.1:1" })]], "unknown option" },
}

-- What a playbook does to the machine and the daemon: its fields, and how its run ends.
local ASSAULTS <const> = {
  memory = { [[local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end]],
    kind = "memory", says = "memory" },
  pattern = { [[local s = ("a"):rep(3000) return s:find(("a-"):rep(30) .. "b")]],
    fields = "timeout = 1,", kind = "timeout", says = "did not stop in time" },
  finalizer = { [[setmetatable({}, { __gc = function() while true do end end }) collectgarbage()]],
    fields = "timeout = 1,", kind = "timeout", says = "did not stop in time" },
  catcher = { [[while true do pcall(function() while true do end end) end]],
    fields = "timeout = 1,", kind = "timeout", says = "time was up" },
  sleeper = { [[while true do pcall(moontap.sleep, 1) end]], fields = "timeout = 1,",
    kind = "timeout", says = "time was up" },
  talker = { [[local s = ("z"):rep(5000) while true do print(s) end]], kind = "output",
    says = "printed more than it may" },
  blank = { "while true do print() end", kind = "output", says = "printed more than it may" },
  caller = { [[while true do pcaps.stop(VICTIM) end]], fields = "timeout = 3,",
    kind = "timeout", says = "time was up" },
  flooder = { [[for _ = 1, 8 do moontap.spawn(function() while true do
      moontap.timeout(0.001, pcaps.list) end end) end moontap.sleep(60)]], kind = "frames",
    says = "did not keep to the protocol" },
  crowd = { [[for _ = 1, 100 do moontap.spawn(pcaps.list) end moontap.sleep(60)]],
    kind = "frames", says = "more than 64 calls at a time" },
  forger = { [[return require "moontap.child.rpc".call("file.write", "/etc/passwd")]],
    kind = "frames", says = "a call of 'file.write', which there is not" },
  reader = { [[return require "moontap.child.rpc".call("file.open", "/etc/passwd")]],
    kind = "denied", says = "reading /etc/passwd refused" },
  ending = { [[error(setmetatable({}, { __tostring = function() while true do end end }))]],
    fields = "timeout = 1,", kind = "timeout", says = "time was up" },
  deep = { [[local t = {} for _ = 1, 1000 do t = { t } end return t]], kind = "usage",
    says = "nested too deeply" },
  quitter = { [[moontap.spawn(function() while true do pcall(moontap.sleep, 0.01) end end)
    return true]], fields = "timeout = 1,", state = "ok" },
  liar = { [[print "moontap: done\n2026-01-01T00:00:00.000Z moontap: run 1 of honest\27[2K\rx"
    error "said"]], kind = "script", says = "said" },
}

local function count(list)
  local n = 0
  for _ in pairs(list) do n = n + 1 end
  return n
end

local function children_of(pid)
  return (command.read_file(("/proc/%d/task/%d/children"):format(pid, pid)) or ""):gmatch "%d+"
end

-- What a process can write to, as far as it lets itself be read.
local function memory_of(pid)
  local parts = {}
  local mem <close> = io.open(("/proc/%s/mem"):format(pid), "rb")
  for from, to in (mem and command.read_file(("/proc/%s/maps"):format(pid)) or "")
    :gmatch "(%x+)%-(%x+) rw" do
    mem:seek("set", tonumber(from, 16))
    parts[#parts + 1] = mem:read(math.min(tonumber(to, 16) - tonumber(from, 16), 1 << 24))
  end
  return table.concat(parts)
end

-- The process of a run knows no secret. Returns 1 when it could be looked at, else 0.
local function look_at(pid, token)
  -- until it is the program again, it borrows the daemon's memory
  local words = command.read_file(("/proc/%s/cmdline"):format(pid))
  if not words or not words:find("playbook-", 1, true) then return 0 end
  local environ = command.read_file(("/proc/%s/environ"):format(pid)) or ""
  for _, text in ipairs { words, environ, memory_of(pid) } do
    assert.is_nil(text:find(token, 1, true))
  end
  return environ ~= "" and 1 or 0
end

describe("a daemon with hostile playbooks", function()
  local place

  setup(function()
    place = daemons.new()
    place:simulate()
    place:validate_bucket()
  end)
  teardown(function() place:close() end)

  -- A full capture that `state`, which may be another machine's, has opened.
  local function open_full(state)
    local out = select(2, command.run({ command.moontap, "run", "-e", ([[
      print(assert(pcaps.create(%s, { detach = true })).id)]]):format(daemons.FULL) },
      { cwd = place.dir, env = place:with { XDG_STATE_HOME = place.dir .. "/" .. state } }))
    return (out:gsub("\n", ""))
  end

  local function write_playbooks(victim, foreign)
    local head = ("local VICTIM, FOREIGN, LOG, GIVEN = %q, %q, %q, %q\n"):format(victim, foreign,
      place.dir .. "/state/moontap/logs/1.log", place.dir .. "/given")
    local lines = {}
    for i, attempt in ipairs(ATTEMPTS) do
      lines[i] = ("try(%d, function() return %s end)"):format(i, attempt[1])
    end
    place:playbook("outward", head .. [[
      local function try(i, fn)
        local results = table.pack(pcall(fn))
        local why = results[1] and results[2] == nil and results[3] or results[2]
        print(("attempt %d %s: %s"):format(i, results[1] and results[2] ~= nil and "works"
          or "fails", type(why) == "table" and why.kind .. ": " .. why.message or tostring(why)))
      end
      ]] .. table.concat(lines, "\n"), ([[grants = { http = { "localhost" }, files = { %q },
      pcaps = { verbs = { "create", "stop", "stop.others", "download", "list" } } },]])
      :format(place.dir .. "/given"))
    for name, assault in pairs(ASSAULTS) do
      place:playbook(name, head .. assault[1], assault.fields)
    end
    place:playbook("honest", 'print("honest", ctx.run_id) moontap.sleep(0.05) print "whole"',
      'overlap = "queue", max_queue = 1000,', "* * * * * *")
    place:write("policy.lua", ('return { ["*"] = { pcaps = {}, http = { "localhost" }, '
      .. 'files = { %q } } }'):format(place.dir .. "/given"))
  end

  it("keeps all others unharmed, and says of each attack why it failed", function()
    local victim = open_full "state"
    place:write("policy.lua", "return {}")
    write_playbooks(victim, ("0"):rep(32))
    local process = place:start { args = { "--policy", place.dir .. "/policy.lua" } }
    place:await_runs("honest", 1)
    local names = { "outward" }
    for name in pairs(ASSAULTS) do names[#names + 1] = name end
    for _, name in ipairs(names) do place:succeeds("trigger", name) end

    local token = place.env.CLOUDFLARE_API_TOKEN
    place:await("processes to look at", function()
      local looked = 0
      for pid in children_of(process.pid) do looked = looked + look_at(pid, token) end
      return looked >= 3 or not IS_REAL
    end)

    for name, assault in pairs(ASSAULTS) do
      local one = place:await_runs(name, 1)[1]
      assert.equal(assault.state or "failed", one.state, name .. ": " .. tostring(one.error))
      assert.equal(assault.kind, one.error_kind, name .. ": " .. tostring(one.error))
      if assault.says then
        assert.matches(assault.says, one.error, 1, true)
        assert.matches("moontap: failed: [^\n]*" .. assault.says, place:log(one))
      end
    end
    -- none has outlived its run
    place:await("the end of all processes", function()
      local n = 0
      for _ in children_of(process.pid) do n = n + 1 end
      return n <= 2 -- what runs branch off, and the honest one's
    end)
    local text = place:log(place:await_runs("outward", 1)[1])
    for i, attempt in ipairs(ATTEMPTS) do
      local line = text:match(("Z (attempt %d [^\n]*)"):format(i))
      assert.is_string(line, attempt[1] .. "\n" .. text)
      assert.matches(("^attempt %d fails: "):format(i), line)
      assert.matches(attempt[2], line)
    end
    assert.is_nil(place:captures()[victim].stop_requested)
    assert.is_nil(lfs.attributes(place.dir .. "/other"))

    -- honest runs: each due time, in order, each with its own log
    place:stop()
    local dues, last = place:history "honest", nil
    assert.is_true(#dues >= 3)
    for _, due in ipairs(dues) do
      assert.equal("fired", due.verdict)
      assert.is_true(last == nil or due.nominal == last - 1)
      last = due.nominal
    end
    local runs = place:runs "honest"
    for i, one in ipairs(runs) do
      assert.equal("ok", one.state)
      assert.is_true(i == 1 or one.nominal > runs[i - 1].nominal)
      assert.matches(("^%%S+ moontap: run %d of honest, [^\n]*\n%%S+ honest\t%d\n%%S+ whole\n"
        .. "%%S+ moontap: done\n$"):format(one.id, one.id), place:log(one))
    end
    assert.equal(count(ASSAULTS) + 1 + #runs, #place:runs())

    -- a playbook cannot speak as the host does
    local lies = place:log(place:runs "liar"[1])
    assert.matches("Z | moontap: done\n%S+ 2026%-01%-01T00:00:00%.000Z moontap: run 1 of honest%?",
      lies)
    assert.equal(3, select(2, ("\n" .. lies):gsub("\n%S+ moontap: ", "")))
    -- and the token is in no file of the state
    local _, found = command.run { "grep", "-rlF", token, place.dir .. "/state" }
    assert.equal("", found)
  end)
end)

describe("a playbook with an account of its own", function()
  local place, other

  setup(function()
    place, other = daemons.new(), daemons.new()
    place:simulate()
    other:simulate("--seed", "2")
  end)
  teardown(function()
    place:close()
    other:close()
  end)

  it("captures with that account's token, which its process never has", function()
    local token = other.env.CLOUDFLARE_API_TOKEN
    assert.not_equal(token, place.env.CLOUDFLARE_API_TOKEN)
    place:write("token", token .. "\n")
    assert(os.execute(("chmod 600 '%s/token'"):format(place.dir)))
    place:write("accounts.ini", ("[prod]\naccount_id = %s\ntoken_file = token\nbase_url = %s\n")
      :format(other.env.CLOUDFLARE_ACCOUNT_ID, other.env.CLOUDFLARE_BASE_URL))
    local body = [[print((assert(pcaps.create { type = "simple", time_limit = 60,
      packet_limit = 20, filter_v1 = { destination_port = 53 } }).id)) moontap.sleep(%s)]]
    place:playbook("prod", body:format "60", 'account = "prod", timeout = 2,')
    place:playbook("usual", body:format "0")
    place:playbook("none", body:format "0", 'account = "prd",')
    local process = place:start { args = { "--accounts", place.dir .. "/accounts.ini" } }
    place:succeeds("trigger", "prod")
    place:await("its process", function()
      local looked = 0
      for pid in children_of(process.pid) do looked = looked + look_at(pid, token) end
      return looked > 1 or not IS_REAL
    end)
    local prod = place:log(place:await_runs("prod", 1)[1]):match "Z (%x+)\n"
    place:succeeds("trigger", "usual")
    local usual = place:log(place:await_runs("usual", 1)[1]):match "Z (%x+)\n"
    assert.is_table(other:captures()[prod])
    assert.is_nil(other:captures()[usual])
    assert.is_table(place:captures()[usual])
    assert.is_nil(place:captures()[prod])
    place:succeeds("trigger", "none")
    local none = place:await_runs("none", 1)[1]
    assert.equal("credentials", none.error_kind)
    assert.matches("did you mean prod?", none.error, 1, true)
    local _, found = command.run { "grep", "-rlF", token, place.dir .. "/state" }
    assert.equal("", found)
  end)
end)
