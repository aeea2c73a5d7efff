-- How a command line is taken apart, and what is said about one that makes no sense.

local command = require "support.command"
local commands = require "moontap.cmd.command"
local operands = require "moontap.cmd.operands"
local options = require "moontap.cmd.options"

local function run(...)
  return command.run({ command.moontap, ... }, { env = {
    CLOUDFLARE_BASE_URL = false, CLOUDFLARE_API_TOKEN = false, CLOUDFLARE_ACCOUNT_ID = false,
    CLOUDFLARE_EMAIL = false, CLOUDFLARE_API_KEY = false,
  } })
end

-- What a script that prints its arguments sees.
local ECHO = "print(arg[0], #arg, ...)"

describe("the first operand", function()
  local takes_value = options.values(options.all())

  local function first(...) return { operands.first({ ... }, takes_value) } end

  it("is found behind options and their values", function()
    assert.same({ 1, 0 }, first("run"))
    assert.same({ 3, 2 }, first("--timeout", "5m", "x.lua", "--sim"))
    assert.same({ 2, 1 }, first("--timeout=5m", "x.lua"))
    assert.same({ 2, 1 }, first("-vq", "x.lua"))
  end)

  it("may look like an option behind --", function()
    assert.same({ 3, 1 }, first("--sim", "--", "--odd.lua"))
  end)

  it("may be - for standard input", function()
    assert.same({ 2, 1 }, first("--sim", "-", "a"))
  end)

  it("is missing where there are only options", function()
    assert.same({ nil, 2 }, first("--timeout", "5m"))
    assert.same({ nil, 0 }, first())
  end)
end)

describe("a script's arguments", function()
  it("reach code untouched from the first operand or a -- on", function()
    local status, out, _ = run("run", "-e", ECHO, "--sim", "x", "-h", "--", "--sim")
    assert.equal("-e\t4\tx\t-h\t--\t--sim\n", out)
    assert.equal(0, status)
    _, out = run("--sim", "run", "-e", ECHO, "--", "--timeout", "x")
    assert.equal("-e\t2\t--timeout\tx\n", out)
  end)

  it("are the same with and without options before the script", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local file <close> = assert(io.open(path, "w"))
    file:write(ECHO):flush()
    local want = path .. "\t3\t-v\t\t--json\n"
    for _, words in ipairs { { "run" }, { "run", "-q" }, { "-q", "run" }, { "-q" }, {} } do
      local argv = table.move({ path, "-v", "", "--json" }, 1, 4, #words + 1, words)
      local status, out, err = run(table.unpack(argv))
      assert.equal(want, out, err)
      assert.equal(0, status)
    end
  end)
end)

describe("a wrong command line", function()
  local cases = {
    { { "captres" }, "unknown command 'captres'; did you mean one of these: 'capture'" },
    { { "--sim", "captres" }, "unknown command 'captres'; did you mean one of these: 'capture'" },
    { { "captures", "--jsn" }, "unknown option '--jsn'; did you mean '--json'?" },
    { { "README.md" }, "unknown command 'README.md'; to run the file: moontap run README.md" },
    { { "help", "gte" }, "unknown command 'gte'; did you mean 'get'?" },
    { { "--sim" }, "a command is required" },
    { { "run", "--sim" }, "which script?" },
    { { "get" }, "missing argument 'ID'" },
    { { "get", "a", "b" }, "too many arguments" },
    { { "run", "--timeout" }, "option '--timeout' requires an argument" },
    { { "run", "--timeout", "soon", "x" }, "--timeout: expected a duration such as 90s" },
    { { "run", "--memory", "lots", "x" }, "--memory: expected a size such as 64M" },
    { { "run", "--memory", "0", "x" }, "--memory: expected a size such as 64M" },
    { { "run", "--seed", "1.5", "x" }, "--seed: expected an integer" },
    { { "run", "--lock", "a/b", "x" }, "--lock: expected a name of letters" },
    { { "captures", "--base-url", "here" }, "--base-url: expected a URL" },
    { { "captures", "--speed", "0" }, "--speed: expected a number above 0" },
    { { "captures", "--speed", "60" }, "--speed is for simulators only" },
    { { "captures", "--speed", "60", "--base-url", "https://127.0.0.1.example.com" },
      "--speed is for simulators only" },
    { { "captures", "--sim", "--base-url", "http://127.0.0.1:1" }, "leave out --base-url" },
    { { "captures", "-v", "-q" }, "give one of --quiet and --verbose" },
    { { "run", "--virtual-time", "-e", "" }, "--virtual-time needs --sim" },
    { { "run", "--bucket", "x", "-e", "" }, "--bucket needs --sim" },
    { { "sim", "--knob", "nonsense=1" }, "knob nonsense=1" },
    { { "sim", "--listen", "here" }, "expected ADDRESS:PORT, got here" },
  }

  for _, case in ipairs(cases) do
    it("is told in one line: " .. table.concat(case[1], " "), function()
      local status, out, err = run(table.unpack(case[1]))
      assert.equal(2, status)
      assert.equal("", out)
      assert.matches("^moontap: [^\n]+ %(see: moontap help[^\n]*%)\n$", err)
      assert.matches(case[2], err, 1, true)
    end)
  end

  it("gets the list of commands when it is empty", function()
    local status, out, err = run()
    assert.equal(2, status)
    assert.equal("", out)
    assert.matches("\n  captures +list the captures", err)
  end)
end)

describe("help", function()
  it("lists every command and every exit status", function()
    for _, argv in ipairs { { "help" }, { "--help" }, { "-h" }, { "--sim", "-h" } } do
      local status, out = run(table.unpack(argv))
      assert.equal(0, status)
      for _, entry in ipairs(commands.list()) do
        assert.matches(("\n  %s +%s\n"):format(entry.name, entry.summary:gsub("%p", "%%%0")), out)
      end
      assert.matches("Exit status:\n  0 done", out, 1, true)
    end
  end)

  it("is there for each command, by --help and by name", function()
    for _, entry in ipairs(commands.list()) do
      local status, out = run("help", entry.name)
      assert.equal(0, status)
      assert.matches("^usage: moontap " .. entry.name, out)
      assert.equal(out, select(2, run(entry.name, "--help")))
      for line in out:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
    end
  end)

  it("for a command wins over what else is wrong", function()
    assert.equal(0, (run("get", "--help")))
    assert.equal(0, (run("run", "--timeout", "soon", "-h")))
  end)
end)

describe("version", function()
  it("names the program, Lua and libcurl", function()
    local status, out = run("version")
    assert.equal(0, status)
    assert.matches("^moontap %d+%.%d+%.%d+ %(build %x+%)\nLua 5%.4%S*, libcurl %d+%.%d+", out)
    assert.equal(out, select(2, run("--version")))
  end)

  it("is JSON on demand", function()
    local _, out = run("version", "--json")
    local parts = assert(require "moontap.json".decode(out))
    assert.matches("^5%.4", parts.lua)
    assert.matches("^%x+$", parts.build)
  end)
end)
