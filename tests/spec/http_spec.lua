-- http: requests of scripts, over real sockets and in process.

local effects = require "moontap.effects"
local errors = require "moontap.errors"
local http = require "moontap.http"
local log = require "moontap.log"
local native = require "moontap.native.http"
local server = require "moontap.native.server"
local sys = require "moontap.native.sys"
local task = require "moontap.native.task"

local PATIENCE = 10
local INPROC <const> = "http://sim.internal"
local dir

setup(function() dir = assert(sys.tempdir "moontap-http-") end)
teardown(function() assert(sys.remove_tree(dir)) end)

local function listen(handler)
  return assert(server.listen { handler = handler })
end

local function url(s, path) return ("http://127.0.0.1:%d%s"):format(s.port, path or "/") end

-- The server of tests/support that misbehaves; ends when its input does.
local function start_peer()
  local file = dir .. "/port"
  local command = ("%s/peer >%s"):format(assert(os.getenv "MOONTAP_TEST_BIN"), file)
  local pipe = assert(io.popen(command, "w"))
  local waited, port = 0, nil
  while not port and waited < PATIENCE do
    task.sleep(0.01)
    waited = waited + 0.01
    port = (sys.read_file(file) or ""):match "^(%d+)\n"
  end
  return { port = assert(port), close = function() pipe:close() end }
end

local function effects_of(peer)
  return tonumber(assert(http.request { url = url(peer, "/counts") }).body:match "^%d+")
end

