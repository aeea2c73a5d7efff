-- Files and HTTP as a playbook's process has them, by the names that scripts know.

local errors = require "moontap.errors"
local lfs = require "lfs"
local runner = require "moontap.child.runner"
local sys = require "moontap.native.sys"

local dir

setup(function()
  dir = sys.tempdir "moontap-outside-"
  lfs.mkdir(dir .. "/in")
  lfs.mkdir(dir .. "/in/deep")
  lfs.mkdir(dir .. "/out")
  assert(sys.write_file(dir .. "/out/secret", "secret"))
  assert(sys.write_file(dir .. "/in/deep/list", "one\n 0x10 -3.5 x\n\nlast"))
  assert(sys.write_file(dir .. "/in/binary", "\0\255" .. ("ab\n"):rep(100000)))
  assert(lfs.link("../out/secret", dir .. "/in/link", true))
  assert(lfs.link("../out", dir .. "/in/way", true))
  assert(lfs.link(dir .. "/in", dir .. "/root", true))
  assert(os.execute(("mkfifo %s/in/pipe"):format(dir)))
end)
teardown(function() sys.remove_tree(dir) end)

local function run(body, effects)
  local values = table.pack(runner.run {
    files = { ["main.lua"] = "return { run = function(ctx) " .. body .. "\nend }" },
    entry = "main.lua", effects = effects, ctx = { dir = dir }, limits = { timeout = 20 },
  })
  return table.unpack(values, 1, values.n)
end

-- Below "in", which is reached through a link.
local FILES <const> = {
  ["file.open"] = function(path) return runner.file(path, dir .. "/root") end,
}

