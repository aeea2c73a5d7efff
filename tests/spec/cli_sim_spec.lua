-- `moontap sim`: the simulator as a server of its own, and the commands that ask about captures.

local command = require "support.command"
local json = require "moontap.json"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local dir

-- Starts `moontap sim` and returns the process and what it told to export.
local function start(...)
  local process = command.start({ command.moontap, "sim", "--port-file", dir .. "/port", ... },
    { cwd = dir })
  local port = command.poll(function() return command.read_file(dir .. "/port") end)
  local exports, order = {}, {}
  for line in process.stdout():gmatch "[^\n]+" do
    local name, value = line:match "^([%u_]+)=(.*)$"
    order[#order + 1] = name
    exports[name] = value
  end
  return process, exports, port, order
end

before_each(function() dir = tempdir.new() end)
after_each(function() tempdir.remove(dir) end)

describe("the standalone simulator", function()
  it("prints three lines to export before it writes its port", function()
    local process, exports, port, order = start()
    assert.same({ "CLOUDFLARE_BASE_URL", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN" }, order)
    assert.matches("^%d+\n$", port)
    assert.equal("http://127.0.0.1:" .. port:gsub("\n", "/client/v4"), exports.CLOUDFLARE_BASE_URL)
    for _, value in pairs(exports) do assert.matches("^[%w:/._-]+$", value) end
    local status, _, err = process.stop()
    assert.equal(0, status)
    assert.equal("", err)
    assert.is_nil(lfs.attributes(dir .. "/port"))
  end)

  it("leaves with status 0 at SIGINT too", function()
    local process = start()
    process.signal "INT"
    assert.equal(0, (process.wait()))
  end)

  it("says so when it cannot listen", function()
    local process, _, port = start()
    local status, out, err = command.run({ command.moontap, "sim", "--listen",
      "127.0.0.1:" .. port:match "%d+" })
    process.stop()
    assert.equal(1, status)
    assert.equal("", out)
    assert.matches("^moontap: listen on 127.0.0.1 port %d+: [^\n]+\n$", err)
  end)

  it("says so when the port file cannot be written", function()
    local status, _, err = command.run({ command.moontap, "sim", "--port-file", dir .. "/no/port" })
    assert.equal(1, status)
    assert.matches("^moontap: write .*/no/port: [^\n]+\n$", err)
  end)

  it("lists its knobs", function()
    local status, out = command.run { command.moontap, "sim", "--knob", "help" }
    assert.equal(0, status)
    for _, knob in ipairs(require "moontap.sim.knobs".list()) do
      assert.matches(knob.name .. " ", out, 1, true)
    end
  end)
end)

describe("the commands about captures", function()
  local process, environment

  local function run(...)
    return command.run({ command.moontap, ... }, { cwd = dir, env = environment })
  end

  local FILL = [[
    local bucket = "s3://captures/x?region=us-east-1"
    local ownership = assert(pcaps.ownership.create { destination_conf = bucket })
    local challenge = assert(io.open("bk/s3/captures/x/" .. ownership.filename)):read "a"
    assert(pcaps.ownership.validate { destination_conf = bucket, ownership_challenge = challenge })
    local simple = assert(pcaps.create { type = "simple", time_limit = 60, packet_limit = 5,
      filter_v1 = { protocol = "udp", destination_port = 53 } })
    assert(simple:wait())
    local full = assert(pcaps.create { type = "full", colo_name = "ams01", time_limit = 3600,
      destination_conf = bucket })
    print(simple.id, full.id)]]

  before_each(function()
    process, environment = start("--bucket", "bk", "--speed", "10")
    environment.XDG_STATE_HOME = dir .. "/state" -- of all commands of a test
  end)

  after_each(function() process.stop() end)

  local function fill()
    local status, out, err = run("run", "--speed", "10", "-e", FILL)
    assert.equal(0, status, err)
    return out:match "^(%x+)\t(%x+)\n$"
  end

  it("list nothing quietly", function()
    assert.same({ 0, "", "no captures\n" }, { run("captures") })
    assert.same({ 0, "[]\n", "" }, { run("captures", "--json") })
    assert.equal("", select(3, run("captures", "-q")))
  end)

  it("list captures as an aligned table and as JSON", function()
    local simple, full = fill()
    local _, out = run("captures")
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(3, #lines)
    assert.matches("^ID +TYPE +STATUS +SUBMITTED +LIMIT +COLO +PACKETS +FILTER +BY +RAY$", lines[1])
    assert.matches("^" .. full .. "  full +%l+ +[%dT:-]+Z +3600s +ams01 +%d+  everything +%S+, %-e",
      lines[2])
    assert.matches("^" .. simple .. "  simple  success +%S+Z +60s +%- +%-  udp dport 53 +%S+, %-e",
      lines[3])
    local at = lines[1]:find "FILTER"
    assert.equal(at, lines[2]:find "everything")
    assert.equal(at, lines[3]:find "udp")
    local list = assert(json.decode((select(2, run("captures", "--json")))))
    assert.equal(full, list[1].id)
    assert.equal(53, list[2].filter_v1.destination_port)
  end)

  it("show one capture, without the parameters of its bucket", function()
    local simple, full = fill()
    local status, out = run("get", simple)
    assert.equal(0, status)
    assert.matches("^id +" .. simple .. "\ntype +simple\nstatus +success\n", out)
    assert.matches("\nfilter_v1 +udp dport 53\n", out)
    for _, argv in ipairs {
      { "get", full }, { "get", full, "--json" }, { "captures", "--json" },
    } do
      out = select(2, run(table.unpack(argv)))
      assert.matches("s3://captures/x?", out, 1, true)
      assert.not_matches("us-east-1", out, 1, true)
    end
  end)

  it("download a simple capture and print where it is", function()
    local simple, full = fill()
    local status, out = run("download", simple, "-o", "here.pcap")
    assert.equal(0, status)
    assert.equal("here.pcap\n", out)
    local file = assert(require "moontap.capture".open(dir .. "/here.pcap"))
    assert.equal(5, file.packets)
    assert.equal("", select(2, run("download", "-q", simple, "-o", "here.pcap")))
    out = select(2, run("download", simple, "--state", "st", "--json"))
    local account = environment.CLOUDFLARE_ACCOUNT_ID
    assert.same({ id = simple, path = ("st/captures/%s/%s.pcap"):format(account, simple) },
      json.decode(out))
    local err
    status, out, err = run("download", full)
    assert.equal(1, status)
    assert.equal("", out)
    assert.matches("^moontap: download %x+ refused: 400 [^\n]*bucket[^\n]*\n$", err)
  end)

  it("download to standard output, whole", function()
    local simple = fill()
    local status, out = run("download", simple, "-o", "-")
    assert.equal(0, status)
    run("download", simple, "-o", "same.pcap")
    assert.equal(command.read_file(dir .. "/same.pcap"), out)
    assert.equal(2, (run("download", simple, "-o", "")))
  end)

  it("stop the full capture of a script that fails", function()
    local status, out, err = run("run", "--speed", "10", "-e", FILL .. " error 'broken'")
    assert.equal(1, status)
    local full = out:match "\t(%x+)"
    assert.matches("stopped capture " .. full .. ", because this run", err, 1, true)
    assert.is_string(json.decode((select(2, run("get", full, "--json")))).stop_requested)
    assert.is_nil(select(3, run("run", "-e", "error 'nothing open'")):find("stopped", 1, true))
  end)

  it("stop a full capture", function()
    local simple, full = fill()
    local status, out = run("stop", full)
    assert.equal(0, status)
    assert.equal(("stopped %s\n"):format(full), out)
    assert.equal("", select(2, run("stop", "-q", full)))
    out = select(2, run("get", full, "--json"))
    assert.is_string(json.decode(out).stop_requested)
    local refused, _, err = run("stop", simple, "--force")
    assert.equal(1, refused)
    assert.matches("^moontap: stop %x+ refused: 400 [^\n]+\n$", err)
  end)

  it("fail in one line when there is no such capture", function()
    for _, name in ipairs { "get", "stop", "download" } do
      local status, out, err = run(name, ("0"):rep(32), name == "stop" and "--force" or nil)
      assert.equal(1, status)
      assert.equal("", out)
      assert.matches("^moontap: " .. name .. " %x+ refused: 404 [^\n]+ %(cf%-ray %S+%)\n$", err)
    end
  end)

  it("leave with status 3 when the token is refused", function()
    environment.CLOUDFLARE_API_TOKEN = "wrong"
    local status, _, err = run("captures")
    assert.equal(3, status)
    assert.matches("^moontap: [^\n]*Read PCAPs API[^\n]*\n$", err)
  end)

  it("log each exchange with -v, and no secret", function()
    local status, _, err = run("captures", "-v")
    assert.equal(0, status)
    assert.matches("moontap: GET /client/v4/accounts/%S+/pcaps 200 in %d+ ms, %d+ bytes, cf%-ray ",
      err)
    assert.not_matches(environment.CLOUDFLARE_API_TOKEN, err, 1, true)
  end)
end)

describe("steering a simulator", function()
  local env

  local function steer(...)
    return command.run({ command.moontap, "sim", ... }, { env = env })
  end

  it("is done from another process", function()
    local process
    process, env = start("--scenario", "udp-flood", "--knob", "simple_interval=0")
    local status, out = steer "state"
    assert.equal(0, status)
    assert.matches("^scenario udp%-flood, seed 1, speed 1, 0 captures\nattack flood +waiting", out)
    assert.matches("flood +active", select(2, steer("attack", "start", "flood", "--for", "30s")))
    assert.equal(0, (steer("fault", "create:cut_after,count=1")))
    status, out = command.run({ command.moontap, "run", "-e",
      'print(assert(pcaps.create { type = "simple", time_limit = 5, packet_limit = 10 }))' },
      { env = env })
    assert.equal(0, status)
    assert.matches("^capture %x+ %(simple", out)
    assert.matches("^create:cut_after,count=0  met by 1 of 1\n$", select(2, steer("fault", "list")))
    assert.equal(1, json.decode((select(2, steer("state", "--json")))).captures)
    assert.equal(0, (steer("fault", "clear")))
    assert.equal("no faults\n", (select(2, steer("fault", "list"))))
    process.stop()
  end)

  it("says what is wrong", function()
    local process
    process, env = start()
    for words, text in pairs {
      ["dance"] = "unknown word 'dance'", ["fault"] = "which fault", ["attack"] = "expected list",
      ["fault crate:silent"] = "did you mean create", ["attack stop x"] = "no attack called x",
    } do
      local list = {}
      for word in words:gmatch "%S+" do list[#list + 1] = word end
      local status, out, err = steer(table.unpack(list))
      assert.equal(2, status)
      assert.equal("", out)
      assert.is_truthy(err:find(text, 1, true), err)
    end
    process.stop()
    assert.equal(1, (steer "state"))
    env = { CLOUDFLARE_BASE_URL = "https://api.cloudflare.com/client/v4" }
    assert.matches("is no simulator", (select(3, steer "state")))
  end)

  it("goes for the embedded one with options of run", function()
    local status, out, err = command.run { command.moontap, "run", "--sim", "--fault",
      "create:cut_after,count=1", "--knob", "final_status=complete", "--scenario", "syn-flood",
      "-e", [[
        local cap = assert(pcaps.create { type = "simple", time_limit = 5, packet_limit = 10 })
        print(assert(cap:wait()).status)]] }
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal("complete\n", out)
    assert.matches("needs %-%-sim", (select(3, command.run { command.moontap, "run", "--fault",
      "*:silent", "-e", "x()" })))
    assert.matches("udp%-flood", (select(2, command.run { command.moontap, "run", "--sim",
      "--scenario", "help" })))
  end)
end)
