-- outside
-- `moontap doctor`: what it finds, what it says about it, and what it does not do.

local command = require "support.command"
local json = require "moontap.json"
local sys = require "moontap.native.sys"
local tempdir = require "support.tempdir"

local TOKEN <const> = "Zt0ken-that-nobody-may-see"

local dir, simulator, env

local function start_simulator(...)
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", "100", ... }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end

before_each(function()
  dir = tempdir.new()
  env = { XDG_STATE_HOME = dir .. "/state", XDG_CONFIG_HOME = dir .. "/config", HOME = dir }
end)
after_each(function()
  if simulator then simulator.stop() end
  simulator = nil
  tempdir.remove(dir)
end)

local function moontap(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

-- The checks by name, the exit status, and what stands above them.
local function examine(...)
  local status, out, err = moontap("doctor", "--json", ...)
  local report = assert(json.decode(out), err)
  assert.equal(status, report.exit_status)
  local checks = {}
  for _, check in ipairs(report.checks) do
    checks[check.name] = check
    assert.is_true(check.status == "ok" or check.status == "warn" or check.status == "fail")
    assert.is_nil(check.message:find "%c")
  end
  for _, secret in ipairs { TOKEN, env.CLOUDFLARE_API_TOKEN or TOKEN } do
    assert.is_nil((out .. err):find(secret, 1, true))
  end
  return checks, status, report
end

local function query(sql)
  return command.query(dir .. "/state/moontap/state.db", sql)
end

local CREATE <const> = 'print(assert(pcaps.create { type = "simple", time_limit = 60, '
  .. 'packet_limit = 20 }).id)'

describe("the doctor", function()
  it("finds nothing wrong where nothing is, creates nothing, and says what it did not test",
    function()
      start_simulator()
      local checks, status, report = examine()
      local walls = require "moontap.native.child".walls()
      assert.equal(0, status)
      assert.equal("ok", report.status)
      for name, check in pairs(checks) do
        local is_untested = name == "write" or name == "sandbox" and not walls.is_real
        assert.equal(is_untested and "warn" or "ok", check.status, name)
      end
      assert.is_true(checks.sandbox.data.works)
      assert.equal(walls.landlock, checks.sandbox.data.landlock)
      assert.matches(walls.is_real and "Landlock" or "no walls", checks.sandbox.message)
      assert.matches("untested", checks.write.message)
      assert.matches("^version %d", checks.libcurl.message)
      assert.matches("^version 3%.", checks.SQLite.message)
      assert.equal(env.CLOUDFLARE_BASE_URL, checks.API.data.base_url)
      assert.equal(env.CLOUDFLARE_ACCOUNT_ID, checks.account.data.account_id)
      assert.equal("from CLOUDFLARE_API_TOKEN", checks.credentials.message)
      assert.matches("agrees", checks.clock.message)
      assert.matches("not there yet", checks.state.message)
      assert.is_nil(sys.stat(dir .. "/state"))
      local state = json.decode((select(2, moontap("sim", "state", "--json"))))
      assert.equal(0, state.captures)
    end)

  it("prints a line a check, without colour where nobody looks", function()
    start_simulator()
    local status, out, err = moontap "doctor"
    assert.equal(0, status)
    assert.equal("", err)
    for line in out:gmatch "[^\n]+" do assert.matches("^[okwarnfil]+ +%w", line) end
    assert.matches("\nok    captures     may be listed: 0, 0 full ones running\n", out)
    assert.matches("\nwarn  write        untested", out)
    assert.is_nil(out:find("\27", 1, true))
    local wall = not require "moontap.native.child".walls().is_real
      and "warn  sandbox[^\n]*no walls[^\n]*\n" or ""
    assert.matches("^" .. wall .. "warn  write[^\n]*\n$", (select(2, moontap("doctor", "-q"))))
  end)

  it("looks at the state without changing it", function()
    start_simulator()
    assert.equal(0, (moontap("run", "--speed", "100", "-e", CREATE)))
    local checks, status = examine()
    assert.equal(0, status)
    assert.matches("version %d+ of its tables, whole, journal mode wal$", checks.database.message)
    assert.equal(3, checks.audit.data.rows)
    assert.equal(0, checks.journal.data.open_intents)
    assert.is_true(checks.disk.data.free > 0)
    -- one that died stays as it is
    env.MOONTAP_KILL_AT = "answered"
    assert.equal(137, (moontap("run", "--speed", "100", "-e", CREATE)))
    env.MOONTAP_KILL_AT = nil
    for _ = 1, 2 do
      checks, status = examine()
      assert.equal(0, status)
      assert.equal("warn", checks.journal.status)
      assert.equal(1, checks.journal.data.open_intents)
      assert.equal(1, checks.journal.data.left_open)
      assert.matches("1 of them left by what is gone: run %-e %(process %d+%)",
        checks.journal.message)
    end
    assert.equal("sending\n", query "SELECT state FROM intents WHERE settled IS NULL")
  end)

  it("fails for a chain that does not hold, a broken file, a newer one", function()
    start_simulator()
    assert.equal(0, (moontap("run", "-e", CREATE)))
    query "UPDATE audit SET subject = 'intent 9' WHERE seq = 2"
    local checks, status = examine()
    assert.equal(1, status)
    assert.equal("fail", checks.audit.status)
    assert.equal(2, checks.audit.data.row)
    query "PRAGMA user_version = 999"
    checks, status = examine()
    assert.equal(1, status)
    assert.matches("newer moontap", checks.database.message)
    local f <close> = assert(io.open(dir .. "/state/moontap/state.db", "r+b"))
    f:write(("broken"):rep(1000))
    f:close()
    checks, status = examine()
    assert.equal(1, status)
    assert.equal("fail", checks.database.status)
  end)

  it("warns of what others can see", function()
    start_simulator()
    assert.equal(0, (moontap("run", "-e", CREATE)))
    local place = dir .. "/state/moontap"
    assert(os.execute(("chmod 755 '%s' && chmod 644 '%s/state.db'"):format(place, place)))
    local checks, status = examine()
    assert.equal(0, status)
    assert.matches("chmod 700 ", checks.state.message)
    assert.equal("warn", checks.database.status)
    assert.matches("chmod 600", checks.database.message)
  end)

  it("fails where the state cannot be written", function()
    start_simulator()
    env.XDG_STATE_HOME = dir .. "/port"
    local checks, status = examine()
    assert.equal(1, status)
    assert.equal("fail", checks.state.status)
    assert.equal("ok", checks.captures.status)
  end)

  it("warns of a clock that differs by more than two seconds", function()
    start_simulator("--knob", "clock_skew=-30")
    local checks, status = examine()
    assert.equal(0, status)
    assert.equal("warn", checks.clock.status)
    assert.matches("ahead of the API's", checks.clock.message)
    assert.is_true(math.abs(checks.clock.data.seconds - 30) < 5)
    simulator.stop()
    os.remove(dir .. "/port")
    start_simulator("--knob", "clock_skew=30")
    assert.matches("behind the API's", examine().clock.message)
  end)

  it("names buckets and how they stand, without what follows their ?", function()
    start_simulator()
    assert.equal(0, (moontap("run", "-e", [[
      assert(pcaps.ownership.create { destination_conf = "s3://captures/x?region=us-east-1" })]])))
    local checks = examine()
    assert.equal("warn", checks.buckets.status)
    assert.matches("s3://captures/x?", checks.buckets.message, 1, true)
    assert.matches("(pending)", checks.buckets.message, 1, true)
    assert.is_nil(checks.buckets.message:find "us%-east")
    assert.is_nil(checks.buckets.data.buckets[1].destination_conf:find "us%-east")
  end)

  it("leaves with 3 when credentials are missing or refused", function()
    local checks, status = examine()
    assert.equal(3, status)
    assert.matches("set CLOUDFLARE_ACCOUNT_ID", checks.account.message)
    assert.matches("set CLOUDFLARE_API_TOKEN", checks.credentials.message)
    start_simulator()
    env.CLOUDFLARE_API_TOKEN = TOKEN
    checks, status = examine()
    assert.equal(3, status)
    assert.equal("fail", checks.captures.status)
    assert.matches("does not know these credentials", checks.captures.message)
    env.CLOUDFLARE_API_TOKEN = false
    assert.equal(3, select(2, examine()))
  end)

  it("says what a refusal may mean, and when nobody answers", function()
    start_simulator("--fault", "ownership.list:error_json,status=403")
    local checks, status = examine()
    assert.equal(3, status)
    assert.equal("ok", checks.captures.status)
    assert.matches("403", checks.buckets.message)
    simulator.stop()
    simulator = nil
    checks, status = examine()
    assert.equal(1, status)
    assert.matches("is the address right", checks.captures.message)
  end)

  it("lists accounts by name, and what is wrong with them", function()
    start_simulator()
    assert(os.execute("mkdir -p " .. dir .. "/config/moontap"))
    local f <close> = assert(io.open(dir .. "/config/moontap/accounts.ini", "w"))
    f:write("[prod]\naccount_id = ", ("1"):rep(32), "\ntoken_file = prod.token\n[lab]\n")
    f:close()
    local checks, status = examine()
    assert.equal(0, status)
    assert.equal("warn", checks.accounts.status)
    assert.matches("lab %(.*no account_id.*%), prod$", checks.accounts.message)
    assert.equal(("1"):rep(32), checks.accounts.data.accounts[2].account_id)
    checks, status = examine("--account", "prod")
    assert.equal(3, status)
    assert.equal("prod", checks.account.data.name)
    assert.matches("prod.token: No such file", checks.credentials.message)
  end)
end)
