-- Downloads: a file has its name only when it is a capture, and whole.

local api = require "support.pcaps_api"
local config = require "moontap.config"
local sys = require "moontap.native.sys"

local HEADER = "\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\101\0\0\0"
local PACKET = "\0\0\0\0\0\0\0\0\4\0\0\0\4\0\0\0abcd"
local TYPE = "application/vnd.tcpdump.pcap"

local dir

before_each(function()
  dir = assert(sys.tempdir("pcaps"))
  config.state = dir .. "/state"
end)
after_each(function()
  api.stop()
  config.state, config.sim = nil, nil
end)

local function file(body, headers)
  headers = headers or { ["Content-Type"] = TYPE }
  return { status = 200, headers = headers, body = body }
end

local function read(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read("a")
end

local function entries()
  return #assert(sys.list(dir))
end

local function mode(path)
  return assert(sys.stat(path)).mode & tonumber("777", 8)
end

describe("download", function()
  it("writes the file and returns its path", function()
    local server = api.start { file(HEADER .. PACKET) }
    local path = dir .. "/x.pcap"
    assert.equal(path, assert(server.client.download(api.ID, path)))
    assert.equal(HEADER .. PACKET, read(path))
    assert.equal(tonumber("600", 8), mode(path))
    assert.equal(1, entries())
    assert.equal(TYPE, server.requests[1].headers.accept)
  end)

  it("takes an empty capture", function()
    local server = api.start { file(HEADER) }
    assert(server.client.download(api.ID, dir .. "/x.pcap"))
  end)

  it("goes into the state directory when no path is given", function()
    local server = api.start { file(HEADER) }
    local path = assert(server.client.download(api.ID))
    assert.equal(dir .. "/state/captures/acc/" .. api.ID .. ".pcap", path)
    assert.equal(tonumber("700", 8), mode(dir .. "/state/captures/acc"))
    assert.equal(tonumber("600", 8), mode(path))
  end)

  it("says why there is no place for the file", function()
    local server = api.start { file(HEADER) }
    assert(sys.write_file(dir .. "/state", "in the way", tonumber("600", 8)))
    local path, err = server.client.download(api.ID)
    assert.is_nil(path)
    assert.equal("io", err.kind)
    assert.equal(0, #server.requests)
  end)

  it("says in the file's name that it is made up", function()
    config.sim = { base_url = api.URL, account_id = "simacc", api_token = "t" }
    local server = api.start { file(HEADER) }
    local path = assert(server.client.download(api.ID))
    assert.equal(dir .. "/state/captures/simacc/sim-" .. api.ID .. ".pcap", path)
    assert.equal(dir .. "/mine.pcap", assert(server.client.download(api.ID, dir .. "/mine.pcap")))
  end)

  local function leaves_nothing(reply, kind)
    local server = api.start { reply }
    local path, err = server.client.download(api.ID, dir .. "/x.pcap", { max_retries = 0 })
    assert.is_nil(path)
    assert.equal(kind, err.kind)
    assert.equal(0, entries())
    return tostring(err)
  end

  it("leaves no file when what came is no capture", function()
    assert.matches("no pcap", leaves_nothing(file("hello world, this is nothing"), "http"))
    leaves_nothing(file(""), "http")
    leaves_nothing(file(HEADER:sub(1, 20)), "http")
    leaves_nothing(file(HEADER, { ["Content-Type"] = "text/html" }), "http")
    leaves_nothing(api.ok { id = "x" }, "http")
    leaves_nothing({ status = 200, headers = { ["Content-Type"] = TYPE }, body = HEADER,
                     cut = "middle" }, "network")
  end)

  it("leaves no file when the capture ends within a packet, whatever HTTP says", function()
    local packet = ("<I4I4I4I4"):pack(1, 0, 60, 60) .. ("x"):rep(60)
    assert.matches("cut off", leaves_nothing(file(HEADER .. packet .. packet:sub(1, 50)), "http"))
    leaves_nothing(file(HEADER .. packet:sub(1, 10)), "http")
  end)

  it("tells the API's refusal", function()
    assert.equal("download " .. api.ID .. " refused: 409 [1015] not ready (cf-ray 8f00ba4-ORD)",
      leaves_nothing(api.fail(409, 1015, "not ready"), "api"))
  end)

  it("does not replace what is no ordinary file", function()
    local server = api.start { file(HEADER) }
    assert(sys.mkdir_p(dir .. "/x.pcap", tonumber("700", 8)))
    local path, err = server.client.download(api.ID, dir .. "/x.pcap")
    assert.is_nil(path)
    assert.equal("io", err.kind)
    assert.equal(0, #server.requests)
  end)

  it("keeps the file that was there when the new one is bad", function()
    local path = dir .. "/x.pcap"
    local server = api.start { file(HEADER .. PACKET), api.fail(404, 1011, "gone") }
    assert(server.client.download(api.ID, path))
    assert.is_nil((server.client.download(api.ID, path)))
    assert.equal(HEADER .. PACKET, read(path))
  end)
end)