describe("http.request", function()
  it("returns status, headers, body, elapsed and url", function()
    local s <close> = listen(function(request)
      return {
        status = 201, body = request.method .. " " .. request.target .. " " .. request.body,
        headers = { ["X-One"] = "1", ["X-Two"] = { "a", "b" } },
      }
    end)
    local response = assert(http.request { url = url(s, "/x?y=1"), body = "text" })
    assert.equal(201, response.status)
    assert.equal("POST /x?y=1 text", response.body)
    assert.equal("1", response.headers["x-one"])
    assert.equal("a, b", response.headers["x-two"])
    assert.equal(url(s, "/x?y=1"), response.url)
    assert.equal("integer", math.type(response.status))
    assert.is_true(response.elapsed >= 0)
    assert.is_nil(response.file)
  end)

  it("sends bytes unchanged, NUL included", function()
    local s <close> = listen(function(request) return { status = 200, body = request.body } end)
    local body = "a\0b\r\n\xff"
    assert.equal(body, assert(http.request { url = url(s), method = "put", body = body }).body)
  end)

  it("sends headers once each, whatever their order in the table", function()
    local seen
    local s <close> = listen(function(request)
      seen = request.headers
      return { status = 204 }
    end)
    assert(http.request {
      url = url(s),
      headers = { ["X-Number"] = 5, ["X-Many"] = { "a", "b" }, Authorization = "Bearer x" },
    })
    assert.equal("5", seen["x-number"])
    assert.equal("a, b", seen["x-many"])
    assert.equal("Bearer x", seen.authorization)
    assert.truthy(seen["user-agent"]:find "^moontap/")
  end)

  it("returns any status as an answer", function()
    local s <close> = listen(function() return { status = 503, body = "later" } end)
    local response = assert(http.request { url = url(s) })
    assert.equal(503, response.status)
    assert.equal("later", response.body)
  end)

  it("lets other tasks run while it waits", function()
    local ticks = 0
    local s <close> = listen(function()
      while ticks < 3 do task.sleep(0.005) end
      return { status = 200 }
    end)
    local other = task.spawn(function()
      for _ = 1, 3 do
        task.sleep(0.005)
        ticks = ticks + 1
      end
    end)
    assert(http.request { url = url(s) })
    assert.equal(3, ticks)
    other:join()
  end)

  it("says that nothing was sent when nobody listens", function()
    local response, err = http.request { url = "http://127.0.0.1:9/secret?key=hidden", body = "x" }
    assert.is_nil(response)
    assert.is_true(errors.is(err, "network"))
    assert.equal("no", err.sent)
    assert.truthy(tostring(err):find("POST http://127.0.0.1:9", 1, true))
    assert.is_nil(tostring(err):find("hidden", 1, true))
  end)

  it("ends by its timeout and says that the request went out", function()
    local s <close> = listen(function() return { cut = "silent" } end)
    local response, err = http.request { url = url(s), method = "POST", timeout = 0.05 }
    assert.is_nil(response)
    assert.equal("timeout", err.kind)
    assert.equal("yes", err.sent)
    response, err = http.request { url = url(s), idle_timeout = "40ms" }
    assert.is_nil(response)
    assert.equal("timeout", err.kind)
  end)

  it("names the bound that the body exceeds", function()
    local s <close> = listen(function() return { status = 200, body = ("x"):rep(1001) } end)
    local response, err = http.request { url = url(s), body_max = 1000 }
    assert.is_nil(response)
    assert.equal("limit", err.kind)
    assert.equal(200, err.status)
    assert.truthy(err.message:find("1000 bytes", 1, true))
  end)

  it("keeps credentials on the host they were meant for", function()
    local seen = {}
    local far <close> = listen(function(request)
      seen.far = request.headers
      return { status = 200 }
    end)
    local near <close> = listen(function(request)
      seen[request.path] = request.headers
      local target = request.path == "/a" and "/b" or url(far, "/c")
      return { status = 302, headers = { Location = target } }
    end)
    local response = assert(http.request {
      url = url(near, "/a"),
      headers = { Authorization = "Bearer x", Cookie = "c=1", ["X-Own"] = "key", Accept = "a/b" },
    })
    assert.equal(url(far, "/c"), response.url)
    assert.equal("Bearer x", seen["/b"].authorization)
    assert.equal("a/b", seen.far.accept)
    for _, name in ipairs { "authorization", "cookie", "x-own" } do
      assert.is_nil(seen.far[name])
    end
  end)

  it("follows no redirect with a POST, nor with redirects = 0", function()
    local s <close> = listen(function()
      return { status = 307, headers = { Location = "/elsewhere" } }
    end)
    assert.equal(307, assert(http.request { url = url(s), method = "POST" }).status)
    assert.equal(307, assert(http.request { url = url(s), redirects = 0 }).status)
    local _, err = http.request { url = url(s), redirects = 2 }
    assert.equal("http", err.kind)
  end)

  it("has one effect when the peer executes and cuts a reused connection", function()
    local peer = start_peer()
    assert(http.request { url = url(peer, "/effect"), body = "x" })
    local before = effects_of(peer)
    local response, err = http.request { url = url(peer, "/cut-reused"), body = "x" }
    assert.is_nil(response)
    assert.equal("network", err.kind)
    assert.not_equal("no", err.sent)
    assert.equal(before + 1, effects_of(peer))
    peer.close()
  end)

  it("stops at once when its task is cancelled", function()
    local s <close> = listen(function() return { cut = "silent" } end)
    local waiting = task.spawn(function() return http.request { url = url(s) } end)
    task.sleep(0.02)
    waiting:cancel()
    local result, err = waiting:join()
    assert.is_nil(result)
    assert.equal("cancelled", err.kind)
    local answers = listen(function() return { status = 200 } end)
    assert.equal(200, assert(http.request { url = url(answers) }).status)
    answers:close()
  end)

  it("serves many tasks at once", function()
    local s <close> = listen(function(request) return { status = 200, body = request.path } end)
    local tasks = {}
    for i = 1, 100 do
      tasks[i] = task.spawn(function()
        return assert(http.request { url = url(s, "/" .. i) }).body
      end)
    end
    for i = 1, 100 do assert.equal("/" .. i, tasks[i]:join()) end
  end)

  it("is an effect that can be wrapped", function()
    local seen
    local undo = effects.wrap("http.request", function(next, request)
      seen = request.url
      return { status = 299, headers = {}, url = request.url, elapsed = 0, body = "" }
    end)
    local response = http.request { url = "http://nowhere.test/" }
    undo()
    assert.equal("http://nowhere.test/", seen)
    assert.equal(299, response.status)
  end)

  it("works where a coroutine of the script waits", function()
    local s <close> = listen(function() return { status = 200, body = "in" } end)
    local step = coroutine.wrap(function()
      coroutine.yield(http.request { url = url(s) }.body)
      return "end"
    end)
    assert.equal("in", step())
    assert.equal("end", step())
  end)

  it("refuses to wait where it cannot, before anything is sent", function()
    local calls = 0
    local s <close> = listen(function()
      calls = calls + 1
      return { status = 200 }
    end)
    local ok = pcall(table.sort, { 1, 2, 3 }, function(a, b)
      http.request { url = url(s) }
      return a < b
    end)
    assert.is_false(ok)
    task.sleep(0.02)
    assert.equal(0, calls)
  end)
end)

