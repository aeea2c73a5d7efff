-- Accounts by name: `--account`, the accounts file, and what is said when something is wrong with
-- them. The API is a simulator of its own process.

local command = require "support.command"
local tempdir = require "support.tempdir"

local TOKEN <const> = "Zt0ken-that-nobody-may-see"

local dir, simulator, exports, env

local function write(name, text, mode)
  local f <close> = assert(io.open(dir .. "/" .. name, "w"))
  f:write(text)
  f:close()
  assert(os.execute(("chmod %s '%s/%s'"):format(mode or "600", dir, name)))
end

setup(function()
  local place = tempdir.new()
  simulator = command.start({ command.moontap, "sim", "--port-file", place .. "/port", "--bucket",
    place .. "/bucket" }, { cwd = place, limit = 300 })
  command.poll(function() return command.read_file(place .. "/port") end)
  exports = {}
  for name, value in simulator.stdout():gmatch "([%u_]+)=([^\n]+)" do exports[name] = value end
  tempdir.remove(place)
end)
teardown(function() simulator.stop() end)

before_each(function()
  dir = tempdir.new()
  env = { XDG_STATE_HOME = dir .. "/state", XDG_CONFIG_HOME = dir .. "/config", HOME = dir }
  assert(os.execute("mkdir -p " .. dir .. "/config/moontap"))
  write("token", exports.CLOUDFLARE_API_TOKEN .. "\n")
end)
after_each(function() tempdir.remove(dir) end)

