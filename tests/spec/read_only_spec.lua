-- outside
-- --read-only: whatever would change something is refused before it leaves, from run and repl and
-- from the commands; what reads goes on.

local command = require "support.command"
local json = require "moontap.json"
local tempdir = require "support.tempdir"

local dir, simulator, env

before_each(function()
  dir = tempdir.new()
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", "--bucket",
    dir .. "/bucket", "--speed", "100" }, { cwd = dir, limit = 300 })
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { XDG_STATE_HOME = dir .. "/state" }
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end)

after_each(function()
  simulator.stop()
  tempdir.remove(dir)
end)

local function moontap(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

local function run(code)
  return moontap("run", "--read-only", "--speed", "100", "-e", code)
end

-- What `expression`, which gives nil and an error, says.
local function refusal(expression)
  local status, out, err = run(("local ok, err = %s\nprint(ok, err.kind, err)"):format(expression))
  assert.equal(0, status, err)
  return out
end

local function open_one()
  local status, out, err = moontap("run", "--speed", "100", "-e", [[
local cap = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 20 })
assert(cap:wait())
print(cap.id)]])
  assert.equal(0, status, err)
  return out:match "%x+"
end

local function requests()
  local _, out = moontap("captures", "--json")
  return #json.decode(out)
end

describe("--read-only", function()
  local BUCKET <const> = "s3://captures/x?region=us-east-1&secret=gL2Fq"

  it("refuses to create", function()
    assert.equal("nil\tdenied\trefused to create a simple capture: --read-only changes nothing\n",
      refusal 'pcaps.create { type = "simple", time_limit = 60, packet_limit = 20 }')
    assert.equal(0, requests())
  end)

  it("refuses to stop, also by force", function()
    assert.matches("nil\tdenied\trefused to stop abc: --read-only changes nothing",
      refusal 'pcaps.stop("abc", { force = true })', 1, true)
  end)

  it("refuses what is done to buckets, and names them without their keys", function()
    local conf = ('{ destination_conf = "%s" }'):format(BUCKET)
    local out = refusal("pcaps.ownership.create" .. conf)
    assert.matches("nil\tdenied\trefused to claim the bucket s3://captures/x?", out, 1, true)
    assert.is_nil(out:find("gL2Fq", 1, true))
    out = refusal(('pcaps.ownership.validate { destination_conf = "%s", '
      .. 'ownership_challenge = "gL2Fq" }'):format(BUCKET))
    assert.matches("nil\tdenied\trefused to prove the ownership of s3://captures/x?", out, 1, true)
    assert.is_nil(out:find("gL2Fq", 1, true))
    assert.matches("nil\tdenied\trefused to delete the ownership a1b2: ",
      refusal 'pcaps.ownership.delete "a1b2"', 1, true)
  end)

  it("refuses to send by HTTP what is no read", function()
    for _, what in ipairs { 'method = "PUT"', 'body = "x"', 'method = "delete"' } do
      local out = refusal(('moontap.http.request { url = "%s/x?key=gL2Fq", %s }')
        :format(env.CLOUDFLARE_BASE_URL, what))
      assert.matches("^nil\tdenied\trefused to %u+ http://127[^ ]+/x%?…: %-%-read%-only", out)
    end
    assert.matches("refused to GET .* to answer:", refusal(('moontap.http.request { url = "%s", '
      .. 'to_file = "answer" }'):format(env.CLOUDFLARE_BASE_URL)))
  end)

  it("refuses to write, remove and rename files", function()
    assert.equal(0, (moontap("run", "-e", "io.open('kept', 'w'):write('kept'):close()")))
    for _, mode in ipairs { "w", "a", "r+", "wb", "a+" } do
      assert.matches("nil\tdenied\trefused to write kept: --read-only changes nothing",
        refusal(("io.open('kept', '%s')"):format(mode)), 1, true)
    end
    assert.matches("refused to remove kept:", refusal "os.remove 'kept'", 1, true)
    assert.matches("refused to rename kept to lost:", refusal "os.rename('kept', 'lost')", 1,
      true)
    assert.matches("refused to make a temporary file:", refusal "os.tmpname()", 1, true)
    local status, _, err = run "io.output 'kept'"
    assert.equal(1, status)
    assert.matches("refused to write kept:", err, 1, true)
    assert.equal("kept", command.read_file(dir .. "/kept"))
  end)

  it("refuses to start processes", function()
    assert.matches("nil\tdenied\trefused to run touch made:", refusal "os.execute 'touch made'",
      1, true)
    assert.matches("nil\tdenied\trefused to run touch made:", refusal "io.popen 'touch made'",
      1, true)
    assert.is_nil(command.read_file(dir .. "/made"))
    assert.equal("true\n", (select(2, run "print(os.execute())")))
  end)

  it("lets reads through, downloads among them, and the state is kept", function()
    local id = open_one()
    local status, out, err = run(([[
assert(#assert(pcaps.list()) == 1)
assert(assert(pcaps.get "%s").id)
print(assert(pcaps.download("%s", "one.pcap")))
assert(moontap.http.request { url = "%s" })
assert(io.open "one.pcap"):close()
for line in io.lines "one.pcap" do break end
assert(io.tmpfile()):close()]]):format(id, id, env.CLOUDFLARE_BASE_URL))
    assert.equal(0, status, err)
    assert.equal("one.pcap\n", out)
  end)

  it("is known to the prompt and to the commands", function()
    local _, _, err = command.run({ command.moontap, "repl", "--read-only" },
      { cwd = dir, env = env, stdin = "os.remove 'x'\nassert(os.remove 'x')\n" })
    assert.matches("refused to remove x:", err, 1, true)
    local id = open_one()
    local status, _, problem = moontap("stop", "--read-only", "--force", id)
    assert.equal(1, status)
    assert.matches("moontap: refused to stop " .. id .. ": --read-only", problem, 1, true)
    assert.equal(0, (moontap("get", "--read-only", id)))
    assert.equal(0, (moontap("download", "--read-only", id)))
    assert.equal(2, (moontap("version", "--read-only")))
  end)
end)