describe("http.request to a file", function()
  local path

  before_each(function() path = dir .. "/out" end)
  after_each(function()
    os.remove(path)
    for _, name in ipairs(assert(sys.list(dir))) do
      assert.is_nil(name:find(".part", 1, true), name .. " was left behind")
    end
  end)

  it("writes a 2xx body under its name", function()
    local body = ("0123456789"):rep(30000)
    local s <close> = listen(function() return { status = 200, body = body } end)
    local response = assert(http.request { url = url(s), to_file = path })
    assert.equal(path, response.file)
    assert.is_nil(response.body)
    assert.equal(body, assert(sys.read_file(path)))
  end)

  it("leaves the old file when the answer is no 2xx, and returns the body", function()
    assert(sys.write_file(path, "old", 384)) -- 0600
    local s <close> = listen(function() return { status = 404, body = "no such thing" } end)
    local response = assert(http.request { url = url(s), to_file = path })
    assert.equal("no such thing", response.body)
    assert.is_nil(response.file)
    assert.equal("old", assert(sys.read_file(path)))
  end)

  it("leaves nothing when the answer breaks off", function()
    local s <close> = listen(function() return { status = 200, body = "half", cut = "middle" } end)
    local response, err = http.request { url = url(s), to_file = path }
    assert.is_nil(response)
    assert.equal("network", err.kind)
    assert.is_nil(sys.read_file(path))
  end)

  it("leaves nothing when its task is cancelled", function()
    local s <close> = listen(function() return { cut = "silent" } end)
    local waiting = task.spawn(function() http.request { url = url(s), to_file = path } end)
    task.sleep(0.02)
    waiting:cancel()
    waiting:join()
    assert.is_nil(sys.read_file(path))
  end)

  it("says why it cannot write", function()
    local _, err = http.request { url = "http://127.0.0.1:9/", to_file = dir .. "/no/such/file" }
    assert.equal("io", err.kind)
    _, err = http.request { url = "http://127.0.0.1:9/", to_file = dir }
    assert.equal("io", err.kind)
  end)
end)

describe("http.request refuses", function()
  local function refusal(request)
    local ok, message = pcall(http.request, request)
    assert.is_false(ok)
    return tostring(message)
  end

  it("what is no table", function()
    assert.truthy(refusal("http://x/"):find("expected a table", 1, true))
  end)

  it("unknown options by name", function()
    assert.truthy(refusal { url = "http://x/", timeuot = 5 }:find("'timeuot'", 1, true))
  end)

  it("bad values, naming the field", function()
    local cases = {
      url = { 5, "", "x", "ftp://x/", "http://", "http://u:p@x/", "http://x/\n", "http://x/\0" },
      method = { 5, "", "GET /", ("G"):rep(99), "CONNECT" },
      body = { 5, {} },
      headers = {
        "x", { "x" }, { A = {} ~= nil }, { ["A B"] = "x" }, { A = "x\r\nB: y" }, { A = "x\0" },
        { ["Content-Length"] = "5" }, { ["Transfer-Encoding"] = "chunked" },
      },
      timeout = { 0, -1, "x", 0 / 0, math.huge, {}, "0s" },
      connect_timeout = { 0, "soon" },
      idle_timeout = { 0, "" },
      body_max = { 0, -1, 1.5, "9" },
      redirects = { -1, 1000, 0.5, true },
      to_file = { 5, "", "a\0b" },
    }
    for field, values in pairs(cases) do
      for _, value in ipairs(values) do
        local request = { url = "http://127.0.0.1:9/", [field] = value }
        assert.truthy(refusal(request):find("^http.request: "), field)
      end
    end
  end)

  it("with the line of the script", function()
    local chunk = assert(load("\n\nrequire 'moontap.http'.request { url = 1 }", "=script"))
    local _, message = pcall(chunk)
    assert.truthy(message:find("^script:3: http.request: url: "))
  end)
end)