local function section(name, fields)
  local lines = { ("[%s]"):format(name) }
  for key, value in pairs(fields) do lines[#lines + 1] = ("%s = %s"):format(key, value) end
  return table.concat(lines, "\n") .. "\n"
end

local function good(changes)
  local fields = { account_id = exports.CLOUDFLARE_ACCOUNT_ID, token_file = dir .. "/token",
                   base_url = exports.CLOUDFLARE_BASE_URL }
  for name, value in pairs(changes or {}) do fields[name] = value or nil end
  return fields
end

local USUAL <const> = "config/moontap/accounts.ini"

local function moontap(...)
  return command.run({ command.moontap, ... }, { cwd = dir, env = env })
end

local function list(...)
  return moontap("captures", "--json", ...)
end

describe("an account of a name", function()
  it("is found in the file of the user, and in one that is named", function()
    write(USUAL, "; ours\n\n" .. section("prod", good()))
    assert.same({ 0, "[]\n", "" }, { list("--account", "prod") })
    write("other.ini", section("lab", good()))
    assert.same({ 0, "[]\n", "" }, { list("--account", "lab", "--accounts", dir .. "/other.ini") })
    assert.equal(3, (list("--account", "lab")))
  end)

  it("goes before the environment, and not before it is asked for", function()
    write(USUAL, section("prod", good()))
    env.CLOUDFLARE_API_TOKEN, env.CLOUDFLARE_ACCOUNT_ID = TOKEN, ("0"):rep(32)
    assert.equal(0, (list("--account", "prod")))
    env.CLOUDFLARE_BASE_URL = exports.CLOUDFLARE_BASE_URL
    assert.equal(3, (list()))
    env.CLOUDFLARE_API_TOKEN, env.CLOUDFLARE_ACCOUNT_ID = false, false
    local status, _, err = list()
    assert.equal(3, status)
    assert.matches("no credentials", err)
  end)

  it("is a matter of scripts too", function()
    write(USUAL, section("prod", good()))
    local status, out, err = moontap("run", "-e", [[
      local prod = assert(pcaps.client { account = "prod" })
      print(#assert(prod.list()), prod.account_id)
      print(pcaps.client { account = "pord" })
      print(pcall(pcaps.client, { account = "prod", token_file = "x" }))]])
    assert.equal(0, status, err)
    assert.matches("^0\t" .. exports.CLOUDFLARE_ACCOUNT_ID, out)
    assert.matches("\nnil\tno account is called pord in [^\n]*; did you mean prod%?\n", out)
    assert.matches("account and token_file: give one of them", out)
    assert.equal(0, (moontap("run", "--account", "prod", "-e", "assert(pcaps.list())")))
  end)

  it("keeps an id of digits, and reads what people write", function()
    local id = ("1234567890"):rep(3) .. "12"
    write(USUAL, "\xEF\xBB\xBF# a comment\r\n[ prod ]\r\n  account_id=" .. id
      .. "\r\n\ttoken_file = \"~/token\"\r\n", "644")
    local status, out = moontap("run", "-e", [[
      print(assert(pcaps.client { account = "prod" }).account_id)]])
    assert.equal(0, status)
    assert.equal(id .. "\n", out)
  end)

  it("takes a path for one from where the file lies", function()
    write("config/moontap/token", exports.CLOUDFLARE_API_TOKEN)
    write(USUAL, section("prod", good { token_file = "token" }))
    assert(os.remove(dir .. "/token"))
    assert.equal(0, (list("--account", "prod")))
  end)
end)

describe("an account", function()
  local address = require "pcaps.address"

  it("has one spelling", function()
    for given, url in pairs {
      ["HTTPS://API.Cloudflare.com:443/client/v4/"] = "https://api.cloudflare.com/client/v4",
      ["https://api.cloudflare.com./client/v4//"] = "https://api.cloudflare.com/client/v4",
      ["http://[::1]:080/x"] = "http://[::1]/x", ["http://[FE80::1]"] = "http://[fe80::1]",
      ["http://127.0.0.1:8080/"] = "http://127.0.0.1:8080", ["https://h:80/P"] = "https://h:80/P",
      ["http://h:/"] = "http://h:", ["nonsense"] = "nonsense", ["ftp://H/"] = "ftp://h",
    } do
      assert.equal(url, address.base_url(given))
      assert.equal(url, address.base_url(url))
    end
    assert.equal("0abc", address.account_id "0ABC")
    assert.equal("0abG", address.account_id "0abG")
  end)

  it("that is written in two ways is one in the state, with one queue", function()
    local id, url = exports.CLOUDFLARE_ACCOUNT_ID, exports.CLOUDFLARE_BASE_URL
    env.CLOUDFLARE_API_TOKEN = exports.CLOUDFLARE_API_TOKEN
    local spellings = { { id, url }, { id:upper(), url }, { id, url .. "//" },
                        { id, (url:gsub("^http", "HTTP")) } }
    for _, one in ipairs(spellings) do
      env.CLOUDFLARE_ACCOUNT_ID, env.CLOUDFLARE_BASE_URL = one[1], one[2]
      local status, _, err = moontap("run", "--speed", "2", "-e", "assert(pcaps.list())")
      assert.equal(0, status, err)
    end
    write("accounts", section("lab", good { account_id = id:upper(),
      base_url = url:gsub("^http", "Http") .. "/" }))
    assert.equal(0, (moontap("captures", "--accounts", "accounts", "--account", "lab")))
    local shouted = url:upper():gsub("/CLIENT.*", "/client/v4/")
    assert.equal(0, (moontap("captures", "--base-url", shouted)))
    local db = dir .. "/state/moontap/state.db"
    assert.equal(("%s|%s\n"):format(url, id),
      command.query(db, "SELECT base_url, account_id FROM accounts"))
    -- one that an earlier version has written down otherwise is found again
    command.query(db,
      "UPDATE accounts SET account_id = upper(account_id), base_url = base_url || '/'")
    env.CLOUDFLARE_ACCOUNT_ID, env.CLOUDFLARE_BASE_URL = id, url
    assert.equal(0, (list()))
    assert.equal("1\n", command.query(db, "SELECT count(*) FROM accounts"))
  end)
end)

describe("what is wrong with accounts is said:", function()
  local function fails(name, pattern, ...)
    local status, out, err = list("--account", name, ...)
    assert.equal(3, status, err)
    assert.equal("", out)
    assert.matches("^moontap: [^\n]*" .. pattern .. "[^\n]*\n$", err)
    assert.not_matches(TOKEN, err, 1, true)
  end

  it("no file", function()
    fails("prod", "there is no .*/config/moontap/accounts.ini and no /etc/moontap/accounts.ini: "
      .. "write a section %[prod%]")
    fails("prod", "there is no nowhere.ini", "--accounts", "nowhere.ini")
  end)

  it("no account, where the file names some; an id that is none of ours", function()
    write(USUAL, section("lab", good()) .. section("prod", good()))
    for _, command_line in ipairs { { "captures" }, { "slots" } } do
      local status, _, err = moontap(table.unpack(command_line))
      assert.equal(3, status)
      assert.matches("%-%-account NAME: [^\n]*accounts.ini names lab, prod", err)
    end
    env.CLOUDFLARE_API_TOKEN = exports.CLOUDFLARE_API_TOKEN
    env.CLOUDFLARE_BASE_URL = exports.CLOUDFLARE_BASE_URL
    local wrong = ("0"):rep(32)
    local _, _, err = moontap("captures", "--account-id", wrong)
    assert.matches("is " .. wrong .. " the right account id%?", err)
  end)

  it("a name that is none", function()
    write(USUAL, section("prod", good()) .. section("lab", good()))
    fails("porduction", "no account is called porduction in .*; there is lab, prod")
    fails("prd", "did you mean prod")
    write(USUAL, "")
    fails("prod", "it names none")
  end)

  it("a field that is missing or unknown", function()
    write(USUAL, section("prod", good { token_file = false }))
    fails("prod", "no token_file: add the line token_file")
    write(USUAL, section("prod", good { account_id = false }))
    fails("prod", "no account_id: add the line")
    write(USUAL, section("prod", good { base_ulr = "x" }))
    fails("prod", "unknown field base_ulr; did you mean base_url")
    write(USUAL, section("prod", good { api_token = TOKEN }))
    fails("prod", "unknown field api_token; a token stands in a file of its own: token_file")
    write(USUAL, section("prod", good { base_url = "prod" }))
    fails("prod", "base_url: expected a URL")
  end)

  it("lines that say nothing", function()
    write(USUAL, section("prod", good()) .. TOKEN .. "\n")
    fails("prod", "line 5: expected %[name%]")
    write(USUAL, "account_id = 1\n" .. section("prod", good()))
    fails("prod", "line 1: it stands before the first %[name%]")
  end)

  it("a token file that is not there, that everybody can read, that nobody can", function()
    write(USUAL, section("prod", good { token_file = dir .. "/none" }))
    fails("prod", "account prod in .*token file .*/none: No such file or directory; write the")
    write("token", TOKEN, "644")
    write(USUAL, section("prod", good()))
    fails("prod", "account prod in .*can be read or written by everybody: chmod 640")
    write("token", "two words", "600")
    fails("prod", "holds a quote, blank")
    write(USUAL, section("prod", good { token_file = dir }))
    fails("prod", "is a directory")
  end)

  it("a token that is refused", function()
    write("token", TOKEN)
    write(USUAL, section("prod", good()))
    fails("prod", "refused")
  end)

  it("two ways at once", function()
    write(USUAL, section("prod", good()))
    for option, value in pairs { ["--account-id"] = ("0"):rep(32), ["--token-file"] = "token" } do
      local status, _, err = list("--account", "prod", option, value)
      assert.equal(2, status)
      assert.matches("names the account and its token: leave out " .. option, err, 1, true)
    end
    local status, _, err = list("--account", "prod", "--sim")
    assert.equal(2, status)
    assert.matches("leave out --account", err, 1, true)
  end)
end)

it("--speed knows the simulator of an account", function()
  write(USUAL, section("prod", good()) .. section("real",
    good { base_url = "https://api.cloudflare.com/client/v4" }))
  assert.equal(0, (list("--account", "prod", "--speed", "10")))
  local status, _, err = list("--account", "real", "--speed", "10")
  assert.equal(2, status)
  assert.matches("for simulators only", err)
end)

it("the simulator needs no accounts file", function()
  local status, out = moontap("run", "--sim", "-e",
    [[print(#assert(assert(pcaps.client { account = "prod" }).list()))]])
  assert.equal(0, status)
  assert.equal("0\n", out)
end)
