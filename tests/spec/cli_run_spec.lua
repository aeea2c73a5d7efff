-- outside
-- `moontap run` as shells and crontabs meet it: exit status, what is said, what is left behind.

local command = require "support.command"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local dir, tmp

-- Runs moontap in the test's directory, with no credentials and a temporary directory of its own.
local function options_with(more)
  local options = { cwd = dir, env = {
    CLOUDFLARE_BASE_URL = false, CLOUDFLARE_API_TOKEN = false, CLOUDFLARE_ACCOUNT_ID = false,
    CLOUDFLARE_EMAIL = false, CLOUDFLARE_API_KEY = false, TMPDIR = tmp, HOME = dir,
    XDG_STATE_HOME = false,
  } }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

local function run(...)
  return command.run({ command.moontap, ... }, options_with())
end

local function is_empty(path)
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then return false, name end
  end
  return true
end

before_each(function()
  dir, tmp = tempdir.new(), tempdir.new()
end)

after_each(function()
  tempdir.remove(dir)
  tempdir.remove(tmp)
end)

local CREATE = "assert(pcaps.create { type = 'simple', time_limit = 60, packet_limit = 10 })"

describe("exit status", function()
  local cases = {
    { 0, "a script that ends", "return 5" },
    { 1, "a script that fails", "error('boo')", "moontap: %-e:1: boo\n" },
    { 1, "an undefined global", "x()", "undefined global 'x'" },
    { 1, "code that is no Lua", "x = = 1", "^moontap: %-e:1: unexpected symbol[^\n]*\n$" },
    { 3, "missing credentials", "assert(pcaps.list())", "^moontap: no credentials: [^\n]+\n$" },
    { 4, "an error of kind timeout",
      "assert(moontap.timeout(0.01, function() moontap.sleep(9) end))", "deadline of" },
    { 6, "an unknown outcome",
      "error(require 'moontap.errors'.new('unknown_outcome', 'who knows'))", "who knows" },
    { 7, "os.exit with a number", "os.exit(7)" },
  }

  for _, case in ipairs(cases) do
    it(("is %d for %s"):format(case[1], case[2]), function()
      local status, out, err = run("run", "-q", "-e", case[3])
      assert.equal(case[1], status, err)
      assert.equal("", out)
      assert.matches(case[4] or "^$", err)
    end)
  end

  it("is 1 for a file that is not there", function()
    local status, _, err = run("run", "--sim", "nowhere.lua")
    assert.equal(1, status)
    assert.matches("^moontap: cannot open nowhere.lua[^\n]*\n$", err)
  end)

  it("is 4 after a signal", function()
    for _, signal in ipairs { "INT", "TERM" } do
      local process = command.start({ command.moontap, "run", "--sim", "-e",
        "local out = io.stdout out:write 'up' out:flush() moontap.sleep('1h')" }, options_with())
      command.poll(function() return process.stdout() ~= "" end)
      process.signal(signal)
      local status, _, err = process.wait()
      assert.equal(4, status)
      assert.equal("moontap: interrupted\n", err)
      assert.is_true(is_empty(tmp))
    end
  end)
end)

describe("a script", function()
  it("comes from standard input", function()
    local options = options_with { stdin = "print('read', ...)" }
    for _, argv in ipairs { { "run", "-", "a" }, { "-", "a" }, { "run", "--sim", "-", "a" } } do
      local status, out = command.run({ command.moontap, table.unpack(argv) }, options)
      assert.equal("read\ta\n", out)
      assert.equal(0, status)
    end
  end)

  it("is silent when it has nothing to say", function()
    local status, out, err = run("run", "--sim", "-e", CREATE .. ":wait()")
    assert.equal(0, status)
    assert.equal("", out .. err)
  end)

  it("shows where it failed, also in a task of its own", function()
    local status, _, err = run("run", "--sim", "-e",
      "moontap.spawn(function() error('deep') end):join()")
    assert.equal(1, status)
    assert.matches("^moontap: %-e:1: deep\n.*%-e:1: in function", err)
  end)
end)

describe("--timeout", function()
  it("ends a script that waits", function()
    local status, _, err = run("run", "--timeout", "100ms", "-e", "moontap.sleep('1h')")
    assert.equal(4, status)
    assert.equal("moontap: deadline of 100ms passed\n", err)
  end)

  it("ends a script that never waits", function()
    local status, _, err = run("run", "--timeout", "100ms", "-e",
      "while true do pcall(function() while true do end end) end")
    assert.equal(4, status)
    assert.matches("^moontap: the time limit passed\n", err)
  end)

  it("runs on the virtual clock when that is asked for", function()
    local status = run("run", "--sim", "--virtual-time", "--timeout", "2h", "-e",
      "moontap.sleep('1h')")
    assert.equal(0, status)
    assert.equal(4, (run("run", "--sim", "--virtual-time", "--timeout", "1h", "-e",
      "moontap.sleep('2h')")))
  end)
end)