describe("a file", function()
  it("is read as scripts read one", function()
    local found = assert(run([[
      local f <close> = assert(io.open("deep/list"))
      local found = { io.type(f), f:read() }
      for _, value in ipairs { f:read("n", "*n") } do found[#found + 1] = value end
      found[#found + 1] = tostring(f:read "n")
      found[#found + 1] = f:read(2)
      found[#found + 1] = f:read "L"
      found[#found + 1] = f:read(0)
      found[#found + 1] = f:read "a"
      found[#found + 1] = tostring(f:read "l")
      found[#found + 1] = tostring(f:read(0))
      found[#found + 1] = f:read "a"
      found[#found + 1] = f:seek("set", 4)
      found[#found + 1] = f:read(5)
      found[#found + 1] = f:seek()
      for line in io.lines "deep/list" do found[#found + 1] = line end
      f:close()
      found[#found + 1] = io.type(f)
      found[#found + 1] = select(2, pcall(f.read, f))
      return found]], FILES))
    assert.same({ "file", "one", 16, -3.5, "nil", "x\n", "\n", "", "last", "nil", "nil", "", 4,
                  " 0x10", 9, "one", " 0x10 -3.5 x", "", "last", "closed file",
                  "attempt to use a closed file" }, found)
  end)

  it("may hold any bytes, and be long", function()
    assert.same({ 2 + 3 * 100000, 255, 100000 }, assert(run([[
      local f <close> = assert(io.open("binary", "rb"))
      local all, n = f:read "a", 0
      for _ in io.lines "binary" do n = n + 1 end
      return { #all, all:byte(2), n }]], FILES)))
  end)

  it("is where its name says, and nowhere else", function()
    local tries = { "link", "way/secret", "../out/secret", "deep/../../out/secret", "./deep/list",
                    "deep//list", "/etc/passwd", "deep", "", "deep/", "none", "pipe",
                    ("x"):rep(300), "deep/list\0" }
    local got = assert(runner.run {
      files = { ["main.lua"] = [[return { run = function(ctx)
        local found = {}
        for i, path in ipairs(ctx.tries) do
          local ok, f, why = pcall(io.open, path)
          found[i] = ok and f and "open: " .. path or "no"
        end
        return found end }]] }, entry = "main.lua", effects = FILES, ctx = { tries = tries },
    })
    for i, path in ipairs(tries) do assert.equal("no", got[i], path) end
  end)

  it("is only read", function()
    local why = assert(run([[
      local _, why = io.open("deep/list", "w")
      local f <close> = assert(io.open "deep/list")
      return why .. "\n" .. select(2, f:write "x")]], FILES))
    assert.matches("^deep/list: a playbook only reads files.*\na playbook only reads files", why)
  end)

  it("that cannot be read says so", function()
    local why = "read: Input/output error"
    assert.same({ "nil", why, "nil", why, "nil", why, false, true }, assert(run([[
      local f <close> = assert(io.open "any")
      local found = {}
      for _, format in ipairs { "l", "a", 4 } do
        local text, why = f:read(format)
        found[#found + 1] = tostring(text)
        found[#found + 1] = why
      end
      local ok, problem = pcall(f:lines())
      found[#found + 1] = ok
      found[#found + 1] = problem:find("read: ", 1, true) ~= nil
      return found]], { ["file.open"] = function() return runner.file "/proc/self/mem" end })))
  end)

  it("takes whole counts only", function()
    assert.same({ "one", 3 }, assert(run([[
      local f <close> = assert(io.open "deep/list")
      local found = { f:read(3.0), 0 }
      for _, n in ipairs { 2.5, 1 / 0, 0 / 0 } do
        local ok, why = pcall(f.read, f, n)
        if not ok and why:find("number has no integer representation", 1, true) then
          found[2] = found[2] + 1
        end
      end
      return found]], FILES)))
  end)

  it("is one of sixteen, and gone when nobody holds it", function()
    assert.equal("deep/list: 16 files are open already; close them", (run([[
      local held = {}
      for i = 1, 100 do
        local f, why = io.open "deep/list"
        if not f then return why end
        held[i] = f
      end]], FILES)))
    assert.equal(300, (run([[
      for i = 1, 300 do assert(io.open "deep/list") end
      return 300]], FILES)))
    assert.equal(300, (run([[
      local n = 0
      for i = 1, 300 do
        local f <close> = assert(io.open "deep/list")
        n = n + 1
      end
      return n]], FILES)))
  end)
end)

describe("HTTP", function()
  it("is asked of the host, with any bytes", function()
    local got
    local status, body, byte = run([[
      local answer = assert(require "moontap.http".request { url = "http://x/", body = "\0\255" })
      return answer.status, answer.body_hex == nil, answer.body:byte(2)]], {
      ["http.request"] = function(request)
        got = request
        return { status = 200, headers = {}, body_hex = "00ff" }
      end })
    assert.same({ 200, true, 255 }, { status, body, byte })
    assert.equal("00ff", got.body_hex)
    assert.is_nil(got.body)
    local _, err = run([[return require "moontap.http".request { url = "http://x/" }]], {
      ["http.request"] = function() return nil, errors.new("denied", "no") end })
    assert.equal("denied", err.kind)
  end)
end)

describe("what a playbook does not have", function()
  it("says why, and what to do", function()
    local tries = { ["os.getenv 'HOME'"] = "write it into the playbook's file",
                    ["io.popen 'ls'"] = "starts no programs", ["io.write 'x'"] = "use print",
                    ["package.path = ''"] = "loads no modules but", ["dofile 'x'"] = "use require",
                    ["require 'moontap.log'"] = "use print",
                    ["os.exit(1)"] = "return from run" }
    for code, words in pairs(tries) do
      local _, err = run(code)
      assert.matches("not there for playbooks: .*" .. words, err.message)
    end
    local _, err = run "return require 'moontap.http'.request { url = 'http://x/' }"
    assert.equal("denied", err.kind)
    _, err = run "return io.open 'x'"
    assert.matches("not while the playbook is loaded", err.message)
    assert.is_true((run "return os.nothing == nil and require 'string' == string"))
  end)
end)
