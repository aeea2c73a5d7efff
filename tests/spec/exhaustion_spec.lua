-- outside
-- When there is no more of something: descriptors, disk, readers. Each time the error says what is
-- missing, nothing half made stays behind, and what failed can be done again.

local command = require "support.command"
local json = require "moontap.json"
local lfs = require "lfs"
local tempdir = require "support.tempdir"

local SIMPLE = '{ type = "simple", time_limit = 5, packet_limit = 5000 }'

local dir, simulator, env

setup(function()
  dir = tempdir.new()
  simulator = command.start({ command.moontap, "sim", "--port-file", dir .. "/port",
    "--knob", "simple_interval=0", "--scenario", "udp-flood" }, { cwd = dir })
  command.poll(function() return command.read_file(dir .. "/port") end)
  env = { MOONTAP_GATE = "off" } -- what the gate does then, gate_spec says
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do env[name] = value end
end)

teardown(function()
  simulator.stop()
  tempdir.remove(dir)
end)

-- Runs `code` in moontap behind `prefix`, a piece of shell: "ulimit -n 20;".
local function run(prefix, code, limit)
  local line = prefix .. ' exec "$0" run -e "$1"'
  return command.run({ "bash", "-c", line, command.moontap, code },
    { cwd = dir, env = env, limit = limit })
end

local function succeeds(prefix, code)
  local status, out, err = run(prefix, code)
  assert.equal("", err)
  assert.equal(0, status)
  return out
end

local function count_captures()
  local _, out = command.run({ command.moontap, "sim", "state", "--json" }, { env = env })
  return assert(json.decode(out)).captures
end

describe("without descriptors", function()
  it("a create fails as not sent, and works when there are some again", function()
    local out = succeeds("ulimit -n 40;", ([[
assert(pcaps.list()) -- what loads at first use is loaded
local client = pcaps.client { base_url = os.getenv "CLOUDFLARE_BASE_URL":gsub("127%%.0%%.0%%.1",
  "localhost"), account_id = os.getenv "CLOUDFLARE_ACCOUNT_ID",
  api_token = os.getenv "CLOUDFLARE_API_TOKEN" } -- no connection of it is open
local files = {}
repeat files[#files + 1] = io.open "/dev/null" until not io.open "/dev/null"
while true do
  local file = io.open "/dev/null"
  if not file then break end
  files[#files + 1] = file
end
local cap, err = client.create(%s, { timeout = 3 })
for _, file in ipairs(files) do file:close() end
collectgarbage()
print(cap, err.kind, err.sent)
print(assert(client.create(%s)).status)
]]):format(SIMPLE, SIMPLE))
    assert.matches("^nil\tio\tno\npending\n$", out)
  end)

  it("each of many creates at once is made, or certainly was not sent", function()
    local before = count_captures()
    local out = succeeds("ulimit -n 24;", ([[
assert(pcaps.list())
local tasks = {}
for i = 1, 60 do tasks[i] = moontap.spawn(pcaps.create, %s) end
local made, refused = 0, 0
for _, task in ipairs(tasks) do
  local cap, err = task:join()
  if cap then
    made = made + 1
  else
    assert(err.sent == "no" and err.message:find "Too many open files", err)
    refused = refused + 1
  end
end
print(made + refused, made > 0, refused > 0, made)
]]):format(SIMPLE))
    local made = out:match "^60\ttrue\ttrue\t(%d+)\n$"
    assert.is_string(made, out)
    assert.equal(tonumber(made), count_captures() - before)
  end)
end)

describe("a full disk", function()
  local DOWNLOAD = [[
local cap = assert(pcaps.create { type = "simple", time_limit = 300, packet_limit = 5000 })
assert(cap:wait())
local path = "small/x.pcap"
local got, err = cap:download(path)
print(got, err and err.kind, err and err.message)
local lfs = require "lfs"
for name in lfs.dir "small" do if not name:find "^%.+$" then print(name) end end
print(cap:download "whole.pcap")
]]

  before_each(function() lfs.mkdir(dir .. "/small") end)
  after_each(function() os.remove(dir .. "/whole.pcap") end)

  it("leaves no file, and the download can be repeated elsewhere", function()
    if not os.execute "unshare -rm true 2>/dev/null" then
      pending "no name spaces here"
      return
    end
    local status, out = command.run({ "unshare", "-rm", "bash", "-c",
      'mount -t tmpfs -o size=16k none small && exec "$0" run -e "$1"', command.moontap, DOWNLOAD },
      { cwd = dir, env = env })
    assert.equal(0, status)
    assert.matches("^nil\tio\t[^\n]*small/x.pcap[^\n]*No space left on device[^\n]*\nwhole.pcap\n$",
      out)
    assert.equal("file", lfs.attributes(dir .. "/whole.pcap", "mode"))
  end)

  it("is told by a limit on file sizes in the same way", function()
    local status, out = run("ulimit -f 8;", DOWNLOAD)
    assert.equal(0, status)
    assert.matches("^nil\tio\t[^\n]*small/x.pcap[^\n]*File too large\nnil\t", out)
    assert.is_nil(lfs.attributes(dir .. "/whole.pcap"))
    for name in lfs.dir(dir) do assert.is_nil(name:find "whole", name) end
  end)
end)

describe("output that nobody reads", function()
  it("ends no command with a signal, and says so once", function()
    for _, words in ipairs { "captures --json", "list --help", "captures" } do
      local line = ('"$0" %s >/dev/full; echo $?'):format(words)
      local _, out, err = command.run({ "bash", "-c", line, command.moontap },
        { cwd = dir, env = env })
      assert.matches("^[12]\n$", out)
      assert.is_true(#err > 0)
    end
  end)

  it("is left to children as they find it", function()
    local out = succeeds("", [[
local pipe <close> = io.popen "{ (yes; echo $? >&3) | head -1 >/dev/null; } 3>&1"
io.write(pipe:read "a")]])
    assert.equal("141\n", out)
  end)
end)
