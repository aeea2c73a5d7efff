-- server: Lua functions that answer requests, over real sockets.

local errors = require "moontap.errors"
local server = require "moontap.native.server"
local sys = require "moontap.native.sys"
local task = require "moontap.native.task"

local PATIENCE = 10
local dir

-- Runs curl beside us and waits for it: this process has to answer meanwhile. Returns its output,
-- which begins with the head, and its exit status.
local function curl(args)
  local out = os.tmpname()
  os.execute(("{ curl -s -i -m 8 %s >%s 2>&1; echo $? >%s.status; } &"):format(args, out, out))
  local waited, status = 0, nil
  while not status and waited < PATIENCE do
    task.sleep(0.01)
    waited = waited + 0.01
    status = tonumber((sys.read_file(out .. ".status")))
  end
  local text = assert(sys.read_file(out)):gsub("\r\n", "\n")
  os.remove(out)
  os.remove(out .. ".status")
  return text, status
end

local function listen(handler, options)
  options = options or {}
  options.handler = handler
  return assert(server.listen(options))
end

local function url(s, path) return ("'http://127.0.0.1:%d%s'"):format(s.port, path or "/") end

-- Waits until `condition()`; fails when it never comes true.
local function await(condition)
  local waited = 0
  while not condition() do
    assert(waited < PATIENCE, "it never happened")
    task.sleep(0.01)
    waited = waited + 0.01
  end
end

setup(function() dir = assert(sys.tempdir "moontap-spec-") end)
teardown(function() assert(sys.remove_tree(dir)) end)

describe("a request", function()
  it("reaches the handler as it was sent", function()
    local seen
    local s <close> = listen(function(request)
      seen = request
      return { status = 200 }
    end)
    curl("-X POST -H 'X-Thing: one' -H 'X-Thing: two' -d 'a body' " .. url(s, "/a%20b/c?x=%2F&y"))
    assert.equal("POST", seen.method)
    assert.equal("/a%20b/c?x=%2F&y", seen.target)
    assert.equal("/a%20b/c", seen.path)
    assert.equal("x=%2F&y", seen.query)
    assert.equal("one, two", seen.headers["x-thing"])
    assert.equal("6", seen.headers["content-length"])
    assert.equal("a body", seen.body)
    assert.matches("^127%.0%.0%.1:%d+$", seen.peer)
  end)

  it("without query or body has nil and an empty text", function()
    local seen
    local s <close> = listen(function(request)
      seen = request
      return { status = 200 }
    end)
    curl(url(s, "/x"))
    assert.is_nil(seen.query)
    assert.equal("", seen.body)
    curl(url(s, "/x?"))
    assert.equal("", seen.query)
  end)

  it("beyond the bound is refused before the handler", function()
    local called = false
    local s <close> = listen(function() called = true end, { body_max = 10 })
    assert.matches("^HTTP/1.1 413 ", (curl("-d 12345678901 " .. url(s))))
    assert.is_false(called)
  end)
end)