describe("--lock", function()
  local function hold()
    local process = command.start({ command.moontap, "run", "--lock", "nightly", "-e",
      "print('up') io.stdout:flush() moontap.sleep('1h')" }, options_with())
    command.poll(function() return process.stdout() ~= "" end)
    return process
  end

  it("leaves with status 8 while another run holds it, and says so with -v", function()
    local process = hold()
    local status, out, err = run("run", "-v", "--lock", "nightly", "-e", "print('ran')")
    local other = run("run", "--lock", "daily", "-e", "")
    local quiet, _, nothing = run("run", "--lock", "nightly", "-e", "print('ran')")
    process.stop()
    assert.equal(8, status)
    assert.equal("", out)
    assert.equal("moontap: skipped: another run holds the lock 'nightly'\n", err)
    assert.equal(0, other)
    assert.equal(8, quiet)
    assert.equal("", nothing)
  end)

  it("goes away with the process, however that ends", function()
    local process = hold()
    process.signal("KILL")
    process.wait()
    assert.equal(0, (run("run", "--lock", "nightly", "-e", "")))
  end)

  it("lies in the state directory, also under --sim", function()
    assert.equal(0, (run("run", "--sim", "--state", dir .. "/st", "--lock", "a", "-e", "")))
    assert.is_truthy(lfs.attributes(dir .. "/st/locks/a.lock"))
    assert.equal(0, (run("run", "--sim", "--lock", "a", "-e", "")))
    assert.is_truthy(lfs.attributes(dir .. "/.local/state/moontap/locks/a.lock"))
  end)
end)

describe("--memory", function()
  it("bounds what a script may use", function()
    local status, _, err = run("run", "--memory", "16M", "-e",
      "local t = {} for i = 1, 1e9 do t[i] = { i } end")
    assert.equal(1, status)
    assert.matches("not enough memory", err)
    assert.equal(0, (run("run", "--memory", "16M", "-e", "local t = ('x'):rep(1e6)")))
  end)
end)

describe("--sim", function()
  it("needs no credentials and overrides those that are set", function()
    local options = options_with()
    options.env.CLOUDFLARE_BASE_URL = "http://127.0.0.1:1"
    options.env.CLOUDFLARE_API_TOKEN = "not-this-one"
    options.env.CLOUDFLARE_ACCOUNT_ID = "nor-this"
    local status, out, err = command.run({ command.moontap, "run", "--sim", "-e",
      "print(" .. CREATE .. ".status)" }, options)
    assert.equal(0, status, err)
    assert.equal("pending\n", out)
  end)

  it("leaves nothing behind, whether the script ends, fails or leaves", function()
    local endings = { "", "error 'x'", "os.exit(3)", "moontap.sleep('1h')" }
    for _, ending in ipairs(endings) do
      run("run", "--sim", "--timeout", "500ms", "-e",
        ("local cap = %s assert(cap:wait()) assert(cap:download()) %s"):format(CREATE, ending))
      assert.same({ true }, { is_empty(tmp) }, ending)
    end
    assert.same({ true }, { is_empty(dir) })
  end)

  it("names the files that it names itself sim-…", function()
    local status, out, err = run("run", "--sim", "--state", "st", "-e",
      ("local cap = %s assert(cap:wait()) print(cap.id, assert(cap:download()))"):format(CREATE))
    assert.equal(0, status, err)
    local id, path = out:match "^(%x+)\t(.+)\n$"
    assert.matches("^st/captures/.+/sim%-" .. id .. "%.pcap$", path)
    assert.is_truthy(lfs.attributes(dir .. "/" .. path))
  end)

  it("keeps a bucket directory that was given", function()
    local status, _, err = run("run", "--sim", "--bucket", "bk", "-e", [[
      local bucket = require "moontap.bucket"
      assert(bucket.claim(assert(bucket.simulated())))]])
    assert.equal(0, status, err)
    assert.is_false((is_empty(dir .. "/bk/s3/moontap-sim/full")))
  end)

  it("repeats itself in virtual time, down to the last byte", function()
    local script = command.source .. "/scripts/first-capture.lua"
    if script:sub(1, 1) ~= "/" then script = lfs.currentdir() .. "/" .. script end
    local function once(...)
      local status, out, err = run("run", "--sim", "--virtual-time", "--seed", ...)
      assert.equal(0, status, err)
      return out, command.read_file(dir .. "/first.pcap")
    end
    local out, bytes = once("7", script)
    assert.same({ out, bytes }, { once("7", script) })
    assert.not_equal(out, (once("8", script)))
  end)
end)

describe("the line about a wait", function()
  -- Runs code on a terminal; returns what it showed.
  local function on_terminal(...)
    local words = { command.quote(command.moontap) }
    for i, word in ipairs { ... } do words[i + 1] = command.quote(word) end
    local options = options_with()
    options.env.TERM = "xterm"
    local status, out = command.run({ "script", "-qec", table.concat(words, " "), "/dev/null" },
      options)
    assert.equal(0, status, out)
    return out
  end

  local WAIT = "assert(" .. CREATE .. ":wait()) print 'done'"

  it("is rewritten and erased on a terminal", function()
    local out = on_terminal("run", "--sim", "-e", WAIT)
    assert.matches("^\r\27%[K%x+ pending, %d+s of 5m", out)
    assert.matches("\r\27%[Kdone\r\n$", out)
  end)

  it("is there for a plain script too", function()
    local file <close> = assert(io.open(dir .. "/wait.lua", "w"))
    file:write "require 'moontap.progress'.default()({ id = 'ab', status = 'running' }, 3, 60)"
    file:flush()
    assert.matches("^\r\27%[Kab running, 3s of 1m", on_terminal("wait.lua"))
  end)

  it("is not there with -q, with -v, or without a terminal", function()
    assert.equal("done\r\n", on_terminal("run", "-q", "--sim", "-e", WAIT))
    assert.not_matches("\27", on_terminal("run", "-v", "--sim", "-e", WAIT))
    local _, _, err = run("run", "--sim", "-e", WAIT)
    assert.equal("", err)
  end)
end)
