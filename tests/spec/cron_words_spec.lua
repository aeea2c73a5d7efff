-- What commands about playbooks say to who uses them for the first time.

local command = require "support.command"
local daemons = require "support.daemon"

local place

before_each(function() place = daemons.new() end)
after_each(function() place:close() end)

local function fails(...)
  local status, _, err = place:run(...)
  assert.is_true(status > 0)
  return err
end

-- What `check` says of a playbook with these fields.
local function check(fields, env)
  place:write("pb/one.lua", ("return { api = 1, %s run = function() end }"):format(fields))
  local _, out = command.run({ command.moontap, "check", "pb" },
    { cwd = place.dir, env = place:with(env) })
  return out
end

local MINUTELY <const> = 'on = { cron = "* * * * *" }, '

describe("a path that is missing", function()
  it("is named with what was expected there", function()
    for _, name in ipairs { "check", "cron", "schedule" } do
      assert.matches("^moontap: nosuch: No such file or directory; expected the file of a playbook",
        fails(name, "nosuch"))
    end
    place:playbook("one", "")
    for _, name in ipairs { "check", "cron" } do
      assert.matches("^moontap: %-%-policy: [^\n]*nofile: No such file[^\n]*operator's bounds",
        fails(name, "--policy", "nofile", "pb"))
    end
  end)
end)

describe("moontap check", function()
  it("tells of an empty file and of a zone once", function()
    assert.matches('error     tz: no time zone is called europe/berln',
      check(MINUTELY .. 'tz = "europe/berln", '))
    place:write("pb/empty.lua", "local x = 1")
    assert.matches("empty.lua%)\n  error     the file returns nothing: it has to end with",
      (select(2, place:run("check", "pb"))))
  end)

  it("knows the words of other schedulers", function()
    local out = check 'timezone = "UTC", cron = "* * * * *", on = { schedule = "* * * * *" }, '
    assert.matches('timezone: unknown field; did you mean "tz"?', out, 1, true)
    assert.matches('cron: unknown field; did you mean "on.cron"?', out, 1, true)
    assert.matches('on.schedule: this version has no such trigger; did you mean "cron"?', out, 1,
      true)
  end)

  it("lets nothing through that means nothing", function()
    local out = check(MINUTELY .. [[max_queue = 3, retry = { attempts = 2, on = { "netwrok" } },
      grants = { http = { "https://example.net/", "example.net" },
                 files = { "lists", "/srv/../etc", "/srv/a..b" } },]])
    assert.matches('max_queue: it is for overlap = "queue" only', out, 1, true)
    assert.matches('retry.on%[1%]: expected api, [^\n]*did you mean "network"?', out)
    assert.matches('grants.http%[1%]: expected the name of a host', out)
    assert.matches('grants.files%[1%]: expected the whole path', out)
    assert.matches('grants.files%[2%]: expected the whole path', out)
    assert.no.matches('grants.http[2]', out, 1, true)
    assert.no.matches('grants.files[3]', out, 1, true)
    assert.no.matches("max_queue", check(MINUTELY .. 'overlap = "queue", max_queue = 3,'), 1, true)
  end)

  it("warns of jitter that is longer than the time between due times", function()
    assert.matches("warning   jitter: up to 5m is longer than the 1m between", check(
      MINUTELY .. 'jitter = "5m", '))
    assert.no.matches("warning", check(MINUTELY .. 'jitter = "30s", '))
  end)

  it("looks an account up where there is a file of accounts", function()
    local env = { HOME = place.dir, XDG_CONFIG_HOME = place.dir .. "/config" }
    local fields = MINUTELY .. 'account = "prdo", '
    assert.matches('warning   account: there is no accounts file', check(fields, env))
    assert.is_true(os.execute(("mkdir -p %s/config/moontap"):format(place.dir)))
    place:write("config/moontap/accounts.ini", "[prod]\naccount_id = 1\ntoken_file = t\n")
    assert.matches("error     account: no account is called prdo in [^\n]*did you mean prod?",
      check(fields, env))
    assert.matches("0 with errors", check(MINUTELY .. 'account = "prod", ', env))
  end)
end)

describe("a daemon", function()
  it("says where it works, where it listens, and how it is ended", function()
    place.env.CLOUDFLARE_ACCOUNT_ID = ("0a"):rep(16)
    place.env.CLOUDFLARE_BASE_URL = "http://127.0.0.1:9/client/v4"
    place:playbook("one", "")
    place:start()
    local port = command.read_file(place.dir .. "/listen"):match "%d+"
    assert.matches(("account %s at http://127.0.0.1:9/client/v4; metrics at "
      .. "http://127.0.0.1:%s/metrics; Ctrl-C or SIGTERM"):format(("0a"):rep(16), port),
      place.daemon.stderr(), 1, true)
  end)

  it("says which limit ended a run", function()
    place:simulate()
    place:playbook("slow", "moontap.sleep(1e6)", "timeout = 2,")
    place:start()
    local one, log = place:once "slow"
    assert.equal("time was up: a run of it may take 2s (its field timeout)", one.error)
    assert.matches(one.error, log, 1, true)
  end)
end)

describe("moontap purge --keep", function()
  it("says that it was taken over", function()
    assert.matches("^from now on captures are kept for 90d\nremoved 0 files",
      place:succeeds("purge", "--keep", "90d"))
    assert.matches("^from now on captures are kept for ever\n",
      place:succeeds("purge", "--keep", "forever"))
    assert.equal("", place:succeeds("purge", "--keep", "90d", "-q"))
    assert.no.matches("from now on", place:succeeds("purge", "--keep", "30d", "--dry-run"))
  end)
end)

describe("moontap pause", function()
  it("says which note a second one replaces", function()
    place:playbook("one", "")
    place:start()
    assert.equal("one is paused\n", place:succeeds("pause", "one", "--note", "until Monday"))
    assert.equal("one was paused before (until Monday) and is paused still: until Friday\n",
      place:succeeds("pause", "one", "--note", "until Friday"))
    assert.equal("one was paused before (until Friday), which stays as it is\n",
      place:succeeds("pause", "one"))
    assert.equal("one goes on\n", place:succeeds("resume", "one"))
    assert.equal("one was not paused\n", place:succeeds("resume", "one"))
  end)
end)