describe("a reply", function()
  it("has status, headers and body", function()
    local s <close> = listen(function()
      return { status = 429, headers = { ["Retry-After"] = 60, ["X-List"] = { "a", "b" } },
               body = "wait" }
    end)
    local text, status = curl(url(s))
    assert.equal(0, status)
    assert.matches("^HTTP/1.1 429 ", text)
    assert.matches("\nRetry%-After: 60\n", text)
    assert.matches("\nX%-List: a\nX%-List: b\n", text)
    assert.matches("\nContent%-Length: 4\n", text)
    assert.matches("\n\nwait$", text)
  end)

  it("may be a file", function()
    local path, data = dir .. "/file", ("0123456789\0"):rep(100000)
    assert(sys.write_file(path, data))
    local s <close> = listen(function() return { status = 200, file = path } end)
    local text = curl(url(s))
    assert.equal(data, text:match("\n\n(.*)$"))
  end)

  it("may come late, while others are answered", function()
    local order = {}
    local s <close> = listen(function(request)
      if request.path == "/slow" then task.sleep(0.2) end
      order[#order + 1] = request.path
      return { status = 200, body = request.path }
    end)
    local slow = task.spawn(function() return (curl(url(s, "/slow"))) end)
    task.sleep(0.05)
    assert.matches("/fast$", (curl(url(s, "/fast"))))
    assert.matches("/slow$", (slow:join()))
    assert.same({ "/fast", "/slow" }, order)
  end)

  it("can be cut off, or never come", function()
    local s <close> = listen(function(request)
      return { status = 200, body = "0123456789", cut = request.path:sub(2) }
    end)
    local text, status = curl(url(s, "/before"))
    assert.same({ "", 52 }, { text, status })
    text, status = curl(url(s, "/middle"))
    assert.matches("\nContent%-Length: 10\n\n01234$", text)
    assert.equal(18, status)
    text, status = curl("-m 0.3 " .. url(s, "/silent"))
    assert.same({ "", 28 }, { text, status })
  end)

  it("of status 204 or to HEAD has no body", function()
    local s <close> = listen(function(request)
      return { status = request.path == "/none" and 204 or 200, body = "x" }
    end)
    assert.matches("^HTTP/1.1 204 .*\n\n$", (curl(url(s, "/none"))))
    assert.matches("\nContent%-Length: 1\n\n$", (curl("-I " .. url(s))))
  end)
end)

-- What such a handler raises is reported on standard error: in a program of its own here.
describe("a handler that does wrong", function()
  local program = os.getenv "MOONTAP_BIN" or "/proc/$PPID/exe"

  local SCRIPT = [[
    local server = require "moontap.native.server"
    local sys = require "moontap.native.sys"
    local s <close> = assert(server.listen { handler = function() HANDLER end })
    os.execute(("{ curl -s -i -m 8 http://127.0.0.1:%d/ >out; touch done; } 2>&1 &"):format(s.port))
    for _ = 1, 500 do
      if sys.stat "done" then break end
      moontap.sleep(0.01)
    end
  ]]

  -- The answer to a request, and what the program wrote to standard error.
  local function report(handler)
    local script = SCRIPT:gsub("HANDLER", function() return handler end)
    assert(sys.write_file(dir .. "/wrong.lua", script))
    sys.remove(dir .. "/done")
    os.execute(("cd %s && timeout 20 %s run wrong.lua 2>err"):format(dir, program))
    return assert(sys.read_file(dir .. "/out")), assert(sys.read_file(dir .. "/err"))
  end

  it("is answered with 500 and reported", function()
    local out, err = report [[error("no luck")]]
    assert.matches("^HTTP/1.1 500 ", out)
    assert.matches('{"error":"the handler of this request failed"}', out, 1, true)
    assert.is_nil(out:find("no luck", 1, true))
    assert.matches("wrong.lua:3: no luck", err, 1, true)
  end)

  it("is told what was wrong with its reply", function()
    for code, message in pairs {
      ["return nil"] = "the handler returned a nil, expected a reply table",
      ["return {}"] = "reply.status: expected an integer 200..599, got nil",
      ["return { status = 99 }"] = "reply.status: expected an integer 200..599, got 99",
      ["return { status = 200, body = {} }"] = "reply.body: expected a string, got a table",
      ["return { status = 200, cut = 'off' }"] = 'expected "before", "middle" or "silent"',
      ["return { status = 200, headers = { A = 'x\\r\\nB: y' } }"] = "A: control characters",
      ["return { status = 200, headers = { ['A B'] = 'x' } }"] = '"A B" is no header name',
      ["return { status = 200, headers = { A = true } }"] = "headers.A: expected a string, got a b",
      ["return { status = 200, headers = { ['content-length'] = '5' } }"] = "is set from the body",
      ["return { status = 200, file = '/dev/null/none' }"] = "open /dev/null/none: Not a directory",
      ["return { status = 200, file = '/tmp' }"] = "/tmp is not a regular file",
      ["return { status = 200, file = '/tmp', body = 'x' }"] = "has both a body and a file",
    } do
      local out, err = report(code)
      assert.matches("^HTTP/1.1 500 ", out, nil, nil, code)
      assert.matches(message, err, 1, true)
    end
  end)
end)

describe("server.listen", function()
  it("refuses what it does not know", function()
    local function handler() end
    for _, case in ipairs {
      { {}, "handler: expected a function, got a nil" },
      { { handler = handler, prot = 80 }, "unknown option 'prot'" },
      { { handler = handler, port = "80" }, "port: expected an integer 0..65535, got 80" },
      { { handler = handler, port = 65536 }, "port: expected an integer 0..65535, got 65536" },
      { { handler = handler, body_max = 0 }, "body_max: expected an integer" },
      { { handler = handler, address = 1 }, "address: expected a string" },
      { { handler = handler, [1] = 1 }, "unknown option '1'" },
    } do
      assert.error_matches(function() server.listen(case[1]) end, case[2], 1, true)
    end
  end)

  it("returns nil and an error when the port is taken", function()
    local s <close> = listen(function() end)
    local other, err = server.listen { port = s.port, handler = function() end }
    assert.is_nil(other)
    assert.is_true(errors.is(err, "io"))
    local wanted = ("listen on 127.0.0.1 port %d: Address already in use"):format(s.port)
    assert.matches(wanted, err.message, 1, true)
    other, err = server.listen { address = "localhost", handler = function() end }
    assert.is_nil(other)
    assert.matches('"localhost" is no numeric', err.message, 1, true)
  end)

  it("shows where it listens", function()
    local s = listen(function() end)
    assert.equal("127.0.0.1", s.address)
    assert.equal("server 127.0.0.1:" .. s.port, tostring(s))
    s:close()
    s:close()
    assert.equal("server 127.0.0.1:" .. s.port .. " (closed)", tostring(s))
    assert.is_false(getmetatable(s))
  end)
end)

describe("closing", function()
  it("frees the port and ends the connections", function()
    local begun = false
    local s = listen(function()
      begun = true
      task.sleep(0.2)
      return { status = 200 }
    end)
    local client = task.spawn(function() return select(2, curl(url(s))) end)
    await(function() return begun end)
    s:close()
    assert.equal(52, (client:join()))
    local again <close> = listen(function() return { status = 200 } end, { port = s.port })
    assert.matches("^HTTP/1.1 200 ", (curl(url(again))))
  end)

  it("happens when nobody holds the server any more", function()
    local port
    do
      local s = listen(function() end)
      port = s.port
    end
    collectgarbage()
    collectgarbage()
    local again <close> = listen(function() end, { port = port })
    assert.equal(port, again.port)
  end)

  it("may be done by the handler", function()
    local s
    s = listen(function()
      s:close()
      return { status = 200 }
    end)
    assert.equal(52, select(2, curl(url(s))))
  end)
end)
