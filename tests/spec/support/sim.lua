-- A simulator in process and calls to its handler, for specs.

local assert = require "luassert"
local json = require "moontap.json"
local sims = require "moontap.sim"

local M = {}

M.SIMPLE = { type = "simple", system = "magic-transit", time_limit = 300, packet_limit = 10000 }
M.BUCKET = "s3://capture-bucket/pcaps?region=us-east-1"

local Client = {}
Client.__index = Client

local open = {}

---Closes all simulators of a test, which has only one finally().
local function close_all()
  for i = #open, 1, -1 do
    table.remove(open, i):close()
  end
end

---Starts a simulator in process with OPTIONS; finally() of the test closes it.
function M.start(finally, options)
  local settings = { transport = "inproc" }
  for name, value in pairs(options or {}) do
    settings[name] = value
  end
  local sim = assert(sims.start(settings))
  open[#open + 1] = sim
  finally(close_all)
  return setmetatable({ sim = sim, base = "/client/v4/accounts/" .. sim.account_id }, Client)
end

---A copy of PARAMS with CHANGES; false takes a field away.
function M.with(params, changes)
  local copy = {}
  for _, source in ipairs { params, changes or {} } do
    for name, value in pairs(source) do
      if value == false then copy[name] = nil else copy[name] = value end
    end
  end
  return copy
end

---Sends a request; BODY is a table for JSON or a string. Returns the reply and
---its decoded body.
function Client:call(method, path, body, headers)
  if type(body) == "table" then
    body = json.encode(body)
  end
  if path:sub(1, 1) ~= "/" then
    path = self.base .. "/" .. path
  end
  local reply = self.sim.handler {
    method = method, target = path, path = path, body = body or "", peer = "in-process",
    headers = headers or { authorization = "Bearer " .. self.sim.api_token },
  }
  local kind = reply.headers["Content-Type"]
  return reply, kind == "application/json" and json.decode(reply.body) or nil
end

---The result of a request that succeeds.
function Client:ok(...)
  local reply, answer = self:call(...)
  assert.equal(200, reply.status, reply.body)
  assert.is_true(answer.success)
  return answer.result, answer
end

---The first error of a request that is refused with STATUS.
function Client:refused(status, ...)
  local reply, answer = self:call(...)
  assert.equal(status, reply.status, reply.body)
  assert.is_false(answer.success)
  assert.is_nil(answer.result)
  return answer.errors[1], reply, answer
end

function Client:create(changes, params)
  return self:ok("POST", "pcaps", M.with(params or M.SIMPLE, changes))
end

---Creates a simple capture, waits and returns its file and record.
function Client:capture(changes)
  local capture = self:create(changes)
  moontap.sleep(1.5)
  local reply = self:call("GET", "pcaps/" .. capture.id .. "/download")
  assert.equal(200, reply.status)
  assert.equal("application/vnd.tcpdump.pcap", reply.headers["Content-Type"])
  return reply.body, capture
end

---The path of what lies in the bucket URI CONF.
function Client:bucket_path(name)
  return self.sim.bucket .. "/s3/capture-bucket/pcaps/" .. (name or "")
end

---The challenge's content.
function Client:read_challenge(entry)
  local f <close> = assert(io.open(self:bucket_path(entry.filename)))
  return f:read "a"
end

---Makes the bucket usable.
function Client:validate_bucket()
  local entry = self:ok("POST", "pcaps/ownership", { destination_conf = M.BUCKET })
  return self:ok("POST", "pcaps/ownership/validate",
    { destination_conf = M.BUCKET, ownership_challenge = self:read_challenge(entry) })
end

---Names of the capture files in the bucket.
function Client:bucket_files(id)
  local names = {}
  for name in require "lfs".dir(self:bucket_path()) do
    if name:find(id, 1, true) then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return names
end

---Parses a classic little-endian pcap file. The collector rests meanwhile: where it is
---aggressive, that is not for the sake of thousands of packets in a test's own table.
function M.read_pcap(bytes)
  collectgarbage "stop"
  local magic, _, _, _, _, snaplen, link = ("<I4I2I2I4I4I4I4"):unpack(bytes)
  assert.equal(0xA1B2C3D4, magic)
  local file, at = { snaplen = snaplen, link = link }, 25
  while at <= #bytes do
    local seconds, us, kept, length = ("<I4I4I4I4"):unpack(bytes, at)
    file[#file + 1] = { us = seconds * 1000000 + us, length = length,
                        bytes = bytes:sub(at + 16, at + 15 + kept) }
    assert.equal(kept, #file[#file].bytes)
    at = at + 16 + kept
  end
  collectgarbage "restart"
  return file
end

---Runs COMMAND with BYTES in a file called FILE in it; what it prints.
function M.pipe(command, bytes)
  local name = os.tmpname()
  do
    local f <close> = assert(io.open(name, "wb"))
    f:write(bytes)
  end
  local pipe <close> = assert(io.popen((command:gsub("FILE", name)) .. " 2>/dev/null"))
  local printed = pipe:read "a"
  os.remove(name)
  return printed
end

return M