describe("the in-process transport", function()
  after_each(function() native.set_inproc(INPROC, nil) end)

  it("calls a handler that may wait", function()
    local seen
    native.set_inproc(INPROC, function(request)
      seen = request
      task.sleep(0.01)
      return { status = 200, headers = { ["X-A"] = "b" }, body = "reply" }
    end)
    local response = assert(http.request { url = INPROC .. "/v4/x?y", body = "in" })
    assert.equal("reply", response.body)
    assert.equal("b", response.headers["x-a"])
    assert.equal("/v4/x", seen.path)
    assert.equal("y", seen.query)
    assert.equal("in", seen.body)
    assert.equal("in-process", seen.peer)
  end)

  it("gives the faults of a socket", function()
    local cut
    native.set_inproc(INPROC, function() return { status = 200, body = "123456", cut = cut } end)
    local expected = { before = "network", middle = "network", silent = "timeout" }
    for name, kind in pairs(expected) do
      cut = name
      local _, err = http.request { url = INPROC, method = "POST", timeout = 0.05 }
      assert.equal(kind, err.kind)
      assert.equal("yes", err.sent)
    end
  end)

  it("answers requests that found no handler any more", function()
    native.set_inproc(INPROC, function() return { status = 200 } end)
    native.set_inproc(INPROC, nil)
    local response, err = http.request { url = INPROC .. "/x", connect_timeout = 5 }
    assert.is_nil(response)
    assert.equal("no", err.sent)
  end)

  it("writes files", function()
    local from, to = dir .. "/from", dir .. "/to"
    assert(sys.write_file(from, "contents", 384)) -- 0600
    native.set_inproc(INPROC, function() return { status = 200, file = from } end)
    assert.equal(to, assert(http.request { url = INPROC .. "/f", to_file = to }).file)
    assert.equal("contents", assert(sys.read_file(to)))
  end)

  it("takes only prefixes and functions", function()
    assert.has_error(function() native.set_inproc("sim.internal", print) end)
    assert.has_error(function() native.set_inproc(INPROC .. "/", print) end)
    assert.has_error(function() native.set_inproc(INPROC, "x") end)
    assert.has_error(function() native.set_inproc(5) end)
  end)
end)

describe("http.configure", function()
  after_each(function() native.configure { cacert = false, user_agent = false } end)

  it("sets the user agent for what follows", function()
    local seen
    local s <close> = listen(function(request)
      seen = request.headers["user-agent"]
      return { status = 200 }
    end)
    native.configure { user_agent = "mine/1" }
    assert(http.request { url = url(s) })
    assert.equal("mine/1", seen)
    native.configure { user_agent = false }
    assert(http.request { url = url(s) })
    assert.truthy(seen:find "^moontap/")
  end)

  it("refuses what it does not know", function()
    assert.has_error(function() native.configure { verify = false } end)
    assert.has_error(function() native.configure { cacert = 5 } end)
    assert.has_error(function() native.configure() end)
  end)
end)

describe("the log", function()
  local level, write, lines

  before_each(function()
    level, log.level, lines = log.level, "info", {}
    write = log.info
    log.info = function(format, ...) lines[#lines + 1] = format:format(...) end
  end)
  after_each(function() log.level, log.info = level, write end)

  it("has one line an exchange, without the query", function()
    local s <close> = listen(function() return { status = 200, body = "12345" } end)
    assert(http.request { url = url(s, "/x?key=hidden"), headers = { Authorization = "hidden" } })
    http.request { url = "http://127.0.0.1:9/y?key=hidden" }
    assert.equal(2, #lines)
    local start = ("GET %s?...: 200 in "):format(url(s, "/x"))
    assert.equal(start, lines[1]:sub(1, #start))
    assert.truthy(lines[1]:find("5 bytes", 1, true))
    assert.is_nil(table.concat(lines):find("hidden", 1, true))
  end)
end)

describe("a proxy in the environment", function()
  local command = require "support.command"

  it("is not asked for what is on this machine", function()
    local s <close> = listen(function() return { status = 200, body = "direct" } end)
    local code = ("print(moontap.http.request { url = %q }.body)"):format(url(s))
    local _, out = command.run({ command.moontap, "run", "-e", code }, {
      env = { http_proxy = "http://127.0.0.1:9", ALL_PROXY = "http://127.0.0.1:9" } })
    assert.equal("direct\n", out)
  end)

  it("is not quoted in an error", function()
    local code = "print(moontap.http.request { url = 'http://10.1.2.3/' })"
    local _, out, err = command.run({ command.moontap, "run", "-e", code },
      { env = { http_proxy = "http://user:SECRET word@127.0.0.1:9/" } })
    assert.matches("the proxy that http_proxy", out, 1, true)
    assert.is_nil((out .. err):find "SECRET")
  end)
end)

describe("a file", function()
  it("is never asked for compressed: its end could be missing unnoticed", function()
    local asked
    local s <close> = listen(function(request)
      asked = request.headers["accept-encoding"]
      return { status = 200, body = "text" }
    end)
    assert(http.request { url = url(s), to_file = dir .. "/plain" })
    assert.is_nil(asked)
    assert(http.request { url = url(s) })
    assert.equal("gzip", asked)
  end)
end)

describe("a header name", function()
  it("is refused with a NUL byte in it", function()
    assert.error_matches(function()
      http.request { url = "http://127.0.0.1:1/", headers = { ["X\0Evil"] = "1" } }
    end, "a name holds a NUL byte")
  end)
end)
